//! The only way in which a test may not run.

use std::io::Write as _;

/// Says whether the test can go on; when not, prints the test's name with the reason, and counts the skip.
///
/// The line goes to the standard error stream directly, because the test runner hides what passing tests
/// print. `KEEL_TESTS_SKIPS` names a file that collects the lines of all test programs of a run.
#[must_use]
pub fn requires(condition: bool, reason: &str) -> bool {
    if condition {
        return true;
    }
    let thread = std::thread::current();
    let line = format!("SKIP {}: {reason}\n", thread.name().unwrap_or("?"));
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os("KEEL_TESTS_SKIPS") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
    }
    false
}
