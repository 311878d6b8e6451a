//! What an ordinary user's container cannot have, and how its configuration does without.

use serde::Serialize;

use super::config::{Mount, Resources};
use crate::layer::Form;

/// Ids of a container and what they are outside (runtime-spec config-linux.md, "User namespace
/// mappings").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IdMapping {
    /// The first id in the container.
    #[serde(rename = "containerID")]
    pub container_id: u32,
    /// The first id outside.
    #[serde(rename = "hostID")]
    pub host_id: u32,
    /// How many.
    pub size: u32,
}

/// Who starts a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Privilege {
    /// Root of the host.
    #[default]
    Root,
    /// Root of a user namespace, in which the container stays.
    Namespace,
    /// An ordinary user: the runtime makes a user namespace with these ids.
    User {
        /// Users.
        uids: Vec<IdMapping>,
        /// Groups.
        gids: Vec<IdMapping>,
    },
}

impl Privilege {
    /// Of containers that this process starts.
    #[must_use]
    pub fn of_this_process() -> Self {
        if Form::of_this_process().has_user_marks() { Self::Namespace } else { Self::Root }
    }

    pub(super) fn is_root(&self) -> bool {
        *self == Self::Root
    }

    /// The mappings of users and groups that the runtime makes.
    pub(super) fn mappings(&self) -> (&[IdMapping], &[IdMapping]) {
        match self {
            Self::User { uids, gids } => (uids, gids),
            Self::Root | Self::Namespace => (&[], &[]),
        }
    }

    /// Does the process have its own group among the additional ones, too, as in Docker? runc lets no ordinary user
    /// name any, and the process has it anyway.
    pub(super) fn names_own_group(&self) -> bool {
        !matches!(self, Self::User { .. })
    }

    /// May further groups be set? With a single id the kernel lets nobody.
    pub(super) fn has_groups(&self) -> bool {
        match self {
            Self::Root => true,
            Self::Namespace => Form::of_this_process() == Form::Mapped,
            Self::User { gids, .. } => gids.iter().any(|mapping| mapping.size > 1),
        }
    }

    /// The container's own file systems, as far as they may be mounted.
    pub(super) fn mounts(&self, mut mounts: Vec<Mount>) -> Vec<Mount> {
        if self.is_root() {
            return mounts;
        }
        // It comes with /sys.
        mounts.retain(|mount| mount.kind != "cgroup");
        for mount in &mut mounts {
            match mount.kind.as_str() {
                // Only the owner of a network namespace may mount its sysfs, and the network may be
                // the host's.
                "sysfs" => {
                    let options = ["rbind", "nosuid", "noexec", "nodev", "ro"];
                    mount.kind = "bind".to_owned();
                    mount.source = "/sys".to_owned();
                    mount.options = options.map(str::to_owned).to_vec();
                }
                // The group of terminals.
                "devpts" if !self.has_groups() => mount.options.retain(|o| o != "gid=5"),
                _ => {}
            }
        }
        mounts
    }

    /// Limits that were asked for stay, for the runtime to set or to refuse; devices are no matter
    /// of a user's cgroup.
    pub(super) fn resources(&self, mut resources: Resources) -> Option<Resources> {
        if self.is_root() {
            return Some(resources);
        }
        resources.devices.clear();
        (resources != Resources::default()).then_some(resources)
    }
}
