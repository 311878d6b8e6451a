//! One open directory and the single names in it. A name is one component: a `/` in it is refused,
//! and the last component is never followed if it is a link.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RawMode, RenameFlags, ResolveFlags, Timespec, Timestamps,
    Uid, XattrFlags,
};
use rustix::io::Errno;

use super::error::At;
use super::{FileKind, FsError, Metadata, Times, Xattr};

/// How deep [`Directory::remove_tree`] goes: one descriptor is open per level.
const DEPTH_MAX: usize = 900;

/// An open directory.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<OwnedFd> for Directory {
    fn from(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

/// A name must be one component, because the kernel would follow links in any other.
fn component<'a>(operation: &'static str, name: &'a OsStr) -> Result<&'a OsStr, FsError> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') {
        return Err(FsError::new(operation, Path::new(name), Errno::INVAL));
    }
    Ok(name)
}

/// The ids of chown(2), to which the highest number means that nothing is to change.
pub(crate) fn owner(uid: u32, gid: u32) -> Result<(Uid, Gid), Errno> {
    if uid == u32::MAX || gid == u32::MAX {
        return Err(Errno::INVAL);
    }
    Ok((Uid::from_raw(uid), Gid::from_raw(gid)))
}

fn timespec(time: crate::spec::Timestamp) -> Timespec {
    Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() }
}

impl Directory {
    /// A second handle on the same directory.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn try_clone(&self) -> Result<Self, FsError> {
        Ok(Self { fd: self.fd.try_clone().at("duplicate", ".")? })
    }

    /// The attributes of `name`, not followed; nothing if it does not exist.
    ///
    /// # Errors
    /// The kernel's.
    pub fn stat(&self, name: &OsStr) -> Result<Option<Metadata>, FsError> {
        let name = component("stat", name)?;
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Metadata::from(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(FsError::new("stat", Path::new(name), errno)),
        }
    }

    /// The attributes of the directory itself.
    ///
    /// # Errors
    /// The kernel's.
    pub fn stat_self(&self) -> Result<Metadata, FsError> {
        rustix::fs::fstat(&self.fd).map(|stat| Metadata::from(&stat)).at("stat", ".")
    }

    /// Opens the directory `name`; a link is refused.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open_directory(&self, name: &OsStr) -> Result<Self, FsError> {
        let name = component("open", name)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, name, flags, Mode::empty()).map(Self::from).at("open", name)
    }

    /// Opens the file `name` for reading; a link is refused, and a fifo does not block.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open_file(&self, name: &OsStr) -> Result<File, FsError> {
        let name = component("open", name)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, name, flags, Mode::empty()).map(File::from).at("open", name)
    }

    /// Creates the file `name`, which must not exist, for reading and writing.
    ///
    /// # Errors
    /// The kernel's.
    pub fn create_file(&self, name: &OsStr, mode: u32) -> Result<File, FsError> {
        let name = component("create", name)?;
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(mode))
            .map(File::from)
            .at("create", name)
    }

    /// Creates the directory `name`; the process's umask applies to `mode`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn create_directory(&self, name: &OsStr, mode: u32) -> Result<(), FsError> {
        let name = component("create directory", name)?;
        rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(mode)).at("create directory", name)
    }

    /// Creates the symbolic link `name` to `target`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn symlink(&self, target: &OsStr, name: &OsStr) -> Result<(), FsError> {
        let name = component("create symbolic link", name)?;
        rustix::fs::symlinkat(target, &self.fd, name).at("create symbolic link", name)
    }

    /// Gives `from_name` in `from` the further name `name` here. A symbolic link is itself linked.
    ///
    /// # Errors
    /// The kernel's.
    pub fn hard_link(&self, from: &Self, from_name: &OsStr, name: &OsStr) -> Result<(), FsError> {
        let name = component("create hard link", name)?;
        let from_name = component("link", from_name)?;
        rustix::fs::linkat(&from.fd, from_name, &self.fd, name, AtFlags::empty())
            .at("create hard link", name)
    }

    /// Creates a device node or a fifo.
    ///
    /// # Errors
    /// The kernel's, and `EINVAL` for a kind that has no node.
    pub fn create_node(
        &self,
        name: &OsStr,
        kind: FileKind,
        mode: u32,
        device: (u32, u32),
    ) -> Result<(), FsError> {
        let name = component("create node", name)?;
        let kind = match kind {
            FileKind::CharacterDevice => FileType::CharacterDevice,
            FileKind::BlockDevice => FileType::BlockDevice,
            FileKind::Fifo => FileType::Fifo,
            FileKind::Socket => FileType::Socket,
            FileKind::File | FileKind::Directory | FileKind::Symlink => {
                return Err(FsError::new("create node", Path::new(name), Errno::INVAL));
            }
        };
        let device = rustix::fs::makedev(device.0, device.1);
        rustix::fs::mknodat(&self.fd, name, kind, Mode::from_raw_mode(mode), device)
            .at("create node", name)
    }

    /// Creates overlayfs's whiteout, which hides `name` of all lower layers.
    ///
    /// # Errors
    /// The kernel's.
    pub fn create_whiteout(&self, name: &OsStr) -> Result<(), FsError> {
        self.create_node(name, FileKind::CharacterDevice, 0, (0, 0))
    }

    /// Removes `name`, which is no directory.
    ///
    /// # Errors
    /// The kernel's.
    pub fn unlink(&self, name: &OsStr) -> Result<(), FsError> {
        let name = component("remove", name)?;
        rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()).at("remove", name)
    }

    /// Removes `name` and, if it is a directory, all in it. Mounts and links are not entered.
    ///
    /// # Errors
    /// The kernel's; `ENOENT` is none.
    pub fn remove_tree(&self, name: &OsStr) -> Result<(), FsError> {
        self.remove_tree_at_depth(component("remove", name)?, 0)
    }

    fn remove_tree_at_depth(&self, name: &OsStr, depth: usize) -> Result<(), FsError> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(errno) => return Err(FsError::new("remove", Path::new(name), errno)),
        }
        if depth == DEPTH_MAX {
            return Err(FsError::new("remove", Path::new(name), Errno::NAMETOOLONG));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV | ResolveFlags::BENEATH;
        let directory = rustix::fs::openat2(&self.fd, name, flags, Mode::empty(), resolve)
            .map(Self::from)
            .at("remove", name)?;
        for (entry, _) in directory.entries()? {
            directory.remove_tree_at_depth(&entry, depth + 1)?;
        }
        rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR).at("remove", name)
    }

    /// Moves `from_name` in `from` to `name` here, replacing what is there.
    ///
    /// # Errors
    /// The kernel's.
    pub fn rename(&self, from: &Self, from_name: &OsStr, name: &OsStr) -> Result<(), FsError> {
        let name = component("rename to", name)?;
        let from_name = component("rename", from_name)?;
        rustix::fs::renameat_with(&from.fd, from_name, &self.fd, name, RenameFlags::empty())
            .at("rename to", name)
    }

    /// The target of the link `name`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read_link(&self, name: &OsStr) -> Result<OsString, FsError> {
        let name = component("read link", name)?;
        let target = rustix::fs::readlinkat(&self.fd, name, Vec::new()).at("read link", name)?;
        Ok(OsStr::from_bytes(target.as_bytes()).to_owned())
    }

    /// All names here with their kinds, sorted by their bytes; without `.` and `..`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn entries(&self) -> Result<Vec<(OsString, FileKind)>, FsError> {
        let mut entries = Vec::new();
        // A fresh description: the read position of a shared one would be anyone's.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, ".", flags, Mode::empty()).at("open", ".")?;
        for entry in rustix::fs::Dir::new(fd).at("read directory", ".")? {
            let entry = entry.at("read directory", ".")?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                // Not every file system tells the kind while reading.
                FileType::Unknown => match self.stat(name)? {
                    Some(metadata) => metadata.kind,
                    None => continue,
                },
                known => known.into(),
            };
            entries.push((name.to_owned(), kind));
        }
        entries.sort_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
        Ok(entries)
    }

    /// Sets the owner and group of `name`, not followed.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_owner(&self, name: &OsStr, uid: u32, gid: u32) -> Result<(), FsError> {
        let name = component("change owner of", name)?;
        let (uid, gid) = owner(uid, gid).at("change owner of", name)?;
        rustix::fs::chownat(&self.fd, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .at("change owner of", name)
    }

    /// Sets the low twelve mode bits of `name`. A symbolic link has no mode; it is refused.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_mode(&self, name: &OsStr, mode: u32) -> Result<(), FsError> {
        let name = component("change mode of", name)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd =
            rustix::fs::openat(&self.fd, name, flags, Mode::empty()).at("change mode of", name)?;
        let stat = rustix::fs::fstat(&fd).at("change mode of", name)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            return Err(FsError::new("change mode of", Path::new(name), Errno::OPNOTSUPP));
        }
        // An O_PATH descriptor takes no fchmod; its magic link names the very same inode.
        let path = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        rustix::fs::chmod(path, Mode::from_raw_mode(mode as RawMode)).at("change mode of", name)
    }

    /// Sets the times of `name`, not followed.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_times(&self, name: &OsStr, times: Times) -> Result<(), FsError> {
        let name = component("set times of", name)?;
        let times = Timestamps {
            last_access: timespec(times.atime),
            last_modification: timespec(times.mtime),
        };
        rustix::fs::utimensat(&self.fd, name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .at("set times of", name)
    }

    /// The path by which the kernel finds `name` here for calls that take no descriptor. Its last
    /// component is never followed by the calls that are made on it.
    fn magic_path(&self, name: &OsStr) -> Vec<u8> {
        let mut path = format!("/proc/self/fd/{}/", self.fd.as_raw_fd()).into_bytes();
        path.extend_from_slice(name.as_bytes());
        path
    }

    /// Sets an extended attribute of `name`, not followed.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_xattr(&self, name: &OsStr, attribute: &[u8], value: &[u8]) -> Result<(), FsError> {
        let name = component("set extended attribute of", name)?;
        rustix::fs::lsetxattr(self.magic_path(name), attribute, value, XattrFlags::empty())
            .at("set extended attribute of", name)
    }

    /// Removes an extended attribute of `name`; that it does not exist is no error.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove_xattr(&self, name: &OsStr, attribute: &[u8]) -> Result<(), FsError> {
        let name = component("remove extended attribute of", name)?;
        match rustix::fs::lremovexattr(self.magic_path(name), attribute) {
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
            other => other.at("remove extended attribute of", name),
        }
    }

    /// The value of an extended attribute of `name`; nothing if it has none.
    ///
    /// # Errors
    /// The kernel's.
    pub fn xattr(&self, name: &OsStr, attribute: &[u8]) -> Result<Option<Vec<u8>>, FsError> {
        let name = component("read extended attribute of", name)?;
        match read_xattr(&self.magic_path(name), attribute) {
            Ok(value) => Ok(Some(value)),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
            Err(errno) => Err(FsError::new("read extended attribute of", Path::new(name), errno)),
        }
    }

    /// All extended attributes of `name`, sorted by name.
    ///
    /// # Errors
    /// The kernel's.
    pub fn xattrs(&self, name: &OsStr) -> Result<Vec<Xattr>, FsError> {
        let operation = "read extended attributes of";
        let name = component(operation, name)?;
        let path = self.magic_path(name);
        let names = match list_xattrs(&path) {
            Ok(names) => names,
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(errno) => return Err(FsError::new(operation, Path::new(name), errno)),
        };
        let mut attributes = Vec::new();
        for attribute in names.split(|b| *b == 0).filter(|a| !a.is_empty()) {
            match read_xattr(&path, attribute) {
                Ok(value) => attributes.push((attribute.to_vec(), value)),
                Err(Errno::NODATA) => {}
                Err(errno) => return Err(FsError::new(operation, Path::new(name), errno)),
            }
        }
        attributes.sort();
        Ok(attributes)
    }

    /// Writes all that was done to this file system to its disk.
    ///
    /// # Errors
    /// The kernel's.
    pub fn sync_file_system(&self) -> Result<(), FsError> {
        rustix::fs::syncfs(&self.fd).at("write out the file system of", ".")
    }

    /// Writes this directory's own entries to the disk.
    ///
    /// # Errors
    /// The kernel's.
    pub fn sync(&self) -> Result<(), FsError> {
        rustix::fs::fsync(&self.fd).map_err(io::Error::from).at("write out", ".")
    }
}

fn list_xattrs(path: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0_u8; 1024];
    loop {
        match rustix::fs::llistxattr(path, &mut buffer[..]) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if buffer.len() < 64 << 10 => buffer.resize(64 << 10, 0),
            Err(errno) => return Err(errno),
        }
    }
}

fn read_xattr(path: &[u8], attribute: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0_u8; 256];
    loop {
        match rustix::fs::lgetxattr(path, attribute, &mut buffer[..]) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            // 64 KiB is the kernel's own limit of a value.
            Err(Errno::RANGE) if buffer.len() < 64 << 10 => buffer.resize(64 << 10, 0),
            Err(errno) => return Err(errno),
        }
    }
}
