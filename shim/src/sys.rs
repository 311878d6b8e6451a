//! The only unsafe code of the shim: two calls for which no crate of the tree has a safe wrapper.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// kill(2) with any number that a signal can have, real-time ones too.
pub fn kill(pid: u32, signal: u32) -> io::Result<()> {
    let number = |value: u32| i32::try_from(value).map_err(|_| io::ErrorKind::InvalidInput);
    // 0 and negative ids stand for groups of processes, the shim's own among them.
    let (pid, signal) = (number(pid)?, number(signal)?);
    if pid == 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: kill takes two numbers and touches no memory of this process.
    if unsafe { libc::kill(pid, signal) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has the command's process find these descriptors as 3, 4 and so on.
pub fn pass_descriptors(command: &mut Command, descriptors: Vec<OwnedFd>) {
    let place = move || -> io::Result<()> {
        let first: RawFd = 3;
        // Above all places first, so that none is overwritten before it was moved.
        let above = first + 16;
        let mut moved: [RawFd; 16] = [-1; 16];
        for (from, to) in descriptors.iter().zip(moved.iter_mut()) {
            // SAFETY: fcntl with a number; the descriptor is open, `descriptors` owns it.
            *to = unsafe { libc::fcntl(from.as_raw_fd(), libc::F_DUPFD_CLOEXEC, above) };
            if *to < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        for (place, from) in (first..).zip(moved.iter().take(descriptors.len())) {
            // SAFETY: dup2 with numbers; what stood at `place` belongs to this process, which is about to be
            // another program, and is needed by nothing before that.
            if unsafe { libc::dup2(*from, place) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec `place` makes system calls only; it neither allocates nor locks.
    unsafe { command.pre_exec(place) };
}
