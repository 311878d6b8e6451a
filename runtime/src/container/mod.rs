//! A container as a thing on disk: its id, its directory, its state file, its status.

pub mod id;
pub mod process;
pub mod recorded_config;
pub mod state_dir;
pub mod state_file;
pub mod status;
