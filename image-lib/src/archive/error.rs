//! Why an archive is no image.

use std::io;

use crate::blob::DecodeError;
use crate::identity::Digest;
use crate::layer::LayerError;
use crate::store::StoreError;
use crate::tar::TarError;

/// An archive cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The compression is not understood.
    #[error("cannot decompress the archive")]
    Decode(#[from] DecodeError),
    /// The archive is not understood, or damaged.
    #[error("cannot read the archive")]
    Tar(#[from] TarError),
    /// The bytes of an entry could not be had or kept.
    #[error("cannot read archive entry {entry:?}")]
    Entry {
        /// The entry.
        entry: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The archive is of no known form.
    #[error("the archive is no image: it has neither manifest.json nor index.json")]
    Form,
    /// A document of the archive is not what it should be.
    #[error("archive entry {entry:?} cannot be understood")]
    Document {
        /// The entry.
        entry: String,
        /// The place and the reason.
        #[source]
        source: serde_json::Error,
    },
    /// A document of the archive is larger than any real one.
    #[error(
        "archive entry {entry:?} is larger than the {limit} bytes that such a document may have"
    )]
    Large {
        /// The entry.
        entry: String,
        /// The limit.
        limit: u64,
    },
    /// A blob's bytes are not those that its name says.
    #[error("archive entry {entry:?} is damaged: its bytes have the digest {actual}")]
    Damaged {
        /// The entry.
        entry: String,
        /// The digest of its bytes.
        actual: Digest,
    },
    /// Something that the archive refers to is not in it.
    #[error("{entry:?}, which {referrer} names, is not in the archive")]
    Missing {
        /// What is missing.
        entry: String,
        /// What refers to it.
        referrer: String,
    },
    /// The image is one of Docker's oldest, whose manifest is elsewhere.
    #[error("the image layout version of the archive is not 1.0.0")]
    LayoutVersion,
    /// The flat rootfs cannot be taken.
    #[error("cannot import the root file system")]
    Import(#[source] LayerError),
    /// A change of the configuration is not understood.
    #[error("invalid change {text:?}: {reason}")]
    Change {
        /// The change.
        text: String,
        /// Why.
        reason: String,
    },
    /// The archive could not be written.
    #[error("cannot write the archive")]
    Write(#[source] TarError),
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
}
