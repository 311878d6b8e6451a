//! Text to logical lines: continuations joined, comments dropped, here-documents attached, and
//! every character still knowing the place it came from.

use std::sync::Arc;

use super::directive::Directives;
use super::flag;
use super::heredoc::{self, Heredoc};
use super::place::{DockerfileError, Place, Source};
use super::word::{JsonForm, json_form};

/// One instruction as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogicalLine {
    /// The joined text, without comments, continuations and trailing white space.
    pub text: String,
    /// The here-documents that followed it.
    pub heredocs: Vec<Heredoc>,
    /// Line of the first character.
    pub first_line: usize,
    /// Line of the last character, here-documents included.
    pub last_line: usize,
    pieces: Vec<Piece>,
}

/// From `offset` of the joined text on, characters come from `place`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    offset: usize,
    place: Place,
}

impl LogicalLine {
    /// A line that stands for itself, as a trigger of a base image does.
    #[must_use]
    pub fn single(text: &str) -> Self {
        let pieces = vec![Piece { offset: 0, place: Place { line: 1, column: 1 } }];
        let text = text.trim().to_owned();
        Self { text, heredocs: Vec::new(), first_line: 1, last_line: 1, pieces }
    }

    /// The place of the character at byte `offset` of the text.
    #[must_use]
    pub fn place(&self, offset: usize) -> Place {
        let piece = self.pieces.iter().rev().find(|piece| piece.offset <= offset);
        let Some(piece) = piece else { return Place { line: self.first_line, column: 1 } };
        let skipped = self.text.get(piece.offset..offset).map_or(0, |text| text.chars().count());
        Place { line: piece.place.line, column: piece.place.column + skipped }
    }
}

/// A Dockerfile cut into logical lines.
#[derive(Debug)]
pub struct Lexed {
    /// The text with its name, for errors found later.
    pub source: Arc<Source>,
    /// What the directives say.
    pub directives: Directives,
    /// The instructions.
    pub lines: Vec<LogicalLine>,
    /// What is allowed and still worth telling.
    pub warnings: Vec<DockerfileError>,
}

/// Cuts `text`, called `name` in errors, into logical lines.
///
/// # Errors
/// A bad directive, or a here-document without its end.
pub fn lex(name: &str, text: &str) -> Result<Lexed, DockerfileError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let source = Source::new(name, text);
    let physical: Vec<&str> = text.split_inclusive('\n').collect();
    let bare: Vec<&str> = physical.iter().map(|line| end_stripped(line)).collect();
    let directives = Directives::read(&bare, &source)?;
    let mut cutter = Cutter {
        source: &source,
        physical,
        bare,
        escape: directives.escape,
        next: 0,
        warnings: vec![],
    };
    let mut lines = Vec::new();
    while let Some(line) = cutter.logical_line()? {
        lines.push(line);
    }
    let warnings = cutter.warnings;
    Ok(Lexed { source, directives, lines, warnings })
}

fn end_stripped(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

struct Cutter<'a> {
    source: &'a Source,
    physical: Vec<&'a str>,
    bare: Vec<&'a str>,
    escape: char,
    next: usize,
    warnings: Vec<DockerfileError>,
}

impl<'a> Cutter<'a> {
    fn logical_line(&mut self) -> Result<Option<LogicalLine>, DockerfileError> {
        let Some(mut line) = self.joined() else { return Ok(None) };
        let trimmed = line.text.trim_end().len();
        line.text.truncate(trimmed);
        if takes_heredocs(&line.text, self.escape) {
            for marker in heredoc::markers(&line.text) {
                let document = self.body(marker, &line)?;
                line.heredocs.push(document);
            }
            line.last_line = self.next;
        }
        Ok(Some(line))
    }

    /// The next instruction with its continuations, or `None` at the end of the file.
    fn joined(&mut self) -> Option<LogicalLine> {
        let mut line: Option<LogicalLine> = None;
        let mut blank_inside = None;
        while self.next < self.bare.len() {
            let raw = self.bare[self.next];
            self.next += 1;
            if is_comment(raw) {
                continue;
            }
            // White space in front is dropped from the first line only: what a continuation line
            // begins with separates its words from those before.
            let (text, column) = if line.is_none() {
                let text = raw.trim_start();
                (text, raw.chars().count() - text.chars().count() + 1)
            } else {
                (raw, 1)
            };
            if text.trim().is_empty() {
                if line.is_some() {
                    blank_inside = blank_inside.or(Some(self.next));
                }
                continue;
            }
            let (text, continued) = self.cut_continuation(text);
            let place = Place { line: self.next, column };
            let joined = line.get_or_insert_with(|| LogicalLine {
                text: String::new(),
                heredocs: Vec::new(),
                first_line: self.next,
                last_line: self.next,
                pieces: Vec::new(),
            });
            joined.pieces.push(Piece { offset: joined.text.len(), place });
            joined.text.push_str(text);
            joined.last_line = self.next;
            if !continued {
                break;
            }
        }
        if let Some(at) = blank_inside {
            let text = "empty continuation line; it is skipped today and may become an error";
            let warning = self.source.error(Place { line: at, column: 1 }, text);
            self.warnings.push(warning);
        }
        line.filter(|line| !line.text.trim().is_empty())
            .or_else(|| if self.next < self.bare.len() { self.joined() } else { None })
    }

    /// Cuts a trailing escape. An escaped escape does not continue the line; so says the rule, and
    /// three in a row do not either.
    fn cut_continuation(&self, line: &'a str) -> (&'a str, bool) {
        let end = line.trim_end_matches([' ', '\t']);
        let Some(before) = end.strip_suffix(self.escape) else { return (line, false) };
        if before.ends_with(self.escape) { (line, false) } else { (before, true) }
    }

    fn body(
        &mut self,
        mut marker: Heredoc,
        line: &LogicalLine,
    ) -> Result<Heredoc, DockerfileError> {
        while self.next < self.bare.len() {
            let bare = self.bare[self.next];
            let raw = self.physical[self.next];
            self.next += 1;
            if marker.is_ended_by(bare) {
                return Ok(marker);
            }
            marker.body.push_str(raw);
        }
        let offset = line.text.find("<<").unwrap_or(0);
        let text = format!("unterminated heredoc {:?}", marker.name);
        Err(self.source.error(line.place(offset), text))
    }
}

/// Whether `<<NAME` words of the instruction are here-documents: only in `RUN`, `COPY` and `ADD`,
/// also as triggers, and never in the JSON form.
fn takes_heredocs(text: &str, escape: char) -> bool {
    if !text.contains("<<") {
        return false;
    }
    let (mut word, mut rest) = split_instruction(text);
    if word.eq_ignore_ascii_case("ONBUILD") {
        (word, rest) = split_instruction(rest);
    }
    if !["RUN", "COPY", "ADD"].iter().any(|known| word.eq_ignore_ascii_case(known)) {
        return false;
    }
    let after_flags = flag::split(rest, escape).1;
    json_form(&rest[after_flags..]) == JsonForm::Absent
}

/// The instruction word, and the rest without the white space between.
#[must_use]
pub fn split_instruction(text: &str) -> (&str, &str) {
    match text.find([' ', '\t', '\u{b}', '\u{c}', '\r']) {
        Some(at) => (&text[..at], text[at..].trim_start()),
        None => (text, ""),
    }
}

#[cfg(test)]
#[path = "lexer_tests.rs"]
mod tests;
