//! Stopping and resuming all processes of a cgroup: v1's freezer (Documentation/admin-guide/cgroup-v1/
//! freezer-subsystem.rst) and v2's `cgroup.freeze` (Linux 5.2).

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use super::error::CgroupError;
use super::file;
use super::paths::Freezer;
use super::procs::{all_pids, is_gone, tree};
use crate::sys::error::Result as SyscallResult;
use crate::sys::process::{Watch, getpid, poll};

/// How long freezing may take, in seconds, as in runc.
const SECONDS_MAX: u32 = 10;

/// Pause between two looks at v1, which gives no sign when it is done, in milliseconds.
const LOOK_MS: i32 = 1;

pub(super) fn freeze(freezer: Freezer<'_>) -> Result<(), CgroupError> {
    let (Freezer::V1(path) | Freezer::V2(path)) = freezer;
    if all_pids(path)?.contains(&getpid()) {
        return Err(CgroupError::Inside { path: path.to_owned() });
    }
    let result = match freezer {
        Freezer::V1(path) => freeze_v1(path),
        Freezer::V2(path) => freeze_v2(path),
    };
    if result.is_err() {
        // Half frozen is worse than not frozen.
        let _ = thaw(freezer);
    }
    result
}

pub(super) fn thaw(freezer: Freezer<'_>) -> Result<(), CgroupError> {
    match freezer {
        Freezer::V1(path) => write(path, "freezer.state", "THAWED"),
        Freezer::V2(path) => write(path, "cgroup.freeze", "0"),
    }
}

/// Thaws the cgroup for good, before its processes are killed: v1 delivers not even SIGKILL to one that
/// is frozen, and a container may freeze cgroups that it made itself. One that is gone holds nobody: systemd
/// removes that of a scope as soon as it is empty.
pub(super) fn thaw_to_kill(freezer: Freezer<'_>) -> Result<(), CgroupError> {
    let if_there = |freezer| match thaw(freezer) {
        Err(CgroupError::File { source, .. }) if is_gone(source) => Ok(()),
        other => other,
    };
    match freezer {
        Freezer::V1(path) => tree(path).iter().try_for_each(|path| if_there(Freezer::V1(path))),
        Freezer::V2(_) => if_there(freezer),
    }
}

pub(super) fn is_frozen(freezer: Freezer<'_>) -> Result<bool, CgroupError> {
    let (path, name) = match freezer {
        Freezer::V1(path) => (path, "freezer.self_freezing"),
        Freezer::V2(path) => (path, "cgroup.freeze"),
    };
    match file::open_directory(path).and_then(|directory| file::read(directory, name)) {
        Ok(text) => Ok(text.trim() == "1"),
        Err(error) if is_gone(error) => Ok(false),
        Err(source) => Err(CgroupError::File { file: path.join(name), source }),
    }
}

fn write(path: &Path, name: &str, value: &str) -> Result<(), CgroupError> {
    let result =
        file::open_directory(path).and_then(|directory| file::write(directory, name, value));
    result.map_err(|source| CgroupError::File { file: path.join(name), source })
}

fn freeze_v1(path: &Path) -> Result<(), CgroupError> {
    const NAME: &str = "freezer.state";
    let failed = |source| CgroupError::File { file: path.join(NAME), source };
    let directory = file::open_directory(path).map_err(failed)?;
    let deadline = Instant::now() + Duration::from_secs(SECONDS_MAX.into());
    loop {
        // Written anew each time: a process that is forked meanwhile keeps the state at FREEZING
        // until the next write.
        file::write(&directory, NAME, "FROZEN").map_err(failed)?;
        if file::read(&directory, NAME).map_err(failed)?.trim() == "FROZEN" {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let path = path.to_owned();
            return Err(CgroupError::Timeout { path, state: "frozen", seconds: SECONDS_MAX });
        }
        pause(LOOK_MS).map_err(failed)?;
    }
}

fn freeze_v2(path: &Path) -> Result<(), CgroupError> {
    write(path, "cgroup.freeze", "1")?;
    if wait_for_event(path, "frozen 1", Duration::from_secs(SECONDS_MAX.into()))? {
        return Ok(());
    }
    Err(CgroupError::Timeout { path: path.to_owned(), state: "frozen", seconds: SECONDS_MAX })
}

/// Waits until `cgroup.events` of a v2 directory has the line `event`. False when time ran out.
pub(super) fn wait_for_event(
    path: &Path,
    event: &str,
    at_most: Duration,
) -> Result<bool, CgroupError> {
    const NAME: &str = "cgroup.events";
    let failed = |source| CgroupError::File { file: path.join(NAME), source };
    let directory = file::open_directory(path).map_err(failed)?;
    let deadline = Instant::now() + at_most;
    loop {
        // Opened before it is read, so that a change after the reading wakes the poll.
        let events = file::open_for_reading(&directory, NAME).map_err(failed)?;
        let bytes = crate::sys::open::read_to_limit(&events, 4096).map_err(failed)?;
        if String::from_utf8_lossy(&bytes).lines().any(|line| line == event) {
            return Ok(true);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let left = i32::try_from(left.as_millis()).unwrap_or(i32::MAX).max(1);
        let watch = Watch { fd: Some(events.as_fd()), events: libc::POLLPRI };
        poll([watch], left).map_err(failed)?;
    }
}

/// Waits without anything to wait for; the callers count how often.
pub(super) fn pause(milliseconds: i32) -> SyscallResult<()> {
    poll([Watch { fd: None, events: 0 }], milliseconds).map(drop)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Freezer, thaw, thaw_to_kill};

    #[test]
    fn a_cgroup_that_is_gone_keeps_nobody_from_being_killed() {
        let gone = Path::new("/proc/self/no such cgroup");
        for freezer in [Freezer::V1(gone), Freezer::V2(gone)] {
            assert!(thaw(freezer).is_err());
            thaw_to_kill(freezer).unwrap();
        }
    }
}
