//! A tree as one flat tar, as `docker export` writes it: no whiteouts, nothing of overlayfs.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::fsroot::{Directory, FileKind, FsError, Metadata, Root};
use crate::snapshot::{MountError, Overlay};
use crate::spec::Timestamp;
use crate::tar::{Entry, EntryKind, TarError, Writer};

/// Why files cannot be written to a tar.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The layers cannot be seen as one.
    #[error("cannot put the layers together")]
    Layers(#[source] MountError),
    /// A file cannot be read.
    #[error("cannot read the root file system")]
    Read(#[source] FsError),
    /// The tar cannot be written.
    #[error("cannot write the archive")]
    Write(#[source] TarError),
}

/// Writes all files of `layers` (lowest first) to `stream`; returns it. The same layers always give
/// the same bytes.
///
/// # Errors
/// A file cannot be read; the stream's.
pub fn export<W: Write>(layers: &[PathBuf], stream: W) -> Result<W, ExportError> {
    export_with(layers, &[], Timestamp::default(), stream)
}

/// As [`export`], with further files of this time at the root, behind all others.
///
/// # Errors
/// As [`export`].
pub fn export_with<W: Write>(
    layers: &[PathBuf],
    files: &[(&str, Vec<u8>)],
    time: Timestamp,
    stream: W,
) -> Result<W, ExportError> {
    let mut export = Export { writer: Writer::new(stream), links: HashMap::new() };
    if !layers.is_empty() {
        let tree = Overlay::open(layers).map_err(ExportError::Layers)?;
        export.below(&tree, Path::new(""), Path::new(""))?;
    }
    for (name, content) in files {
        let mut entry = Entry::new(name.as_bytes(), EntryKind::File, 0o644);
        (entry.size, entry.mtime) = (content.len() as u64, time);
        let written = export.writer.append_content(&entry, &mut content.as_slice());
        written.map_err(ExportError::Write)?;
    }
    export.writer.finish().map_err(ExportError::Write)
}

/// Writes the file or directory at `path` of `tree`, called by its last name, to `stream`.
///
/// # Errors
/// A file cannot be read; the stream's.
pub fn export_path<W: Write>(tree: &Root, path: &Path, stream: W) -> Result<W, ExportError> {
    let mut export = Export { writer: Writer::new(stream), links: HashMap::new() };
    let base = PathBuf::from(path.file_name().unwrap_or_default());
    let mut is_directory = true;
    if !base.as_os_str().is_empty() {
        let (parent, name) = tree.parent(path).map_err(ExportError::Read)?;
        if let Some(metadata) = parent.stat(name).map_err(ExportError::Read)? {
            export.file(&parent, name, &base, metadata)?;
            is_directory = metadata.kind == FileKind::Directory;
        }
    }
    if is_directory {
        export.below(tree, path, &base)?;
    }
    export.writer.finish().map_err(ExportError::Write)
}

/// Writes a whole tree, the attributes of its root first, to `stream`; returns it.
///
/// # Errors
/// A file cannot be read; the stream's.
pub fn export_tree<W: Write>(tree: &Root, stream: W) -> Result<W, ExportError> {
    let mut export = Export { writer: Writer::new(stream), links: HashMap::new() };
    let root = tree.directory().stat_self().map_err(ExportError::Read)?;
    let mut entry = Entry::new(b"./", EntryKind::Directory, root.mode);
    (entry.uid, entry.gid, entry.mtime) = (root.uid, root.gid, root.mtime);
    export.writer.append(&entry).map_err(ExportError::Write)?;
    export.below(tree, Path::new(""), Path::new(""))?;
    export.writer.finish().map_err(ExportError::Write)
}

struct Export<W> {
    writer: Writer<W>,
    /// The first path of every file with several names.
    links: HashMap<(u64, u64), Vec<u8>>,
}

impl<W: Write> Export<W> {
    /// All that is below `path` of `tree`, called `base` in the tar.
    fn below(&mut self, tree: &Root, path: &Path, base: &Path) -> Result<(), ExportError> {
        for entry in tree.walk(path).map_err(ExportError::Read)? {
            let entry = entry.map_err(ExportError::Read)?;
            if !entry.metadata.is_whiteout() {
                self.file(&entry.parent, &entry.name, &base.join(&entry.path), entry.metadata)?;
            }
        }
        Ok(())
    }

    fn file(
        &mut self,
        parent: &Directory,
        name: &OsStr,
        path: &Path,
        metadata: Metadata,
    ) -> Result<(), ExportError> {
        let Some(kind) = EntryKind::of(metadata.kind) else { return Ok(()) };
        let mut entry = Entry::new(path.as_os_str().as_bytes(), kind, metadata.mode);
        (entry.uid, entry.gid, entry.mtime) = (metadata.uid, metadata.gid, metadata.mtime);
        if kind != EntryKind::Directory && metadata.links > 1 {
            if let Some(first) = self.links.get(&metadata.inode) {
                entry.kind = EntryKind::HardLink;
                entry.link.clone_from(first);
                return self.writer.append(&entry).map_err(ExportError::Write);
            }
            self.links.insert(metadata.inode, entry.path.clone());
        }
        entry.xattrs = parent.xattrs(name).map_err(ExportError::Read)?;
        entry.xattrs.retain(|(name, _)| {
            let hidden: [&[u8]; 3] = [b"trusted.overlay.", b"user.overlay.", b"security.selinux"];
            !hidden.iter().any(|prefix| name.starts_with(prefix))
        });
        match kind {
            EntryKind::File => {
                entry.size = metadata.size;
                let mut file = parent.open_file(name).map_err(ExportError::Read)?;
                return self.writer.append_content(&entry, &mut file).map_err(ExportError::Write);
            }
            EntryKind::Symlink => {
                entry.mode = 0o777;
                entry.link = parent.read_link(name).map_err(ExportError::Read)?.into_vec();
            }
            EntryKind::CharacterDevice | EntryKind::BlockDevice => entry.device = metadata.device,
            _ => {}
        }
        self.writer.append(&entry).map_err(ExportError::Write)
    }
}
