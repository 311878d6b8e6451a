//! The commands of one container's life, word for word as orchestrators were recorded to give them.

use std::fs;

use keel_tests::{Container, Outcome, executes};
use serde_json::json;

/// A caller's words with the container's own paths in them.
fn say(container: &Container, words: &str) -> Outcome {
    let bundle = container.bundle().display().to_string();
    let line = words.replace("BUNDLE", &bundle).replace("ID", container.id());
    let words: Vec<&str> = line.split(' ').collect();
    container.call(&words)
}

const SHIM: &str = "--log BUNDLE/log.json --log-format json";

/// RT-REAL-07: Docker and containerd's shim: create, start, exec, kill, delete, and a last delete by force.
#[test]
fn containerds_shim() {
    let container = Container::sleeping(|_| ());
    say(&container, &format!("{SHIM} create --bundle BUNDLE --pid-file BUNDLE/init.pid ID"))
        .succeeds();
    say(&container, &format!("{SHIM} start ID")).succeeds();
    let pid = fs::read_to_string(container.path("init.pid")).expect("a pid file");
    assert_eq!(pid, container.pid().to_string());
    let process = json!({"args": ["sleep", "100003"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
    fs::write(container.path("process"), process.to_string()).expect("a file");
    let exec =
        format!("{SHIM} exec --process BUNDLE/process --detach --pid-file BUNDLE/exec.pid ID");
    say(&container, &exec).succeeds();
    let exec = fs::read_to_string(container.path("exec.pid")).expect("a pid file");
    executes(&exec, &["sleep", "100003"]);
    say(&container, &format!("{SHIM} kill ID 9")).succeeds();
    container.becomes("stopped");
    say(&container, &format!("{SHIM} delete ID")).succeeds();
    say(&container, &format!("{SHIM} delete --force ID")).succeeds();
    container.assert_nothing_left();
}

/// RT-REAL-08: the kubelet's containerd ends a pod's containers with `kill --all ID 9`.
#[test]
fn containerds_cri() {
    let container = Container::sleeping(|_| ());
    say(&container, &format!("{SHIM} create --bundle BUNDLE --pid-file BUNDLE/init.pid ID"))
        .succeeds();
    say(&container, &format!("{SHIM} start ID")).succeeds();
    say(&container, &format!("{SHIM} kill --all ID 9")).succeeds();
    container.becomes("stopped");
    say(&container, &format!("{SHIM} delete ID")).succeeds();
    container.assert_nothing_left();
}

/// RT-REAL-09: conmon and Podman: the same life with flags behind equals signs.
#[test]
fn podmans_conmon() {
    let container = Container::sleeping(|_| ());
    let create = "--log-format=json --log BUNDLE/oci-log create --bundle BUNDLE --pid-file BUNDLE/pidfile ID";
    say(&container, create).succeeds();
    say(&container, "start ID").succeeds();
    assert_eq!(container.state()["status"], "running");
    say(&container, "kill ID 9").succeeds();
    container.becomes("stopped");
    say(&container, "delete --force ID").succeeds();
    container.assert_nothing_left();
}

/// RT-REAL-10: when create fails, the shim finds the error as the last record of the log, and delete by force cleans up.
#[test]
fn a_failed_create_is_told_and_cleaned() {
    let container = Container::new(|config| config["process"]["args"] = json!(["nosuchprogram"]));
    say(&container, &format!("{SHIM} create --bundle BUNDLE --pid-file BUNDLE/init.pid ID"))
        .exits(1);
    let log = fs::read_to_string(container.path("log.json")).expect("a log");
    let last = log.lines().last().expect("a record");
    assert!(
        last.contains("\"level\":\"error\"") && last.contains("executable file not found"),
        "{log}"
    );
    say(&container, &format!("{SHIM} delete --force ID")).succeeds();
    container.assert_nothing_left();
}
