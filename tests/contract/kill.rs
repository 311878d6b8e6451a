//! `kill`: a signal for the container's program.

use keel_tests::{Container, requires};
use serde_json::json;

/// A container whose program ends with status 40 on the signal that `trap` names.
fn trapping(signal: &str) -> Container {
    let script =
        format!("trap 'exit 40' {signal}; echo ready; while :; do sleep 1 & wait $!; done");
    Container::new(|config| config["process"]["args"] = json!(["sh", "-c", script]))
}

fn wait_ready(created: &keel_tests::Outcome) {
    keel_tests::eventually("the program is ready", || {
        created.stdout_now().contains("ready").then_some(())
    });
}

/// CLI-KILL-01: without a signal it is SIGTERM.
#[test]
fn sends_term_by_default() {
    let container = trapping("TERM");
    let created = container.create().succeeds();
    container.start().succeeds();
    wait_ready(&created);
    container.call(&["kill", container.id()]).succeeds();
    container.becomes("stopped");
}

/// CLI-KILL-02: signals are numbers or names, with or without SIG, in any case.
#[test]
fn takes_every_spelling() {
    for spelling in ["USR1", "SIGUSR1", "usr1", "sigusr1", "10"] {
        let container = trapping("USR1");
        let created = container.create().succeeds();
        container.start().succeeds();
        wait_ready(&created);
        container.kill(spelling).succeeds();
        container.becomes("stopped");
    }
}

/// CLI-KILL-03: an unknown signal is an error that names it and reaches nobody.
#[test]
fn refuses_an_unknown_signal() {
    let container = Container::sleeping(|_| ());
    container.up();
    container.kill("NOSUCH").fails_naming(&["NOSUCH"]);
    assert_eq!(container.state()["status"], "running");
}

/// RT-LIFE-09: killing a stopped container is an error that callers know by its words.
#[test]
fn refuses_a_stopped_container() {
    let container = Container::new(|config| config["process"]["args"] = json!(["true"]));
    container.up_and_over();
    container.kill("KILL").fails_naming(&["container not running"]);
}

/// RT-LIFE-10: killing a container that does not exist is an error.
#[test]
fn refuses_an_unknown_container() {
    let container = Container::new(|_| ());
    container.call(&["kill", "nosuchcontainer", "KILL"]).fails_naming(&["does not exist"]);
}

/// CLI-KILL-04: a created container can be killed.
#[test]
fn kills_a_created_container() {
    let container = Container::sleeping(|_| ());
    container.create().succeeds();
    container.kill("KILL").succeeds();
    container.becomes("stopped");
}

/// CLI-KILL-05: SIGKILL ends every process of a container without a pid namespace of its own.
#[test]
fn kills_all_without_a_pid_namespace() {
    let container = Container::new(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
        namespaces.retain(|namespace| namespace["type"] != "pid");
        config["process"]["args"] =
            json!(["sh", "-c", "sleep 100000 & sleep 100000 & echo ready; wait"]);
    });
    let created = container.create().succeeds();
    container.start().succeeds();
    wait_ready(&created);
    let pid = container.pid();
    let folder = keel_tests::controller_folder(pid, "pids").expect("a pids cgroup");
    let flag = if container.runtime().is("keel") { vec![] } else { vec!["--all"] };
    let mut words = vec!["kill"];
    words.extend(flag);
    words.extend([container.id(), "KILL"]);
    container.call(&words).succeeds();
    keel_tests::eventually("no process is left", || {
        let procs = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        procs.is_empty().then_some(())
    });
}

/// CLI-KILL-06: `--all` is accepted, before the id and with one dash, as CRI-O and podman write it.
#[test]
fn accepts_all() {
    for flag in ["--all", "-a"] {
        let container = Container::sleeping(|_| ());
        container.up();
        container.call(&["kill", flag, container.id(), "KILL"]).succeeds();
        container.becomes("stopped");
    }
}

/// CLI-KILL-07: `--all` makes it no error that the container has stopped, and nothing else.
#[test]
fn all_forgives_a_stopped_container() {
    let container = Container::new(|config| config["process"]["args"] = json!(["true"]));
    container.up_and_over();
    container.call(&["kill", "--all", container.id(), "KILL"]).succeeds();
    container.call(&["kill", "-a", container.id(), "TERM"]).succeeds();
    container.kill("TERM").fails_naming(&["container not running"]);
    container.call(&["kill", "--all", "nosuchcontainer", "KILL"]).fails_naming(&["does not exist"]);
}

/// CLI-KILL-08: what the program of a container without a pid namespace left behind is killed after its end.
#[test]
fn kills_what_a_stopped_program_left() {
    let container = Container::new(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
        namespaces.retain(|namespace| namespace["type"] != "pid");
        config["process"]["args"] = json!(["sh", "-c", "sleep 100005 & read line"]);
    });
    if !requires(container.runtime().is("keel"), "the packaged runc needs --all for it") {
        return;
    }
    container.create().succeeds();
    let pid = container.pid();
    let folder = keel_tests::controller_folder(pid, "pids").expect("a pids cgroup");
    container.start().succeeds();
    container.becomes("stopped");
    let listed = || std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    assert!(!listed().is_empty(), "the program left nothing behind");
    container.kill("KILL").succeeds();
    assert_eq!(listed(), "", "kill returned before they had ended");
}

/// CLI-KILL-09: a signal that asks for the end ends a created container, though nothing of its own runs.
#[test]
fn ends_a_created_container_by_a_polite_signal() {
    for signal in ["TERM", "INT", "HUP"] {
        let container = Container::sleeping(|_| ());
        container.create().succeeds();
        container.kill(signal).succeeds();
        container.becomes("stopped");
    }
}
