//! The file system of a container: from `root`, `mounts`, `linux.devices`, `linux.maskedPaths` and
//! `linux.readonlyPaths` to a list of steps, and from the steps to mounts.
//!
//! The compiler never sees a kernel; the executor never sees a config.

pub mod apply;
mod attributes;
pub mod mount_points;
pub mod plan;
pub mod show;
