//! The library's only unsafe code: the system calls of a container that wait for an answer (seccomp_unotify(2)), and the
//! memory of those who make them.
#![expect(
    unsafe_code,
    reason = "rustix has neither the requests of a seccomp listener nor process_vm_readv"
)]

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

/// Has the thread that waits run on the processor of the one that answers, and the other way round
/// (`SECCOMP_IOCTL_NOTIF_SET_FLAGS`, Linux 6.6): they take turns anyway.
///
/// # Errors
/// EINVAL or ENOTTY on older kernels; the errno of ioctl(2).
pub(crate) fn take_turns(listener: impl AsFd) -> io::Result<()> {
    const SET_FLAGS: libc::Ioctl = 0x4008_2104_u32 as libc::Ioctl;
    const SYNC_WAKE_UP: libc::c_ulong = 1;
    // SAFETY: the request takes a number and no pointer.
    let result = unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), SET_FLAGS, SYNC_WAKE_UP) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Copies from the memory of a thread, and gives how many bytes there were: as far as the end of a page that the next
/// one is not there of (process_vm_readv(2)).
///
/// # Errors
/// EFAULT if there is nothing at the address, ESRCH if there is no such thread; the errno of process_vm_readv(2).
pub(crate) fn read_memory(thread: u32, address: u64, bytes: &mut [u8]) -> io::Result<usize> {
    const PAGE_BYTES: usize = 4096;
    let start = usize::try_from(address).map_err(|_| io::Error::from_raw_os_error(libc::EFAULT))?;
    let first = bytes.len().min(PAGE_BYTES - start % PAGE_BYTES);
    let rest = bytes.len() - first;
    let pointer = |address: usize| std::ptr::without_provenance_mut::<libc::c_void>(address);
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // In two parts, because a part comes whole or not at all.
    let remote = [
        libc::iovec { iov_base: pointer(start), iov_len: first },
        libc::iovec { iov_base: pointer(start.wrapping_add(first)), iov_len: rest },
    ];
    let thread =
        libc::pid_t::try_from(thread).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))?;
    // SAFETY: the call writes at most `bytes.len()` bytes to `bytes`, which is borrowed for as long; what is remote is
    // looked at by the kernel alone.
    let count =
        unsafe { libc::process_vm_readv(thread, &raw const local, 1, remote.as_ptr(), 2, 0) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}
