//! update: other limits for a container that is there.

use std::path::Path;

use serde_json::Value;

use super::error::RuntimeError;
use super::intel_rdt;
pub use super::intel_rdt::CacheSchemas;
use super::state::Container;
use super::systemd;
use crate::cgroup;
use crate::config::resources::Resources;
use crate::config::resources::update::Update;
use crate::container::id::ContainerId;
use crate::container::recorded_config;
use crate::container::status::Status;
use crate::procfs::Procfs;

/// Changes the limits that `limits` names, in the form of `linux.resources`, all or none, and records
/// them. The warnings tell what was passed over.
///
/// # Errors
/// `container not running`; what is wrong with the limits; the limit that the host or the kernel
/// refuses, after which those before it are as they were.
pub fn update(
    root: &Path,
    id: &ContainerId,
    limits: &Value,
    schemas: &CacheSchemas,
) -> Result<Vec<String>, RuntimeError> {
    let mut container = Container::open_locked(root, id)?;
    let checked = Update::from_json(limits)?;
    let schemata = intel_rdt::changes(&container.state, schemas)?;
    if container.status()? == Status::Stopped {
        return Err(RuntimeError::Refused("container not running".to_owned()));
    }
    let recorded = container.resources()?;
    let cgroups_path = container.config()?.linux.cgroups_path;
    let updated = checked.value.over(&recorded);
    let paths = container.cgroups();
    let procfs = Procfs::open().map_err(RuntimeError::Procfs)?;
    let plan = cgroup::plan_update(&updated.changed, &cgroup::layout(&procfs)?, &paths)?;
    cgroup::check_memory(&updated.changed.memory, &paths)?;
    let former = cgroup::update(&plan)?;
    if container.state.systemd_unit.is_some() {
        // The files first, because they can be set back; then again, because systemd rounds.
        let told = systemd::set_limits(&container.state, &updated.changed);
        let exact = told.and_then(|()| cgroup::update(&plan).map(drop).map_err(RuntimeError::from));
        if let Err(error) = exact {
            return Err(match former.restore() {
                Ok(()) => error,
                Err(second) => error.and_cleaning_up(&second.into()),
            });
        }
    }
    // The kernel takes all lines or none. They come last, so that what was before can be set back.
    let former_schemata = match schemata.map(|change| change.make()).transpose() {
        Ok(former) => former,
        Err(error) => {
            return Err(match former.restore() {
                Ok(()) => error,
                Err(second) => error.and_cleaning_up(&second.into()),
            });
        }
    };
    container.state.resources = Some(updated.all.to_json());
    let (config, path) = (&container.state.config, cgroups_path.as_deref());
    container.state.config = recorded_config::with_limits(config, path, id.as_str(), &updated.all);
    if let Err(error) = container.directory.write_state(&container.state) {
        let error = RuntimeError::from(error);
        let limits = former.restore().map_err(RuntimeError::from);
        let schemata = former_schemata.map_or(Ok(()), |former| former.restore());
        return Err(match limits.and(schemata) {
            Ok(()) => error,
            Err(second) => error.and_cleaning_up(&second),
        });
    }
    let mut warnings = checked.warnings;
    warnings.extend(plan.warnings);
    Ok(warnings)
}

impl Container {
    /// The limits of the container: those of the config, or what updates have made of them.
    ///
    /// # Errors
    /// When the copy of the config, or the record, cannot be read.
    pub fn resources(&self) -> Result<Resources, RuntimeError> {
        let of_config = self.config()?.linux.resources.unwrap_or_default();
        match &self.state.resources {
            None => Ok(of_config),
            Some(recorded) => Ok(of_config.replaced_by(recorded)?),
        }
    }
}
