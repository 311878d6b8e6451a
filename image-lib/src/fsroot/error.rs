//! What went wrong with which path.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// A call on a path failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path:?}")]
pub struct FsError {
    /// What was to be done, in words that stand before the path.
    pub operation: &'static str,
    /// The path, as the caller gave it.
    pub path: PathBuf,
    /// The kernel's answer.
    #[source]
    pub source: io::Error,
}

impl FsError {
    pub(crate) fn new(operation: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self { operation, path: path.to_owned(), source: source.into() }
    }

    /// Is the reason that there is no such file or directory?
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// Is the reason that something is there already?
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.source.kind() == io::ErrorKind::AlreadyExists
    }

    pub(crate) fn is(&self, errno: Errno) -> bool {
        self.source.raw_os_error() == Some(errno.raw_os_error())
    }
}

/// Gives a kernel error its operation and path.
pub(crate) trait At<T> {
    fn at(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T, FsError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T, FsError> {
        self.map_err(|source| FsError::new(operation, path.as_ref(), source))
    }
}
