//! From an image to a bundle that any OCI runtime starts (image-spec conversion.md): the image's
//! configuration, and what `docker run`'s flags change of it, become a `config.json`.
//!
//! The defaults are those of Docker's engine, so that an image behaves as its maker has seen it.

mod capability;
mod config;
mod error;
mod options;
mod privilege;
mod rlimit;
mod seccomp;
mod spec;
pub mod user;

#[cfg(test)]
mod tests;

pub use config::Mount;
pub use error::BundleError;
pub use options::{Network, Options, Seccomp, Volume};
pub use privilege::{IdMapping, Privilege};
pub use rlimit::{Rlimit, RlimitError};
pub use spec::Spec;
