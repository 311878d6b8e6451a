//! The library's only unsafe code: the system calls of a container that wait for an answer (seccomp_unotify(2)).
#![expect(unsafe_code, reason = "no crate wraps the requests of a seccomp listener")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// A system call that waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    id: u64,
    /// The thread that makes it, as this process sees it; 0 if it does not.
    pub(crate) thread: u32,
    /// The audit architecture that the number is of.
    pub(crate) architecture: u32,
    /// Its number.
    pub(crate) number: i64,
    /// Its arguments.
    pub(crate) arguments: [u64; 6],
}

/// Takes the next call (`SECCOMP_IOCTL_NOTIF_RECV`).
///
/// # Errors
/// ENOENT if its thread has gone meanwhile; the errno of ioctl(2).
pub(crate) fn receive(listener: impl AsFd) -> io::Result<Call> {
    const RECEIVE: libc::Ioctl = 0xc050_2100_u32 as libc::Ioctl;
    const { assert!(size_of::<libc::seccomp_notif>() == 0x50) };
    // SAFETY: the structure has integers only, of which zero is one.
    let mut notification: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the request writes to one such structure, which it demands to be zero, and keeps no pointer.
    let result =
        unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), RECEIVE, &raw mut notification) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let data = notification.data;
    Ok(Call {
        id: notification.id,
        thread: notification.pid,
        architecture: data.arch,
        number: data.nr.into(),
        arguments: data.args,
    })
}

/// Lets the kernel carry a call out (`SECCOMP_IOCTL_NOTIF_SEND` with `SECCOMP_USER_NOTIF_FLAG_CONTINUE`).
///
/// # Errors
/// ENOENT if nobody waits for it any more; the errno of ioctl(2).
pub(crate) fn resume(listener: impl AsFd, call: &Call) -> io::Result<()> {
    const SEND: libc::Ioctl = 0xc018_2101_u32 as libc::Ioctl;
    const CONTINUE: u32 = 1;
    const { assert!(size_of::<libc::seccomp_notif_resp>() == 0x18) };
    let response = libc::seccomp_notif_resp { id: call.id, val: 0, error: 0, flags: CONTINUE };
    // SAFETY: the request reads one such structure and keeps no pointer.
    let result = unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), SEND, &raw const response) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
