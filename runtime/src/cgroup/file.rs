//! Opening, reading and writing the files of a cgroup, always relative to its directory.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::sys::error::{Call, Result, SyscallError};
use crate::sys::open::{CWD, OpenFlags, openat, read_to_limit, write_all};

/// More than the kernel ever shows in one file of a cgroup: a list of 4 million pids fits.
const BYTES_MAX: usize = 32 << 20;

/// A path as a system call wants it.
pub(super) fn c_path(path: impl AsRef<Path>) -> Result<CString> {
    let error = |_| SyscallError { call: Call::Open, errno: libc::EINVAL };
    CString::new(path.as_ref().as_os_str().as_bytes()).map_err(error)
}

/// The directory itself, good for opening what is in it and for cloning into it. The last component
/// is not followed if it were a link, which cgroup file systems do not have.
pub(super) fn open_directory(path: impl AsRef<Path>) -> Result<OwnedFd> {
    let flags = OpenFlags::O_PATH | OpenFlags::O_DIRECTORY | OpenFlags::O_NOFOLLOW;
    openat(CWD, &c_path(path)?, flags, 0)
}

pub(super) fn open_for_writing(directory: impl AsFd, file: impl AsRef<Path>) -> Result<OwnedFd> {
    openat(directory, &c_path(file)?, OpenFlags::O_WRONLY | OpenFlags::O_NOFOLLOW, 0)
}

pub(super) fn open_for_reading(directory: impl AsFd, file: impl AsRef<Path>) -> Result<OwnedFd> {
    openat(directory, &c_path(file)?, OpenFlags::O_RDONLY | OpenFlags::O_NOFOLLOW, 0)
}

/// Writes `value` in one call, as cgroup files want it.
pub(super) fn write(directory: impl AsFd, file: &str, value: &str) -> Result<()> {
    write_all(open_for_writing(directory, file)?, value.as_bytes())
}

/// The text of a file that holds one value: the kernel gives it in one read.
pub(super) fn read_value(directory: impl AsFd, file: impl AsRef<Path>) -> Result<String> {
    let mut value = [0; 4096];
    let length = crate::sys::open::read(open_for_reading(directory, file)?, &mut value)?;
    Ok(String::from_utf8_lossy(&value[..length]).into_owned())
}

/// The text of a file.
pub(super) fn read(directory: impl AsFd, file: &str) -> Result<String> {
    let bytes = read_to_limit(open_for_reading(directory, file)?, BYTES_MAX)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
