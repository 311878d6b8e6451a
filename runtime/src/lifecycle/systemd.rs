//! The part of systemd in a container's life: a unit that is made around its process, changed with
//! its limits, and stopped with it.

use std::path::Path;

use crate::cgroup::systemd::{
    Features, Manager, Property, SystemdError, Unit, for_resources, for_start, from_annotations,
};
use crate::cgroup::{self, Layout, Location};
use crate::config::resources::Resources;
use crate::config::spec::Spec;
use crate::container::state_file::{State, SystemdUnit};
use crate::procfs::Procfs;
use crate::sys::namespace;
use crate::sys::process::geteuid;

use super::error::RuntimeError;

/// A unit that a container shall have.
#[derive(Debug)]
pub(super) struct Scope {
    unit: Unit,
    user: bool,
    cgroup: String,
    properties: Vec<Property>,
    /// Where systemd had to be asked for more than the unit.
    manager: Option<Manager>,
}

impl Scope {
    /// Which unit a config asks for. Only a user's systemd has to be asked where its units are.
    ///
    /// # Errors
    /// [`RuntimeError::Systemd`].
    pub(super) fn look(spec: &Spec, id: &str, layout: &Layout) -> Result<Self, RuntimeError> {
        if !layout.is_v2_only() {
            return Err(SystemdError::Version1.into());
        }
        // For a user, and inside a user namespace, it is the user's systemd.
        let user = geteuid() != 0 || namespace::is_nested();
        let unit = Unit::new(spec.linux.cgroups_path.as_deref(), id, user)?;
        let properties = from_annotations(&spec.annotations)?;
        let mut manager = None;
        let mut base = String::new();
        if user {
            let connected = manager.insert(Manager::connect(user)?);
            base = connected.cgroup()?;
        }
        Ok(Self { cgroup: unit.cgroup(&base), unit, user, properties, manager })
    }

    /// The place below every mount.
    ///
    /// # Errors
    /// See [`cgroup::LocationError`].
    pub(super) fn location(&self, id: &str) -> Result<Location, RuntimeError> {
        Ok(Location::new(Some(&self.cgroup), id)?)
    }

    /// Whether it is the user's systemd that makes it.
    pub(super) fn is_users(&self) -> bool {
        self.user
    }

    /// What is recorded of it, before it is made.
    pub(super) fn record(&self) -> SystemdUnit {
        SystemdUnit { name: self.unit.name.clone(), user: self.user }
    }

    /// Makes the unit around a process, and makes sure that the process is in it. Properties of
    /// annotations have the last word.
    ///
    /// # Errors
    /// [`RuntimeError::Systemd`].
    pub(super) fn start(
        &mut self,
        resources: &Resources,
        description: &str,
        pid: i32,
        procfs: &Procfs,
    ) -> Result<(), RuntimeError> {
        let mut manager = match self.manager.take() {
            Some(manager) => manager,
            None => Manager::connect(self.user)?,
        };
        let mut properties = for_start(&self.unit, description, pid);
        properties.extend(limits(resources, &mut manager)?);
        properties.retain(|(name, _)| self.properties.iter().all(|(other, _)| other != name));
        properties.append(&mut self.properties);
        manager.start(&self.unit, properties)?;
        if self.unit.is_scope() {
            self.check(pid, procfs)?;
        }
        Ok(())
    }

    /// A scope that was stopped meanwhile has let its process go on elsewhere.
    fn check(&self, pid: i32, procfs: &Procfs) -> Result<(), RuntimeError> {
        let path = std::ffi::CString::new(format!("{pid}/cgroup")).unwrap_or_default();
        let text = procfs.read(&path);
        let text =
            text.map_err(|error| RuntimeError::Refused(format!("/proc/{pid}/cgroup: {error}")))?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let found = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
        if found.rsplit('/').next() == Some(&self.unit.name) {
            return Ok(());
        }
        let (unit, found) = (self.unit.name.clone(), found.to_owned());
        Err(SystemdError::Elsewhere { unit, pid, found, expected: self.cgroup.clone() }.into())
    }

    /// Whether systemd has put the process into the cgroup; into that of a slice it puts none.
    pub(super) fn moves_the_process(&self) -> bool {
        self.unit.is_scope()
    }
}

fn limits(resources: &Resources, manager: &mut Manager) -> Result<Vec<Property>, RuntimeError> {
    let version = if Features::matter_for(resources) { manager.version()? } else { 0 };
    Ok(for_resources(resources, Features::of(version)))
}

/// By what a container's unit is known again: another container's has other words.
pub(super) fn description(state: &State, root: &Path) -> String {
    format!("keel container {} of {}", state.id, root.display())
}

/// Tells the limits to the unit of a container, if it has one: what is only written to the files,
/// systemd would undo.
///
/// # Errors
/// [`RuntimeError::Systemd`].
pub fn set_limits(state: &State, resources: &Resources) -> Result<(), RuntimeError> {
    let Some(unit) = &state.systemd_unit else { return Ok(()) };
    let mut manager = Manager::connect(unit.user)?;
    let properties = limits(resources, &mut manager)?;
    Ok(manager.set(&unit.name, properties)?)
}

/// Has systemd put a process into a unit, or into the cgroup `below` it.
///
/// # Errors
/// [`RuntimeError::Systemd`].
pub(super) fn attach(unit: &SystemdUnit, below: &Path, pid: i32) -> Result<(), RuntimeError> {
    let below = match below.as_os_str().is_empty() {
        true => String::new(),
        false => format!("/{}", below.display()),
    };
    Ok(Manager::connect(unit.user)?.attach(&unit.name, &below, pid)?)
}

/// Stops the unit of a container, if it has one. Where systemd is gone there is nothing to stop.
///
/// # Errors
/// [`RuntimeError::Systemd`].
pub(super) fn stop(state: &State) -> Result<(), RuntimeError> {
    let Some(unit) = &state.systemd_unit else { return Ok(()) };
    match Manager::connect(unit.user).and_then(|mut manager| manager.stop(&unit.name)) {
        Err(error) if error.is_absent() => Ok(()),
        other => Ok(other?),
    }
}

/// The same for a container of which only the intent was recorded: somebody else may have a unit of
/// that name. Says whether the cgroup is this container's.
///
/// # Errors
/// [`RuntimeError::Systemd`].
pub(super) fn stop_own(state: &State, root: &Path) -> Result<bool, RuntimeError> {
    let Some(unit) = &state.systemd_unit else { return Ok(true) };
    let mut manager = match Manager::connect(unit.user) {
        Err(error) if error.is_absent() => return Ok(true),
        other => other?,
    };
    match manager.description(&unit.name)? {
        Some(found) if found != description(state, root) => Ok(false),
        // A failed one may be left though its cgroup is gone.
        _ => {
            manager.stop(&unit.name)?;
            Ok(true)
        }
    }
}

/// Makes what a plan says around a process that is there already, puts it in, and gives the cgroup to
/// its owner.
///
/// # Errors
/// [`RuntimeError::Cgroup`].
pub(super) fn apply_around(
    plan: &cgroup::Plan,
    scope: &Scope,
    pid: i32,
    owner: Option<u32>,
) -> Result<(), RuntimeError> {
    let applied = cgroup::apply(plan, cgroup::Opening::Now)?;
    let entered = if scope.moves_the_process() { Ok(()) } else { applied.enter(pid) };
    let given = entered.and_then(|()| match owner {
        Some(owner) => cgroup::delegate(&applied, owner),
        None => Ok(()),
    });
    given.map_err(|error| {
        applied.undo();
        error.into()
    })
}
