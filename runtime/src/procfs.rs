//! The host's procfs as a descriptor that is known to be one. Security settings are written through
//! it and never through a path that somebody could have mounted over (CVE-2019-16884,
//! CVE-2025-52881).

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use crate::failure::{Finding, Result};
use crate::sys::open::{
    CWD, OpenFlags, Resolve, filesystem_magic, fstat, openat, openat2, read_to_limit, write_all,
};

/// The root of a procfs.
#[derive(Debug)]
pub struct Procfs(OwnedFd);

/// The inode number of a procfs's root directory (`PROC_ROOT_INO`).
const ROOT_INODE: u64 = 1;

/// More than any file of procfs that is read here holds.
const FILE_BYTES_MAX: usize = 16 << 20;

impl Procfs {
    /// Opens `/proc` and makes sure that it is the root of a procfs.
    ///
    /// # Errors
    /// The errno of the call, or [`Finding::NotProcfs`].
    pub fn open() -> Result<Self> {
        let flags = OpenFlags::O_PATH | OpenFlags::O_DIRECTORY | OpenFlags::O_NOFOLLOW;
        let fd = openat(CWD, c"/proc", flags, 0)?;
        let genuine =
            filesystem_magic(&fd)? == libc::PROC_SUPER_MAGIC && fstat(&fd)?.st_ino == ROOT_INODE;
        if genuine { Ok(Self(fd)) } else { Err(Finding::NotProcfs.into()) }
    }

    /// Opens a file below, through no other mount and no magic link. Allocates nothing.
    ///
    /// # Errors
    /// The errno of the call; [`Finding::NotProcfs`] when something is mounted in between.
    pub fn file(&self, path: &CStr, flags: OpenFlags) -> Result<OwnedFd> {
        let resolve =
            Resolve::RESOLVE_BENEATH | Resolve::RESOLVE_NO_XDEV | Resolve::RESOLVE_NO_MAGICLINKS;
        match openat2(&self.0, path, flags, resolve) {
            Err(error) if error.errno == libc::EXDEV => Err(Finding::NotProcfs.into()),
            Err(error) if error.is_unsupported() => {
                let fd = openat(&self.0, path, flags, 0)?;
                match filesystem_magic(&fd)? {
                    libc::PROC_SUPER_MAGIC => Ok(fd),
                    _ => Err(Finding::NotProcfs.into()),
                }
            }
            other => Ok(other?),
        }
    }

    /// Writes a file below in one call. Allocates nothing.
    ///
    /// # Errors
    /// As [`Procfs::file`], or the errno of write(2).
    pub fn write(&self, path: &CStr, value: &[u8]) -> Result<()> {
        Ok(write_all(self.file(path, OpenFlags::O_WRONLY)?, value)?)
    }

    /// Reads a file below.
    ///
    /// # Errors
    /// As [`Procfs::file`], or the errno of read(2).
    pub fn read(&self, path: &CStr) -> Result<Vec<u8>> {
        Ok(read_to_limit(self.file(path, OpenFlags::O_RDONLY)?, FILE_BYTES_MAX)?)
    }
}

impl AsFd for Procfs {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}
