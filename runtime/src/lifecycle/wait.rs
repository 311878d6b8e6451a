//! wait: the end of a container's first process, for programs that embed the library.

use std::os::fd::OwnedFd;
use std::path::Path;

use super::error::RuntimeError;
use super::state::Container;
use crate::container::id::ContainerId;
use crate::container::process::ProcessIdentity;
use crate::sys::process::{names_no_process, pidfd_open, wait_child, wait_readable};

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// The process has ended, with the status that a shell shows. It was a child of this program, as the
    /// process of every container is that this program created, and is now reaped.
    Status(i32),
    /// It has ended, and another program knows its status.
    Gone,
    /// The time is over, and it runs.
    TimedOut,
}

/// Waits for the end of a container's first process; `timeout_ms` is a bound in milliseconds, -1 for none.
/// The container stays, for delete to remove. The wait is for this process alone: no handler of SIGCHLD is
/// set, no other child is reaped.
///
/// # Errors
/// There is no such container; the errno of poll(2).
pub fn wait(root: &Path, id: &ContainerId, timeout_ms: i32) -> Result<Waited, RuntimeError> {
    let process = Container::open(root, id)?.state.process;
    let failed = || RuntimeError::system("the container process");
    let pidfd = match pidfd_open(process.pid) {
        Err(error) if names_no_process(&error) => return Ok(Waited::Gone),
        other => other.map_err(failed())?,
    };
    // Compared after the descriptor is there: a number used again meanwhile is noticed.
    if ProcessIdentity::of(process.pid).map_err(failed())? != Some(process) {
        return Ok(Waited::Gone);
    }
    wait_for(&pidfd, timeout_ms)
}

/// Waits for the end of the process that a pidfd refers to, and reaps it if it is a child.
pub(super) fn wait_for(pidfd: &OwnedFd, timeout_ms: i32) -> Result<Waited, RuntimeError> {
    let ended = wait_readable(pidfd, timeout_ms);
    if !ended.map_err(RuntimeError::system("the container process"))? {
        return Ok(Waited::TimedOut);
    }
    Ok(wait_child(pidfd).map_or(Waited::Gone, |ended| Waited::Status(ended.shell_status())))
}

/// Reaps a process that has ended, if it was a child of this program: a zombie would stay for as long as
/// the program lives.
pub(super) fn reap(process: ProcessIdentity) {
    let Ok(pidfd) = pidfd_open(process.pid) else { return };
    let is_same = ProcessIdentity::of(process.pid) == Ok(Some(process));
    if is_same && wait_readable(&pidfd, 0).unwrap_or(false) {
        // ECHILD: it is somebody else's.
        let _ = wait_child(&pidfd);
    }
}
