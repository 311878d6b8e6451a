//! The one place that writes to standard output, standard error and the log.

use std::cell::RefCell;
use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::rc::Rc;
use std::time::{Instant, SystemTime};

use super::command::LogFormat;
use super::error::{CommandError, Details};
use super::log::{Form, Level, Line, harmless};
use crate::trace::{Listener, Place, place};

/// Where results, messages and the log go.
pub struct Output {
    stdout: Box<dyn Write>,
    /// Shared with the listener of `--debug`.
    log: Rc<RefCell<Log>>,
}

struct Log {
    /// Standard error where absent.
    file: Option<File>,
    format: LogFormat,
    /// Whether lines tell their place.
    places: bool,
    stderr: Box<dyn Write>,
    /// Whether standard error is only the container's.
    log_alone: bool,
    /// Asked only when a line is written, which most commands never do.
    stderr_is_terminal: fn() -> bool,
    started: Instant,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("log", &self.log.borrow().file).finish_non_exhaustive()
    }
}

impl Output {
    /// The streams of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let (stdout, stderr) = (Box::new(io::stdout()), Box::new(io::stderr()));
        let output = Self::new(stdout, stderr, || io::stderr().is_terminal());
        output.log.borrow_mut().log_alone =
            std::env::var_os("KEEL_ERRORS").is_some_and(|it| it == "log");
        output
    }

    /// Other streams, for who embeds the command line.
    #[must_use]
    pub fn new(
        stdout: Box<dyn Write>,
        stderr: Box<dyn Write>,
        stderr_is_terminal: fn() -> bool,
    ) -> Self {
        let (file, format, started) = (None, LogFormat::default(), Instant::now());
        let places = false;
        let log_alone = false;
        let log = Log { file, format, places, stderr, log_alone, stderr_is_terminal, started };
        Self { stdout, log: Rc::new(RefCell::new(log)) }
    }

    /// Directs the log as the global flags say.
    pub fn direct_log(&mut self, file: Option<File>, format: LogFormat, debug: bool) {
        let mut log = self.log.borrow_mut();
        log.file = file;
        log.format = format;
        log.places = debug;
    }

    /// What logs the steps it is told, for `--debug`.
    #[must_use]
    pub(super) fn listener(&self) -> Listener {
        let log = Rc::clone(&self.log);
        Box::new(move |place, step| {
            log.borrow_mut().write(Level::Debug, step, &Details::default(), place);
        })
    }

    /// Writes a result to standard output.
    ///
    /// # Errors
    /// It cannot be written. A reader that has gone away is no error of ours to speak of: then the
    /// message is empty, and only the exit code tells.
    pub fn print(&mut self, text: &str) -> Result<(), CommandError> {
        let written = self.stdout.write_all(text.as_bytes()).and_then(|()| self.stdout.flush());
        written.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => CommandError::new(""),
            _ => CommandError::new(format!(
                "cannot write to standard output: {}",
                crate::causes::io_text(&error)
            )),
        })
    }

    /// Writes a plain line to standard error, past the log. Control characters are escaped.
    pub fn complain(&mut self, message: &str) {
        self.log.borrow_mut().complain(message);
    }

    /// Logs something the user should know, though the command goes on.
    pub fn warn(&mut self, message: &str) {
        self.log.borrow_mut().write(Level::Warning, message, &Details::default(), place!());
    }

    /// Logs why the command failed. Where the log is a file, the message also goes to standard error,
    /// where callers without the file look for it; a shim has none such (`KEEL_ERRORS=log`).
    pub fn fail(&mut self, error: &CommandError) {
        if error.message.is_empty() {
            return;
        }
        let mut log = self.log.borrow_mut();
        let logged = log.write(Level::Error, &error.message, &error.details, place!());
        if log.file.is_some() && !(logged && log.log_alone) {
            log.complain(&error.message);
        }
    }
}

impl Log {
    fn complain(&mut self, message: &str) {
        let line = harmless(message).into_owned() + "\n";
        // There is nowhere left to report that standard error cannot be written.
        let _ = self.stderr.write_all(line.as_bytes());
    }

    /// Whether it is written.
    fn write(&mut self, level: Level, message: &str, details: &Details, place: Place) -> bool {
        let form = match (self.format, &self.file) {
            (LogFormat::Json, _) => Form::Json,
            (LogFormat::Text, None) if (self.stderr_is_terminal)() => Form::Terminal,
            (LogFormat::Text, _) => Form::Text,
        };
        let (time, elapsed) = (SystemTime::now(), self.started.elapsed());
        let place = Some(place).filter(|_| self.places);
        let line = Line { level, message, details, time, elapsed, place }.render(form);
        // One write per line, so that lines of several processes do not mix. A log on a full disk
        // must not keep a container from being killed or removed, so an error here is passed over.
        let written = match &mut self.file {
            Some(file) => file.write_all(line.as_bytes()),
            None => self.stderr.write_all(line.as_bytes()),
        };
        written.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn speaks_of_a_full_disk_but_not_of_a_reader_that_left() {
        for (kind, message) in [
            (io::ErrorKind::BrokenPipe, ""),
            (io::ErrorKind::StorageFull, "cannot write to standard output: no storage space"),
        ] {
            let mut output = Output::new(Box::new(Broken(kind)), Box::new(io::sink()), || false);
            let error = output.print("text").unwrap_err();
            assert_eq!((error.message.as_str(), error.exit_code), (message, 1));
        }
    }
}
