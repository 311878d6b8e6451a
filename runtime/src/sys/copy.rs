//! What a copy of files needs beside opening them: entries of a directory, extended attributes, times.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::stat::{FileStat, UtimensatFlags};
use nix::sys::time::TimeSpec;

use super::error::{Call, Named, Result, SyscallError};

/// getdents64(2): entries of a directory into `buffer`; their length, 0 at the end.
///
/// # Errors
/// The errno of the call.
pub fn getdents(directory: impl AsFd, buffer: &mut [u8]) -> Result<usize> {
    let fd = directory.as_fd().as_raw_fd();
    // SAFETY: the buffer is valid for writes of its own length for the duration of the call.
    let length =
        unsafe { libc::syscall(libc::SYS_getdents64, fd, buffer.as_mut_ptr(), buffer.len()) };
    usize::try_from(length).map_err(|_| SyscallError::last(Call::Getdents))
}

/// The name at the head of what [`getdents`] gave, and what follows it: `struct linux_dirent64` has its
/// length at byte 16 and its name from byte 19 on.
#[must_use]
pub fn split_entry(entries: &[u8]) -> Option<(&CStr, &[u8])> {
    let length = u16::from_ne_bytes([*entries.get(16)?, *entries.get(17)?]);
    let (entry, rest) = entries.split_at_checked(usize::from(length))?;
    Some((CStr::from_bytes_until_nul(entry.get(19..)?).ok()?, rest))
}

/// flistxattr(2): names, each with its NUL, into `names`; their length.
///
/// # Errors
/// The errno of the call; ERANGE when there are more than fit.
pub fn flistxattr(file: impl AsFd, names: &mut [u8]) -> Result<usize> {
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: the buffer is valid for writes of its own length for the duration of the call.
    let length = unsafe { libc::flistxattr(fd, names.as_mut_ptr().cast(), names.len()) };
    usize::try_from(length).map_err(|_| SyscallError::last(Call::Listxattr))
}

/// fgetxattr(2) into `value`; its length.
///
/// # Errors
/// The errno of the call; ERANGE when it does not fit.
pub fn fgetxattr(file: impl AsFd, name: &CStr, value: &mut [u8]) -> Result<usize> {
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: the name is NUL-terminated; the buffer is valid for writes of its own length.
    let length =
        unsafe { libc::fgetxattr(fd, name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    usize::try_from(length).map_err(|_| SyscallError::last(Call::Getxattr))
}

/// fsetxattr(2).
///
/// # Errors
/// The errno of the call.
pub fn fsetxattr(file: impl AsFd, name: &CStr, value: &[u8]) -> Result<()> {
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: the name is NUL-terminated; pointer and length describe the value.
    let result =
        unsafe { libc::fsetxattr(fd, name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    if result == 0 { Ok(()) } else { Err(SyscallError::last(Call::Setxattr)) }
}

/// Gives `name` in `directory` the times of access and change that `status` tells; a link is not
/// followed: utimensat(2).
///
/// # Errors
/// The errno of the call.
pub fn set_times(directory: impl AsFd, name: &CStr, status: &FileStat) -> Result<()> {
    let accessed = TimeSpec::new(status.st_atime, status.st_atime_nsec);
    let modified = TimeSpec::new(status.st_mtime, status.st_mtime_nsec);
    let flags = UtimensatFlags::NoFollowSymlink;
    nix::sys::stat::utimensat(directory, name, &accessed, &modified, flags).named(Call::Utimens)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn takes_entries_apart() {
        let mut bytes = vec![0_u8; 24];
        bytes[16] = 24;
        bytes[19] = b'x';
        bytes.extend([0_u8; 24]);
        bytes[24 + 16] = 24;
        bytes[24 + 19..24 + 21].copy_from_slice(b"yz");
        let (first, rest) = split_entry(&bytes).unwrap();
        assert_eq!(first, c"x");
        assert_eq!(split_entry(rest).unwrap().0, c"yz");
        assert!(split_entry(&[]).is_none());
        assert!(split_entry(&bytes[..20]).is_none());
    }
}
