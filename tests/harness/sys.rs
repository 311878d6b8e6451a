//! The harness's only unsafe code: the resource usage of one waited child, answering for a seccomp filter,
//! who owns a namespace, mapping the ids of a mount, and tracing, none of which std gives.
#![allow(
    unsafe_code,
    reason = "wait4, ptrace, the requests of seccomp and namespaces and mount_setattr are in neither std nor rustix"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::path::Path;
use std::time::Duration;

pub mod ptrace;

/// How a child ended and what it and its waited descendants used.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// The wait status as the kernel gives it; 0 is a clean end.
    pub status: i32,
    /// User and system time together: the split is by tick, the sum is exact.
    pub cpu: Duration,
    /// Peak resident memory of the largest process of the tree.
    pub rss_kib: i64,
}

/// Waits for one child.
///
/// # Errors
/// The child is not ours or was waited for before.
pub fn wait4(pid: i32) -> io::Result<Usage> {
    let mut status = 0;
    // SAFETY: an all-zero rusage is a valid value of the type; the call overwrites it.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live, writable values of the types that the call fills.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    if waited != pid {
        return Err(io::Error::last_os_error());
    }
    let time = |value: libc::timeval| {
        let micros = value.tv_sec * 1_000_000 + value.tv_usec;
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    };
    Ok(Usage { status, cpu: time(usage.ru_utime) + time(usage.ru_stime), rss_kib: usage.ru_maxrss })
}

/// A call that waits for an answer (seccomp_unotify(2)).
#[derive(Debug, Clone, Copy)]
pub struct Notification {
    id: u64,
    /// The process, as this one sees it.
    pub pid: u32,
    /// The number of the call.
    pub number: i32,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It fails with this errno.
    Errno(i32),
    /// It gives this value, and is not made.
    Value(i64),
    /// The kernel carries it out.
    Continue,
}

/// `SECCOMP_IOCTL_NOTIF_RECV`: waits for a call.
///
/// # Errors
/// ENOENT when the caller has ended; the errno of ioctl(2).
pub fn receive_notification(listener: impl AsFd) -> io::Result<Notification> {
    #[repr(C)]
    #[derive(Default)]
    struct Received {
        id: u64,
        pid: u32,
        flags: u32,
        number: i32,
        arch: u32,
        instruction: u64,
        args: [u64; 6],
    }
    const RECEIVE: libc::Ioctl = 0xc050_2100_u32 as libc::Ioctl;
    let mut received = Received::default();
    // SAFETY: the request fills one structure of 80 bytes, zeroed as it demands.
    let result = unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), RECEIVE, &raw mut received) };
    match result {
        0 => Ok(Notification { id: received.id, pid: received.pid, number: received.number }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `SECCOMP_IOCTL_NOTIF_SEND`: answers a call.
///
/// # Errors
/// ENOENT when the caller does not wait any more; the errno of ioctl(2).
pub fn answer_notification(
    listener: impl AsFd,
    call: Notification,
    answer: Answer,
) -> io::Result<()> {
    #[repr(C)]
    struct Sent {
        id: u64,
        value: i64,
        error: i32,
        flags: u32,
    }
    const SEND: libc::Ioctl = 0xc018_2101_u32 as libc::Ioctl;
    let (value, error, flags) = match answer {
        Answer::Errno(errno) => (0, -errno, 0),
        Answer::Value(value) => (value, 0, 0),
        Answer::Continue => (0, 0, 1),
    };
    let sent = Sent { id: call.id, value, error, flags };
    // SAFETY: the request reads one structure of 24 bytes.
    let result = unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), SEND, &raw const sent) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `NS_GET_USERNS`: the user namespace that owns a namespace (ioctl_nsfs(2)).
///
/// # Errors
/// EPERM when it is none of this process's own or below; the errno of ioctl(2).
pub fn owner_of_namespace(namespace: impl AsFd) -> io::Result<std::fs::File> {
    use std::os::fd::FromRawFd as _;
    const GET_USERNS: libc::Ioctl = 0xb701;
    // SAFETY: the request takes no argument.
    let owner = unsafe { libc::ioctl(namespace.as_fd().as_raw_fd(), GET_USERNS) };
    if owner < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { std::fs::File::from_raw_fd(owner) })
}

/// Covers a folder with itself, its ids mapped as in a user namespace (mount_setattr(2)).
///
/// # Errors
/// The errno of a call.
pub fn cover_mapped(folder: &Path, namespace: impl AsFd) -> io::Result<()> {
    use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(rustix::fs::CWD, folder, flags)?;
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::from(namespace.as_fd().as_raw_fd().unsigned_abs()),
    };
    // SAFETY: the path is an empty C string, the structure is live and of the size that is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(move_mount(&tree, "", rustix::fs::CWD, folder, flags)?)
}
