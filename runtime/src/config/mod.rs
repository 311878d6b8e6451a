//! `config.json` → a checked value. Pure: nothing here asks the kernel, and the only file read is
//! the config itself, in `load`.

#![allow(missing_docs)]
pub mod error;
pub mod field;
pub mod seccomp;
pub mod resources;
