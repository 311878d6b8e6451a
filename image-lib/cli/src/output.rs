//! What is printed. Who closes the pipe early has read enough: that is no error.

use std::io::{self, BufRead as _, Write};

use rustix::event::{PollFd, PollFlags, poll};

use crate::failure::Failure;

/// Writes `text` to the standard output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    bytes(text.as_bytes())
}

/// Writes `bytes` to the standard output as they are.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write to the standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes a line to the standard output.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}

/// Writes a value as indented JSON.
pub(crate) fn json(value: &serde_json::Value) -> Result<(), Failure> {
    line(&format!("{value:#}"))
}

/// Writes a line to the standard error.
pub(crate) fn error_line(text: &str) {
    error_bytes(format!("{text}\n").as_bytes());
}

/// Writes `bytes` to the standard error as they are.
pub(crate) fn error_bytes(bytes: &[u8]) {
    let mut stderr = io::stderr().lock();
    let mut rest = bytes;
    while !rest.is_empty() {
        match stderr.write(rest) {
            // There is nobody left to tell.
            Ok(0) => return,
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Whoever shares the other end may have made it so that writing does not wait.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let _ = poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], None);
            }
            Err(_) => return,
        }
    }
}

/// Asks on the terminal whether `what` is to be removed; anything but `y` is no.
pub(crate) fn is_removal_confirmed(what: &str) -> bool {
    error_line(&format!("WARNING! This will remove {what}."));
    error_line("Are you sure you want to continue? [y/N]");
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.is_ok() && answer.trim().eq_ignore_ascii_case("y")
}
