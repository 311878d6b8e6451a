//! pause and resume: all processes of a container stand still, and go on.

use std::path::Path;

use super::error::RuntimeError;
use super::state::Container;
use crate::container::id::ContainerId;
use crate::container::status::Status;

/// Stops every process of a container, started or not, and returns when they stand. One that is
/// paused stays so.
///
/// # Errors
/// `container not running`; or why the cgroup cannot be frozen, after which everything runs on.
pub fn pause(root: &Path, id: &ContainerId) -> Result<(), RuntimeError> {
    let container = Container::open_locked(root, id)?;
    match container.status()? {
        Status::Paused => Ok(()),
        Status::Stopped => Err(RuntimeError::Refused("container not running".to_owned())),
        Status::Created | Status::Running => Ok(container.cgroups().freeze()?),
    }
}

/// Lets the processes of a paused container go on.
///
/// # Errors
/// `container not paused`; or why the cgroup cannot be thawed.
pub fn resume(root: &Path, id: &ContainerId) -> Result<(), RuntimeError> {
    let container = Container::open_locked(root, id)?;
    match container.status()? {
        Status::Paused => Ok(container.cgroups().thaw()?),
        _ => Err(RuntimeError::Refused("container not paused".to_owned())),
    }
}
