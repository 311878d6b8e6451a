//! What is known of a file without opening it.

use rustix::fs::{FileType, Stat};

use crate::spec::Timestamp;

/// An extended attribute: its name and its value.
pub type Xattr = (Vec<u8>, Vec<u8>);

/// The kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket, or something that the kernel does not name.
    Socket,
}

impl From<FileType> for FileKind {
    fn from(value: FileType) -> Self {
        match value {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            FileType::CharacterDevice => Self::CharacterDevice,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::Fifo => Self::Fifo,
            FileType::Socket | FileType::Unknown => Self::Socket,
        }
    }
}

/// The attributes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// The kind.
    pub kind: FileKind,
    /// Permission bits with set-user-id, set-group-id and sticky: the low twelve bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Bytes of content.
    pub size: u64,
    /// The last change of the content.
    pub mtime: Timestamp,
    /// Device number of a device node: major and minor.
    pub device: (u32, u32),
    /// The file's identity on this host: file system and inode.
    pub inode: (u64, u64),
    /// How many names the file has.
    pub links: u64,
}

impl Metadata {
    /// Is this overlayfs's whiteout, the character device 0/0?
    #[must_use]
    pub fn is_whiteout(&self) -> bool {
        self.kind == FileKind::CharacterDevice && self.device == (0, 0)
    }
}

impl From<&Stat> for Metadata {
    fn from(stat: &Stat) -> Self {
        Self {
            kind: FileType::from_raw_mode(stat.st_mode).into(),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: Timestamp {
                seconds: stat.st_mtime,
                nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            },
            device: (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)),
            inode: (stat.st_dev, stat.st_ino),
            // The width of this field differs between architectures.
            #[allow(clippy::useless_conversion, reason = "u32 on aarch64")]
            links: stat.st_nlink.into(),
        }
    }
}

/// The times to give to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// The last access.
    pub atime: Timestamp,
    /// The last change of the content.
    pub mtime: Timestamp,
}

impl Times {
    /// The same time for both.
    #[must_use]
    pub fn both(time: Timestamp) -> Self {
        Self { atime: time, mtime: time }
    }
}
