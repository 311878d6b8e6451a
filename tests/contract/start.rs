//! `start`: the program begins, once.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use keel_tests::{Container, requires};
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

/// A created container whose program is the text, and which may have another mode; the start of it.
fn fails_at_start(
    text: &str,
    mode: u32,
    delta: impl FnOnce(&mut serde_json::Value),
    words: &[&str],
) {
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["/bin/program"]);
        delta(config);
    });
    if !requires(
        container.runtime().is("keel"),
        "the packaged runc and crun report no late failure",
    ) {
        return;
    }
    let program = container.rootfs().join("bin/program");
    match text {
        "" => fs::copy("/bin/busybox", &program).map(drop).expect("a program"),
        text => fs::write(&program, text).expect("a file"),
    }
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("chmod");
    let plain = container.rootfs().join("plain");
    fs::write(&plain, "text").expect("a file");
    fs::set_permissions(&plain, fs::Permissions::from_mode(mode)).expect("chmod");
    let created = container.create().succeeds();
    // As long as it is open for writing here, the kernel does not execute it.
    let held = (mode == 0).then(|| fs::OpenOptions::new().append(true).open(&program));
    container.start().fails_naming(words);
    drop(held);
    container.becomes("stopped");
    let own = fs::read_to_string(created.stderr_path()).expect("the container's standard error");
    let reason = words.first().expect("a word").rsplit(": ").next().unwrap_or_default();
    assert!(own.to_lowercase().contains(reason), "the container's own: {own}");
    container.start().fails_naming(&["cannot start a container that has stopped"]);
}

/// CLI-START-01: a program that is no program fails `start` with create's words, and the container's stderr has a line.
#[test]
fn tells_what_is_no_program() {
    let words = ["unable to start container process: exec /bin/program: exec format error", "hint"];
    fails_at_start("no program\n", 0o644, |_| (), &words);
}

/// CLI-START-02: so does a missing interpreter.
#[test]
fn tells_of_a_missing_interpreter() {
    let words = ["exec /bin/program: no such file or directory", "the interpreter it names is not"];
    fails_at_start("#!/nosuch/shell\n", 0o644, |_| (), &words);
}

/// CLI-START-03: so does an interpreter that may not be executed.
#[test]
fn tells_of_an_interpreter_without_permission() {
    let words = ["exec /bin/program: permission denied", "noexec"];
    fails_at_start("#!/plain\n", 0o644, |_| (), &words);
}

/// CLI-START-04: so does a program that is open for writing.
#[test]
fn tells_of_a_busy_program() {
    let words = ["exec /bin/program: text file busy", "open for writing"];
    fails_at_start("", 0, |_| (), &words);
}

/// CLI-START-05: so does a variable that is longer than the kernel takes.
#[test]
fn tells_of_too_much_environment() {
    let long = format!("LONG={}", "x".repeat(200 << 10));
    let delta = |config: &mut serde_json::Value| config["process"]["env"] = json!([long]);
    fails_at_start("", 0o644, delta, &["exec /bin/program: argument list too long", "process.env"]);
}

fn seccomp(action: &str) -> serde_json::Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["execve", "execveat"], "action": action}],
    })
}

/// CLI-START-06: so does a seccomp filter that denies execve.
#[test]
fn tells_of_a_denied_execve() {
    let delta = |config: &mut serde_json::Value| {
        config["linux"]["seccomp"] = seccomp("SCMP_ACT_ERRNO");
    };
    fails_at_start("", 0o644, delta, &["exec /bin/program: operation not permitted", "seccomp"]);
}

/// CLI-START-07: so does a seccomp filter that kills who calls execve, though nobody is left to say so.
#[test]
fn tells_of_a_deadly_execve() {
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["true"]);
        config["linux"]["seccomp"] = seccomp("SCMP_ACT_KILL_PROCESS");
    });
    if !requires(
        container.runtime().is("keel"),
        "the packaged runc and crun report no late failure",
    ) {
        return;
    }
    container.create().succeeds();
    container.start().fails_naming(&["unable to start container process", "linux.seccomp kills"]);
    container.becomes("stopped");
}

/// CLI-START-08: a failing startContainer hook fails `start`, which names it.
#[test]
fn tells_of_a_failing_hook() {
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["true"]);
        let hook = json!({"path": "/bin/busybox", "args": ["false"]});
        config["hooks"] = json!({"startContainer": [hook]});
    });
    if !requires(
        container.runtime().is("keel"),
        "the packaged runc and crun report no late failure",
    ) {
        return;
    }
    container.create().succeeds();
    container.start().fails_naming(&["startContainer hook #0: /bin/busybox: exit status 1"]);
    container.becomes("stopped");
}
