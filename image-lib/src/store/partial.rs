//! Blobs that are still coming: `partial/<algorithm>-<hex>` holds the bytes that have come, and a note
//! beside it how many of them are surely on the disk. Killed in the middle, a pull leaves both, and the
//! next one goes on from there.
//!
//! Whoever fetches a blob has the file locked, in whatever process; others wait, and then find the
//! blob in the store, or go on where the first one died.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::error::At;
use super::layers::boot_id;
use super::{Store, StoreError};
use crate::blob::Mismatch;
use crate::identity::Hasher;
use crate::spec::Descriptor;

/// So often what has come is written out, so that it outlives a power cut too.
const CHECKPOINT_BYTES: u64 = 64 << 20;
/// How long is waited until it is looked again whether the other process is done.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// What nobody has asked for during this time is removed by garbage collection.
const KEPT: Duration = Duration::from_hours(7 * 24);

/// What is known of a partial blob.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Note {
    version: u32,
    /// The running time of the machine in which the bytes were written. In a later one only those count that
    /// were written out.
    boot: String,
    /// How many bytes were surely on the disk.
    durable: u64,
    /// What the server called this state of the blob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entity_tag: Option<String>,
}

/// The right to fetch a blob, with what has come of it.
#[derive(Debug)]
pub(crate) struct Partial<'s> {
    store: &'s Store,
    blob: Descriptor,
    path: PathBuf,
    file: Arc<File>,
    note: Note,
    written: u64,
    hasher: Hasher,
    arriving: Arriving,
}

impl Store {
    /// Takes the right to fetch `blob`, waiting for another process that has it. Nothing if the blob
    /// turns out to be in the store by then, or if `pause`, which waits for the given time, says
    /// that nobody wants it any more.
    pub(crate) fn partial(
        &self,
        blob: &Descriptor,
        arriving: &Arriving,
        pause: &dyn Fn(Duration) -> bool,
    ) -> Result<Option<Partial<'_>>, StoreError> {
        let name = format!("{}-{}", blob.digest.algorithm().name(), blob.digest.hex());
        let path = self.path().join("partial").join(name);
        loop {
            let mut options = OpenOptions::new();
            let options = options.create(true).truncate(false).read(true).write(true).mode(0o600);
            let file = options.open(&path).at("open", &path)?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK | Errno::INTR) => {
                    if pause(LOOK_AGAIN) {
                        return Ok(None);
                    }
                    continue;
                }
                Err(errno) => return Err(errno).at("lock", &path),
            }
            let own = file.metadata().at("stat", &path)?;
            let is_named = fs::metadata(&path).is_ok_and(|named| named.ino() == own.ino());
            if self.has_blob(&blob.digest, blob.size) {
                if is_named {
                    self.remove_partial(&path)?;
                }
                return Ok(None);
            }
            // The one that had it has become a blob, or was removed.
            if is_named {
                return self.take(blob, path, file, own.len(), arriving).map(Some);
            }
        }
    }

    fn take(
        &self,
        blob: &Descriptor,
        path: PathBuf,
        file: File,
        length: u64,
        arriving: &Arriving,
    ) -> Result<Partial<'_>, StoreError> {
        let note = fs::read(note_path(&path)).ok();
        let note: Note =
            note.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let known = match () {
            () if note.version != 1 => 0,
            () if note.boot == boot_id() => length,
            () => note.durable.min(length),
        };
        // More than the whole is another's mistake.
        let known = if known > blob.size { 0 } else { known };
        let mut partial = Partial {
            store: self,
            hasher: Hasher::new(blob.digest.algorithm()),
            blob: blob.clone(),
            path,
            file: Arc::new(file),
            note: Note { version: 1, boot: boot_id(), durable: note.durable.min(known), ..note },
            written: 0,
            arriving: arriving.clone(),
        };
        partial.file.set_len(known).at("write", &partial.path)?;
        partial.write_note()?;
        partial.digest_known(known)?;
        partial.arriving.begin(&partial.file, partial.written);
        Ok(partial)
    }

    fn remove_partial(&self, path: &std::path::Path) -> Result<(), StoreError> {
        // The note last: whoever takes the lock meanwhile knows nothing of what is left.
        for path in [path.to_owned(), note_path(path)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).at("remove", &path);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes what nobody has gone on with for long; returns how many bytes that were. What is being
    /// fetched just now is locked.
    pub(super) fn collect_partials(&self) -> Result<u64, StoreError> {
        let folder = self.path().join("partial");
        let mut removed = 0;
        for entry in fs::read_dir(&folder).at("read", &folder)? {
            let path = entry.at("read", &folder)?.path();
            // A note goes with what it is about.
            if path.extension().is_some() {
                if !path.with_extension("").exists() {
                    fs::remove_file(&path).at("remove", &path)?;
                }
                continue;
            }
            let Ok(file) = File::open(&path) else { continue };
            let Ok(metadata) = file.metadata() else { continue };
            let age = metadata.modified().ok().and_then(|time| time.elapsed().ok());
            let is_free =
                rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
            if is_free && age.is_some_and(|age| age > KEPT) {
                self.remove_partial(&path)?;
                removed += metadata.len();
            }
        }
        Ok(removed)
    }
}

fn note_path(path: &std::path::Path) -> PathBuf {
    path.with_extension("json")
}

impl Partial<'_> {
    /// The blob.
    pub(crate) fn blob(&self) -> &Descriptor {
        &self.blob
    }

    /// How many bytes have come.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// What the server called the state of the blob from which they came.
    pub(crate) fn entity_tag(&self) -> Option<&str> {
        self.note.entity_tag.as_deref()
    }

    /// Notes what the server calls the state of the blob.
    pub(crate) fn set_entity_tag(&mut self, tag: Option<String>) -> Result<(), StoreError> {
        if self.note.entity_tag == tag {
            return Ok(());
        }
        self.note.entity_tag = tag;
        self.write_note()
    }

    /// Adds bytes that have come.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all_at(bytes, self.written).at("write", &self.path)?;
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        self.arriving.advance(self.written);
        if self.written - self.note.durable >= CHECKPOINT_BYTES {
            self.file.sync_data().at("write", &self.path)?;
            self.note.durable = self.written;
            self.write_note()?;
        }
        Ok(())
    }

    /// Are the bytes that have come those of the blob?
    pub(crate) fn verify(&self) -> Result<(), Mismatch> {
        let actual = self.hasher.clone().finish();
        let (digest, expected) = (self.blob.digest.clone(), self.blob.size);
        if self.written < expected {
            return Err(Mismatch::Short { digest, expected, actual: self.written });
        }
        if actual == digest { Ok(()) } else { Err(Mismatch::Digest { digest, actual }) }
    }

    /// Removes what has come: it is not what it should be.
    pub(crate) fn discard(self) -> Result<(), StoreError> {
        self.store.remove_partial(&self.path)
    }

    /// Gives the blob its name; the bytes have been verified.
    pub(crate) fn publish(self) -> Result<(), StoreError> {
        self.store.publish_file(&self.path, &self.blob)?;
        match fs::remove_file(note_path(&self.path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).at("remove", &note_path(&self.path))
            }
            _ => Ok(()),
        }
    }

    fn digest_known(&mut self, known: u64) -> Result<(), StoreError> {
        let mut buffer = vec![0; 256 << 10];
        while self.written < known {
            let count = self.file.read_at(&mut buffer, self.written).at("read", &self.path)?;
            if count == 0 {
                break;
            }
            self.hasher.update(&buffer[..count]);
            self.written += count as u64;
        }
        Ok(())
    }

    fn write_note(&self) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(&self.note).map_err(StoreError::Encode)?;
        // Nobody else writes here while the blob is locked. A note that does not outlive a power cut
        // says that nothing is known.
        let (path, new) = (note_path(&self.path), self.path.with_extension("new"));
        fs::write(&new, bytes).and_then(|()| fs::rename(&new, &path)).at("write", &path)
    }
}

/// A blob that is coming, for those who read it meanwhile. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arriving(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    is_followed: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    file: Option<Arc<File>>,
    written: u64,
    end: Option<End>,
}

#[derive(Debug, Clone)]
enum End {
    /// All bytes are there and verified.
    Complete,
    /// The blob is in the store under its name.
    InStore,
    /// They are others than announced.
    Mismatch(Mismatch),
    /// They do not come; who fetches knows why.
    Failed,
}

impl Arriving {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is changed in single assignments only.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, file: &Arc<File>, written: u64) {
        let mut state = self.state();
        state.file = Some(Arc::clone(file));
        state.written = written;
        self.0.changed.notify_all();
    }

    fn advance(&self, written: u64) {
        self.state().written = written;
        self.0.changed.notify_all();
    }

    fn end(&self, end: End) {
        let mut state = self.state();
        state.end.get_or_insert(end);
        self.0.changed.notify_all();
    }

    /// All bytes are there and verified.
    pub(crate) fn complete(&self) {
        self.end(End::Complete);
    }

    /// The blob is in the store under its name.
    pub(crate) fn found(&self) {
        self.end(End::InStore);
    }

    /// The bytes are others than announced.
    pub(crate) fn mismatch(&self, mismatch: Mismatch) {
        self.end(End::Mismatch(mismatch));
    }

    /// The bytes do not come.
    pub(crate) fn fail(&self) {
        self.end(End::Failed);
    }

    /// Has anybody begun to read?
    pub(crate) fn is_followed(&self) -> bool {
        self.0.is_followed.load(Ordering::Relaxed)
    }

    /// Waits until the first bytes may be read, and reads along; nothing if the blob is in the store.
    pub(super) fn follow(&self) -> Option<Follower> {
        self.0.is_followed.store(true, Ordering::Relaxed);
        let mut state = self.state();
        loop {
            match (&state.end, &state.file) {
                (Some(End::InStore), _) => return None,
                (None, None) => {}
                _ => break,
            }
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Some(Follower { arriving: self.clone(), at: 0 })
    }
}

/// Reads a blob while it is coming. Its end is reported when the whole has been verified, and not
/// before.
#[derive(Debug)]
pub(crate) struct Follower {
    arriving: Arriving,
    at: u64,
}

impl Read for Follower {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let mut state = self.arriving.state();
        let (file, room) = loop {
            let room = state.written - self.at.min(state.written);
            match (&state.file, &state.end) {
                (Some(file), _) if room > 0 => break (Arc::clone(file), room),
                (_, Some(End::Complete | End::InStore)) => return Ok(0),
                (_, Some(End::Mismatch(mismatch))) => {
                    let mismatch = mismatch.clone();
                    return Err(io::Error::new(io::ErrorKind::InvalidData, mismatch));
                }
                (_, Some(End::Failed)) => return Err(io::Error::other("the blob does not come")),
                _ => {}
            }
            let changed = &self.arriving.0.changed;
            state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        let count = usize::try_from(room).unwrap_or(usize::MAX).min(buffer.len());
        drop(state);
        let count = file.read_at(&mut buffer[..count], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
#[path = "partial_tests.rs"]
mod tests;
