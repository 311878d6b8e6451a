//! Hooks: programs of the operator at fixed points of a container's life
//! (runtime-spec, config.md, "POSIX-platform Hooks"; runtime.md, "Lifecycle").
//!
//! The parent runs those that belong to the host's namespaces, and those that belong to the
//! container's before its root is entered; the child runs those of the last moment itself, with what
//! rights it then has.

pub mod apply;
pub mod plan;
