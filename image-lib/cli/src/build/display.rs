//! How a build is shown as it goes: in the shape of BuildKit's lines, as one line that is rewritten, as
//! BuildKit's JSON, or not at all.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keel_image::build::{Event, Progress, Story};

use super::rawjson::RawJson;
use crate::output;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Display {
    /// Whole lines, one after the other.
    Plain,
    /// One line per step, rewritten while it runs.
    Terminal,
    /// BuildKit's `SolveStatus`, one JSON object a line.
    RawJson,
    /// Nothing.
    Quiet,
}

impl Display {
    /// What fits the standard error.
    pub(crate) fn fitting() -> Self {
        if std::io::stderr().is_terminal() { Self::Terminal } else { Self::Plain }
    }

    /// Reads a value of `--progress`.
    pub(super) fn read(mode: &str) -> Result<Self, String> {
        match mode {
            "auto" | "" => Ok(Self::fitting()),
            "plain" => Ok(Self::Plain),
            "tty" if std::io::stderr().is_terminal() => Ok(Self::Terminal),
            "tty" => Err("failed to get console: the standard error is no terminal".to_owned()),
            "rawjson" => Ok(Self::RawJson),
            "quiet" | "none" => Ok(Self::Quiet),
            other => Err(format!(
                "invalid progress mode {other:?}: it is none of auto, plain, tty, rawjson, quiet"
            )),
        }
    }
}

/// Why steps went as they did; it is read when the build has ended.
pub(super) type Stories = Arc<Mutex<Vec<Story>>>;

/// Shows a build as it goes.
pub(super) struct Printer {
    display: Display,
    names: BTreeMap<usize, String>,
    /// The step whose lines were printed last.
    last: usize,
    /// Whether that line has no end yet.
    is_open: bool,
    columns: usize,
    raw: RawJson,
    stories: Stories,
}

impl Printer {
    /// A printer to the standard error.
    pub(super) fn new(display: Display) -> Self {
        let size = rustix::termios::tcgetwinsize(std::io::stderr());
        let columns = size.map_or(0, |size| usize::from(size.ws_col));
        // A terminal that does not know its width is taken for an old one.
        let columns = if columns == 0 { 80 } else { columns };
        Self {
            display,
            names: BTreeMap::new(),
            last: 0,
            is_open: false,
            columns,
            raw: RawJson::default(),
            stories: Stories::default(),
        }
    }

    /// Why the steps went as they did, as far as it was told.
    pub(super) fn stories(&self) -> Stories {
        Arc::clone(&self.stories)
    }

    /// The last line: how much was there already.
    pub(super) fn summary(&mut self, steps: usize, cached: usize) {
        if matches!(self.display, Display::Plain | Display::Terminal) {
            self.line(&format!("{cached} of {steps} steps from the cache"));
        }
    }

    fn line(&mut self, text: &str) {
        self.end_line();
        output::error_line(text);
    }

    /// Ends a line that its command has not ended, before anything else is told.
    fn end_line(&mut self) {
        if std::mem::take(&mut self.is_open) {
            output::error_line("");
        }
    }

    /// A piece of a command's line, as it is. Only the first has the step's number before it.
    fn piece(&mut self, step: usize, bytes: &[u8], is_ended: bool, after: Duration) {
        let mut text = Vec::with_capacity(bytes.len() + 32);
        if !self.is_open || self.last != step {
            self.end_line();
            self.turn_to(step);
            text.extend_from_slice(format!("#{step} {:.3} ", after.as_secs_f64()).as_bytes());
        }
        text.extend_from_slice(bytes);
        if is_ended {
            text.push(b'\n');
        }
        output::error_bytes(&text);
        self.is_open = !is_ended;
    }

    /// Where the lines of several steps interleave, the step is named again.
    fn turn_to(&mut self, step: usize) {
        if self.last != step {
            let name = self.names.get(&step).cloned().unwrap_or_default();
            self.line(&format!("\n#{step} {name}"));
            self.last = step;
        }
    }

    /// A line of a step.
    fn step_line(&mut self, step: usize, text: &str) {
        self.turn_to(step);
        self.line(&format!("#{step} {text}"));
    }

    fn name(&self, step: usize) -> &str {
        self.names.get(&step).map_or("", String::as_str)
    }

    /// Rewrites the last line of the terminal. What would move the cursor elsewhere is a blank.
    fn rewrite(&self, text: &str, end: &str) {
        let shown = text.chars().take(self.columns.saturating_sub(1));
        let shown: String = shown.map(|c| if c.is_control() { ' ' } else { c }).collect();
        output::error_bytes(format!("\r\x1b[K{shown}{end}").as_bytes());
    }

    fn plain(&mut self, event: Event<'_>) {
        match event {
            Event::Started { step, name } => {
                let separator = if self.last == 0 { "" } else { "\n" };
                self.line(&format!("{separator}#{step} {name}"));
                self.last = step;
            }
            Event::Output { step, bytes, is_ended, after } => {
                self.piece(step, bytes, is_ended, after);
            }
            Event::Note { step, text } => self.step_line(step, text),
            Event::Cached { step } => self.step_line(step, "CACHED"),
            Event::Done { step, after } => self.step_line(step, &done(after)),
            Event::Failed { step, reason } => self.step_line(step, &format!("ERROR: {reason}")),
            Event::Explained { .. } => {}
            Event::Warning { text } => self.line(&format!("\nWARN: {text}")),
        }
    }

    fn terminal(&mut self, event: Event<'_>) {
        match event {
            Event::Started { step, .. } => self.rewrite(&format!(" => {}", self.name(step)), ""),
            Event::Output { step, bytes, .. } => {
                let line = String::from_utf8_lossy(bytes);
                self.rewrite(&format!(" => {} | {line}", self.name(step)), "");
            }
            Event::Note { text, .. } => self.rewrite(&format!(" => {text}"), "\n"),
            Event::Cached { step } => {
                self.rewrite(&format!(" => CACHED {}", self.name(step)), "\n");
            }
            Event::Done { step, after } => {
                self.rewrite(&format!(" => {} {:.1}s", self.name(step), after.as_secs_f64()), "\n");
            }
            Event::Failed { step, .. } => {
                self.rewrite(&format!(" => ERROR {}", self.name(step)), "\n");
            }
            Event::Explained { .. } => {}
            Event::Warning { text } => self.rewrite(&format!(" WARN {text}"), "\n"),
        }
    }
}

fn done(after: Duration) -> String {
    format!("DONE {:.1}s", after.as_secs_f64())
}

impl Progress for Printer {
    fn report(&mut self, event: Event<'_>) {
        if let Event::Started { step, name } = event {
            self.names.insert(step, name.to_owned());
        }
        if let Event::Explained { story, .. } = event {
            self.stories.lock().unwrap_or_else(PoisonError::into_inner).push(story.clone());
            return;
        }
        match self.display {
            Display::Quiet => {}
            Display::RawJson => {
                if let Some(line) = self.raw.line(event) {
                    self.line(&line);
                }
            }
            Display::Plain => self.plain(event),
            Display::Terminal => self.terminal(event),
        }
    }
}
