//! criu's log: which of its thousand lines say what went wrong, and what the user may do about it. Pure
//! but for reading the file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::limits::CRIU_LOG_BYTES_MAX;

/// How many errors are told. What follows the first ones is how each caller within criu gave up.
const LINES_MAX: usize = 3;

/// The first errors in the last part of a log; none when there is no log.
#[must_use]
pub(super) fn errors_in(path: &Path) -> Vec<String> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let begin = file.metadata()?.len().saturating_sub(CRIU_LOG_BYTES_MAX);
        file.seek(SeekFrom::Start(begin))?;
        let mut bytes = Vec::new();
        file.take(CRIU_LOG_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map(|bytes| errors(&String::from_utf8_lossy(&bytes))).unwrap_or_default()
}

/// `(00.370290) Error (criu/files-reg.c:1790): Can't …` → `Can't …`. What criu logs before it begins, and
/// goes on without, is not what stopped it.
fn errors(log: &str) -> Vec<String> {
    let error = |line: &str| {
        let (_, rest) = line.split_once("Error (")?;
        let (_, text) = rest.split_once("): ")?;
        (!text.starts_with("rlimit: ")).then(|| text.trim().to_owned())
    };
    log.lines().filter_map(error).take(LINES_MAX).collect()
}

/// What criu says → what to do.
const HINTS: [(&str, &str); 11] = [
    (
        "Can't lookup mount=",
        "an open file lies outside of the container: give it pipes, a terminal or /dev/null as standard streams",
    ),
    (
        ".img: Permission denied",
        "processes in a user namespace read the images themselves: let them enter the directory of the images (chmod 755)",
    ),
    (
        "has bad size",
        "a file that was open is not as long as it was: give the same file, as it was",
    ),
    ("tcp-established", "--tcp-established takes TCP connections along"),
    ("Connected TCP socket", "--tcp-established takes TCP connections along"),
    ("--skip-in-flight", "--tcp-skip-in-flight leaves out connections that are being made"),
    ("xternal socket", "--ext-unix-sk takes unix sockets to processes outside along"),
    ("file locks", "--file-locks takes file locks along"),
    ("shell job", "--shell-job takes processes of a terminal's session along"),
    ("shell-job", "--shell-job takes processes of a terminal's session along"),
    ("link-remap", "--link-remap takes deleted files along that are still open"),
];

/// What the user may do about errors, where that is known.
#[must_use]
pub(super) fn hint(lines: &[String]) -> Option<&'static str> {
    let speaks_of = |word: &str| lines.iter().any(|line| line.contains(word));
    HINTS.iter().find(|(word, _)| speaks_of(word)).map(|(_, hint)| *hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
(00.000000) Version: 4.2.1 (gitid 0)
(00.258161) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted
(00.370280) Warn  (criu/x.c:1): nothing
(00.370290) Error (criu/files-reg.c:1790): Can't lookup mount=27 for fd=1 path=/tmp/o
(00.370302) Error (criu/cr-dump.c:1545): Dump files (pid: 16279) failed with -1
(00.534898) Error (criu/cr-dump.c:1975): Dumping FAILED.
(00.534899) Error (criu/cr-dump.c:1976): more
";

    #[test]
    fn finds_the_errors_that_stopped_it() {
        let lines = errors(LOG);
        let expected = [
            "Can't lookup mount=27 for fd=1 path=/tmp/o",
            "Dump files (pid: 16279) failed with -1",
            "Dumping FAILED.",
        ];
        assert_eq!(lines, expected);
        assert!(hint(&lines).is_some_and(|hint| hint.contains("outside of the container")));
        assert_eq!(hint(&lines[1..]), None);
    }

    #[test]
    fn has_nothing_to_say_without_a_log() {
        assert!(errors_in(Path::new("/nonexistent/dump.log")).is_empty());
        assert!(errors("Error (half").is_empty());
    }
}
