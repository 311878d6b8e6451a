//! `run`: create, start, wait, delete.

use keel_tests::Container;
use serde_json::json;

/// CLI-RUN-01: the status is the program's.
#[test]
fn returns_the_programs_status() {
    for status in [0, 1, 42, 255] {
        let container = Container::new(|config| {
            config["process"]["args"] = json!(["/bin/probe", "exit", status.to_string()]);
        });
        container.run().exits(status);
        container.assert_nothing_left();
    }
}

/// CLI-RUN-02: a program that a signal ended gives 128 and the signal's number.
#[test]
fn returns_128_and_the_signal() {
    for (signal, status) in [("9", 137), ("15", 143), ("6", 134)] {
        // Without a pid namespace the program is no init, and a signal to itself ends it.
        let container = Container::new(|config| {
            let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
            namespaces.retain(|namespace| namespace["type"] != "pid");
            config["process"]["args"] = json!(["/bin/probe", "raise", signal]);
        });
        container.run().exits(status);
        container.assert_nothing_left();
    }
}

/// CLI-RUN-03: stdin, stdout and stderr are the caller's.
#[test]
fn passes_the_streams() {
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["sh", "-c", "cat; echo err >&2"])
    });
    let command = container.command(&["run", container.id()]);
    let outcome = container.finish_with_input(command, "through\n").succeeds();
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("through\n", "err\n"));
}

/// CLI-RUN-04: the container is gone when the command returns, unless `--keep` is given.
#[test]
fn keep_keeps_the_container() {
    let container = Container::new(|config| config["process"]["args"] = json!(["true"]));
    container.run().succeeds();
    container.assert_nothing_left();
    if container.runtime().is("crun") {
        // crun 1.8 knows the flag, but not in every build.
        return;
    }
    container.call(&["run", "--keep", container.id()]).succeeds();
    assert_eq!(container.state()["status"], "stopped");
}

/// CLI-RUN-05: a signal to the command is passed on to the program.
#[test]
fn forwards_signals() {
    let script = "trap 'echo got; exit 7' TERM; echo ready; while :; do sleep 1 & wait $!; done";
    let container =
        Container::new(|config| config["process"]["args"] = json!(["sh", "-c", script]));
    let stdout = container.path("io/run.stdout");
    let mut command = container.command(&["run", container.id()]);
    command.stdin(std::process::Stdio::null());
    command.stdout(std::fs::File::create(&stdout).expect("a file"));
    let mut child = command.spawn().expect("the runtime starts");
    keel_tests::eventually("the program is ready", || {
        std::fs::read_to_string(&stdout).is_ok_and(|text| text.contains("ready")).then_some(())
    });
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
    let status = keel_tests::eventually("the run ends", || child.try_wait().expect("a child"));
    assert_eq!(status.code(), Some(7));
    assert!(std::fs::read_to_string(&stdout).expect("a file").contains("got"));
}

/// CLI-RUN-06: many short containers in a row all end, with nothing left.
#[test]
fn many_short_runs_end() {
    let container = Container::new(|config| config["process"]["args"] = json!(["true"]));
    for _ in 0..25 {
        container.run().succeeds();
    }
    container.assert_nothing_left();
}

/// CLI-RUN-07: orphans of the program do not keep the command from returning.
#[test]
fn orphans_end_with_the_program() {
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["sh", "-c", "(sleep 100000 &) ; exit 3"]);
    });
    container.run().exits(3);
    container.assert_nothing_left();
}
