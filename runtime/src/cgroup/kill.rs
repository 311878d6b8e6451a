//! Reaching every process of a cgroup with a signal, those that are being forked included.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use super::error::CgroupError;
use super::file;
use super::freeze;
use super::paths::Paths;
use crate::limits::KILL_WAIT_MS;
use crate::sys::process::{names_no_process, pidfd_open, pidfd_send_signal, wait_readable};

/// How often the list is read again for processes that were forked while it was worked through, or
/// moved in from elsewhere.
const ROUNDS_MAX: u32 = 16;

/// Sends a signal to all. SIGKILL is waited for: when this returns, those that were there have ended,
/// or do not end in the time that a kill may take.
pub(super) fn signal_all(paths: &Paths, signal: i32) -> Result<(), CgroupError> {
    if signal == libc::SIGKILL { kill_all(paths) } else { signal_frozen(paths, signal) }
}

fn kill_all(paths: &Paths) -> Result<(), CgroupError> {
    let deadline = Instant::now() + Duration::from_millis(KILL_WAIT_MS.unsigned_abs().into());
    for round in 0..ROUNDS_MAX {
        let processes = open_all(paths)?;
        if processes.is_empty() {
            break;
        }
        // Where the kernel's own kill does not reach all, freezing keeps those that fork from getting
        // ahead: a privileged container may move processes out of its v2 cgroup.
        let killed = kill_unified(paths) && round == 0;
        let freezes = !killed && paths.freeze().is_ok();
        let late = if freezes { open_all(paths)? } else { Vec::new() };
        for process in processes.iter().chain(&late) {
            // Gone meanwhile is as good as signalled.
            let _ = pidfd_send_signal(process, libc::SIGKILL);
        }
        if let Some(freezer) = paths.freezer() {
            freeze::thaw_to_kill(freezer)?;
        }
        for process in processes.iter().chain(&late) {
            let left = deadline.saturating_duration_since(Instant::now()).as_millis();
            let ended = wait_readable(process, i32::try_from(left).unwrap_or(KILL_WAIT_MS));
            if !ended.unwrap_or(true) {
                // Stuck in the kernel; whoever removes the cgroup will find it busy.
                return Ok(());
            }
        }
    }
    Ok(())
}

fn open_all(paths: &Paths) -> Result<Vec<OwnedFd>, CgroupError> {
    let mut opened = Vec::new();
    for pid in paths.all_pids()? {
        match pidfd_open(pid) {
            Ok(process) => opened.push(process),
            // It has ended, or is one of the threads that a threaded cgroup lists.
            Err(error) if names_no_process(&error) => {}
            Err(source) => {
                let file = Path::new("/proc").join(pid.to_string());
                return Err(CgroupError::File { file, source });
            }
        }
    }
    Ok(opened)
}

/// Linux 5.14: one write kills all that is in the v2 directory and below it, forks included.
fn kill_unified(paths: &Paths) -> bool {
    let Some(path) = paths.get("") else { return false };
    file::open_directory(path)
        .and_then(|directory| file::write(directory, "cgroup.kill", "1"))
        .is_ok()
}

/// A container that was paused stays so, and sees the signal when it goes on.
fn signal_frozen(paths: &Paths, signal: i32) -> Result<(), CgroupError> {
    let was_frozen = paths.is_frozen()?;
    let freezes = was_frozen || paths.freeze().is_ok();
    for process in open_all(paths)? {
        let _ = pidfd_send_signal(process, signal);
    }
    if freezes && !was_frozen { paths.thaw() } else { Ok(()) }
}
