//! Being told when processes of a cgroup run out of memory, and when the cgroup is at its end.
//!
//! v1 counts to an eventfd that is registered with `memory.oom_control` (Documentation/admin-guide/
//! cgroup-v1/memory.rst, 10); it does so once more when the cgroup is removed. v2 wakes whoever polls
//! `memory.events` and `cgroup.events`.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::CgroupError;
use super::file;
use super::paths::Paths;
use super::procs::is_gone;
use crate::sys::error::SyscallError;
use crate::sys::event::eventfd;
use crate::sys::open::{read, read_to_limit};
use crate::sys::process::{Watch, poll};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// Nothing in the time given.
    Quiet,
    /// Memory ran out.
    OutOfMemory,
    /// v1: the cgroup was removed. v2: so it was, or no process is left in it.
    End,
}

/// A cgroup that is watched.
#[derive(Debug)]
pub struct Watcher {
    directory: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    V1 { events: OwnedFd },
    V2 { memory: OwnedFd, group: OwnedFd, kills: u64 },
}

const V1_CONTROL: &str = "cgroup.event_control";
const V2_MEMORY: &str = "memory.events";
const V2_GROUP: &str = "cgroup.events";

impl Watcher {
    /// Begins to watch.
    ///
    /// # Errors
    /// [`CgroupError::Missing`] where no cgroup counts memory; [`CgroupError::File`].
    pub fn new(paths: &Paths) -> Result<Self, CgroupError> {
        match (paths.get("memory"), paths.get("")) {
            (Some(directory), _) => Self::of_v1(directory),
            (None, Some(directory)) => Self::of_v2(directory),
            (None, None) => Err(CgroupError::Missing { what: "memory" }),
        }
    }

    fn of_v1(directory: &Path) -> Result<Self, CgroupError> {
        const NAME: &str = "memory.oom_control";
        let failed = |name: &str| {
            let file = directory.join(name);
            |source: SyscallError| CgroupError::File { file, source }
        };
        let opened = file::open_directory(directory).map_err(failed(""))?;
        let control = file::open_for_reading(&opened, NAME).map_err(failed(NAME))?;
        let events = eventfd().map_err(failed("eventfd"))?;
        let line = format!("{} {}", events.as_raw_fd(), control.as_raw_fd());
        file::write(&opened, V1_CONTROL, &line).map_err(failed(V1_CONTROL))?;
        Ok(Self { directory: directory.to_owned(), kind: Kind::V1 { events } })
    }

    fn of_v2(directory: &Path) -> Result<Self, CgroupError> {
        let failed = |name: &str| {
            let file = directory.join(name);
            |source: SyscallError| CgroupError::File { file, source }
        };
        let (memory, kills) = count(directory, V2_MEMORY, "oom_kill").map_err(failed(V2_MEMORY))?;
        let (group, _) = count(directory, V2_GROUP, "populated").map_err(failed(V2_GROUP))?;
        Ok(Self { directory: directory.to_owned(), kind: Kind::V2 { memory, group, kills } })
    }

    /// Waits for a sign, at most for the time given.
    ///
    /// # Errors
    /// [`CgroupError::File`].
    pub fn wait(&mut self, at_most: Duration) -> Result<Sign, CgroupError> {
        // Rounded up, so that who waits for a moment does not come back before it.
        let milliseconds = at_most.as_millis().saturating_add(1);
        let milliseconds = i32::try_from(milliseconds).unwrap_or(i32::MAX);
        let sign = match &mut self.kind {
            Kind::V1 { events } => wait_v1(&self.directory, events, milliseconds),
            Kind::V2 { memory, group, kills } => {
                wait_v2(&self.directory, (memory, group), kills, milliseconds)
            }
        };
        match sign {
            Err(error) if is_gone(error) => Ok(Sign::End),
            other => {
                let file = || self.directory.clone();
                other.map_err(|source| CgroupError::File { file: file(), source })
            }
        }
    }
}

fn wait_v1(directory: &Path, events: &OwnedFd, timeout_ms: i32) -> Result<Sign, SyscallError> {
    let watch = Watch { fd: Some(events.as_fd()), events: libc::POLLIN };
    if poll([watch], timeout_ms)? == [0] {
        return Ok(Sign::Quiet);
    }
    read(events, &mut [0; 8])?;
    // The last count is that of the removal.
    file::open_directory(directory).map(|_| Sign::OutOfMemory)
}

fn wait_v2(
    directory: &Path,
    (memory, group): (&mut OwnedFd, &mut OwnedFd),
    kills: &mut u64,
    timeout_ms: i32,
) -> Result<Sign, SyscallError> {
    let watch = |fd| Watch { fd: Some(fd), events: libc::POLLPRI };
    let [of_memory, of_group] = poll([watch(memory.as_fd()), watch(group.as_fd())], timeout_ms)?;
    if of_memory != 0 {
        let (opened, now) = count(directory, V2_MEMORY, "oom_kill")?;
        *memory = opened;
        if std::mem::replace(kills, now) < now {
            return Ok(Sign::OutOfMemory);
        }
    }
    if of_group != 0 {
        let (opened, populated) = count(directory, V2_GROUP, "populated")?;
        *group = opened;
        if populated == 0 {
            return Ok(Sign::End);
        }
    }
    Ok(Sign::Quiet)
}

/// A file of lines `key number`, opened and read: a later change of it wakes a poll of the descriptor.
fn count(directory: &Path, name: &str, key: &str) -> Result<(OwnedFd, u64), SyscallError> {
    let opened = file::open_for_reading(file::open_directory(directory)?, name)?;
    let text = read_to_limit(&opened, 4096)?;
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let value = lines.find(|(known, _)| *known == key).and_then(|(_, value)| value.parse().ok());
    Ok((opened, value.unwrap_or(0)))
}
