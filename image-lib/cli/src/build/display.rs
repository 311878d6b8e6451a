//! How a build is shown as it goes: in the shape of BuildKit's lines, as one line that is rewritten, as
//! BuildKit's JSON, or not at all.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keel_image::build::{Event, Progress, Story};

use super::rawjson::RawJson;

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
        // Who does not read the progress still wants the image.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// A line of a step. Where the lines of several steps interleave, the step is named again.
    fn step_line(&mut self, step: usize, text: &str) {
        if self.last != step {
            let name = self.names.get(&step).cloned().unwrap_or_default();
            self.line(&format!("\n#{step} {name}"));
            self.last = step;
        }
        self.line(&format!("#{step} {text}"));
    }

    fn name(&self, step: usize) -> &str {
        self.names.get(&step).map_or("", String::as_str)
    }

    /// Rewrites the last line of the terminal.
    fn rewrite(&self, text: &str, end: &str) {
        let text: String = text.chars().take(self.columns.saturating_sub(1)).collect();
        let mut stderr = std::io::stderr().lock();
        // Who does not read the progress still wants the image.
        let _ = write!(stderr, "\r\x1b[K{text}{end}").and_then(|()| stderr.flush());
    }

    fn plain(&mut self, event: Event<'_>) {
        match event {
            Event::Started { step, name } => {
                let separator = if self.last == 0 { "" } else { "\n" };
                self.line(&format!("{separator}#{step} {name}"));
                self.last = step;
            }
            Event::Output { step, line, after } => {
                self.step_line(step, &format!("{:.3} {line}", after.as_secs_f64()));
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
            Event::Output { step, line, .. } => {
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
