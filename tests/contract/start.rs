//! `start`: the program begins, once.

use keel_tests::Container;
use serde_json::json;

/// RT-LIFE-02: `start` runs the program of the configuration, with the caller's streams of `create`.
#[test]
fn runs_the_program() {
    let container = Container::new(|config| config["process"]["args"] = json!(["echo", "started"]));
    let created = container.create().succeeds();
    assert_eq!(created.stdout_now(), "");
    container.start().succeeds();
    container.becomes("stopped");
    assert_eq!(created.stdout_now(), "started\n");
}

/// RT-LIFE-03: starting a running container fails and does not disturb it.
#[test]
fn refuses_a_running_container() {
    let container = Container::sleeping(|_| ());
    let pid = container.up();
    container.start().fails_naming(&["cannot start an already running container"]);
    assert_eq!(container.pid(), pid);
}

/// RT-LIFE-04: starting a stopped container fails.
#[test]
fn refuses_a_stopped_container() {
    let container = Container::new(|config| config["process"]["args"] = json!(["true"]));
    container.create().succeeds();
    container.start().succeeds();
    container.becomes("stopped");
    container.start().fails_naming(&["cannot start a container that has stopped"]);
}

/// RT-LIFE-05: starting a container that does not exist fails and says so.
#[test]
fn refuses_an_unknown_container() {
    let container = Container::new(|_| ());
    container.call(&["start", "nosuchcontainer"]).fails_naming(&["container does not exist"]);
}

/// RT-LIFE-06: a failed `start` of a program leaves its text on the container's stderr or the command's.
#[test]
fn a_program_that_cannot_be_executed_is_an_error() {
    let container = Container::new(|config| config["process"]["args"] = json!(["/bin/text"]));
    let text = container.rootfs().join("bin/text");
    std::fs::write(&text, "no program\n").expect("a file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&text, mode).expect("chmod");
    let outcome = container.run();
    assert_ne!(outcome.status, 0, "{}", outcome.report());
    outcome.says(&["exec format error"]);
    container.assert_nothing_left();
}
