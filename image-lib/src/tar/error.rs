//! Why an archive cannot be read, and where.

use std::io;

/// An archive cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The bytes could not be had.
    #[error("cannot read the archive at byte {offset}")]
    Read {
        /// How many bytes of the uncompressed archive had been read.
        offset: u64,
        /// The reader's answer.
        #[source]
        source: io::Error,
    },
    /// The bytes are no archive that this reader accepts.
    #[error("archive entry {path:?} (header at byte {offset}): {problem}")]
    Entry {
        /// The entry's path, as far as it was known; otherwise the path before it.
        path: String,
        /// Where its header begins in the uncompressed archive.
        offset: u64,
        /// What is wrong.
        problem: Problem,
    },
    /// The archive could not be written.
    #[error("cannot write archive entry {path:?}")]
    Write {
        /// The entry's path.
        path: String,
        /// The writer's answer.
        #[source]
        source: io::Error,
    },
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The archive ends inside an entry.
    #[error("the archive is truncated")]
    Truncated,
    /// The header's sum is wrong.
    #[error("the header's checksum is wrong")]
    Checksum,
    /// A number of the header is none.
    #[error("the field {field} is not a number that fits")]
    Number {
        /// The field.
        field: &'static str,
    },
    /// An entry type that no layer has.
    #[error("unsupported entry type {flag:?}")]
    Type {
        /// The type flag.
        flag: char,
    },
    /// An extended header does not have the form of its records.
    #[error("malformed extended header record")]
    ExtendedRecord,
    /// Extended headers stand where they mean nothing, or twice.
    #[error("misplaced or repeated extended header")]
    ExtendedOrder,
    /// The map of a sparse file is inconsistent.
    #[error("malformed sparse map")]
    Sparse,
    /// A single block of zeros stands between entries.
    #[error("a single zero block stands before it")]
    LoneZeroBlock,
    /// The path leaves the archive's root.
    #[error("the path leads out of the root by \"..\"")]
    Escape,
    /// The path is empty or holds a NUL.
    #[error("the path is empty or holds a NUL byte")]
    Path,
    /// One of the [`super::Limits`] is exceeded.
    #[error("the limit of {limit} {what} is exceeded")]
    Limit {
        /// What is limited.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
}
