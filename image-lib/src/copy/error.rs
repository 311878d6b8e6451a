//! Why an image cannot be copied.

use std::io;
use std::path::{Path, PathBuf};

use crate::archive::ArchiveError;
use crate::blob::Mismatch;
use crate::identity::Digest;
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
    /// Another kind of place's, such as a registry's.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl CopyError {
    /// What a failed read of a blob means: a damaged blob comes as an `io::Error`, too.
    #[must_use]
    pub fn reading(digest: &Digest, error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Mismatch>()) {
            Some(mismatch) => Self::Mismatch(mismatch.clone()),
            None => Self::Read { digest: digest.clone(), source: error },
        }
    }

    pub(super) fn at(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| {
            // A verified reader's failure is not the file's.
            match source.get_ref().and_then(|inner| inner.downcast_ref::<Mismatch>()) {
                Some(mismatch) => Self::Mismatch(mismatch.clone()),
                None => Self::Io { operation, path, source },
            }
        }
    }
}
