//! A runtime that is killed before any system call of any of its processes: what was begun can be undone.
//!
//! `KEEL_TESTS_PLACES=all` visits every call (some minutes), otherwise a sample is visited from a seed on.

use keel_tests::stepper::{Fate, Stepped, places, step};
use keel_tests::{Container, eventually, requires};
use serde_json::{Value, json};

/// A program that sleeps, with what makes a creation have more steps: limits, a hook, a filter, a bind mount.
fn rich(config: &mut Value) {
    config["process"]["args"] = json!(["sleep", "100000"]);
    config["process"]["oomScoreAdj"] = json!(100);
    config["linux"]["resources"]["pids"] = json!({"limit": 50});
    config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
    config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]});
    config["hooks"] =
        json!({"createRuntime": [{"path": "/bin/true"}], "poststop": [{"path": "/bin/true"}]});
    let bind = json!({"destination": "/made/mnt", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]});
    config["mounts"].as_array_mut().expect("an array").push(bind);
    config["root"]["readonly"] = json!(false);
}

fn killed_at(container: &Container, at: usize, words: &[&str]) -> Stepped {
    let ended = step(container.command(words), &container.path("io"), at, Fate::Killed);
    assert!(!ended.hung, "{words:?} hangs, killed at {at}: {ended:?}");
    if ended.struck.is_some_and(|(_, main)| !main) {
        // One of its own processes is gone: it has to say so, as soon as it is no program any more: that one's
        // status is all that `exec` tells of it.
        let told = ended.status > 128 || !ended.stderr.is_empty();
        assert!(told || ended.status == 0, "{words:?} killed at {at}: {ended:?}");
        assert_ne!(ended.status, 128 + libc::SIGPIPE, "{words:?} killed at {at}: {ended:?}");
    }
    ended
}

/// Deletes by force; nothing of the container is there then, and the id is free.
fn delete(container: &Container, ended: &Stepped, at: usize) {
    let outcome = container.delete(&["--force"]);
    assert_eq!(outcome.status, 0, "killed at {at}: {ended:?}\n{}", outcome.report());
    let what = format!("nothing is left of what was killed at {at}: {ended:?}");
    // A process may end a moment later by itself.
    eventually(&what, || container.left().is_empty().then_some(()));
}

fn keel(container: &Container) -> bool {
    requires(container.runtime().is("keel"), "the packaged runc and crun are known to leave things")
}

/// Visits the places of a command until it is over before it comes to one.
fn visit(stride: usize, mut round: impl FnMut(usize) -> Stepped) {
    let mut deaths = 0;
    for at in places(stride) {
        if round(at).struck.is_none() {
            break;
        }
        deaths += 1;
    }
    println!("{deaths} places");
    assert!(deaths > 4, "only {deaths} places were visited");
}

/// RT-CRASH-05: `create`, killed before any call of any of its processes, can be deleted by force.
#[test]
fn create_can_be_killed_anywhere() {
    let container = Container::new(rich);
    if !keel(&container) {
        return;
    }
    visit(9, |at| {
        let ended = killed_at(&container, at, &["create", container.id()]);
        delete(&container, &ended, at);
        ended
    });
    container.up();
}

/// RT-CRASH-06: so can a detached `run`.
#[test]
fn run_can_be_killed_anywhere() {
    let container = Container::new(rich);
    if !keel(&container) {
        return;
    }
    visit(9, |at| {
        let ended = killed_at(&container, at, &["run", "--detach", container.id()]);
        delete(&container, &ended, at);
        ended
    });
    container.up();
}

/// RT-CRASH-07: after a `start` that was killed before any call, the container is created and can be started,
/// or runs; it can be deleted by force.
#[test]
fn start_can_be_killed_anywhere() {
    let container = Container::new(rich);
    if !keel(&container) {
        return;
    }
    visit(5, |at| {
        container.create().succeeds();
        let ended = killed_at(&container, at, &["start", container.id()]);
        if container.state()["status"] == "created" {
            let again = container.start();
            // It may have been let go a moment ago.
            assert!(
                again.status == 0 || container.state()["status"] == "running",
                "{at}: {ended:?}"
            );
        }
        container.becomes("running");
        delete(&container, &ended, at);
        ended
    });
}

/// RT-CRASH-08: an `exec` that was killed before any call leaves the container as it was, and no process of
/// the runtime in it.
#[test]
fn exec_can_be_killed_anywhere() {
    let container = Container::new(rich);
    if !keel(&container) {
        return;
    }
    let pid = container.up();
    visit(7, |at| {
        let ended = killed_at(&container, at, &["exec", container.id(), "true"]);
        eventually(&format!("only the program is there: {at}: {ended:?}"), || {
            let inside = container.call(&["ps", "--format", "json", container.id()]).succeeds();
            (inside.json() == json!([pid])).then_some(())
        });
        assert_eq!(container.state()["status"], "running", "{at}: {ended:?}");
        ended
    });
    container.exec(&["true"]).succeeds();
}

/// RT-CRASH-09: a `delete` that was killed before any call can be repeated.
#[test]
fn delete_can_be_killed_anywhere() {
    let container = Container::new(rich);
    if !keel(&container) {
        return;
    }
    visit(5, |at| {
        container.up();
        let ended = killed_at(&container, at, &["delete", "--force", container.id()]);
        delete(&container, &ended, at);
        ended
    });
}
