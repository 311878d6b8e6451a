//! Layers as one plain directory: a copy that needs no mount, for bundles that outlive this program
//! and for file systems that overlayfs cannot stand on.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use crate::fsroot::{Directory, FileKind, FsError, Metadata, Root, Times};
use crate::snapshot::{MountError, Overlay};

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
        copy(&entry.parent, &entry.name, &parent, name, metadata).map_err(copied)?;
        if metadata.kind == FileKind::Directory {
            directories.push((entry.path, metadata.mtime));
        }
    }
    // The files of a directory change its times.
    for (path, mtime) in directories.iter().rev() {
        to.set_times(path, Times::both(*mtime)).map_err(copied)?;
    }
    set_root_attributes(layers, target).map_err(copied)
}

fn set_root_attributes(layers: &[PathBuf], target: &Path) -> Result<(), FsError> {
    crate::snapshot::adopt_root_attributes(layers, target)
}

fn copy(
    from: &Directory,
    name: &OsStr,
    to: &Directory,
    own_name: &OsStr,
    metadata: Metadata,
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
    for (attribute, value) in from.xattrs(name)? {
        if !attribute.starts_with(b"trusted.overlay.") {
            to.set_xattr(own_name, &attribute, &value)?;
        }
    }
    if metadata.kind != FileKind::Symlink {
        to.set_mode(own_name, metadata.mode)?;
    }
    to.set_times(own_name, Times::both(metadata.mtime))
}
