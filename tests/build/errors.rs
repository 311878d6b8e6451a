//! Broken builds: one error that names the place, and nothing left in the store.

use std::fs;

use keel_tests::{ImageStore, Outcome, fixture, listing};

fn build(store: &ImageStore, dockerfile: &str) -> Outcome {
    let context = store.beside("context");
    fs::create_dir_all(&context).expect("a folder");
    fs::write(context.join("Dockerfile"), dockerfile).expect("a file");
    store.call(&["build", "-t", "app:1", "context"])
}

fn with_box() -> ImageStore {
    let store = ImageStore::new();
    store.import(&fixture("busybox.tar"), "busybox:1").succeeds();
    store
}

/// DF-ERR-01: a typo is refused with file and line before anything is built.
#[test]
fn a_typo_is_named_by_line() {
    let store = with_box();
    let before = listing(&store.path());
    let text = "FROM busybox:1\n\n# comment\nENV A=1\nWORKDIR /x\n\nRUNN echo\n";
    build(&store, text).fails_naming(&["Dockerfile:7", "RUNN"]);
    assert_eq!(listing(&store.path()), before, "the store has changed");
}

/// DF-ERR-02: a file that is not in the context is named, with the line.
#[test]
fn a_missing_file_is_named() {
    let store = with_box();
    build(&store, "FROM busybox:1\nCOPY nosuchfile /\n")
        .fails_naming(&["Dockerfile:2", "nosuchfile"]);
}

/// DF-ERR-03: a command that fails is named with its status and the line, and leaves no image.
#[test]
fn a_failing_command_is_named() {
    let store = with_box();
    let outcome = build(&store, "FROM busybox:1\nRUN echo said && exit 9\n").exits(1);
    outcome.clone().says(&["Dockerfile:2", "9"]);
    let all = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(all.contains("said"), "the command's output is shown: {all}");
    store.call(&["inspect", "app:1"]).exits(1);
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    assert!(!mounts.contains(store.name()), "{mounts}");
}

/// DF-ERR-04: a base that does not exist is named, with the line.
#[test]
fn a_missing_base_is_named() {
    let store = ImageStore::new();
    build(&store, "FROM nosuchbase:1\nRUN true\n").fails_naming(&["nosuchbase"]);
}

/// DF-ERR-05: a stage that does not exist is named, with the line.
#[test]
fn a_missing_stage_is_named() {
    let store = with_box();
    build(&store, "FROM busybox:1\nCOPY --from=nosuchstage /a /b\n").fails_naming(&["nosuchstage"]);
}

/// DF-ERR-06: a COPY source cannot climb out of the context.
#[test]
fn sources_stay_in_the_context() {
    let store = with_box();
    fs::write(store.beside("outside"), "secret").expect("a file");
    let outcome = build(&store, "FROM busybox:1\nCOPY ../outside /\n");
    if outcome.status == 0 {
        let outcome = store.run_on("keel", "app:1", &["/bin/ls", "/outside"]);
        assert_ne!(outcome.status, 0, "{}", outcome.report());
    }
}

/// DF-ERR-07: an empty Dockerfile and a missing one are refused by name.
#[test]
fn an_empty_dockerfile_is_refused() {
    let store = with_box();
    build(&store, "# nothing\n").fails_naming(&["Dockerfile"]);
    fs::remove_file(store.beside("context/Dockerfile")).expect("a file");
    store.call(&["build", "context"]).fails_naming(&["Dockerfile"]);
}
