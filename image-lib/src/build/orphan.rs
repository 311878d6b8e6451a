//! Containers that have outlived their build. A killed build cannot end its commands; each has noted beside its
//! rootfs who runs it, and whoever builds next ends it, by the runtime that runs it.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf, absolute};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::error::StepError;
use super::execute::RuntimeExecutor;
use crate::fsroot::{FsError, Root};
use crate::store::{Store, StoreError};

/// The file of a command's folder that says who runs it.
const NOTE: &str = "container.json";
/// Two paths and an id are far from it.
const NOTE_BYTES_MAX: u64 = 16 << 10;

#[derive(Serialize, Deserialize)]
struct Note {
    runtime: PathBuf,
    state: PathBuf,
    id: String,
}

/// Notes in `folder` that the runtime of this name is about to run a container.
pub(super) fn note(folder: &Path, runtime: &str, state: &Path, id: &str) -> Result<(), StepError> {
    let runtime = Path::new(runtime);
    // A name is looked for on the path again.
    let runtime = match runtime.components().count() {
        1 => runtime.to_owned(),
        _ => absolute(runtime).unwrap_or_else(|_| runtime.to_owned()),
    };
    let note = Note { runtime, state: state.to_owned(), id: id.to_owned() };
    let path = folder.join(NOTE);
    let written =
        serde_json::to_vec(&note).map_err(std::io::Error::from).and_then(|b| fs::write(&path, b));
    Ok(written.map_err(|error| FsError::new("write", &path, error))?)
}

/// Ends the containers of builds that were killed, and removes what they have left in the store. Whether there were
/// any.
///
/// # Errors
/// The store's.
pub fn end_orphans(store: &Store) -> Result<bool, StoreError> {
    let mut found = false;
    for folder in fs::read_dir(store.path().join("tmp")).into_iter().flatten().flatten() {
        found |= end_orphan(&folder.path()).is_some();
    }
    if found {
        store.sweep()?;
    }
    Ok(found)
}

fn end_orphan(folder: &Path) -> Option<()> {
    let path = folder.join(NOTE);
    // A program that somebody else has named is not run.
    let is_own = fs::symlink_metadata(&path).ok()?.uid() == rustix::process::geteuid().as_raw();
    let lock = File::open(folder).ok().filter(|_| is_own)?;
    // A living build has the lock.
    flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()?;
    let text = Root::open(folder).ok()?.read_file(Path::new(NOTE), NOTE_BYTES_MAX).ok()??;
    let note: Note = serde_json::from_slice(&text).ok()?;
    RuntimeExecutor::new(note.runtime).end(folder, &note.state, &note.id);
    Some(())
}
