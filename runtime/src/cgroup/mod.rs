//! The container's control groups: where they are, what is written to them, and how they are made,
//! frozen, emptied and removed. Drives cgroupfs itself; what systemd makes is in `systemd`.
//!
//! ```text
//! /proc/self/{cgroup,mountinfo} ──router──▶ Layout ─┐
//! linux.cgroupsPath, id ────────location──▶ Location ┼─plan──▶ Plan ──apply──▶ Applied
//! linux.resources ───────────────────────────────────┘   (pure)      (system calls)
//! ```
//!
//! What is not here: moving the container process. [`Applied`] holds descriptors that are open for
//! writing before the process exists; on v1 it writes `0` to each itself, which spares it the wait
//! that moving another process costs, and on v2 it is cloned into the directory.

/// The rules on devices.
mod devices;
/// The files of each controller, by version.
mod limits_v1;
mod limits_v2;
/// Where a container's cgroup is.
mod location;
/// What is to be made and written.
mod plan;
/// Where each controller is mounted.
pub mod router;

/// Making and writing.
mod apply;
mod cpuset;
mod delegate;
/// What goes wrong.
mod error;
mod file;
mod freeze;
/// Reading the host's layout.
mod host;
mod kill;
/// A made cgroup, by its paths: list, freeze, kill, remove.
mod paths;
mod procs;
mod remove;
/// What a cgroup uses.
pub mod stats;
/// Cgroups that systemd makes.
pub mod systemd;
/// Changing the limits of a cgroup that is there.
mod update;
/// Being told of processes that were killed for want of memory.
pub mod watch;

pub use apply::{Applied, Join, Member, Opening, apply};
pub use delegate::delegate;
pub use devices::DeviceProgram;
pub use error::CgroupError;
pub use host::layout;
pub use location::{Location, LocationError};
pub use paths::Paths;
pub use plan::{
    Directory, DirectoryKind, Missing, Plan, PlanError, PlanErrors, Privilege, Write, plan,
    plan_update,
};
pub use router::{Layout, unescape};
pub use update::{Former, check_memory, update};

#[cfg(test)]
mod tests;
