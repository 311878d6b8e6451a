//! A counter as a descriptor: eventfd(2).

use std::os::fd::OwnedFd;

use super::error::{Call, Result, SyscallError};

/// eventfd(2), close-on-exec: a read gives the count and sets it back.
///
/// # Errors
/// The errno of the call.
pub fn eventfd() -> Result<OwnedFd> {
    // SAFETY: takes numbers only and gives a new descriptor.
    match unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) } {
        -1 => Err(SyscallError::last(Call::Eventfd)),
        fd => Ok(super::open::adopt(fd)),
    }
}
