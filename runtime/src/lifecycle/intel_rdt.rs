//! A container's groups in the resctrl file system: what is asked of the machine, and what is recorded.

use std::path::Path;

use super::error::RuntimeError;
use crate::config::spec::Spec;
use crate::container::state_file::State;
use crate::resctrl::apply::{self, ResctrlError};
use crate::resctrl::plan::{Plan, compile};

/// What is to be done, where the config asks for anything; no resctrl file system is looked at otherwise.
///
/// # Errors
/// When the machine cannot, or what is there does not fit.
pub(super) fn plan(spec: &Spec, id: &str) -> Result<Option<Plan>, RuntimeError> {
    let Some(config) = &spec.linux.intel_rdt else { return Ok(None) };
    let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let mount = apply::mount_point(&String::from_utf8_lossy(&mounts))?;
    let facts = apply::look(config, id, mount)?;
    Ok(Some(compile(config, id, &facts).map_err(ResctrlError::from)?))
}

/// Notes in the state where the groups are, and which directories are to be removed: with a container
/// that does not come to be all that are made, with another those that nobody else may use.
pub(super) fn note(plan: Option<&Plan>, state: &mut State, comes_to_be: bool) {
    let Some(plan) = plan else { return };
    state.intel_rdt_path = text(&plan.group);
    state.monitoring_path = plan.monitoring.as_ref().map(|path| text(path)).unwrap_or_default();
    state.resctrl_made = match comes_to_be {
        true => plan.remove.iter().map(|path| text(path)).collect(),
        false => plan.make.iter().rev().map(|path| text(path)).collect(),
    };
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Puts a process into the container's groups.
///
/// # Errors
/// When a group is not there or does not take it.
pub(super) fn enter(state: &State, pid: i32) -> Result<(), RuntimeError> {
    let groups = [&state.intel_rdt_path, &state.monitoring_path];
    let groups = groups.into_iter().filter(|path| !path.is_empty()).map(Path::new);
    Ok(apply::enter(groups, pid)?)
}
