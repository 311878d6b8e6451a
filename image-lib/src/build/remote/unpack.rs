//! A context that comes as a tar, into a directory. Owners do not matter: all files of a context are root's.

use std::ffi::OsStr;
use std::io::{self, BufRead};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::RemoteError;
use crate::fsroot::{FileKind, FsError, Root, Times};
use crate::spec::Timestamp;
use crate::tar::{Entry, EntryKind, Limits, Reader};

/// Unpacks the plain tar of `reader` below `target`. A later entry takes the place of an earlier one; devices
/// are left out, since no build copies them.
///
/// # Errors
/// The tar is broken; a file cannot be made.
pub(super) fn unpack(reader: impl BufRead, target: &Path) -> Result<(), RemoteError> {
    let root = Root::open(target)?;
    let mut reader = Reader::new(reader, Limits::default());
    let broken = |error: &dyn std::fmt::Display| RemoteError::Archive { reason: error.to_string() };
    let mut directories: Vec<(PathBuf, u32, Timestamp)> = Vec::new();
    while let Some(entry) = reader.next_entry().map_err(|error| broken(&error))? {
        let path = entry.relative_path().map_err(|error| broken(&error))?;
        if path.as_os_str().is_empty() {
            continue;
        }
        if let Some(parent) = path.parent() {
            root.create_directory_all(parent, 0o755)?;
        }
        if entry.kind == EntryKind::Directory {
            make_directory(&root, &path)?;
            directories.push((path, entry.mode, entry.mtime));
            continue;
        }
        make_room(&root, &path)?;
        match entry.kind {
            EntryKind::File => {
                let mut file = root.create_file(&path, 0o600)?;
                io::copy(&mut reader, &mut file).map_err(|error| broken(&error))?;
                finish(&root, &path, &entry)?;
            }
            EntryKind::Symlink => {
                root.symlink(OsStr::from_bytes(&entry.link), &path)?;
                root.set_times(&path, Times::both(entry.mtime))?;
            }
            EntryKind::HardLink => {
                let first = entry.relative_link().map_err(|error| broken(&error))?;
                root.hard_link(&first, &path)?;
            }
            EntryKind::Fifo => {
                root.create_node(&path, FileKind::Fifo, 0o600, (0, 0))?;
                finish(&root, &path, &entry)?;
            }
            _ => {}
        }
    }
    // The files of a directory change its times, and its mode may forbid to make them.
    for (path, mode, mtime) in directories.iter().rev() {
        root.set_mode(path, *mode)?;
        root.set_times(path, Times::both(*mtime))?;
    }
    Ok(())
}

fn finish(root: &Root, path: &Path, entry: &Entry) -> Result<(), FsError> {
    for (name, value) in &entry.xattrs {
        // What the file system does not keep, or the user may not set, is no content.
        let _ = root.set_xattr(path, name, value);
    }
    root.set_mode(path, entry.mode)?;
    root.set_times(path, Times::both(entry.mtime))
}

fn make_directory(root: &Root, path: &Path) -> Result<(), FsError> {
    match root.symlink_metadata(path)? {
        Some(found) if found.kind == FileKind::Directory => Ok(()),
        Some(_) => {
            root.unlink(path)?;
            root.create_directory(path, 0o700)
        }
        None => root.create_directory(path, 0o700),
    }
}

fn make_room(root: &Root, path: &Path) -> Result<(), FsError> {
    match root.symlink_metadata(path)? {
        Some(found) if found.kind == FileKind::Directory => root.remove_tree(path),
        Some(_) => root.unlink(path),
        None => Ok(()),
    }
}
