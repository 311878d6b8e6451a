//! A container's groups in the resctrl file system: what is asked of the machine, and what is recorded.

use std::path::{Path, PathBuf};

use super::error::RuntimeError;
use crate::config::spec::Spec;
use crate::container::state_file::State;
use crate::resctrl::apply::{self, ResctrlError};
use crate::resctrl::plan::{Plan, compile};
use crate::resctrl::stats::{self, Stats};

/// What is to be done, where the config asks for anything; no resctrl file system is looked at otherwise.
///
/// # Errors
/// When the machine cannot, or what is there does not fit.
pub(super) fn plan(spec: &Spec, id: &str) -> Result<Option<Plan>, RuntimeError> {
    let Some(config) = &spec.linux.intel_rdt else { return Ok(None) };
    let mount = mount()?;
    let facts = apply::look(config, id, mount)?;
    Ok(Some(compile(config, id, &facts).map_err(ResctrlError::from)?))
}

fn mount() -> Result<PathBuf, ResctrlError> {
    let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    apply::mount_point(&String::from_utf8_lossy(&mounts))
}

/// Lines for `schemata` that replace those of the config.
#[derive(Debug, Clone, Default)]
pub struct CacheSchemas {
    /// The masks of the level 3 cache.
    pub l3_cache: Option<String>,
    /// The memory bandwidth.
    pub memory_bandwidth: Option<String>,
}

/// What a change of schemata replaced.
#[derive(Debug)]
pub(super) struct Former {
    mount: PathBuf,
    group: PathBuf,
    lines: String,
}

impl Former {
    /// Writes it back.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub(super) fn restore(&self) -> Result<(), RuntimeError> {
        Ok(apply::change(&self.mount, &self.group, &self.lines).map(drop)?)
    }
}

/// What would be written for `schemas`, and where; nothing where nothing is asked for.
///
/// # Errors
/// In runc's words: the machine cannot limit this, or the container has no group.
pub(super) fn changes(
    state: &State,
    schemas: &CacheSchemas,
) -> Result<Option<Change>, RuntimeError> {
    let lines: Vec<_> =
        [&schemas.l3_cache, &schemas.memory_bandwidth].into_iter().flatten().collect();
    if lines.is_empty() {
        return Ok(None);
    }
    let mount = mount().ok();
    let (has_cache, has_bandwidth) = mount.as_deref().map(apply::abilities).unwrap_or_default();
    let refused = |text: &str| Err(RuntimeError::Refused(text.to_owned()));
    if schemas.l3_cache.is_some() && !has_cache {
        return refused("Intel RDT/CAT: l3 cache schema is not enabled");
    }
    if schemas.memory_bandwidth.is_some() && !has_bandwidth {
        return refused("Intel RDT/MBA: memory bandwidth schema is not enabled");
    }
    match mount {
        Some(mount) if !state.intel_rdt_path.is_empty() => {
            let lines = lines.into_iter().map(|line| format!("{line}\n")).collect();
            Ok(Some(Change { mount, group: PathBuf::from(&state.intel_rdt_path), lines }))
        }
        _ => refused("updating a non-existent Intel RDT configuration is not supported"),
    }
}

/// Lines that are to be written.
#[derive(Debug)]
pub(super) struct Change {
    mount: PathBuf,
    group: PathBuf,
    lines: String,
}

impl Change {
    /// Writes them.
    ///
    /// # Errors
    /// When the kernel refuses them; then nothing has changed.
    pub(super) fn make(&self) -> Result<Former, RuntimeError> {
        let lines = apply::change(&self.mount, &self.group, &self.lines)?;
        Ok(Former { mount: self.mount.clone(), group: self.group.clone(), lines })
    }
}

/// What the kernel counts for the container; nothing where it has no group.
pub(super) fn sample(state: &State) -> Option<Stats> {
    let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
    let (group, monitoring) = (path(&state.intel_rdt_path)?, path(&state.monitoring_path));
    Some(stats::sample(&mount().ok()?, &group, monitoring.as_deref()))
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
