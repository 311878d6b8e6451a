//! The runtime.
pub mod config;
pub mod sys;
pub mod seccomp;
