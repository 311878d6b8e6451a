//! The operations on a container, each in the order in which the specification numbers its steps
//! (runtime-spec, runtime.md, "Lifecycle").

mod caller;
pub mod checkpoint;
pub mod create;
pub mod delete;
pub mod doctor;
pub mod error;
pub mod events;
pub mod exec;
mod exec_cgroup;
pub mod explain;
mod filter;
pub mod foreground;
pub mod gc;
mod hooks;
mod host;
mod host_mounts;
mod intel_rdt;
mod joined_mappings;
pub mod kill;
pub mod launch;
mod mount_points;
mod mounts;
mod notify;
mod outside;
pub mod pause;
pub mod ps;
pub mod report;
pub mod request;
pub mod restore;
pub mod run;
pub mod start;
pub mod state;
pub mod systemd;
pub mod update;
pub mod wait;
