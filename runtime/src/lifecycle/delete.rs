//! delete: what a container occupies is given back (runtime-spec, runtime.md, "Delete").

use std::path::Path;

use super::error::RuntimeError;
use super::hooks;
use super::host_mounts;
use super::state::{Container, kill_in, paths_of};
use super::systemd;
use super::wait::reap;
use crate::container::id::ContainerId;
use crate::container::state_dir::{StateDir, StateError};
use crate::container::state_file::State;
use crate::container::status::Status;
use crate::resctrl;

/// Deletes a container. `force` kills it first if need be, and takes a container that does not exist,
/// or was never made whole, for a deleted one. The warnings tell of hooks that failed.
///
/// # Errors
/// `container does not exist`; that it is not stopped; or what could not be removed.
pub fn delete(root: &Path, id: &ContainerId, force: bool) -> Result<Vec<String>, RuntimeError> {
    let directory = match StateDir::open(root, id) {
        Err(StateError::NotFound) if force => return Ok(Vec::new()),
        other => other?,
    };
    directory.lock(true)?;
    let state = match directory.read_state() {
        Ok(Some(state)) => state,
        // A creation that was cut off before it recorded anything.
        Ok(None) => return discard(&directory, force, StateError::NotFound),
        Err(error) if error.is_damage() => return discard(&directory, force, error),
        // The record names what runs; it must not go because it could not be read just now.
        Err(error) => return Err(error.into()),
    };
    let container = Container { directory, state };
    match container.status()? {
        Status::Stopped => reap(container.state.process),
        Status::Created => container.kill_all()?,
        _ if force => container.kill_all()?,
        status => {
            let text = format!("cannot delete container {id} that is not stopped: {status}");
            return Err(RuntimeError::Refused(text));
        }
    }
    let listed =
        if container.state.process.pid == 0 { None } else { container.poststop_hooks()? };
    clear(&container.directory, &container.state)?;
    Ok(listed.map_or_else(Vec::new, |listed| hooks::after_deletion(&listed, &container.state)))
}

fn discard(
    directory: &StateDir,
    force: bool,
    error: StateError,
) -> Result<Vec<String>, RuntimeError> {
    if !force {
        return Err(error.into());
    }
    directory.remove()?;
    Ok(Vec::new())
}

/// Removes cgroups, with whatever still runs in them, and then the record that names them.
///
/// # Errors
/// What could not be removed; the record stays then, so that it can be tried again.
pub(super) fn clear(directory: &StateDir, state: &State) -> Result<(), RuntimeError> {
    let alive = || state.process.is_alive().map_err(RuntimeError::system("the container process"));
    clear_if(directory, state, alive)
}

/// The same, when the container's first process has been waited for.
///
/// # Errors
/// As for [`clear`].
pub(super) fn clear_ended(directory: &StateDir, state: &State) -> Result<(), RuntimeError> {
    clear_if(directory, state, || Ok(false))
}

fn clear_if(
    directory: &StateDir,
    state: &State,
    is_alive: impl FnOnce() -> Result<bool, RuntimeError>,
) -> Result<(), RuntimeError> {
    let cgroups = paths_of(state);
    if state.restoring {
        kill_in(&cgroups)?;
    }
    if state.process.pid == 0 {
        if !systemd::stop_own(state, directory.root())? {
            return give_up(directory, state);
        }
        // It was being created: what runs in a cgroup of that name, if it was there before, is not
        // this container's; its own child has ended with its parent.
        cgroups.remove()?;
        resctrl::apply::remove(&state.resctrl_made)?;
        return give_up(directory, state);
    }
    if !state.owns_pid_namespace || is_alive()? {
        kill_in(&cgroups)?;
    }
    // What is left when this fails is only systemd's memory of a unit; the cgroup goes anyway.
    let stopped = systemd::stop(state);
    if !cgroups.remove_at_once() {
        // A process that joined from outside of the pid namespace, or cgroups that the container made.
        kill_in(&cgroups)?;
        cgroups.remove()?;
    }
    stopped?;
    resctrl::apply::remove(&state.resctrl_made)?;
    give_up(directory, state)
}

/// The last of it: mounts, when nothing runs in them any more, and the record.
fn give_up(directory: &StateDir, state: &State) -> Result<(), RuntimeError> {
    host_mounts::undo(state)?;
    Ok(directory.remove()?)
}
