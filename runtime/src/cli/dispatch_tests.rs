//! Whole command lines, with everything they print.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::{self, Write};
use std::rc::Rc;

use super::command::Command;
use super::dispatch::{read, run};
use super::output::Output;
use super::program::{Name, Program};
use super::{help, version};

/// A stream that can be read afterwards.
#[derive(Clone, Default)]
struct Stream(Rc<RefCell<Vec<u8>>>);

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream {
    fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).unwrap()
    }
}

struct Answer {
    stdout: String,
    /// Without the time.
    stderr: String,
    code: u8,
}

fn keel(line: &[&str]) -> Answer {
    let (stdout, stderr) = (Stream::default(), Stream::default());
    let mut output = Output::new(Box::new(stdout.clone()), Box::new(stderr.clone()), || false);
    let program = Program { argv0: "/usr/bin/keel".into(), name: Name::Keel };
    let code = run(&program, line.iter().map(OsString::from), &mut output);
    let stderr = stderr.text().lines().map(|line| without_time(line) + "\n").collect();
    Answer { stdout: stdout.text(), stderr, code }
}

fn without_time(line: &str) -> String {
    match line.split_once("Z\" ") {
        Some((time, rest)) if time.starts_with("time=\"20") => rest.to_owned(),
        _ => line.to_owned(),
    }
}

#[test]
fn prints_help_where_nothing_or_help_is_asked_for() {
    let whole = help::program(Name::Keel);
    for line in [[].as_slice(), &["-h"], &["--help"], &["help"], &["h"], &["--debug"]] {
        let answer = keel(line);
        assert_eq!((answer.stdout.as_str(), answer.code), (whole.as_str(), 0), "{line:?}");
        assert_eq!(answer.stderr, "", "{line:?}");
    }
    for line in [["help", "kill"], ["kill", "--help"], ["kill", "-h"]] {
        let answer = keel(&line);
        assert!(answer.stdout.starts_with("NAME:\n   keel kill - "), "{}", answer.stdout);
        assert_eq!((answer.stderr.as_str(), answer.code), ("", 0), "{line:?}");
    }
}

#[test]
fn explains_wrong_usage_on_both_streams() {
    for (line, heading, name, message) in [
        (
            ["create"].as_slice(),
            "Incorrect Usage.\n\nNAME:\n",
            "keel create - ",
            r#""/usr/bin/keel: \"create\" requires exactly 1 argument(s)""#,
        ),
        (
            &["start", "--bogus", "c"],
            "Incorrect Usage: flag provided but not defined: -bogus\n\nNAME:\n",
            "keel start - ",
            r#""flag provided but not defined: -bogus""#,
        ),
        (
            &["--bogus"],
            "Incorrect Usage. flag provided but not defined: -bogus\n\nNAME:\n",
            "keel - ",
            r#""flag provided but not defined: -bogus""#,
        ),
    ] {
        let answer = keel(line);
        assert!(answer.stdout.starts_with(&format!("{heading}   {name}")), "{}", answer.stdout);
        assert_eq!(answer.stderr, format!("level=error msg={message}\n"), "{line:?}");
        assert_eq!(answer.code, 1, "{line:?}");
    }
}

#[test]
fn exits_with_3_where_there_is_no_such_command() {
    let answer = keel(&["foo", "--bar"]);
    assert_eq!((answer.stdout.as_str(), answer.code), ("", 3));
    assert_eq!(answer.stderr, "level=error msg=\"No help topic for 'foo'\"\n");
}

#[test]
fn logs_to_a_file_and_tells_standard_error_the_bare_message() {
    let path = std::env::temp_dir().join(format!("keel-dispatch-{}", std::process::id()));
    let file = path.display().to_string();
    let answer = keel(&["--log", &file, "--log-format", "json", "foo"]);
    let log = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!((answer.stderr.as_str(), answer.code), ("No help topic for 'foo'\n", 3));
    let start = r#"{"level":"error","msg":"No help topic for 'foo'","time":"20"#;
    assert!(log.starts_with(start) && log.ends_with("Z\",\"code\":\"usage\"}\n"), "{log}");
}

#[test]
fn says_so_where_the_log_cannot_be_opened() {
    let answer = keel(&["--log", "/nonexistent/log", "features"]);
    let expected = "level=error msg=\"open /nonexistent/log: no such file or directory\"\n";
    assert_eq!((answer.stderr.as_str(), answer.code), (expected, 1));
    assert_eq!(answer.stdout, "");
}

#[test]
fn prints_features_and_version_and_nothing_else() {
    let features = keel(&["features"]);
    assert_eq!((features.stderr.as_str(), features.code), ("", 0));
    assert!(features.stdout.starts_with("{\n    \"ociVersionMin\""), "{}", features.stdout);
    for flag in ["--version", "-v", "-version"] {
        let answer = keel(&[flag]);
        assert_eq!((answer.stderr.as_str(), answer.code), ("", 0));
        assert_eq!(answer.stdout, version::text(Name::Keel));
    }
}

#[test]
fn warns_of_a_flag_that_is_accepted_for_old_callers() {
    let answer = keel(&["--criu", "/usr/sbin/criu", "features"]);
    let expected = "level=warning msg=\"--criu is ignored\"\n";
    assert_eq!((answer.stderr.as_str(), answer.code), (expected, 0));
}

#[test]
fn reads_a_line_without_obeying_it() {
    let read = |line: &[&str]| {
        let program = Program { argv0: "keel".into(), name: Name::Keel };
        read(&program, line.iter().map(OsString::from))
    };
    let (global, command) = read(&["--root", "/r", "delete", "-f", "c1"]).unwrap().unwrap();
    assert_eq!(global.root, std::path::Path::new("/r"));
    assert_eq!(command, Command::Delete { id: "c1".into(), force: true });
    assert!(read(&["--version"]).unwrap().is_none());
    assert!(read(&["help", "delete"]).unwrap().is_none());
    assert_eq!(read(&["erase"]).unwrap_err().exit_code, 3);
    assert_eq!(
        read(&["delete", "--bogus"]).unwrap_err().message,
        "flag provided but not defined: -bogus"
    );
}
