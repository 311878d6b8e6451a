//! Reaching every process of a cgroup with a signal, those that are being forked included.

use super::error::CgroupError;
use super::file;
use super::paths::Paths;
use super::procs;
use crate::sys::process::{pidfd_open, pidfd_send_signal};

/// Without a freezer, how often the list is read again for processes that were forked meanwhile.
const ROUNDS_MAX: u32 = 16;

pub(super) fn signal_all(paths: &Paths, signal: i32) -> Result<(), CgroupError> {
    let was_frozen = paths.is_frozen()?;
    if signal == libc::SIGKILL && kill_unified(paths) {
        if was_frozen {
            paths.thaw()?;
        }
        if !has_strays(paths)? {
            return Ok(());
        }
    }
    let freezes = paths.freeze().is_ok();
    let result = signal_listed(paths, signal, freezes);
    // What is frozen does not see the signal. A container that was paused stays so, unless it is to
    // die: v1 delivers not even SIGKILL to a frozen process.
    if freezes && (!was_frozen || signal == libc::SIGKILL) {
        paths.thaw()?;
    }
    result
}

/// Linux 5.14: one write kills all that is in the v2 directory and below it, forks included.
fn kill_unified(paths: &Paths) -> bool {
    let Some(path) = paths.get("") else { return false };
    file::open_directory(path)
        .and_then(|directory| file::write(directory, "cgroup.kill", "1"))
        .is_ok()
}

/// Whether a process is in the container's v1 cgroups and not in its v2 one: nothing keeps a
/// privileged container from moving there. Those that are just dying are in both.
fn has_strays(paths: &Paths) -> Result<bool, CgroupError> {
    let Some(unified) = paths.get("") else { return Ok(true) };
    let listed = paths.all_pids()?;
    if listed.is_empty() {
        return Ok(false);
    }
    let dying = procs::all_pids(unified)?;
    Ok(listed.iter().any(|pid| dying.binary_search(pid).is_err()))
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
