//! The unpacked layers on disk: which are there, and which can be trusted.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::error::At;
use super::{Store, StoreError, lock};
use crate::identity::{ChainId, DiffId};
use crate::layer::{Extracted, Form};

/// The tree in a layer's folder.
pub(super) const TREE: &str = "fs";
/// Says that the layer has an entry for the root directory itself.
pub(crate) const ROOT_ENTRY_MARK: &str = "root-entry";
/// Says that the tree has surely reached the disk.
const DURABLE_MARK: &str = "durable";
const NOTE: &str = "layer.json";
/// After this long the kernel has written nearly all of a layer by itself, so that waiting for the
/// rest is short.
const SETTLED: Duration = Duration::from_mins(1);

/// What is noted about an unpacked layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Note {
    version: u32,
    pub(super) diff_id: DiffId,
    pub(super) content_bytes: u64,
    entries: u64,
    /// The running time of the machine in which it was unpacked.
    boot: String,
}

impl Note {
    pub(super) fn new(diff_id: DiffId, content_bytes: u64, entries: u64) -> Self {
        Self { version: 1, diff_id, content_bytes, entries, boot: boot_id() }
    }
}

pub(super) fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// The folder of a layer whose tree is the same whatever is below it. Root's and an ordinary user's
/// form of a layer are different trees.
pub(super) fn independent_name(diff_id: &DiffId) -> String {
    format!("{}{}", diff_id.digest().hex(), Form::of_this_process().suffix())
}

/// The folder of a layer whose tree depends on what is below it.
pub(super) fn dependent_name(chain_id: &ChainId) -> String {
    format!("chain-{}{}", chain_id.digest().hex(), Form::of_this_process().suffix())
}

impl Store {
    fn layers(&self) -> PathBuf {
        self.path().join("layers")
    }

    /// The tree of a layer, if it is there.
    pub(super) fn find_layer(
        &self,
        diff_id: &DiffId,
        chain_id: &ChainId,
    ) -> Result<Option<PathBuf>, StoreError> {
        for name in [independent_name(diff_id), dependent_name(chain_id)] {
            let folder = self.layers().join(name);
            if self.is_trusted(&folder)? {
                return Ok(Some(folder.join(TREE)));
            }
        }
        Ok(None)
    }

    /// What is noted about a layer, in whichever form it is there.
    pub(super) fn layer_note(&self, diff_id: &DiffId, chain_id: &ChainId) -> Option<Note> {
        let names = [independent_name(diff_id), dependent_name(chain_id)];
        names.iter().find_map(|name| read_note(&self.layers().join(name)))
    }

    /// A layer that was unpacked before the machine went down, and was not known to be on the disk
    /// then, may have empty files. It is removed, and unpacked again by whoever needs it.
    fn is_trusted(&self, folder: &Path) -> Result<bool, StoreError> {
        let Some(note) = read_note(folder) else { return Ok(false) };
        let mark = folder.join(DURABLE_MARK);
        if mark.exists() {
            return Ok(true);
        }
        if note.boot == boot_id() {
            let age = fs::metadata(folder.join(NOTE)).and_then(|m| m.modified());
            let age = age.ok().and_then(|modified| modified.elapsed().ok());
            if age.is_some_and(|age| age > SETTLED) {
                // If it cannot be marked now, the next use tries again.
                let _ = mark_durable(folder);
            }
            return Ok(true);
        }
        let path = self.path().join("locks/layers");
        let _alone = lock::wait(&path, FlockOperation::LockExclusive)?;
        // Another process may have replaced it meanwhile.
        if read_note(folder).is_some_and(|note| note.boot != boot_id()) {
            self.discard_layer(folder)?;
            return Ok(false);
        }
        Ok(folder.join(NOTE).exists())
    }

    /// Takes a layer away; nobody sees half of it.
    pub(super) fn discard_layer(&self, folder: &Path) -> Result<(), StoreError> {
        let scratch = self.scratch()?;
        match fs::rename(folder, scratch.path().join("layer")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).at("remove", folder)
            }
            _ => Ok(()),
        }
    }

    /// Notes what is known of the tree in `container`, before it is published.
    pub(super) fn write_note(
        &self,
        container: &Path,
        note: &Note,
        has_root_entry: bool,
    ) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(note).map_err(StoreError::Encode)?;
        let path = container.join(NOTE);
        fs::write(&path, bytes).at("write", &path)?;
        if has_root_entry {
            let path = container.join(ROOT_ENTRY_MARK);
            File::create(&path).at("create", &path)?;
        }
        Ok(())
    }

    /// Makes the tree in `container` the layer `name`; returns where the tree is then. If another
    /// process was first, its tree is the one.
    pub(super) fn publish_layer(
        &self,
        container: &Path,
        name: &str,
    ) -> Result<PathBuf, StoreError> {
        let folder = self.layers().join(name);
        match fs::rename(container, &folder) {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty
                ) => {}
            Err(error) => return Err(error).at("create", &folder),
        }
        Ok(folder.join(TREE))
    }

    /// Every unpacked layer's folder with its note.
    pub(super) fn all_layers(&self) -> Result<Vec<(PathBuf, Option<Note>)>, StoreError> {
        let path = self.layers();
        let mut layers = Vec::new();
        for entry in fs::read_dir(&path).at("read", &path)? {
            let folder = entry.at("read", &path)?.path();
            let note = read_note(&folder);
            layers.push((folder, note));
        }
        Ok(layers)
    }
}

/// Waits until the tree is on the disk, and says so.
fn mark_durable(folder: &Path) -> io::Result<()> {
    rustix::fs::syncfs(File::open(folder)?)?;
    File::create(folder.join(DURABLE_MARK)).map(drop)
}

fn read_note(folder: &Path) -> Option<Note> {
    let bytes = fs::read(folder.join(NOTE)).ok()?;
    serde_json::from_slice(&bytes).ok().filter(|note: &Note| note.version == 1)
}

/// The note of a layer that has just been unpacked.
pub(super) fn note_of(extracted: &Extracted, diff_id: &DiffId) -> Note {
    Note::new(diff_id.clone(), extracted.content_bytes(), extracted.entries())
}
