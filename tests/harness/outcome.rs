//! What one command answered, with the assertions that name the command when they fail.

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;

use serde_json::Value;

/// The end of one command.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The exit status; 128 and the signal's number when a signal ended it.
    pub status: i32,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
    what: String,
    stdout_path: PathBuf,
    stderr_path: PathBuf,
}

impl Outcome {
    pub(crate) fn new(
        what: String,
        status: ExitStatus,
        stdout_path: PathBuf,
        stderr_path: PathBuf,
    ) -> Self {
        let read = |path| {
            std::fs::read(path)
                .map(|b| String::from_utf8_lossy(&b).into_owned())
                .unwrap_or_default()
        };
        let status = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        Self {
            status,
            stdout: read(&stdout_path),
            stderr: read(&stderr_path),
            what,
            stdout_path,
            stderr_path,
        }
    }

    /// Asserts exit status 0.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        assert_eq!(self.status, 0, "should succeed\n{}", self.report());
        self
    }

    /// Asserts an exit status.
    #[track_caller]
    pub fn exits(self, status: i32) -> Self {
        assert_eq!(self.status, status, "exit status\n{}", self.report());
        self
    }

    /// Asserts exit status 1 and that the error, on stderr, contains each of the words.
    #[track_caller]
    pub fn fails_naming(self, words: &[&str]) -> Self {
        assert_eq!(self.status, 1, "should fail with 1\n{}", self.report());
        self.says(words)
    }

    /// Asserts that stderr contains each of the words.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "stderr should name {word:?}\n{}", self.report());
        }
        self
    }

    /// The first line of stdout that is a JSON object or array.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .or_else(|_| {
                let line = self.stdout.lines().find(|line| line.starts_with(['{', '[']));
                serde_json::from_str(line.unwrap_or_default())
            })
            .unwrap_or_else(|error| panic!("stdout is no JSON: {error}\n{}", self.report()))
    }

    /// What has been written to stdout by now: a container may have gone on after the command.
    pub fn stdout_now(&self) -> String {
        std::fs::read_to_string(&self.stdout_path).unwrap_or_default()
    }

    /// The file with its standard error, to which a container may have added since.
    pub fn stderr_path(&self) -> &std::path::Path {
        &self.stderr_path
    }

    /// Command, status and both streams, for a message.
    pub fn report(&self) -> String {
        format!(
            "command: {}\nstatus:  {}\nstdout:  {}\nstderr:  {}",
            self.what,
            self.status,
            shortened(&self.stdout),
            shortened(&self.stderr)
        )
    }
}

/// Enough of a stream to understand a failure, not a whole report of the probe.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(3000) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
    }
}
