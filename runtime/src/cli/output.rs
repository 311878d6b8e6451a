//! The one place that writes to standard output, standard error and the log.

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::time::{Instant, SystemTime};

use super::command::LogFormat;
use super::error::{CommandError, Details};
use super::log::{Form, Level, Line, harmless};

/// Where results, messages and the log go.
pub struct Output {
    stdout: Box<dyn Write>,
    stderr: Box<dyn Write>,
    /// Asked only when a line is written, which most commands never do.
    stderr_is_terminal: fn() -> bool,
    log: Log,
    started: Instant,
}

#[derive(Debug, Default)]
struct Log {
    /// Standard error where absent.
    file: Option<File>,
    format: LogFormat,
    debug: bool,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("log", &self.log).finish_non_exhaustive()
    }
}

impl Output {
    /// The streams of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self::new(Box::new(io::stdout()), Box::new(io::stderr()), || io::stderr().is_terminal())
    }

    /// Other streams, for who embeds the command line.
    #[must_use]
    pub fn new(
        stdout: Box<dyn Write>,
        stderr: Box<dyn Write>,
        stderr_is_terminal: fn() -> bool,
    ) -> Self {
        let (log, started) = (Log::default(), Instant::now());
        Self { stdout, stderr, stderr_is_terminal, log, started }
    }

    /// Directs the log as the global flags say.
    pub fn direct_log(&mut self, file: Option<File>, format: LogFormat, debug: bool) {
        self.log = Log { file, format, debug };
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
                super::error::describe(&error)
            )),
        })
    }

    /// Writes a plain line to standard error, past the log. Control characters are escaped.
    pub fn complain(&mut self, message: &str) {
        let line = harmless(message).into_owned() + "\n";
        // There is nowhere left to report that standard error cannot be written.
        let _ = self.stderr.write_all(line.as_bytes());
    }

    /// Logs something the user should know, though the command goes on.
    pub fn warn(&mut self, message: &str) {
        self.write_log(Level::Warning, message, &Details::default());
    }

    /// Logs a step, if `--debug` asks for it.
    pub fn debug(&mut self, message: &str) {
        if self.log.debug {
            self.write_log(Level::Debug, message, &Details::default());
        }
    }

    /// Logs why the command failed. Where the log is a file, the message also goes to standard error,
    /// where callers without the file look for it.
    pub fn fail(&mut self, error: &CommandError) {
        if error.message.is_empty() {
            return;
        }
        self.write_log(Level::Error, &error.message, &error.details);
        if self.log.file.is_some() {
            self.complain(&error.message);
        }
    }

    fn write_log(&mut self, level: Level, message: &str, details: &Details) {
        let form = match (self.log.format, &self.log.file) {
            (LogFormat::Json, _) => Form::Json,
            (LogFormat::Text, None) if (self.stderr_is_terminal)() => Form::Terminal,
            (LogFormat::Text, _) => Form::Text,
        };
        let (time, elapsed) = (SystemTime::now(), self.started.elapsed());
        let line = Line { level, message, details, time, elapsed }.render(form);
        // One write per line, so that lines of several processes do not mix. A log on a full disk
        // must not keep a container from being killed or removed, so an error here is passed over.
        let _ = match &mut self.log.file {
            Some(file) => file.write_all(line.as_bytes()),
            None => self.stderr.write_all(line.as_bytes()),
        };
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
