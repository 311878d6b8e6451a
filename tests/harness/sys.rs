//! The harness's only unsafe code: the resource usage of one waited child, which std does not give.
#![allow(unsafe_code, reason = "wait4 is in neither std nor rustix")]

use std::io;
use std::time::Duration;

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
