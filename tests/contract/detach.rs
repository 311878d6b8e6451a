//! `run --detach`: the command returns, the container goes on.

use std::fs;

use keel_tests::Container;
use serde_json::json;

/// CLI-DETACH-01: the command returns while the program runs.
#[test]
fn returns_while_the_program_runs() {
    for flag in ["--detach", "-d"] {
        let container = Container::sleeping(|_| ());
        container.call(&["run", flag, container.id()]).succeeds();
        assert_eq!(container.state()["status"], "running");
    }
}

/// CLI-DETACH-02: the program keeps the caller's streams.
#[test]
fn keeps_the_streams() {
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["sh", "-c", "echo out; sleep 100000"])
    });
    let outcome = container.call(&["run", "--detach", container.id()]).succeeds();
    keel_tests::eventually("the program writes", || {
        (outcome.stdout_now() == "out\n").then_some(())
    });
}

/// CLI-DETACH-03: a pid file is written before the command returns.
#[test]
fn writes_the_pid_file() {
    let container = Container::sleeping(|_| ());
    let file = container.path("pid").display().to_string();
    container.call(&["run", "--detach", "--pid-file", &file, container.id()]).succeeds();
    assert_eq!(fs::read_to_string(&file).expect("a file"), container.pid().to_string());
}

/// CLI-DETACH-04: no process of the runtime stays behind.
#[test]
fn leaves_no_runtime_process() {
    let container = Container::sleeping(|_| ());
    container.call(&["run", "--detach", container.id()]).succeeds();
    let own = container.pid();
    for entry in fs::read_dir("/proc").expect("proc").flatten() {
        let arguments = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        let pid = entry.file_name().to_string_lossy().into_owned();
        assert!(
            !arguments.contains(container.id()) || pid == own.to_string(),
            "{pid}: {}",
            arguments.replace('\0', " ")
        );
    }
}
