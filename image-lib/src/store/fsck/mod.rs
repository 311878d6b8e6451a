//! The examination of a store: are all blobs what their names say, do all documents lead to what is
//! there, are the unpacked layers what is in their blobs? What can be made again is removed on demand;
//! what must be fetched again is named.

mod blobs;
mod documents;
mod layers;
mod trees;

use std::collections::BTreeSet;
use std::path::PathBuf;

use rustix::fs::FlockOperation;

use super::{Store, StoreError, lock};
use crate::identity::Digest;

/// How much is looked at, and what is done about it.
#[derive(Debug, Clone, Copy, Default)]
pub struct FsckOptions {
    /// Only names, sizes and documents are looked at: no blob's bytes, no layer's files.
    pub quick: bool,
    /// Damaged blobs, damaged unpacked layers and what nobody finds are removed. Layers are unpacked
    /// again when they are needed; blobs must be fetched again.
    pub repair: bool,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// `index.json` cannot be read: nothing has a name any more.
    #[error("index.json cannot be read: {reason}")]
    Index {
        /// Why.
        reason: String,
    },
    /// Two entries of the index have one name.
    #[error("the name {name} stands {count} times in index.json")]
    Name {
        /// The name.
        name: String,
        /// How often.
        count: usize,
    },
    /// A blob's bytes are others than its name says.
    #[error("blob {digest} is damaged: {reason}")]
    Blob {
        /// The blob.
        digest: Digest,
        /// What is wrong with it.
        reason: String,
    },
    /// A blob that something needs is not there.
    #[error("blob {digest} is missing, which {referrer} names")]
    Missing {
        /// The blob.
        digest: Digest,
        /// What needs it.
        referrer: String,
    },
    /// A document is not what it should be, or leads to something else than it says.
    #[error("{digest} cannot be used: {reason}")]
    Document {
        /// The document.
        digest: Digest,
        /// Why.
        reason: String,
    },
    /// An unpacked layer is not what is in its blob.
    #[error("the unpacked layer {folder} is damaged: {reason}")]
    Layer {
        /// Its folder below `layers/`.
        folder: String,
        /// What was found.
        reason: String,
    },
    /// A file that nothing leads to and nobody finds.
    #[error("{path:?} belongs to nothing")]
    Orphan {
        /// The file, relative to the store.
        path: PathBuf,
    },
}

impl Damage {
    /// One word for programs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Index { .. } => "index",
            Self::Name { .. } => "name",
            Self::Blob { .. } => "blob",
            Self::Missing { .. } => "missing",
            Self::Document { .. } => "document",
            Self::Layer { .. } => "layer",
            Self::Orphan { .. } => "orphan",
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub damage: Damage,
    /// The images that cannot be used whole because of it, by their names or their digests.
    pub images: Vec<String>,
    /// Was it removed?
    pub repaired: bool,
}

impl Finding {
    fn new(damage: Damage) -> Self {
        Self { damage, images: Vec::new(), repaired: false }
    }

    /// Must an image be fetched again to have all of it?
    #[must_use]
    pub fn needs_fetching(&self) -> bool {
        let lost = matches!(
            self.damage,
            Damage::Blob { .. } | Damage::Missing { .. } | Damage::Document { .. }
        );
        lost && !self.images.is_empty()
    }
}

/// What was looked at, and what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// All that is not as it should be.
    pub findings: Vec<Finding>,
    /// Entries of the index.
    pub images: usize,
    /// Blobs.
    pub blobs: usize,
    /// Bytes of all blobs.
    pub bytes: u64,
    /// Unpacked layers.
    pub layers: usize,
}

impl Report {
    /// Is there nothing that is still not as it should be?
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.iter().all(|finding| finding.repaired && !finding.needs_fetching())
    }

    /// The images that must be fetched again.
    #[must_use]
    pub fn to_fetch(&self) -> BTreeSet<&str> {
        let lost = self.findings.iter().filter(|finding| finding.needs_fetching());
        lost.flat_map(|finding| finding.images.iter().map(String::as_str)).collect()
    }
}

impl Store {
    /// Examines the whole store. Nothing is collected meanwhile; for a repair nothing else may be
    /// made either.
    ///
    /// # Errors
    /// The disk's; for a repair that something else uses the store ([`StoreError::InUse`]). That
    /// something is damaged is no error.
    pub fn fsck(&self, options: FsckOptions) -> Result<Report, StoreError> {
        let path = self.path().join("locks/content");
        let _lock = if options.repair {
            lock::attempt(&path, FlockOperation::NonBlockingLockExclusive)?
                .ok_or(StoreError::InUse)?
        } else {
            lock::wait(&path, FlockOperation::LockShared)?
        };
        let mut report = Report::default();
        self.check_blobs(options, &mut report)?;
        let images = self.check_documents(options, &mut report)?;
        self.check_layers(options, &images, &mut report)?;
        Ok(report)
    }
}

/// An image whose documents are whole.
#[derive(Debug)]
struct Checked {
    name: String,
    layers: Vec<super::Layer>,
}

impl Report {
    /// Digests of blobs that cannot be used.
    fn damaged(&self) -> BTreeSet<Digest> {
        let digest = |finding: &Finding| match &finding.damage {
            Damage::Blob { digest, .. } | Damage::Missing { digest, .. } => Some(digest.clone()),
            _ => None,
        };
        self.findings.iter().filter_map(digest).collect()
    }

    /// Notes that `image` cannot be used whole because of a blob that was found damaged.
    fn blame(&mut self, blob: &Digest, image: &str) {
        for finding in &mut self.findings {
            let same = matches!(&finding.damage,
                Damage::Blob { digest, .. } | Damage::Missing { digest, .. } if digest == blob);
            if same && !finding.images.iter().any(|known| known == image) {
                finding.images.push(image.to_owned());
            }
        }
    }
}

/// An error with its causes.
fn reason(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
