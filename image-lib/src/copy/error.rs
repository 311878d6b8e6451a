//! Why an image cannot be copied.

use std::io;
use std::path::{Path, PathBuf};

use crate::archive::ArchiveError;
use crate::blob::Mismatch;
use crate::identity::Digest;
use crate::registry::RegistryError;
use crate::spec::SpecError;
use crate::store::StoreError;

/// An image cannot be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A file of a place cannot be read or written.
    #[error("cannot {operation} {path:?}")]
    Io {
        /// What was to be done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A blob cannot be read.
    #[error("cannot read blob {digest}")]
    Read {
        /// The blob.
        digest: Digest,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// A blob's bytes are not the announced ones.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// A document is not what it should be.
    #[error(transparent)]
    Document(#[from] SpecError),
    /// A file of a place is no JSON of the right shape.
    #[error("{path:?} cannot be understood")]
    Json {
        /// The file.
        path: PathBuf,
        /// The place and the reason.
        #[source]
        source: serde_json::Error,
    },
    /// A blob is not where the image says.
    #[error("blob {digest} is missing")]
    Missing {
        /// The blob.
        digest: Digest,
    },
    /// A document is larger than any real one.
    #[error("blob {digest} is larger than the {limit} bytes that such a document may have")]
    Large {
        /// The document.
        digest: Digest,
        /// The limit.
        limit: u64,
    },
    /// Indexes lie in one another without end.
    #[error("the indexes below {digest} lie too deep in one another")]
    Deep {
        /// One of them.
        digest: Digest,
    },
    /// An index has nothing for the platform.
    #[error("{digest} has no image for the platform {platform}: it has {available}")]
    Platform {
        /// The index.
        digest: Digest,
        /// The platform that was asked for.
        platform: String,
        /// The platforms that are there.
        available: String,
    },
    /// A manifest of Docker's first kind.
    #[error("{digest} is an image of Docker's schema 1; push it again with a tool newer than 2017")]
    Schema1 {
        /// The manifest.
        digest: Digest,
    },
    /// The place has no image of that name.
    #[error("there is no image {name:?} in {place}")]
    NoSuchImage {
        /// The name.
        name: String,
        /// The place.
        place: String,
    },
    /// Which image is meant has not been said.
    #[error("{place} has {count} images, and none was named")]
    Ambiguous {
        /// The place.
        place: String,
        /// How many there are.
        count: usize,
    },
    /// The destination cannot take such an image.
    #[error("{place} takes {what}")]
    Unfit {
        /// The kind of place.
        place: &'static str,
        /// What it takes.
        what: &'static str,
    },
    /// An archive's.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A store's.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A registry's.
    #[error(transparent)]
    Registry(Box<RegistryError>),
}

impl From<RegistryError> for CopyError {
    fn from(error: RegistryError) -> Self {
        Self::Registry(Box::new(error))
    }
}

impl CopyError {
    /// What a failed read of a blob means: a damaged blob comes as an `io::Error`, too.
    #[must_use]
    pub fn reading(digest: &Digest, error: io::Error) -> Self {
        Self::inside(error).unwrap_or_else(|source| Self::Read { digest: digest.clone(), source })
    }

    pub(super) fn at(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        // The failure of what is read is not the file's.
        move |error| {
            Self::inside(error).unwrap_or_else(|source| Self::Io { operation, path, source })
        }
    }

    /// The failure of a source that a reader has given as its own.
    fn inside(error: io::Error) -> Result<Self, io::Error> {
        if let Some(mismatch) = error.get_ref().and_then(|inner| inner.downcast_ref::<Mismatch>()) {
            return Ok(Self::Mismatch(mismatch.clone()));
        }
        match error.downcast::<RegistryError>() {
            Ok(error) => Ok(error.into()),
            Err(error) => error.downcast::<Self>(),
        }
    }
}
