//! `--log` and `--log-format`: how callers get the error.

use std::fs;

use keel_tests::Container;
use serde_json::{Value, json};

fn broken() -> Container {
    Container::new(|config| config["process"]["args"] = json!(["nosuchprogram"]))
}

/// CLI-LOG-01: a JSON log is one object a line; the last one of level error has the message and a time.
#[test]
fn json_records_have_level_msg_time() {
    let container = broken();
    let log = container.path("log.json");
    let path = log.display().to_string();
    let words = ["--log", &path, "--log-format", "json", "create", container.id()];
    container.call(&words).exits(1);
    let text = fs::read_to_string(&log).expect("a log");
    let records: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    let last = records.last().expect("a record");
    assert_eq!(last["level"], "error");
    let message = last["msg"].as_str().expect("a message");
    assert!(message.contains("executable file not found in $PATH"), "{message}");
    let time = last["time"].as_str().expect("a time");
    assert!(time.len() >= 20 && time.as_bytes()[10] == b'T', "{time}");
}

/// CLI-LOG-02: with a log file the plain message stands on stderr too, for callers that read only that.
#[test]
fn a_log_file_does_not_silence_stderr() {
    let container = broken();
    let path = container.path("log.json").display().to_string();
    let words = ["--log", &path, "--log-format", "json", "create", container.id()];
    container.call(&words).fails_naming(&["executable file not found in $PATH"]);
}

/// CLI-LOG-03: the log is appended to, so that two commands may share it.
#[test]
fn the_log_is_appended_to() {
    let container = broken();
    let log = container.path("log");
    fs::write(&log, "before\n").expect("a file");
    let path = log.display().to_string();
    container.call(&["--log", &path, "create", container.id()]).exits(1);
    let text = fs::read_to_string(&log).expect("a log");
    assert!(text.starts_with("before\n") && text.len() > 7, "{text}");
}

/// CLI-LOG-04: text to a file that is no terminal has time, level and quoted message.
#[test]
fn text_records_have_level_and_msg() {
    let container = broken();
    container.create().fails_naming(&["level=error", "msg=\"", "time=\""]);
}

/// CLI-LOG-05: an unknown format is an error.
#[test]
fn refuses_an_unknown_format() {
    let container = broken();
    let words = ["--log-format", "xml", "create", container.id()];
    container.call(&words).fails_naming(&["xml"]);
    container.assert_nothing_left();
}

/// CLI-LOG-06: a success writes no record of level error.
#[test]
fn a_success_logs_no_error() {
    let container = Container::new(|config| config["process"]["args"] = json!(["true"]));
    let log = container.path("log.json");
    let path = log.display().to_string();
    let words = ["--log", &path, "--log-format", "json", "run", container.id()];
    container.call(&words).succeeds();
    let text = fs::read_to_string(&log).unwrap_or_default();
    assert!(!text.contains("\"error\""), "{text}");
}

/// CLI-LOG-07: `--debug` adds records and keeps the error last.
#[test]
fn debug_keeps_the_error_last() {
    let container = broken();
    let log = container.path("log.json");
    let path = log.display().to_string();
    let words = ["--debug", "--log", &path, "--log-format", "json", "create", container.id()];
    container.call(&words).exits(1);
    let text = fs::read_to_string(&log).expect("a log");
    let errors: Vec<&str> = text.lines().filter(|line| line.contains("\"error\"")).collect();
    assert!(errors.last().is_some_and(|line| line.contains("executable file not found")), "{text}");
}
