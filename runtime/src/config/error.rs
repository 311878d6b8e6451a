//! What is wrong with a `config.json`: every finding, each with the path of its field.

use std::fmt;

/// Why a field is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A required field is absent.
    Missing,
    /// The JSON type or the form of the value is wrong.
    Invalid,
    /// The value is well formed, but neither the specification nor Keel knows it.
    Unsupported,
    /// Two fields, or a field and its absence, contradict each other.
    Conflict,
    /// The same thing is listed twice.
    Duplicate,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Invalid => "invalid",
            Self::Unsupported => "not supported",
            Self::Conflict => "conflict",
            Self::Duplicate => "duplicate",
        })
    }
}

/// One finding: `linux.namespaces[3].type: not supported: "tim" (known: pid, network, …)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The path of the field, as a jq user would write it without the leading dot.
    pub field: String,
    /// Why it is refused.
    pub kind: Kind,
    /// The offending value and what was expected.
    pub detail: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.kind)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// All findings of one config, in the order of the specification's headings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid config.json: {}", Findings(self))
    }
}

/// The findings alone, where the document is another than `config.json`.
#[derive(Debug)]
pub struct Findings<'a>(pub &'a ConfigErrors);

impl fmt::Display for Findings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
