//! Namespaces: joining, leaving, and telling which kind a descriptor is.

use std::os::fd::{AsFd, AsRawFd};

use nix::sched::CloneFlags;

use super::error::{Call, Named, Result, SyscallError};

/// The kind of a namespace as its clone flag (`CLONE_NEWPID`, …), as far as `u64` of clone3 goes.
pub type Kind = u64;

/// `CLONE_NEWTIME`, which nix and libc know only for unshare.
pub const NEWTIME: Kind = 0x80;

/// setns(2). `kinds` is one flag, or several when `fd` is a pidfd; 0 accepts any.
///
/// # Errors
/// The errno of the call.
pub fn setns(fd: impl AsFd, kinds: Kind) -> Result<()> {
    let flags = CloneFlags::from_bits_retain(i32::try_from(kinds).unwrap_or(-1));
    nix::sched::setns(fd, flags).named(Call::Setns)
}

/// unshare(2).
///
/// # Errors
/// The errno of the call.
pub fn unshare(kinds: Kind) -> Result<()> {
    let flags = CloneFlags::from_bits_retain(i32::try_from(kinds).unwrap_or(-1));
    nix::sched::unshare(flags).named(Call::Unshare)
}

/// The kind of namespace that `fd` refers to: `NS_GET_NSTYPE` of ioctl_ns(2).
///
/// # Errors
/// ENOTTY when `fd` is no namespace.
pub fn kind_of(fd: impl AsFd) -> Result<Kind> {
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    // SAFETY: the request takes no argument and returns the kind.
    let kind = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), NS_GET_NSTYPE) };
    Kind::try_from(kind).map_err(|_| SyscallError::last(Call::Ioctl))
}

/// Whether this process is in another user namespace than the first of this machine. The first one's
/// inode number is part of the kernel's interface (`PROC_USER_INIT_INO`).
#[must_use]
pub fn is_nested() -> bool {
    const FIRST: u64 = 0xEFFF_FFFD;
    let own = c"/proc/self/ns/user";
    nix::sys::stat::stat(own).is_ok_and(|status| status.st_ino != FIRST)
}
