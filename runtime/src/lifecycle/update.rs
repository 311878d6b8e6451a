//! update: other limits for a container that is there.

use std::path::Path;

use serde_json::Value;

use super::error::RuntimeError;
use super::state::Container;
use super::systemd;
use crate::cgroup;
use crate::config::resources::Resources;
use crate::config::resources::update::Update;
use crate::container::id::ContainerId;
use crate::container::status::Status;
use crate::procfs::Procfs;

/// What of Intel RDT shall be changed.
#[derive(Debug, Clone, Default)]
pub struct CacheSchemas {
    /// The schema of the L3 cache.
    pub l3_cache: Option<String>,
    /// The schema of the memory bandwidth.
    pub memory_bandwidth: Option<String>,
}

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
    refuse_schemas(schemas)?;
    if container.status() == Status::Stopped {
        return Err(RuntimeError::Refused("container not running".to_owned()));
    }
    let recorded = container.resources()?;
    let updated = checked.value.over(&recorded);
    let paths = container.cgroups();
    let procfs = Procfs::open().map_err(|e| RuntimeError::Refused(format!("/proc: {e}")))?;
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
    container.state.resources = Some(updated.all.to_json());
    if let Err(error) = container.directory.write_state(&container.state) {
        let error = RuntimeError::from(error);
        return Err(match former.restore() {
            Ok(()) => error,
            Err(second) => error.and_cleaning_up(&second.into()),
        });
    }
    let mut warnings = checked.warnings;
    warnings.extend(plan.warnings);
    Ok(warnings)
}

/// No container has a schema, since none can be created with one; the words are runc's.
fn refuse_schemas(schemas: &CacheSchemas) -> Result<(), RuntimeError> {
    let offers = |name: &str| Path::new("/sys/fs/resctrl/info").join(name).exists();
    let text = if schemas.l3_cache.is_some() && !offers("L3") {
        "Intel RDT/CAT: l3 cache schema is not enabled"
    } else if schemas.memory_bandwidth.is_some() && !offers("MB") {
        "Intel RDT/MBA: memory bandwidth schema is not enabled"
    } else if schemas.l3_cache.is_some() || schemas.memory_bandwidth.is_some() {
        "updating a non-existent Intel RDT configuration is not supported"
    } else {
        return Ok(());
    };
    Err(RuntimeError::Refused(text.to_owned()))
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
