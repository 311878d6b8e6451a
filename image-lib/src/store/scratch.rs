//! Work in progress: private directories on the store's file system, which the death of their
//! process leaves to the next one to remove.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::mount::{UnmountFlags, unmount};
use rustix::rand::GetRandomFlags;

use super::error::At;
use super::{Store, StoreError, lock};
use crate::fsroot::Root;
use crate::identity::Digest;

/// The file of a scratch directory that names digests in use.
pub(super) const IN_USE: &str = "in-use";

/// A private directory that is removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    /// Locked for as long as the directory is in use.
    _lock: File,
}

impl Scratch {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed when the store is opened next.
        let _ = remove(&self.path);
    }
}

/// A name that no other process has chosen.
pub(super) fn random_name() -> Result<String, StoreError> {
    let mut bytes = [0_u8; 8];
    rustix::rand::getrandom(&mut bytes[..], GetRandomFlags::empty())
        .at("read random bytes for", Path::new("tmp"))?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}

fn remove(path: &Path) -> Result<(), StoreError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let parent = Root::open(parent)?;
    Ok(parent.directory().remove_tree(name)?)
}

impl Store {
    /// A new private directory. It lies on the file system of the layers, so that what is made in it
    /// can become one.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn scratch(&self) -> Result<Scratch, StoreError> {
        let path = self.path().join("tmp").join(random_name()?);
        // Between its making and its locking nobody may take it for an abandoned one.
        let _making = lock::wait(&self.path().join("locks/tmp"), FlockOperation::LockShared)?;
        fs::DirBuilder::new().mode(0o711).create(&path).at("create", &path)?;
        let lock = File::open(&path).at("open", &path)?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).at("lock", &path)?;
        Ok(Scratch { path, _lock: lock })
    }

    /// Removes what dead processes have left, once more than when the store was opened.
    pub(crate) fn sweep(&self) -> Result<(), StoreError> {
        remove_abandoned(self)
    }

    /// Protects `digests` from garbage collection for as long as `scratch` lives: blobs by their
    /// digests, layers by their diff ids.
    ///
    /// # Errors
    /// The note cannot be written.
    pub fn protect(&self, scratch: &Scratch, digests: &[Digest]) -> Result<(), StoreError> {
        let _hold = self.hold()?;
        let path = scratch.path.join(IN_USE);
        let text: String = digests.iter().map(|digest| format!("{digest}\n")).collect();
        fs::write(&path, text).at("write", &path)
    }

    /// The digests that processes that still live have protected.
    pub(super) fn protected(&self) -> Result<Vec<Digest>, StoreError> {
        let mut digests = Vec::new();
        let path = self.path().join("tmp");
        for entry in fs::read_dir(&path).at("read", &path)? {
            let note = entry.at("read", &path)?.path().join(IN_USE);
            // A directory without a note, or one that goes away just now.
            let Ok(text) = fs::read_to_string(note) else { continue };
            digests.extend(text.lines().filter_map(|line| line.parse().ok()));
        }
        Ok(digests)
    }
}

/// Removes the directories of processes that died, with the mounts in them.
pub(super) fn remove_abandoned(store: &Store) -> Result<(), StoreError> {
    let tmp = store.path().join("tmp");
    let mut names = fs::read_dir(&tmp).at("read", &tmp)?.peekable();
    if names.peek().is_none() {
        return Ok(());
    }
    // If another process does it just now, or makes one, the next to open the store will.
    let locks = store.path().join("locks/tmp");
    let Some(_alone) = lock::attempt(&locks, FlockOperation::NonBlockingLockExclusive)? else {
        return Ok(());
    };
    for entry in names {
        let path = entry.at("read", &tmp)?.path();
        // It may have been removed meanwhile.
        let Ok(file) = File::open(&path) else { continue };
        if !file.metadata().is_ok_and(|m| m.is_dir()) {
            remove_old_file(&path);
            continue;
        }
        let is_abandoned =
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
        if is_abandoned && !is_mounted_elsewhere(&path) {
            unmount_below(&path);
            // A store that may only be read is no reason to refuse reading it.
            let _ = remove(&path);
        }
    }
    Ok(())
}

/// Files of this folder live for the instant between their writing and their renaming; an old one
/// is abandoned.
fn remove_old_file(path: &Path) {
    let age = fs::metadata(path).and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
    if age.is_some_and(|age| age.as_secs() > 60) {
        let _ = fs::remove_file(path);
    }
}

/// Does a container still run on what is in `path`? It outlives the program that started it, if that
/// one is killed.
fn is_mounted_elsewhere(path: &Path) -> bool {
    let Some(path) = path.to_str() else { return false };
    let own = fs::read_link("/proc/self/ns/mnt").ok();
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    let mut seen = std::collections::BTreeSet::new();
    for process in processes.flatten().map(|entry| entry.path()) {
        // Processes end while they are looked at; and not all may be looked at.
        let Ok(namespace) = fs::read_link(process.join("ns/mnt")) else { continue };
        if Some(&namespace) == own.as_ref() || !seen.insert(namespace) {
            continue;
        }
        let table = fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
        if table.contains(path) {
            return true;
        }
    }
    false
}

fn unmount_below(path: &Path) {
    let Ok(table) = fs::read_to_string("/proc/self/mountinfo") else { return };
    let points = table.lines().rev().filter_map(|line| line.split(' ').nth(4));
    // The store's own folders have no character that the table escapes below its root; a root that
    // has one is unescaped here.
    for point in points.map(unescape).filter(|point| point.starts_with(path)) {
        let _ = unmount(&point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
    }
}

/// Undoes the octal escapes of the mount table.
fn unescape(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .filter(|_| *byte == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match octal {
            Some(value) => {
                bytes.push(value);
                rest = &after[3..];
            }
            None => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}
