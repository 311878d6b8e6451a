//! Where something stands in a Dockerfile, and the error that shows it: file, line, column, the
//! line itself and a caret under the offending word.

use std::fmt;
use std::sync::Arc;

/// A position in a Dockerfile; both numbers start at 1, columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The physical line.
    pub line: usize,
    /// The character in that line.
    pub column: usize,
}

/// The text of a Dockerfile with the name that errors call it by.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    name: String,
    lines: Vec<String>,
}

impl Source {
    /// Keeps the lines of `text`, without their ends, for later quotation.
    #[must_use]
    pub fn new(name: &str, text: &str) -> Arc<Self> {
        let lines = text.split('\n').map(|line| line.trim_end_matches('\r').to_owned()).collect();
        Arc::new(Self { name: name.to_owned(), lines })
    }

    /// The name of the file, as the user gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The comments directly above a line, in their order.
    #[must_use]
    pub fn comments_above(&self, line: usize) -> Vec<&str> {
        let above = self.lines.get(..line.saturating_sub(1)).unwrap_or_default().iter().rev();
        let mut comments: Vec<&str> =
            above.map(|line| line.trim()).take_while(|line| line.starts_with('#')).collect();
        comments.reverse();
        comments
    }

    /// An error at `place`.
    #[must_use]
    pub fn error(&self, place: Place, message: impl Into<String>) -> DockerfileError {
        let line = place.line.checked_sub(1).and_then(|index| self.lines.get(index));
        DockerfileError {
            file: self.name.clone(),
            place,
            message: message.into(),
            line: line.cloned().unwrap_or_default(),
        }
    }
}

/// What is wrong with a Dockerfile, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerfileError {
    /// The file, as the user named it.
    pub file: String,
    /// The first character of what is refused.
    pub place: Place,
    /// What is wrong, in lower case and without a final period.
    pub message: String,
    line: String,
}

impl std::error::Error for DockerfileError {}

impl fmt::Display for DockerfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, column } = self.place;
        write!(f, "{}:{line}:{column}: {}", self.file, self.message)?;
        if self.line.is_empty() {
            return Ok(());
        }
        // Tabs are kept in the gap, so that the caret stands under its word in any terminal.
        let gap: String = self
            .line
            .chars()
            .take(column.saturating_sub(1))
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        let margin = " ".repeat(line.to_string().len());
        write!(f, "\n  {line} | {}\n  {margin} | {gap}^", self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, Source};

    #[test]
    fn shows_the_line_and_a_caret() {
        let source = Source::new("Dockerfile", "FROM scratch\r\n\tRUUN x\r\n");
        let error = source.error(Place { line: 2, column: 2 }, "unknown instruction");
        assert_eq!(
            error.to_string(),
            "Dockerfile:2:2: unknown instruction\n  2 | \tRUUN x\n    | \t^"
        );
    }
}
