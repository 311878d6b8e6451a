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

    /// The line of `place`, to be shown.
    #[must_use]
    pub fn spot(&self, place: Place) -> Spot {
        let line = self.line(place.line).unwrap_or_default().to_owned();
        Spot { file: self.name.clone(), place, line }
    }

    /// An error at `place`.
    #[must_use]
    pub fn error(&self, place: Place, message: impl Into<String>) -> DockerfileError {
        DockerfileError { at: self.spot(place), message: message.into() }
    }

    /// Where `word` stands in the instruction that begins at `start`: as a word, part of a path, or a value.
    #[must_use]
    pub fn find(&self, start: Place, escape: char, word: &str) -> Option<Place> {
        let mut number = start.line;
        loop {
            let line = self.line(number)?;
            let text = line.trim();
            // Comments and empty lines do not end what a line before them continues.
            let is_between = number > start.line && (text.is_empty() || text.starts_with('#'));
            if !is_between && let Some(column) = column_of(line, word) {
                return Some(Place { line: number, column });
            }
            if !is_between && !text.ends_with(escape) {
                return None;
            }
            number += 1;
        }
    }

    fn line(&self, number: usize) -> Option<&str> {
        let line = number.checked_sub(1).and_then(|index| self.lines.get(index));
        line.map(String::as_str)
    }
}

/// The column at which `word` stands with nothing of a longer word around it.
fn column_of(line: &str, word: &str) -> Option<usize> {
    const BEFORE: [char; 9] = [' ', '\t', '=', ',', '"', '[', '/', ':', '\''];
    const AFTER: [char; 9] = [' ', '\t', ',', '"', ']', '/', ':', '\'', '\\'];
    let stands = |at: &usize| {
        let before = line[..*at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        before.is_none_or(|c| BEFORE.contains(&c)) && after.is_none_or(|c| AFTER.contains(&c))
    };
    let found = || line.match_indices(word).map(|(at, _)| at).find(stands);
    let at = if word.is_empty() { None } else { found() };
    at.map(|at| line[..at].chars().count() + 1)
}

/// A place of a Dockerfile that an error shows. Its text is `FILE:LINE:COLUMN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// The file, as the user named it.
    pub file: String,
    /// The first character of what is meant.
    pub place: Place,
    line: String,
}

impl Spot {
    /// The line, and below it a caret under the place; each begins a new line. Nothing where there is no such line.
    #[must_use]
    pub fn quote(&self) -> String {
        if self.line.is_empty() {
            return String::new();
        }
        let Place { line, column } = self.place;
        // Tabs are kept in the gap, so that the caret stands under its word in any terminal.
        let before = self.line.chars().take(column.saturating_sub(1));
        let gap: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let margin = " ".repeat(line.to_string().len());
        format!("\n  {line} | {}\n  {margin} | {gap}^", self.line)
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.place.line, self.place.column)
    }
}

/// What is wrong with a Dockerfile, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerfileError {
    /// Where what is refused begins.
    pub at: Spot,
    /// What is wrong, in lower case and without a final period.
    pub message: String,
}

impl std::error::Error for DockerfileError {}

impl fmt::Display for DockerfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}{}", self.at, self.message, self.at.quote())
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, Source, column_of};

    #[test]
    fn shows_the_line_and_a_caret() {
        let source = Source::new("Dockerfile", "FROM scratch\r\n\tRUUN x\r\n");
        let error = source.error(Place { line: 2, column: 2 }, "unknown instruction");
        assert_eq!(
            error.to_string(),
            "Dockerfile:2:2: unknown instruction\n  2 | \tRUUN x\n    | \t^"
        );
    }

    #[test]
    fn finds_a_word_in_an_instruction() {
        let text = "FROM a\nCOPY --from=old \\\n# here is dir/old \n  ./dir/old \"new file\" /x\nRUN echo /x gone\n";
        let source = Source::new("Dockerfile", text);
        let find = |word| {
            let found = source.find(Place { line: 2, column: 1 }, '\\', word);
            found.map(|place| (place.line, place.column))
        };
        assert_eq!(find("old"), Some((2, 13)));
        assert_eq!(find("dir/old"), Some((4, 5)));
        assert_eq!(find("new file"), Some((4, 14)));
        assert_eq!(find("gone"), None);
        assert_eq!(find("ol"), None);
        assert_eq!(find(""), None);
        assert_eq!(column_of("COPY ä b", "b"), Some(8));
    }
}
