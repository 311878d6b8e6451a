//! The labs: what courses on Docker do, on a Docker Engine whose default runtime is keel, and on Podman. Each is a script to
//! be read.

use std::process::{Command, Stdio};

use keel_tests::{fixture, program, project_root};

fn lab(name: &str) {
    lab_on("engine", name);
}

fn lab_on(stage: &str, name: &str) {
    // A lab takes ten seconds, that of the swarm more than a minute.
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", "400"]).arg(project_root().join("tests/labs").join(stage));
    command.arg(project_root().join("tests/labs").join(name).with_extension("sh"));
    command.env("KEEL", program("keel"));
    command.env("FIXTURES", fixture("busybox.tar").parent().expect("a folder"));
    let output = command.stdin(Stdio::null()).output().expect("timeout");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}:\n{said}", output.status);
}

/// LAB-01: containers are run, looked at, entered, stopped and removed, with Docker's exit codes.
#[test]
fn first() {
    lab("first");
}

/// LAB-02: interactive shells, left by their detach keys and entered again.
#[test]
fn terminal() {
    lab("terminal");
}

/// LAB-03: published ports, links, names on networks of one's own, none, host, connect and disconnect.
#[test]
fn networks() {
    lab("networks");
}

/// LAB-04: volumes, folders of the host, volumes of others, memory, read-only roots.
#[test]
fn volumes() {
    lab("volumes");
}

/// LAB-05: diff, cp, commit, build with its cache, tag, push to and pull from a registry, save and load.
#[test]
fn images() {
    lab("images");
}

/// LAB-06: stats, top, update, pause, want of memory, restart policies, health checks.
#[test]
fn operation() {
    lab("operation");
}

/// LAB-07: two services that know each other by name, scaled, entered and taken down.
#[test]
fn compose() {
    lab("compose");
}

/// LAB-08: three engines: services are scaled, updated and rolled back, and tasks of a dead node run elsewhere.
#[test]
fn swarm() {
    lab("swarm");
}

/// LAB-09: Podman's containers, pods and builds.
#[test]
fn pods() {
    lab_on("podman", "pods");
}

/// LAB-10: Podman of an ordinary user: containers, networks, pods and builds.
#[test]
fn user() {
    lab_on("podman", "user");
}
