//! Cgroups that systemd makes: `--systemd-cgroup`.
//!
//! ```text
//! slice:prefix:name ──unit──▶ Unit ──────────────┐
//! linux.resources ──properties──▶ (name, Value)… ─┼──manager──▶ StartTransientUnit, JobRemoved
//! annotations ──annotation──▶ (name, Value)… ─────┘
//! ```
//!
//! systemd is asked for a scope with the new process in it while that process builds its file system;
//! before it makes its cgroup namespace it waits until it is there. So there is one process and one
//! call, and limits do not slow what is done before. Whatever systemd can keep it is told, so that a
//! `daemon-reload` does not undo it; everything is also written to the files, as without systemd.
//!
//! Rules on devices are not told: on v2 they are a program of our own, which systemd leaves alone as
//! long as the unit has none. Told of them, it would attach another program with only those devices
//! that it finds below `/dev/char`, and take the others away at the next reload.

mod annotation;
mod error;
mod manager;
mod properties;
mod unit;

pub use annotation::{Property, from_annotations};
pub use error::SystemdError;
pub use manager::Manager;
pub use properties::{Features, for_resources, for_start};
pub use unit::Unit;
