//! `config.json` → a checked value. Pure: nothing here asks the kernel, and the only files read are
//! those that `load` is given.
//!
//! What it does not do: compare the config with the host (whether a path exists, whether a controller
//! is mounted). That is the compilers' and the executor's affair.

pub mod error;
pub mod field;
pub mod json;
pub mod load;
pub mod spec;

pub mod hooks;
pub mod idmap;
pub mod intel_rdt;
pub mod linux;
pub mod memory_policy;
pub mod mounts;
pub mod net_devices;
mod number_list;
pub mod process;
pub mod resources;
pub mod rules;
pub mod seccomp;

/// The version of the runtime specification that is followed.
pub const SPECIFICATION: &str = "1.3.0";
