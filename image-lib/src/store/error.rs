//! Why the store cannot do something.

use std::io;
use std::path::{Path, PathBuf};

use crate::blob::Mismatch;
use crate::fsroot::FsError;
use crate::identity::{DiffId, Digest};
use crate::layer::LayerError;
use crate::snapshot::MountError;
use crate::spec::SpecError;

/// The store cannot do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file of the store cannot be read or written.
    #[error("store: cannot {operation} {path:?}")]
    Io {
        /// What was to be done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The folder is a store that this version does not understand, or something else.
    #[error("store: {path:?} is no image layout of version 1.0.0")]
    Layout {
        /// The file that says so.
        path: PathBuf,
    },
    /// `index.json` is no index.
    #[error("store: {path:?} cannot be read")]
    Index {
        /// The file.
        path: PathBuf,
        /// The place and the reason.
        #[source]
        source: serde_json::Error,
    },
    /// No image has this name or id.
    #[error("No such image: {name}")]
    NoSuchImage {
        /// The name that was looked for.
        name: String,
    },
    /// Several images' ids begin so.
    #[error("image id prefix {prefix:?} is ambiguous: {count} images begin with it")]
    Ambiguous {
        /// The prefix.
        prefix: String,
        /// How many images have it.
        count: usize,
    },
    /// A name that is to be given to an image is not acceptable.
    #[error("{0}")]
    Reference(crate::reference::ReferenceError),
    /// A blob that is referred to is not there.
    #[error("blob {digest} is not in the store")]
    NoSuchBlob {
        /// The blob.
        digest: Digest,
    },
    /// A blob's bytes are others than its digest or descriptor says.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// A document is larger than any real one.
    #[error("blob {digest} has {size} bytes, more than the {limit} that such a document may have")]
    Large {
        /// The document.
        digest: Digest,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// A document is not what it should be.
    #[error(transparent)]
    Document(#[from] SpecError),
    /// A document is of a kind that is no image.
    #[error("{digest} is no image that can be used: its media type is {media_type:?}")]
    MediaType {
        /// The document.
        digest: Digest,
        /// Its media type.
        media_type: String,
    },
    /// A manifest of Docker's first kind.
    #[error("{digest} is an image of Docker's schema 1; push it again with a tool newer than 2017")]
    Schema1 {
        /// The manifest.
        digest: Digest,
    },
    /// A layer is compressed in a way that no media type says.
    #[error("{name} compression is read and not written, and layers of images have no name for it")]
    Compression {
        /// The compression.
        name: &'static str,
    },
    /// A layer is encrypted.
    #[error("layer {digest} is encrypted, which is not supported; decrypt the image elsewhere")]
    Encrypted {
        /// The layer's blob.
        digest: Digest,
    },
    /// Manifest and configuration name different numbers of layers.
    #[error("image {manifest} has {layers} layers but its configuration names {diff_ids}")]
    LayerCount {
        /// The manifest.
        manifest: Digest,
        /// The number of layers in the manifest.
        layers: usize,
        /// The number of diff ids in the configuration.
        diff_ids: usize,
    },
    /// More layers than can be stacked, or than the caller allows.
    #[error("the image has {count} layers, more than the {limit} that are taken")]
    TooManyLayers {
        /// The number of layers.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// An index has nothing for this host.
    #[error("{digest} has no image for the platform {platform}: it has {available}")]
    Platform {
        /// The index.
        digest: Digest,
        /// The platform that was asked for.
        platform: String,
        /// The platforms that are there.
        available: String,
    },
    /// A layer cannot be unpacked.
    #[error("layer {blob}")]
    Layer {
        /// The layer's blob.
        blob: Digest,
        /// What failed.
        #[source]
        source: LayerError,
    },
    /// A layer's content is not the one that the configuration names.
    #[error("layer {blob} has the diff id {actual}, but the image's configuration says {expected}")]
    DiffId {
        /// The layer's blob.
        blob: Digest,
        /// What the configuration says.
        expected: DiffId,
        /// What was unpacked.
        actual: DiffId,
    },
    /// The upper directory cannot become a layer.
    #[error("cannot make a layer of {path:?}")]
    Commit {
        /// The upper directory.
        path: PathBuf,
        /// What failed.
        #[source]
        source: LayerError,
    },
    /// The layers below one that depends on them cannot be read.
    #[error("cannot look into the layers below {blob}")]
    Below {
        /// The layer's blob.
        blob: Digest,
        /// What failed.
        #[source]
        source: MountError,
    },
    /// The store's own tree cannot be worked on.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// A name under which something is to be retained is no file name.
    #[error("invalid name {name:?}: letters, digits, '.', '_' and '-' make up a name")]
    RetainName {
        /// The refused name.
        name: String,
    },
    /// Something is made in the store just now.
    #[error("the store is in use by another program just now")]
    InUse,
    /// A document could not be put into JSON.
    #[error("cannot encode a document")]
    Encode(#[source] serde_json::Error),
}

/// Gives an error of the standard library its operation and path.
pub(super) trait At<T> {
    fn at(self, operation: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, operation: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Io {
            operation,
            path: path.to_owned(),
            source: source.into(),
        })
    }
}

/// Reading through a verified reader fails either because of the disk or because of the bytes.
pub(super) fn reading(source: io::Error, path: &Path) -> StoreError {
    match source.get_ref().and_then(|inner| inner.downcast_ref::<Mismatch>()) {
        Some(mismatch) => StoreError::Mismatch(mismatch.clone()),
        None => StoreError::Io { operation: "read", path: path.to_owned(), source },
    }
}
