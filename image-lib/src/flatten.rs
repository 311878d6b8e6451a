//! Layers as one plain directory: a copy that needs no mount, for bundles that outlive this program
//! and for file systems that overlayfs cannot stand on. And single files of them for people.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use crate::fsroot::{Directory, FileKind, FsError, Metadata, Root, Times};
use crate::layer::{Form, archived_xattr};
use crate::snapshot::{MountError, Overlay};

/// What new files of a directory inherit.
pub(crate) const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

/// How a tree is seen, and so what the names of its extended attributes mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A layer as it lies: overlayfs's own attributes are there, and an image's are escaped.
    Layer,
    /// Through overlayfs: its own are not there, and an image's have their names.
    View,
    /// One of the two: what could be overlayfs's own is left out.
    Either,
}

/// Why layers cannot be copied.
#[derive(Debug, thiserror::Error)]
pub enum FlattenError {
    /// The layers cannot be seen as one.
    #[error("cannot put the layers together")]
    Layers(#[source] MountError),
    /// A file cannot be copied.
    #[error("cannot copy the root file system")]
    Copy(#[source] FsError),
}

/// Copies `layers` (lowest first) as one tree into the directory `target`, which exists and is
/// empty. Owners, modes, times, extended attributes, hard links and device nodes are kept.
///
/// # Errors
/// The kernel's; what was copied so far stays.
pub fn flatten(layers: &[PathBuf], target: &Path) -> Result<(), FlattenError> {
    let copied = |error| FlattenError::Copy(error);
    let to = Root::open(target).map_err(copied)?;
    if layers.is_empty() {
        return set_root_attributes(layers, target).map_err(copied);
    }
    let merged = Overlay::open(layers).map_err(FlattenError::Layers)?;
    // Overlayfs does not stack a single layer, which is seen as it lies.
    let is_layer = layers.iter().all(|layer| *layer == layers[0]);
    let seen = if is_layer { Seen::Layer } else { Seen::View };
    let mut links: HashMap<(u64, u64), PathBuf> = HashMap::new();
    let mut directories = Vec::new();
    for entry in merged.walk(Path::new("")).map_err(copied)? {
        let entry = entry.map_err(copied)?;
        let (parent, name) = to.parent(&entry.path).map_err(copied)?;
        let metadata = entry.metadata;
        // A single layer has been opened as it is, with its whiteouts.
        if metadata.is_whiteout() {
            continue;
        }
        if metadata.kind != FileKind::Directory && metadata.links > 1 {
            if let Some(first) = links.get(&metadata.inode) {
                to.hard_link(first, &entry.path).map_err(copied)?;
                continue;
            }
            links.insert(metadata.inode, entry.path.clone());
        }
        copy(&entry.parent, &entry.name, &parent, name, metadata, seen).map_err(copied)?;
        if metadata.kind == FileKind::Directory {
            let list = entry.parent.xattr(&entry.name, DEFAULT_ACL).map_err(copied)?;
            directories.push((entry.path, metadata.mtime, list));
        }
    }
    // The files of a directory change its times, and would inherit its list.
    for (path, mtime, list) in directories.iter().rev() {
        if let Some(list) = list {
            to.set_xattr(path, DEFAULT_ACL, list).map_err(copied)?;
        }
        to.set_times(path, Times::both(*mtime)).map_err(copied)?;
    }
    set_root_attributes(layers, target).map_err(copied)
}

/// Whom copied files belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// The user that copies.
    Own,
    /// Whom they belong to in the image.
    Kept,
}

/// Copies the file or directory at `path` of `tree` to `target`, whose parent exists. A directory is
/// copied into one that is there; a file takes the place of another one.
///
/// # Errors
/// The kernel's; what was copied so far stays.
pub fn copy_out(
    tree: &Root,
    path: &Path,
    target: &Path,
    ownership: Ownership,
) -> Result<(), FlattenError> {
    let copied = |error| FlattenError::Copy(error);
    let place = match target.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => target,
    };
    let host = Root::open(place).map_err(copied)?;
    let name = PathBuf::from(target.file_name().unwrap_or_else(|| OsStr::new(".")));
    let owned = |mut metadata: Metadata| {
        if ownership == Ownership::Own {
            metadata.uid = rustix::process::geteuid().as_raw();
            metadata.gid = rustix::process::getegid().as_raw();
        }
        metadata
    };
    let is_root = path.as_os_str().is_empty() || path == Path::new(".");
    let mut directories = Vec::new();
    let below = if is_root {
        if host.symlink_metadata(&name).map_err(copied)?.is_none() {
            host.create_directory(&name, 0o755).map_err(copied)?;
        }
        Path::new("")
    } else {
        let (parent, own) = tree.parent(path).map_err(copied)?;
        let metadata = parent.stat(own).map_err(copied)?;
        let missing = || FsError::new("copy", path, rustix::io::Errno::NOENT);
        let metadata = metadata.ok_or_else(missing).map_err(copied)?;
        place_one(&host, &name, &parent, own, owned(metadata)).map_err(copied)?;
        if metadata.kind != FileKind::Directory {
            return Ok(());
        }
        directories.push((name.clone(), metadata.mtime));
        path
    };
    for entry in tree.walk(below).map_err(copied)? {
        let entry = entry.map_err(copied)?;
        if entry.metadata.is_whiteout() {
            continue;
        }
        let inside = name.join(&entry.path);
        place_one(&host, &inside, &entry.parent, &entry.name, owned(entry.metadata))
            .map_err(copied)?;
        if entry.metadata.kind == FileKind::Directory {
            directories.push((inside, entry.metadata.mtime));
        }
    }
    for (path, mtime) in directories.iter().rev() {
        host.set_times(path, Times::both(*mtime)).map_err(copied)?;
    }
    Ok(())
}

/// Copies one file to `path`, whatever is there; a directory is joined with one that is there.
fn place_one(
    host: &Root,
    path: &Path,
    from: &Directory,
    name: &OsStr,
    metadata: Metadata,
) -> Result<(), FsError> {
    let (to, own) = host.parent(path)?;
    match to.stat(own)? {
        Some(there) if there.kind == FileKind::Directory => {
            if metadata.kind == FileKind::Directory {
                return Ok(());
            }
            return Err(FsError::new("replace", path, rustix::io::Errno::ISDIR));
        }
        Some(_) => to.unlink(own)?,
        None => {}
    }
    copy(from, name, &to, own, metadata, Seen::Either)
}

fn set_root_attributes(layers: &[PathBuf], target: &Path) -> Result<(), FsError> {
    crate::snapshot::adopt_root_attributes(layers, target)
}

/// Copies one file with its attributes, but for the list that new files of a directory inherit: that
/// is set when they are made. `seen` says how the names of attributes are to be read.
pub(crate) fn copy(
    from: &Directory,
    name: &OsStr,
    to: &Directory,
    own_name: &OsStr,
    metadata: Metadata,
    seen: Seen,
) -> Result<(), FsError> {
    match metadata.kind {
        FileKind::File => {
            let mut source = from.open_file(name)?;
            let mut file = to.create_file(own_name, 0o600)?;
            let failed = |error| FsError::new("copy", Path::new(name), error);
            io::copy(&mut source, &mut file).map_err(failed)?;
        }
        FileKind::Directory => to.create_directory(own_name, 0o700)?,
        FileKind::Symlink => to.symlink(&from.read_link(name)?, own_name)?,
        kind => to.create_node(own_name, kind, 0, metadata.device)?,
    }
    to.set_owner(own_name, metadata.uid, metadata.gid)?;
    let form = Form::of_this_process();
    for (attribute, value) in from.xattrs(name)? {
        let attribute = match seen {
            Seen::Layer => archived_xattr(form, &attribute),
            Seen::View => Some(attribute),
            Seen::Either => Some(attribute).filter(|name| !form.is_overlays(name)),
        };
        if let Some(attribute) = attribute.filter(|attribute| attribute != DEFAULT_ACL) {
            to.set_xattr(own_name, &attribute, &value)?;
        }
    }
    if metadata.kind != FileKind::Symlink {
        to.set_mode(own_name, metadata.mode)?;
    }
    to.set_times(own_name, Times::both(metadata.mtime))
}
