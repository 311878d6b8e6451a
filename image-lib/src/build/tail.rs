//! What a command said last: the excerpt that its error shows.

use std::collections::VecDeque;

/// How many of the last lines an error shows.
const LINES: usize = 10;

/// How much of a line an error shows, in bytes; more belongs into the log.
const LINE_BYTES: usize = 4 << 10;

/// Stands for the rest of a line.
const MORE: &str = " […]";

/// The last lines of an output that is as long as it likes.
#[derive(Debug, Default)]
pub(super) struct Tail {
    lines: VecDeque<String>,
    /// Whether the last line goes on.
    is_open: bool,
}

impl Tail {
    /// Adds a piece of a line, which may end with it.
    pub(super) fn push(&mut self, piece: &str, is_ended: bool) {
        let was_open = std::mem::replace(&mut self.is_open, !is_ended);
        // All but the first piece of a line are beyond what is shown.
        if was_open && !piece.is_empty() {
            return self.cut();
        }
        if was_open {
            return;
        }
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        let shown = &piece[..piece.floor_char_boundary(LINE_BYTES)];
        self.lines.push_back(shown.to_owned());
        if shown.len() < piece.len() {
            self.cut();
        }
    }

    /// The lines, the oldest first.
    pub(super) fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }

    fn cut(&mut self) {
        if let Some(line) = self.lines.back_mut().filter(|line| !line.ends_with(MORE)) {
            line.push_str(MORE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LINE_BYTES, LINES, MORE, Tail};

    #[test]
    fn keeps_the_last_lines() {
        let mut tail = Tail::default();
        for number in 0..25 {
            tail.push(&number.to_string(), true);
        }
        let lines = tail.into_lines();
        assert_eq!((lines.len(), lines[0].as_str()), (LINES, "15"));
    }

    #[test]
    fn shows_the_beginning_of_a_long_line() {
        let mut tail = Tail::default();
        tail.push("before", true);
        // A character stands across the bound.
        let piece = "é".repeat(LINE_BYTES);
        tail.push(&format!("x{piece}"), false);
        tail.push(&piece, false);
        tail.push("", true);
        tail.push("after", true);
        let lines = tail.into_lines();
        let shown = format!("x{}{MORE}", "é".repeat(LINE_BYTES / 2 - 1));
        assert_eq!(lines, ["before", shown.as_str(), "after"]);
    }
}
