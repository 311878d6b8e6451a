//! What goes wrong with criu.

use std::path::PathBuf;

use super::message::Kind;
use super::wire::Malformed;
use crate::sys::error::SyscallError;

/// criu could not be asked, or did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CriuError {
    /// It is not installed. The words are runc's.
    #[error("CRIU version check failed: exec: \"criu\": executable file not found in $PATH")]
    Missing,
    /// It is too old.
    #[error("CRIU version {found} must be {needed} or higher{}", because(reason))]
    Version {
        /// Its version, as major × 10 000 + minor × 100 + sublevel.
        found: u32,
        /// The oldest that will do.
        needed: u32,
        /// What it is needed for.
        reason: &'static str,
    },
    /// The kernel or criu lacks something.
    #[error("criu is missing features: [{0}]")]
    Features(&'static str),
    /// It said that it could not, and why.
    #[error("criu failed: type {} errno {errno}{} (log: {})", kind.name(), told(lines), log.display())]
    Failed {
        /// What it was asked for.
        kind: Kind,
        /// What it gave as the errno.
        errno: i32,
        /// The first errors of its log.
        lines: Vec<String>,
        /// Where its log is.
        log: PathBuf,
    },
    /// It ended without an answer.
    #[error("criu ended without an answer: {how}{} (log: {})", told(lines), log.display())]
    Ended {
        /// How.
        how: String,
        /// The first errors of its log.
        lines: Vec<String>,
        /// Where its log is.
        log: PathBuf,
    },
    /// It does not answer a question that takes no time.
    #[error("criu does not answer within {0} ms")]
    Silent(i32),
    /// Its answer cannot be read.
    #[error("the answer of criu cannot be read")]
    Malformed(#[from] Malformed),
    /// It answers what was not asked.
    #[error("criu answers something that was not asked for")]
    OutOfTurn,
    /// A system call failed.
    #[error("{what}")]
    Syscall {
        /// What it was for.
        what: String,
        /// Which and why.
        source: SyscallError,
    },
}

impl CriuError {
    /// A failed system call with what it was for.
    pub fn syscall(what: impl Into<String>) -> impl FnOnce(SyscallError) -> Self {
        let what = what.into();
        move |source| Self::Syscall { what, source }
    }

    /// What the user may do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Missing => Some("install criu 3.0 or newer where PATH leads"),
            Self::Failed { lines, .. } | Self::Ended { lines, .. } => super::log::hint(lines),
            _ => None,
        }
    }
}

fn told(lines: &[String]) -> String {
    lines.iter().map(|line| format!(": {line}")).collect()
}

fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(" for {reason}") }
}
