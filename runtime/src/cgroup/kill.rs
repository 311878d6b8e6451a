//! Reaching every process of a cgroup with a signal, those that are being forked included.

use super::error::CgroupError;
use super::file;
use super::paths::Paths;
use crate::sys::process::{pidfd_open, pidfd_send_signal};

/// Without a freezer, how often the list is read again for processes that were forked meanwhile.
const ROUNDS_MAX: u32 = 16;

pub(super) fn signal_all(paths: &Paths, signal: i32) -> Result<(), CgroupError> {
    if signal == libc::SIGKILL && kill_unified(paths) && paths.freezer_is_unified() {
        return Ok(());
    }
    let frozen_before = paths.is_frozen()?;
    let freezes = frozen_before || paths.freeze().is_ok();
    let result = signal_listed(paths, signal, freezes);
    // What is frozen does not see the signal. A container that was paused stays so, unless it is to
    // die: v1 delivers not even SIGKILL to a frozen process.
    if freezes && (!frozen_before || signal == libc::SIGKILL) {
        paths.thaw()?;
    }
    result
}

/// Linux 5.14: one write kills all, forks included. On a host with both versions the container's
/// processes are in the v2 directory too, but nothing keeps one from leaving it there alone.
fn kill_unified(paths: &Paths) -> bool {
    let Some(path) = paths.get("") else { return false };
    file::open_directory(path)
        .and_then(|directory| file::write(directory, "cgroup.kill", "1"))
        .is_ok()
}

fn signal_listed(paths: &Paths, signal: i32, frozen: bool) -> Result<(), CgroupError> {
    let rounds = if frozen || signal != libc::SIGKILL { 1 } else { ROUNDS_MAX };
    for _ in 0..rounds {
        let pids = paths.all_pids()?;
        if pids.is_empty() {
            break;
        }
        for pid in pids {
            // Gone meanwhile is as good as signalled.
            let _ = pidfd_open(pid).and_then(|pidfd| pidfd_send_signal(pidfd, signal));
        }
    }
    Ok(())
}

impl Paths {
    fn freezer_is_unified(&self) -> bool {
        matches!(self.freezer(), Some(super::paths::Freezer::V2(_)))
    }
}
