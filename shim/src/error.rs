//! What a caller is told when a call fails: a code of gRPC and a message.

use crate::protobuf::Malformed;

/// The codes of gRPC that the task API uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The runtime's own words follow; what they mean is not known.
    Unknown = 2,
    /// The request cannot be right.
    InvalidArgument = 3,
    /// Something did not end in time and was ended.
    DeadlineExceeded = 4,
    /// No such task or process, or it has ended.
    NotFound = 5,
    /// The id is taken.
    AlreadyExists = 6,
    /// More was asked for than there is room for.
    ResourceExhausted = 8,
    /// Not in this state.
    FailedPrecondition = 9,
    /// No such method, or none here.
    Unimplemented = 12,
    /// The host failed.
    Internal = 13,
}

/// An answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Its kind, which callers look at.
    pub code: Code,
    /// What people read.
    pub message: String,
}

impl Error {
    /// An error with its words.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A step on files; a full disk or quota is told as such.
    pub fn file(step: impl std::fmt::Display, cause: &std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        let full = matches!(cause.kind(), StorageFull | QuotaExceeded);
        let code = if full { Code::ResourceExhausted } else { Code::Internal };
        Self::new(code, format!("{step}: {cause}"))
    }

    /// A step of the shim itself that the kernel refused.
    pub fn host(step: impl std::fmt::Display, cause: impl std::fmt::Display) -> Self {
        Self::new(Code::Internal, format!("{step}: {cause}"))
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Self {
        Self::new(Code::InvalidArgument, malformed.to_string())
    }
}
