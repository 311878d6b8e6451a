//! ps: which processes a container has.

use std::path::Path;

use super::error::RuntimeError;
use super::state::Container;
use crate::cgroup::CgroupError;
use crate::container::id::ContainerId;

/// The pids of the container's cgroup and of those below it, as this process sees them, ascending.
/// None in a container that has stopped.
///
/// # Errors
/// When there is no such container, or its cgroup cannot be read.
pub fn processes(root: &Path, id: &ContainerId) -> Result<Vec<i32>, RuntimeError> {
    let container = Container::open(root, id)?;
    match container.cgroups().all_pids() {
        // A rootless container may do without cgroups; its first process is all that is known.
        Err(CgroupError::Missing { .. }) => {
            let process = container.state.process;
            let alive =
                process.is_alive().map_err(RuntimeError::system("the container process"))?;
            Ok(if alive { vec![process.pid] } else { Vec::new() })
        }
        other => Ok(other?),
    }
}
