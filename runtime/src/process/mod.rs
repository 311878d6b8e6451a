//! What a process is made before it executes its program: terminal, credentials, limits, filter.
//! The same steps serve the container's first process and those that exec adds.

pub mod apply;
pub mod command;
pub mod plan;
