//! `list`: all containers of a state folder.

use keel_tests::Container;
use serde_json::{Value, json};

/// CLI-LIST-01: the table has a header and one line for each container.
#[test]
fn prints_a_table() {
    let container = Container::sleeping(|_| ());
    let pid = container.up().to_string();
    let text = container.call(&["list"]).succeeds().stdout;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().expect("a header").split_whitespace().collect();
    assert_eq!(header[..5], ["ID", "PID", "STATUS", "BUNDLE", "CREATED"]);
    let row: Vec<&str> = lines.next().expect("a row").split_whitespace().collect();
    assert_eq!(
        row[..4],
        [container.id(), &pid, "running", &container.bundle().display().to_string()]
    );
    assert_eq!(lines.next(), None);
}

/// CLI-LIST-02: `--quiet` prints ids only.
#[test]
fn quiet_prints_ids() {
    let container = Container::sleeping(|_| ());
    container.create().succeeds();
    for flag in ["--quiet", "-q"] {
        assert_eq!(container.call(&["list", flag]).succeeds().stdout.trim(), container.id());
    }
}

/// CLI-LIST-03: `--format json` is an array with the keys of `state`.
#[test]
fn prints_json() {
    let container = Container::sleeping(|config| config["annotations"] = json!({"k": "v"}));
    container.create().succeeds();
    let list = container.call(&["list", "--format", "json"]).succeeds().json();
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
    assert_eq!(list[0]["id"], container.id());
    assert_eq!(list[0]["status"], "created");
    assert_eq!(list[0]["owner"], "root");
    assert_eq!(list[0]["pid"], container.pid());
}

/// CLI-LIST-04: an empty folder gives a header alone, and `null` in JSON as runc's callers know it.
#[test]
fn an_empty_list_is_no_error() {
    let container = Container::new(|_| ());
    let text = container.call(&["list"]).succeeds().stdout;
    assert_eq!(text.lines().count(), 1, "{text}");
    let json: Value =
        container.call(&["list", "-f", "json"]).succeeds().stdout.trim().parse().expect("JSON");
    assert!(json.is_null() || json == json!([]), "{json}");
}

/// CLI-LIST-05: an unknown format is an error.
#[test]
fn refuses_an_unknown_format() {
    let container = Container::new(|_| ());
    container.call(&["list", "--format", "xml"]).exits(1);
}
