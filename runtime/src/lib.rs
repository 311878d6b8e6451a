//! The runtime.
pub mod config;
pub mod sys;
