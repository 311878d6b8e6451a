//! Why a layer cannot be applied or made.

use std::io;
use std::path::PathBuf;

use crate::blob::DecodeError;
use crate::fsroot::FsError;
use crate::tar::{Problem, TarError};

/// A layer cannot be applied or made. The store adds which layer it is.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The compression is not understood.
    #[error("cannot decompress")]
    Decode(#[from] DecodeError),
    /// The archive is not understood, or damaged.
    #[error(transparent)]
    Archive(#[from] TarError),
    /// The bytes could not be read to their end.
    #[error("cannot read to the end")]
    Read(#[source] io::Error),
    /// An entry cannot be applied.
    #[error("cannot apply entry {entry:?}")]
    Entry {
        /// The entry's path as it stands in the archive.
        entry: String,
        /// What failed.
        #[source]
        source: EntryError,
    },
    /// A part of the tree cannot be read or changed after the entries.
    #[error("cannot finish the unpacked layer")]
    Finish(#[source] FsError),
    /// The layer expands beyond a limit.
    #[error("the layer expands beyond the limit of {limit} {what}")]
    Limit {
        /// What is limited.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A hard link's target is in no layer.
    #[error(
        "entry {entry:?} is a hard link to {target:?}, which neither this nor a lower layer has"
    )]
    LinkTarget {
        /// The link.
        entry: PathBuf,
        /// Its target.
        target: PathBuf,
    },
    /// A file of an upper directory cannot be said in a layer.
    #[error("{path:?} cannot be part of a layer: {reason}")]
    Unrepresentable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// A file of an upper directory cannot be read.
    #[error("cannot read the changed files")]
    Upper(#[source] FsError),
}

/// What is wrong with one entry.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// The path or the link's target is not acceptable.
    #[error("{0}")]
    Path(Problem),
    /// The link's target is not acceptable.
    #[error("the hard link's target {target:?} is not acceptable: {problem}")]
    Link {
        /// The target.
        target: String,
        /// Why.
        problem: Problem,
    },
    /// `.wh.` with nothing after it.
    #[error("a whiteout must name what it hides")]
    EmptyWhiteout,
    /// The root is something else than a directory.
    #[error("the root of a layer must be a directory")]
    Root,
    /// The device that overlayfs takes for a whiteout.
    #[error("a character device 0/0 would be taken for a whiteout")]
    WhiteoutDevice,
    /// An owner that this user namespace does not have.
    #[error(
        "its owner {uid}:{gid} is not mapped in this user namespace: /etc/subuid and /etc/subgid \
         give this user too few ids"
    )]
    Unmapped {
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
    },
    /// Too much content for the disk, or another failure while writing.
    #[error("cannot write its content")]
    Content(#[source] io::Error),
    /// The kernel refused.
    #[error(transparent)]
    Fs(#[from] FsError),
}
