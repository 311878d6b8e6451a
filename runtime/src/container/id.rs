//! The id of a container: a name that is safe as a file name, a cgroup name and a word of a log.

use std::fmt;

/// A checked id (runc's rule: letters, digits and `_ + - .`, but not `.` and `..`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerId(String);

/// The text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// It is empty.
    #[error("container id cannot be empty")]
    Empty,
    /// It holds a character that is not allowed, is `.` or `..`, or is longer than a file name.
    #[error("invalid container ID format: {0:?}")]
    Format(String),
}

/// Longest id in bytes: what a file name may hold (NAME_MAX), since the id is one.
const ID_BYTES_MAX: usize = 255;

impl ContainerId {
    /// Checks a text.
    ///
    /// # Errors
    /// [`InvalidId`] when it is no id.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        if text.is_empty() {
            return Err(InvalidId::Empty);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
        let well_formed = text.len() <= ID_BYTES_MAX && text.chars().all(allowed);
        if !well_formed || text == "." || text == ".." {
            return Err(InvalidId::Format(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// A name for a container that is only spoken of.
    #[must_use]
    pub fn example() -> Self {
        Self("container".to_owned())
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_names_and_refuses_paths() {
        for good in ["a", "web-1", "A_b+c.d", "...", "0"] {
            assert!(ContainerId::parse(good).is_ok(), "{good}");
        }
        let long = "x".repeat(256);
        for bad in ["", ".", "..", "a/b", "/", "ä", "a b", "a\0", "a\n", long.as_str()] {
            assert!(ContainerId::parse(bad).is_err(), "{bad}");
        }
    }
}
