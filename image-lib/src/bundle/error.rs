//! Why there is no bundle of an image.

use crate::fsroot::FsError;

/// A bundle cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Neither image nor caller say what to run.
    #[error("no command specified")]
    NoCommand,
    /// The user is unknown to the image.
    #[error("unable to find user {name}: no matching entries in passwd file")]
    User {
        /// The name.
        name: String,
    },
    /// The group is unknown to the image.
    #[error("unable to find group {name}: no matching entries in group file")]
    Group {
        /// The name.
        name: String,
    },
    /// A file of the image cannot be read.
    #[error("cannot look up users in the image")]
    Lookup(#[source] FsError),
    /// There is no such capability.
    #[error("invalid capability: {name:?}")]
    Capability {
        /// The name.
        name: String,
    },
    /// The working directory is not absolute.
    #[error("the working directory {path:?} is invalid, it needs to be an absolute path")]
    WorkingDirectory {
        /// The directory.
        path: String,
    },
    /// A volume is not of the form that is known.
    #[error("invalid volume specification: {text:?}")]
    Volume {
        /// The specification.
        text: String,
    },
}
