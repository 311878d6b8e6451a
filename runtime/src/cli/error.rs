//! Why a command failed, and what the caller is told: a message, an exit code, and the parts of the
//! message that a program wants to read without parsing it.

use std::error::Error;
use std::fmt;
use std::io;

use crate::causes::{io_text, with_causes};

/// The end of a command that did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandError {
    /// The whole chain of causes, joined by colons; lower case, no full stop.
    pub message: String,
    /// The exit code of the program.
    pub exit_code: u8,
    /// The parts of the message; boxed, because results carry errors through every function.
    pub details: Box<Details>,
}

/// The parts of an error message, as further members of its JSON log line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Details {
    /// The kind of error, a stable word such as `not-found`.
    pub code: Option<String>,
    /// The field of `config.json` it is about, such as `mounts[3].source`.
    pub field: Option<String>,
    /// The system call that was refused.
    pub syscall: Option<String>,
    /// The name of the refusal, such as `EPERM`.
    pub errno: Option<String>,
    /// What the user may do about it.
    pub hint: Option<String>,
}

/// The exit code of errors, unless the command has its own.
const EXIT_ERROR: u8 = 1;
/// The exit code of `exec` where the process could not be started.
const EXIT_EXEC: u8 = 255;
/// The exit code of a command that does not exist.
const EXIT_UNKNOWN_COMMAND: u8 = 3;

impl CommandError {
    /// An error of any command but `exec`.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self::coded("refused", message)
    }

    /// An error of any command but `exec`, of a kind.
    #[must_use]
    pub(super) fn coded(code: &str, message: impl Into<String>) -> Self {
        let details = Details { code: Some(code.to_owned()), ..Details::default() };
        Self { message: message.into(), exit_code: EXIT_ERROR, details: Box::new(details) }
    }

    /// An error of `exec`: 1 might be taken for the status of the process, so it is 255.
    #[must_use]
    pub fn exec(cause: impl fmt::Display) -> Self {
        Self { exit_code: EXIT_EXEC, ..Self::new(format!("exec failed: {cause}")) }
    }

    /// There is no such command.
    #[must_use]
    pub(super) fn unknown_command(name: &str) -> Self {
        let message = format!("No help topic for '{name}'");
        Self { exit_code: EXIT_UNKNOWN_COMMAND, ..Self::coded("usage", message) }
    }

    /// An error of a lower layer with all its causes, each told once.
    #[must_use]
    pub fn caused_by(error: &(dyn Error + 'static)) -> Self {
        Self::new(with_causes(error))
    }

    /// An operation on a file, such as `open`, failed.
    #[must_use]
    pub fn file(operation: &str, path: &std::path::Path, error: &io::Error) -> Self {
        let message = format!("{operation} {}: {}", path.display(), io_text(error));
        let errno =
            error.raw_os_error().map(|raw| format!("{:?}", nix::errno::Errno::from_raw(raw)));
        let details = Details { code: Some("file".to_owned()), errno, ..Details::default() };
        Self::new(message).with_details(details)
    }

    /// The same error with its parts named.
    #[must_use]
    pub fn with_details(self, details: Details) -> Self {
        Self { details: Box::new(details), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn describes_a_refusal_in_the_words_callers_search_for() {
        let error = io::Error::from_raw_os_error(libc::ENOENT);
        let error = CommandError::file("open", std::path::Path::new("/x/log"), &error);
        assert_eq!(error.message, "open /x/log: no such file or directory");
        assert_eq!(error.exit_code, 1);
    }

    #[test]
    fn exits_with_255_where_exec_fails() {
        let error = CommandError::exec("container does not exist");
        assert_eq!(
            (error.message.as_str(), error.exit_code),
            ("exec failed: container does not exist", 255)
        );
    }
}
