//! `hooks`: when they run, what they are given, what their failure means.

use std::fs;

use keel_tests::{Container, requires};
use serde_json::{Value, json};

/// A hook that appends its name and the state it reads to a file on the host.
fn logging(container: &Container, name: &str) -> Value {
    let log = container.path("hooks.log").display().to_string();
    let script = format!("printf '{name} ' >> {log}; cat >> {log}; echo >> {log}");
    json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]})
}

fn failing() -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", "cat > /dev/null; echo from the hook >&2; exit 9"]})
}

fn set(container: &Container, hooks: Value) {
    container.change(|config| config["hooks"] = hooks);
}

/// Name and state of each line of the log, without those that ran inside the container.
fn log(container: &Container) -> Vec<(String, Value)> {
    let text = fs::read_to_string(container.path("hooks.log")).unwrap_or_default();
    text.lines()
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (name, state) = line.split_once(' ').expect("a name and a state");
            (name.to_owned(), state.parse().unwrap_or_else(|error| panic!("{line}: {error}")))
        })
        .collect()
}

/// RT-HOOK-01: hooks run in the order of the specification, each with the state on stdin.
#[test]
fn run_in_order_with_the_state() {
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["true"]);
        config["annotations"] = json!({"a": "b"});
    });
    set(
        &container,
        json!({
            "prestart": [logging(&container, "prestart")],
            "createRuntime": [logging(&container, "createRuntime"), logging(&container, "second")],
            "poststart": [logging(&container, "poststart")],
            "poststop": [logging(&container, "poststop")],
        }),
    );
    container.create().succeeds();
    let pid = container.pid();
    container.start().succeeds();
    container.becomes("stopped");
    container.delete(&[]).succeeds();
    let log = log(&container);
    let names: Vec<&str> = log.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["prestart", "createRuntime", "second", "poststart", "poststop"]);
    for (name, state) in &log {
        assert_eq!(state["id"], container.id(), "{name}");
        assert_eq!(state["bundle"], container.bundle().display().to_string(), "{name}");
        assert_eq!(state["annotations"]["a"], "b", "{name}");
        assert!(state["ociVersion"].is_string(), "{name}");
    }
    for (name, state) in &log[..3] {
        assert_eq!(state["status"], "creating", "{name}");
        assert_eq!(state["pid"], pid, "{name}");
    }
    // The packaged runc runs poststart hooks before the program: see specs/deviations.md.
    if !container.runtime().is("runc") {
        assert_eq!(log[3].1["status"], "running");
    }
    assert_eq!(log[4].1["status"], "stopped");
}

/// RT-HOOK-02: createContainer and startContainer run in the container's namespaces.
#[test]
fn container_hooks_run_inside() {
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["sh", "-c", "cat /seen-create /seen-start"]);
        config["root"]["readonly"] = json!(false);
        config["hostname"] = json!("inside");
    });
    let rootfs = container.rootfs().display().to_string();
    let create = format!("cat > /dev/null; readlink /proc/self/ns/mnt > {rootfs}/seen-create");
    set(
        &container,
        json!({
            // Resolved on the host, before the root is changed.
            "createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", create], "env": ["PATH=/usr/bin:/bin"]}],
            // Resolved in the container.
            "startContainer": [{"path": "/bin/busybox", "args": ["sh", "-c", "cat > /dev/null; hostname > /seen-start"], "env": ["PATH=/bin"]}],
        }),
    );
    let outcome = container.run().succeeds();
    let host = fs::read_link("/proc/self/ns/mnt").expect("a namespace").display().to_string();
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{}", outcome.report());
    assert!(lines[0].starts_with("mnt:[") && lines[0] != host, "{}", outcome.report());
    assert_eq!(lines[1], "inside");
}

/// RT-HOOK-03: a failing hook before the start makes `create` fail, names the hook, and leaves nothing.
#[test]
fn a_failing_hook_fails_create() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let container = Container::sleeping(|_| ());
        set(&container, json!({kind: [failing()]}));
        container.create().fails_naming(&["hook"]);
        container.assert_nothing_left();
    }
}

/// RT-HOOK-04: a failing startContainer hook keeps the program from running.
#[test]
fn a_failing_start_hook_stops_the_start() {
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["touch", "/ran"]);
        config["root"]["readonly"] = json!(false);
    });
    let hook = json!({"path": "/bin/busybox", "args": ["false"]});
    set(&container, json!({"startContainer": [hook]}));
    let outcome = container.run();
    assert_ne!(outcome.status, 0, "{}", outcome.report());
    assert!(!container.rootfs().join("ran").exists());
    container.assert_nothing_left();
}

/// RT-HOOK-05: a failing poststop hook does not keep the container from being deleted.
#[test]
fn a_failing_poststop_hook_only_warns() {
    let container = Container::new(|config| config["process"]["args"] = json!(["true"]));
    set(&container, json!({"poststop": [failing(), logging(&container, "after")]}));
    container.up_and_over();
    container.delete(&[]);
    container.assert_nothing_left();
}

/// RT-HOOK-06: a hook that takes longer than its timeout is ended and is an error.
#[test]
fn a_timeout_ends_the_hook() {
    let container = Container::sleeping(|_| ());
    set(
        &container,
        json!({"createRuntime": [
        {"path": "/bin/sleep", "args": ["sleep", "100002"], "timeout": 1}]}),
    );
    container.create().fails_naming(&["hook"]);
    container.assert_nothing_left();
}

/// RT-HOOK-07: a hook gets the arguments and the environment of the configuration, and no other.
#[test]
fn hooks_get_their_own_environment() {
    let container = Container::new(|config| config["process"]["args"] = json!(["true"]));
    let log = container.path("env.log").display().to_string();
    let script = format!("cat > /dev/null; (echo \"$0 $1\"; env) > {log}");
    set(
        &container,
        json!({"createRuntime": [
        {"path": "/bin/sh", "args": ["zero", "-c", script, "a0", "a1"], "env": ["ONLY=this"]}]}),
    );
    let mut command = container.command(&["run", container.id()]);
    command.env("KEEL_TESTS_CALLER", "leaks");
    container.finish(command).succeeds();
    let seen = fs::read_to_string(&log).expect("the hook ran");
    assert!(seen.starts_with("a0 a1\n"), "{seen}");
    assert!(seen.contains("ONLY=this"), "{seen}");
    assert!(!seen.contains("KEEL_TESTS_CALLER"), "{seen}");
}

/// RT-HOOK-08: a relative path of a hook is an error.
#[test]
fn refuses_a_relative_path() {
    let container = Container::sleeping(|_| ());
    set(&container, json!({"createRuntime": [{"path": "bin/true"}]}));
    container.create().exits(1);
    container.assert_nothing_left();
}

/// RT-HOOK-09: a hook whose configuration names no environment gets the runtime's in the runtime's
/// namespaces, and not the process's in the container's (CVE-2025-23266).
#[test]
fn hooks_without_an_environment() {
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["true"]);
        config["process"]["env"] = json!(["PATH=/bin", "KEEL_TESTS_IMAGE=leaks"]);
    });
    let dump = |name: &str| {
        let log = container.path(name).display().to_string();
        let script = format!("cat > /dev/null; env > {log}");
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}])
    };
    set(
        &container,
        json!({"createRuntime": dump("runtime.log"), "createContainer": dump("container.log")}),
    );
    let mut command = container.command(&["run", container.id()]);
    command.env("KEEL_TESTS_CALLER", "here");
    container.finish(command).succeeds();
    let read = |name: &str| fs::read_to_string(container.path(name)).expect("the hook ran");
    assert!(read("runtime.log").contains("KEEL_TESTS_CALLER=here"), "{}", read("runtime.log"));
    if requires(container.runtime().is("keel"), "runc 1.1.5 hands on the process's environment") {
        assert!(!read("container.log").contains("KEEL_TESTS_IMAGE"), "{}", read("container.log"));
    }
}

/// RT-HOOK-10: hooks run in the bundle's folder, but those of createContainer in the rootfs, where they
/// see the container's mounts, procfs with the container's processes among them.
#[test]
fn hooks_run_in_the_bundle() {
    let container = Container::new(|config| config["process"]["args"] = json!(["true"]));
    if !requires(container.runtime().is("keel"), "runc 1.1.5 shows createContainer no procfs") {
        return;
    }
    let log = |name: &str| container.path(name).display().to_string();
    let script = |name: &str, test: &str| {
        let script = format!("cat > /dev/null; pwd > {0}; {test} && echo yes >> {0}", log(name));
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}])
    };
    set(
        &container,
        json!({
            "createRuntime": script("runtime.log", "true"),
            "createContainer": script("container.log", "test -e proc/self"),
        }),
    );
    container.run().succeeds();
    let folders = [("runtime.log", container.bundle()), ("container.log", &container.rootfs())];
    for (name, folder) in folders {
        let expected = format!("{}\nyes\n", folder.display());
        assert_eq!(fs::read_to_string(log(name)).expect("the hook ran"), expected, "{name}");
    }
}

/// RT-HOOK-15: the error names the point and the number of the hook, how it ended and what it wrote.
#[test]
fn the_error_says_which_hook_and_why() {
    for point in ["createRuntime", "createContainer", "startContainer", "poststart"] {
        let container = Container::sleeping(|_| ());
        if !requires(container.runtime().is("keel"), "runc 1.1.5 does not name the point") {
            return;
        }
        let script = "cat > /dev/null; echo why it fails >&2; exit 9";
        let hook =
            json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]});
        let fine = json!({"path": "/bin/sh", "args": ["sh", "-c", "cat > /dev/null"], "env": ["PATH=/bin:/usr/bin"]});
        set(&container, json!({point: [fine, hook]}));
        let place = format!("error running {point} hook #1: ");
        container.run().fails_naming(&[&place, "exit status 9", "why it fails"]);
        container.assert_nothing_left();
    }
}

/// RT-HOOK-11: a poststop hook runs whatever became of those before it.
#[test]
fn every_poststop_hook_runs() {
    let container = Container::new(|config| config["process"]["args"] = json!(["true"]));
    if !requires(container.runtime().is("keel"), "runc 1.1.5 stops at the first that fails") {
        return;
    }
    set(&container, json!({"poststop": [failing(), logging(&container, "after")]}));
    container.up_and_over();
    container.delete(&[]);
    assert_eq!(log(&container).len(), 1, "the second hook did not run");
}

/// RT-HOOK-16: the poststop hooks of a container that did not come to be are run.
#[test]
fn poststop_hooks_follow_a_failed_creation() {
    let points = ["prestart", "createRuntime", "createContainer"];
    let hooked = |point: &str, container: &Container| {
        let mut hooks = json!({"poststop": [logging(container, point)]});
        hooks[point] = json!([failing()]);
        set(container, hooks);
    };
    for point in points {
        let container = Container::sleeping(|_| ());
        hooked(point, &container);
        container.create().fails_naming(&["hook"]);
        let log = log(&container);
        assert_eq!(log.len(), 1, "{point}: {log:?}");
        assert_eq!(log[0].1["status"], "stopped", "{point}");
        container.assert_nothing_left();
    }
    let container = Container::new(|config| config["process"]["args"] = json!(["/no-such"]));
    set(&container, json!({"poststop": [logging(&container, "poststop")]}));
    container.run().fails_naming(&["no-such"]);
    assert_eq!(log(&container).len(), 1, "a program that is not there");
}

/// RT-HOOK-12: a failing poststart hook makes `start` fail and ends the container's life.
#[test]
fn a_failing_poststart_hook_ends_the_container() {
    let container = Container::sleeping(|_| ());
    if !requires(container.runtime().is("keel"), "runc 1.1.5 leaves a stopped container behind") {
        return;
    }
    set(&container, json!({"poststart": [failing()]}));
    container.create().succeeds();
    container.start().fails_naming(&["poststart hook #0", "from the hook"]);
    container.assert_nothing_left();
}

/// RT-HOOK-13: a hook has no descriptor beyond its standard streams, whatever the caller left open.
#[test]
fn hooks_get_no_descriptors() {
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["cat", "/seen"]);
        config["root"]["readonly"] = json!(false);
    });
    if !requires(container.runtime().is("keel"), "runc 1.1.5 hands on what its caller left open") {
        return;
    }
    let list = |shell: &str, path: &str| {
        let script = format!("cat > /dev/null; {shell} ls -1 /proc/self/fd > {path}");
        json!({"path": format!("/bin/{}", if shell.is_empty() { "sh" } else { shell }),
            "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]})
    };
    let log = container.path("fds").display().to_string();
    set(
        &container,
        json!({"createRuntime": [list("", &log)], "startContainer": [list("busybox", "/seen")]}),
    );
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "exec 7</etc/passwd; exec \"$@\"", "sh"]);
    let run = container.command(&["run", container.id()]);
    shell.arg(run.get_program()).args(run.get_args()).current_dir(container.bundle());
    let seen = container.finish(shell).succeeds().stdout;
    // The fourth is the folder that is being listed.
    for seen in [seen, fs::read_to_string(log).unwrap_or_default()] {
        assert_eq!(seen, "0\n1\n2\n3\n");
    }
}

/// RT-HOOK-14: a hook of startContainer has the process's environment where the configuration names none,
/// is told the status `created`, and is ended by its timeout.
#[test]
fn start_hooks_have_their_surroundings() {
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["cat", "/seen"]);
        config["process"]["env"] = json!(["PATH=/bin", "KEEL_TESTS_OWN=here"]);
        config["root"]["readonly"] = json!(false);
    });
    let script = "cat > /seen; echo; echo \"$KEEL_TESTS_OWN\" >> /seen";
    let hook = json!({"path": "/bin/busybox", "args": ["sh", "-c", script]});
    set(&container, json!({"startContainer": [hook]}));
    let seen = container.run().succeeds().stdout;
    assert!(seen.contains("\"status\":\"created\"") && seen.ends_with("here\n"), "{seen}");
    let hook = json!({"path": "/bin/busybox", "args": ["sleep", "100003"], "timeout": 1});
    set(&container, json!({"startContainer": [hook]}));
    let outcome = container.run();
    assert_ne!(outcome.status, 0, "{}", outcome.report());
    container.assert_nothing_left();
}

/// RT-HOOK-17: a hook that reads nothing of its input, however long that is, and one that leaves a process behind
/// that writes on, are no obstacle; the timeout is one of the whole hook, not from line to line.
#[test]
fn hooks_need_not_read_and_may_leave_things() {
    let container = Container::sleeping(|config| {
        config["annotations"] = json!({"long": "x".repeat(300_000)});
    });
    let reading = json!({"path": "/bin/sh", "args": ["sh", "-c", "test $(wc -c) -gt 300000"]});
    let deaf = json!({"path": "/bin/true"});
    let closing = json!({"path": "/bin/sh", "args": ["sh", "-c", "exec 0<&-; sleep 0.2"]});
    let leaving = json!({"path": "/bin/sh", "args": ["sh", "-c", "timeout 5 yes & exit 0"]});
    for hook in [&deaf, &closing, &reading, &leaving] {
        if hook == &leaving
            && !requires(container.runtime().is("keel"), "runc waits for the pipe's end")
        {
            continue;
        }
        set(&container, json!({"createRuntime": [hook, hook], "poststop": [hook]}));
        container.create().succeeds();
        container.delete(&["--force"]).succeeds();
    }
    let talking = json!({"path": "/bin/sh", "timeout": 1,
        "args": ["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do echo word; sleep 0.5; done"]});
    set(&container, json!({"createRuntime": [talking]}));
    container.create().fails_naming(&["hook"]);
    container.assert_nothing_left();
}
