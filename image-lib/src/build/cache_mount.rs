//! Cache mounts as tars: what `RUN --mount=type=cache` has gathered goes to another machine.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::cache::{BuildCache, write_whole};
use super::cache_usage::{self, CacheEntry, Kind};
use super::solve::cache_directory;
use crate::export::{ExportError, export_tree};
use crate::fsroot::{FsError, Root};
use crate::identity::{Algorithm, Digest};
use crate::layer::{LayerError, Limits, Threads, apply};
use crate::store::{Store, StoreError};

/// Why a cache mount cannot be handed on.
#[derive(Debug, thiserror::Error)]
pub enum CacheMountError {
    /// The store has none of that name.
    #[error("no cache mount {id}")]
    Unknown {
        /// The name.
        id: String,
    },
    /// Several are meant.
    #[error("the cache mount {id} is not unique: {count} have that name")]
    Ambiguous {
        /// The name.
        id: String,
        /// How many.
        count: usize,
    },
    /// A build has it for itself.
    #[error("the cache mount {id} is in use by a build")]
    Busy {
        /// The name.
        id: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be written.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The tar cannot be unpacked.
    #[error("cannot unpack the archive")]
    Archive(#[source] LayerError),
    /// A directory of the cache.
    #[error(transparent)]
    Filesystem(#[from] FsError),
}

/// Writes the files of a cache mount to `stream` as a tar with owners, modes and times; returns it. `id` is its id in the
/// Dockerfile, or its name in the list or the beginning of that.
///
/// # Errors
/// There is none, or a build has it for itself; a file cannot be read; the stream's.
pub fn export<W: Write>(store: &Store, id: &str, stream: W) -> Result<W, CacheMountError> {
    let entries = cache_usage::entries(store)?;
    let is_meant = |entry: &&CacheEntry| {
        let is_name = id.len() >= 12 && entry.id.starts_with(id);
        entry.kind == Kind::CacheMount && (entry.description == id || is_name)
    };
    let found: Vec<&CacheEntry> = entries.iter().filter(is_meant).collect();
    let id = id.to_owned();
    let entry = match found.as_slice() {
        [] => return Err(CacheMountError::Unknown { id }),
        [entry] => entry,
        several => return Err(CacheMountError::Ambiguous { id, count: several.len() }),
    };
    let path = directory(store, &entry.id);
    let lock = lock_file(&path)?;
    if lock.try_lock_shared().is_err() {
        return Err(CacheMountError::Busy { id });
    }
    Ok(export_tree(&Root::open(&path)?, stream)?)
}

/// Makes the files of a tar, compressed or not, the cache mount `id`: its id in the Dockerfile. What it had goes.
///
/// # Errors
/// A build has it for itself; the tar is damaged; a file cannot be made.
pub fn import(store: &Store, id: &str, tar: impl Read + Send) -> Result<(), CacheMountError> {
    let path = directory(store, Digest::of(id.as_bytes()).hex());
    let failed = |operation, path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| FsError::new(operation, &path, error)
    };
    let lock = lock_file(&path)?;
    if lock.try_lock().is_err() {
        return Err(CacheMountError::Busy { id: id.to_owned() });
    }
    let scratch = store.scratch()?;
    let container = Root::open(scratch.path())?.directory().try_clone()?;
    let mut tar = tar;
    let applied = apply(&mut tar, Algorithm::Sha256, container, &Limits::default(), Threads::One);
    drop(applied.map_err(CacheMountError::Archive)?);
    let (new, old) = (scratch.path().join("fs"), scratch.path().join("old"));
    match fs::rename(&path, &old) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("rename", &path)(error).into());
        }
        _ => {}
    }
    if let Err(error) = fs::rename(&new, &path) {
        // What was there is not lost.
        let _ = fs::rename(&old, &path);
        return Err(failed("rename", &new)(error).into());
    }
    write_whole(&BuildCache::mount_name_file(&path), id.as_bytes())
        .map_err(failed("write", &path))?;
    Ok(())
}

fn directory(store: &Store, name: &str) -> PathBuf {
    BuildCache::new(cache_directory(store)).mount_directory(name)
}

fn lock_file(path: &Path) -> Result<File, FsError> {
    BuildCache::open_mount_lock(path).map_err(|error| FsError::new("lock", path, error))
}
