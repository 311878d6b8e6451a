//! The flocks that let processes share a store.

use std::fs::{File, OpenOptions};
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::error::At;
use super::{Store, StoreError};

/// Keeps garbage collection away until it is dropped: blobs and layers that no image names yet are
/// safe. Any number of holders may exist.
#[derive(Debug)]
pub struct Hold {
    _file: File,
}

fn open(path: &Path) -> Result<File, StoreError> {
    // Never truncated: the file's content does not matter, its inode does.
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .at("open", path)
}

/// Waits for a lock; it is given back when the file is closed.
pub(super) fn wait(path: &Path, operation: FlockOperation) -> Result<File, StoreError> {
    let file = open(path)?;
    loop {
        match rustix::fs::flock(&file, operation) {
            Err(Errno::INTR) => {}
            other => return other.at("lock", path).map(|()| file),
        }
    }
}

/// Takes a lock if nobody else has it.
pub(super) fn attempt(path: &Path, operation: FlockOperation) -> Result<Option<File>, StoreError> {
    let file = open(path)?;
    match rustix::fs::flock(&file, operation) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(errno).at("lock", path),
    }
}

impl Store {
    /// Keeps garbage collection away; waits while one is running.
    ///
    /// # Errors
    /// The lock file cannot be used.
    pub fn hold(&self) -> Result<Hold, StoreError> {
        let path = self.path().join("locks/content");
        wait(&path, FlockOperation::LockShared).map(|file| Hold { _file: file })
    }
}
