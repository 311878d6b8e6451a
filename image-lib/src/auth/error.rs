//! Why credentials cannot be had or kept.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Credentials cannot be had or kept. No variant holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// A file cannot be read or written.
    #[error("credentials: cannot {operation} {path:?}")]
    Io {
        /// What was to be done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A file holds something else than credentials.
    #[error("credentials: {path:?} cannot be read: {reason}")]
    Form {
        /// The file.
        path: PathBuf,
        /// The place and the kind of the mistake, without what stands there.
        reason: String,
    },
    /// The name of a credential helper is no program's.
    #[error("credentials: {name:?} is not the name of a credential helper")]
    HelperName {
        /// The refused name.
        name: String,
    },
    /// A credential helper could not be started or talked to.
    #[error("credential helper {program}: cannot {operation} it")]
    HelperStart {
        /// The program.
        program: String,
        /// What was to be done.
        operation: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A credential helper refused.
    #[error("credential helper {program}: {verb} failed: {message}")]
    Helper {
        /// The program.
        program: String,
        /// `get`, `store` or `erase`.
        verb: &'static str,
        /// What it said.
        message: String,
    },
    /// A credential helper did not end.
    #[error("credential helper {program}: {verb} has not ended within {limit:?}")]
    HelperTime {
        /// The program.
        program: String,
        /// `get`, `store` or `erase`.
        verb: &'static str,
        /// How long was waited.
        limit: Duration,
    },
    /// No folder is known in which credentials could be kept.
    #[error("credentials: neither HOME nor DOCKER_CONFIG says where to keep them")]
    NoPlace,
}
