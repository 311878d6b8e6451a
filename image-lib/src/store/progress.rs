//! How far something is.

use crate::identity::Digest;

/// Something happened that a person may want to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A blob is there already and is not fetched.
    Present {
        /// The blob.
        blob: &'a Digest,
    },
    /// A blob is being fetched.
    BeginFetch {
        /// The blob.
        blob: &'a Digest,
        /// The blob's size.
        bytes: u64,
        /// How much of it is there from an earlier time.
        present: u64,
    },
    /// More bytes of the blob have come.
    AdvanceFetch {
        /// The blob.
        blob: &'a Digest,
        /// How many more.
        bytes: u64,
    },
    /// All bytes of the blob have come, and are the right ones.
    EndFetch {
        /// The blob.
        blob: &'a Digest,
    },
    /// A blob is being sent to a registry.
    BeginPush {
        /// The blob.
        blob: &'a Digest,
        /// The blob's size.
        bytes: u64,
    },
    /// More bytes of the blob have been sent.
    AdvancePush {
        /// The blob.
        blob: &'a Digest,
        /// How many more.
        bytes: u64,
    },
    /// The registry has the blob.
    EndPush {
        /// The blob.
        blob: &'a Digest,
        /// How it came there.
        how: Sent<'a>,
    },
    /// A layer of this many compressed bytes is being unpacked.
    Begin {
        /// The layer's blob.
        blob: &'a Digest,
        /// The blob's size.
        bytes: u64,
    },
    /// More compressed bytes of the layer have been read.
    Advance {
        /// The layer's blob.
        blob: &'a Digest,
        /// How many more.
        bytes: u64,
    },
    /// The layer is in place.
    End {
        /// The layer's blob.
        blob: &'a Digest,
    },
    /// Something could not be kept as the image says, in words.
    Warning(&'a str),
}

/// How a blob came to be in a repository of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent<'a> {
    /// It was there.
    Present,
    /// The registry took it from another of its repositories.
    Mounted(&'a str),
    /// It was sent.
    Whole,
}

/// Is told how far something is, from any thread. It must return soon, because the work waits for
/// it.
pub trait Progress: Sync {
    /// Takes note of `event`.
    fn note(&self, event: Event<'_>);
}

/// A [`Progress`] that nobody sees.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn note(&self, _: Event<'_>) {}
}
