//! gc: what commands that were killed have left behind is found by the record they made first, and undone.

use std::path::Path;

use super::delete::{clear, delete};
use super::error::RuntimeError;
use super::state::{Container, paths_of};
use crate::container::id::ContainerId;
use crate::container::state_dir::{StateDir, StateError};
use crate::container::status::Status;

/// What is looked for, and whether it is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Request {
    /// Look, and leave everything as it is.
    pub dry_run: bool,
    /// Delete containers that have stopped, as delete does, and not only what they occupy needlessly.
    pub stopped: bool,
}

/// What was found of one container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A creation that recorded nothing: a directory.
    Bare,
    /// A creation that did not come to its end.
    HalfMade,
    /// A container that has stopped: it is deleted whole.
    Stopped,
    /// A container that has stopped and still has FIFOs or empty cgroups; its record stays.
    Idle,
    /// A record that cannot be read; only `delete --force` removes it.
    Damaged,
}

impl Found {
    /// The finding in a few words.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Bare => "creation that recorded nothing",
            Self::HalfMade => "half-made container",
            Self::Stopped => "stopped container",
            Self::Idle => "FIFOs and empty cgroups of a stopped container",
            Self::Damaged => "damaged record, left for delete --force",
        }
    }
}

/// One container with a finding.
#[derive(Debug)]
pub struct Item {
    /// The container's id.
    pub id: ContainerId,
    /// What of it was found.
    pub found: Found,
    /// Why it could not be removed, where that was tried.
    pub failed: Option<RuntimeError>,
}

/// Goes through all containers below a root. One that another command works on is passed over: its
/// lock is held for as long as anything of it may be half-made on purpose. Live ones are not touched.
///
/// # Errors
/// The root cannot be read. What goes wrong with one container stands in its item.
pub fn gc(root: &Path, request: Request) -> Result<Vec<Item>, RuntimeError> {
    let ids = StateDir::list(root)?.unwrap_or_default();
    Ok(ids.into_iter().filter_map(|id| visit(root, id, request)).collect())
}

fn visit(root: &Path, id: ContainerId, request: Request) -> Option<Item> {
    // Gone, or a stranger's: neither is ours to judge.
    let directory = StateDir::open(root, &id).ok()?;
    if !directory.try_lock().unwrap_or(false) {
        return None;
    }
    let (found, undone) = match directory.read_state() {
        Ok(None) => (Found::Bare, undo(request, || Ok(directory.remove()?))),
        Err(StateError::Invalid { .. }) => (Found::Damaged, Ok(())),
        Err(error) => (Found::Damaged, Err(error.into())),
        Ok(Some(state)) if state.process.pid == 0 => {
            (Found::HalfMade, undo(request, || clear(&directory, &state)))
        }
        Ok(Some(state)) => {
            let container = Container { directory, state };
            if !matches!(container.status(), Ok(Status::Stopped)) {
                return None;
            }
            if request.stopped {
                container.directory.unlock().ok()?;
                let deleted = undo(request, || delete(root, &id, false).map(drop));
                (Found::Stopped, deleted)
            } else if is_idle(&container) {
                (Found::Idle, undo(request, || give_back(&container)))
            } else {
                return None;
            }
        }
    };
    Some(Item { id, found, failed: undone.err() })
}

fn undo(
    request: Request,
    act: impl FnOnce() -> Result<(), RuntimeError>,
) -> Result<(), RuntimeError> {
    if request.dry_run { Ok(()) } else { act() }
}

fn is_idle(container: &Container) -> bool {
    let cgroups = &container.state.cgroup_paths;
    container.directory.has_gate() || cgroups.iter().any(|(_, path)| Path::new(path).is_dir())
}

/// The record stays, for whoever shall still learn of the end; processes that outlive the first one
/// keep their cgroup.
fn give_back(container: &Container) -> Result<(), RuntimeError> {
    container.directory.remove_gate()?;
    let cgroups = paths_of(&container.state);
    match cgroups.all_pids() {
        Ok(processes) if !processes.is_empty() => Ok(()),
        _ => Ok(cgroups.remove()?),
    }
}
