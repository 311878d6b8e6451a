//! One entry of an archive, with all its headers applied.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::Problem;
use crate::fsroot::{FileKind, Xattr};
use crate::spec::Timestamp;

/// What an entry makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A further name of an earlier file.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

impl EntryKind {
    /// What a file becomes in an archive. A socket is of no use without the process behind it.
    pub(crate) fn of(kind: FileKind) -> Option<Self> {
        Some(match kind {
            FileKind::Socket => return None,
            FileKind::File => Self::File,
            FileKind::Directory => Self::Directory,
            FileKind::Symlink => Self::Symlink,
            FileKind::CharacterDevice => Self::CharacterDevice,
            FileKind::BlockDevice => Self::BlockDevice,
            FileKind::Fifo => Self::Fifo,
        })
    }
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path as it stands in the archive.
    pub path: Vec<u8>,
    /// The kind.
    pub kind: EntryKind,
    /// The target of a link of either kind, as it stands in the archive.
    pub link: Vec<u8>,
    /// The low twelve mode bits.
    pub mode: u32,
    /// The owner. Names of users and groups are ignored: they mean nothing in another system.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Bytes of content, holes counted.
    pub size: u64,
    /// The last change of the content.
    pub mtime: Timestamp,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes, sorted by name, each name once.
    pub xattrs: Vec<Xattr>,
}

impl Entry {
    /// An entry of root's with nothing in it.
    #[must_use]
    pub fn new(path: &[u8], kind: EntryKind, mode: u32) -> Self {
        Self {
            path: path.to_vec(),
            kind,
            link: Vec::new(),
            mode,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: Timestamp::default(),
            device: (0, 0),
            xattrs: Vec::new(),
        }
    }

    /// The path below the root: without `.` and a leading or trailing `/`; empty for the root
    /// itself.
    ///
    /// # Errors
    /// The path holds `..` or a NUL.
    pub fn relative_path(&self) -> Result<PathBuf, Problem> {
        relative(&self.path)
    }

    /// The target of a hard link below the root, in the same form.
    ///
    /// # Errors
    /// The target holds `..` or a NUL.
    pub fn relative_link(&self) -> Result<PathBuf, Problem> {
        relative(&self.link)
    }

    /// The path for people.
    #[must_use]
    pub fn display_path(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }
}

fn relative(path: &[u8]) -> Result<PathBuf, Problem> {
    if path.contains(&0) {
        return Err(Problem::Path);
    }
    let mut relative = Vec::with_capacity(path.len());
    for component in path.split(|b| *b == b'/') {
        match component {
            b"" | b"." => {}
            // Also where it would stay inside: what `a/../b` means depends on what `a` is.
            b".." => return Err(Problem::Escape),
            name => {
                if !relative.is_empty() {
                    relative.push(b'/');
                }
                relative.extend_from_slice(name);
            }
        }
    }
    Ok(PathBuf::from(OsString::from_vec(relative)))
}
