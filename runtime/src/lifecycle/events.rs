//! events: what a container uses, and when it runs out of memory.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use super::error::RuntimeError;
use super::intel_rdt;
use super::state::Container;
use crate::cgroup::CgroupError;
use crate::cgroup::stats::Stats;
use crate::cgroup::watch::{Sign, Watcher};
use crate::container::id::ContainerId;
use crate::container::status::Status;
use crate::resctrl;

/// What a container uses.
#[derive(Debug, Default)]
pub struct Sample {
    /// By its cgroups.
    pub cgroup: Stats,
    /// By its groups of the resctrl file system, where it has any.
    pub intel_rdt: Option<resctrl::stats::Stats>,
}

/// Something to tell of a container.
#[derive(Debug)]
pub enum Event {
    /// A sample.
    Stats(Box<Sample>),
    /// A process was killed for want of memory, or waits for some.
    OutOfMemory,
    /// A sample could not be had; the next one may be.
    Trouble(RuntimeError),
}

/// One sample of a running container.
///
/// # Errors
/// `container with id … is not running`; or a file that cannot be read.
pub fn sample(root: &Path, id: &ContainerId) -> Result<Sample, RuntimeError> {
    let container = running(root, id)?;
    let cgroup = container.cgroups().stats()?;
    Ok(Sample { cgroup, intel_rdt: intel_rdt::sample(&container.state) })
}

/// Tells of a running container until its cgroup is gone or `tell` breaks off: a sample after each
/// `interval`, and each time that memory runs out.
///
/// # Errors
/// As [`sample`]; a zero interval; or a cgroup that cannot be watched.
pub fn watch(
    root: &Path,
    id: &ContainerId,
    interval: Duration,
    mut tell: impl FnMut(Event) -> ControlFlow<()>,
) -> Result<(), RuntimeError> {
    if interval.is_zero() {
        let text = "duration interval must be greater than 0".to_owned();
        return Err(RuntimeError::Refused(text));
    }
    let container = running(root, id)?;
    let cgroups = container.cgroups();
    let mut watcher = Watcher::new(&cgroups).map_err(|error| match error {
        CgroupError::Missing { .. } => {
            RuntimeError::Refused("memory controller missing".to_owned())
        }
        other => other.into(),
    })?;
    let mut next = Instant::now() + interval;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        let event = match watcher.wait(left)? {
            Sign::End => return Ok(()),
            Sign::OutOfMemory => Event::OutOfMemory,
            Sign::Quiet if Instant::now() < next => continue,
            Sign::Quiet => {
                // A reader that was slow gets the next sample in its turn, not several at once.
                next = (next + interval).max(Instant::now());
                match cgroups.stats() {
                    Ok(cgroup) => {
                        let intel_rdt = intel_rdt::sample(&container.state);
                        Event::Stats(Box::new(Sample { cgroup, intel_rdt }))
                    }
                    Err(error) => Event::Trouble(error.into()),
                }
            }
        };
        if tell(event).is_break() {
            return Ok(());
        }
    }
}

fn running(root: &Path, id: &ContainerId) -> Result<Container, RuntimeError> {
    let container = Container::open(root, id)?;
    match container.status()? {
        Status::Stopped => {
            let text = format!("container with id {id} is not running");
            Err(RuntimeError::Refused(text))
        }
        _ => Ok(container),
    }
}
