//! The labs: what courses on Docker do, on Docker Engines whose default runtime is keel, and on Podman. Each is a script to
//! be read.

use std::process::{Command, Stdio};

use keel_tests::{fixture, program, project_root, tool};

/// On Debian 12's engine.
fn lab(name: &str) {
    lab_on("engine", "", name);
}

fn lab_on(stage: &str, engine: &str, name: &str) {
    // A lab takes ten seconds, that of the swarm more than a minute.
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", "400"]).arg(project_root().join("tests/labs").join(stage));
    command.arg(project_root().join("tests/labs").join(name).with_extension("sh"));
    command.env("ENGINE", engine).env("KEEL", program("keel"));
    command.env("FIXTURES", fixture("busybox.tar").parent().expect("a folder"));
    if !engine.is_empty() {
        command.env("TOOLS", tool("engine").parent().expect("a folder"));
        command.env("KEEL_SHIM", program("containerd-shim-keel-v2"));
    }
    let output = command.stdin(Stdio::null()).output().expect("timeout");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} on {stage} {engine}: {}:\n{said}", output.status);
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
    lab_on("podman", "", "pods");
}

/// LAB-10: Podman of an ordinary user: containers, networks, pods and builds.
#[test]
fn user() {
    lab_on("podman", "", "user");
}

const LESSONS: [&str; 7] =
    ["first", "terminal", "networks", "volumes", "images", "operation", "compose"];

/// LAB-11: all of LAB-01 to LAB-07 on the newest engine.
#[test]
fn newest_engine() {
    for name in LESSONS {
        lab_on("engine", "newest", name);
    }
}

/// LAB-12: and on that engine with keel's shim.
#[test]
fn newest_engine_by_shim() {
    for name in LESSONS {
        lab_on("engine", "shim", name);
    }
}

/// LAB-13: and so does the swarm.
#[test]
fn swarm_by_shim() {
    lab_on("engine", "shim", "swarm");
}

/// LAB-14: the engine's own BuildKit finds keel as `runc`: mounts, networks, cache, faults, a build that is given up.
#[test]
fn builds() {
    lab_on("engine", "newest", "builds");
}

/// LAB-15: keel's shim is taken by its type, its path and with options, beside containerd's own.
#[test]
fn shims() {
    lab_on("engine", "shim", "shims");
}

/// LAB-16: containers outlive an engine that is killed, and are those of the next one.
#[test]
fn outlive() {
    for engine in ["", "newest", "shim"] {
        lab_on("engine", engine, "outlive");
    }
}
