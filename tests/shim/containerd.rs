//! The shim under Debian's containerd, as people use it: by `ctr`, with an image that keel-image saved.

use std::fs;

use keel_tests::{ContainerdOfShims, IMAGE, eventually};
use rustix::process::{Pid, Signal, kill_process};

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL).expect("a signal");
}

/// SHIM-CTR-01: `ctr run --rm` runs a program: its output, its error stream, its exit status; nothing stays.
#[test]
fn runs_a_program() {
    let containerd = ContainerdOfShims::start();
    let outcome =
        containerd.run(&["--rm"], "run1", &["/bin/sh", "-c", "echo out; echo err >&2; exit 7"]);
    let outcome = outcome.exits(7);
    assert_eq!(outcome.stdout, "out\n");
    assert!(outcome.stderr.contains("err\n"), "{}", outcome.report());
    containerd.run(&["--rm"], "run1", &["/bin/true"]).succeeds();
}

/// SHIM-CTR-02: standard input arrives, and its end does too.
#[test]
fn hands_input_over() {
    let containerd = ContainerdOfShims::start();
    let text = "line\n".repeat(50_000);
    let args = ["run", "--rm", "--runtime", containerd.runtime(), IMAGE, "in1", "/bin/cat"];
    let outcome = containerd.ctr_with(&args, Some(&text)).succeeds();
    assert!(outcome.stdout == text, "{} of {} bytes came back", outcome.stdout.len(), text.len());
}

/// SHIM-CTR-03: a program that is not there is told in the runtime's words, once, and nothing stays.
#[test]
fn tells_what_cannot_be_run() {
    let containerd = ContainerdOfShims::start();
    let outcome = containerd.run(&["--rm"], "bad1", &["/no/such"]).exits(1);
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    outcome.says(&["exec: \"/no/such\": stat /no/such: no such file or directory"]);
    assert_eq!(
        said.matches("stat /no/such").count(),
        1,
        "the container's stream is no place for it: {said}"
    );
    assert_eq!(containerd.ctr(&["task", "ls", "-q"]).succeeds().stdout, "");
}

/// SHIM-CTR-04: the life of a detached task: status, pause, resume, ps, metrics, kill, delete.
#[test]
fn a_task_lives_its_life() {
    let containerd = ContainerdOfShims::start();
    containerd.run(&["-d"], "life1", &["/bin/sleep", "100000"]).succeeds();
    assert_eq!(containerd.status("life1"), "RUNNING");
    containerd.ctr(&["task", "pause", "life1"]).succeeds();
    assert_eq!(containerd.status("life1"), "PAUSED");
    containerd.ctr(&["task", "resume", "life1"]).succeeds();
    assert_eq!(containerd.status("life1"), "RUNNING");
    let ps = containerd.ctr(&["task", "ps", "life1"]).succeeds().stdout;
    assert_eq!(ps.lines().count(), 2, "a head and one process: {ps}");
    let metrics = containerd.ctr(&["task", "metrics", "life1"]).succeeds().stdout;
    let pids = metrics.lines().find(|line| line.starts_with("pids.current"));
    assert_eq!(pids.and_then(|line| line.split_whitespace().nth(1)), Some("1"), "{metrics}");
    containerd.ctr(&["task", "kill", "-s", "KILL", "life1"]).succeeds();
    eventually("the task stops", || (containerd.status("life1") == "STOPPED").then_some(()));
    containerd.ctr(&["task", "delete", "life1"]).succeeds().says(&["exit code 137"]);
    assert_eq!(containerd.status("life1"), "");
}

/// SHIM-CTR-05: processes are added to a task: output, input and exit status are their own.
#[test]
fn adds_processes() {
    let containerd = ContainerdOfShims::start();
    containerd.run(&["-d"], "exec1", &["/bin/sleep", "100000"]).succeeds();
    let exec = |id: &str, words: &[&str], input: Option<&str>| {
        let mut args = vec!["task", "exec", "--exec-id", id, "exec1"];
        args.extend(words);
        containerd.ctr_with(&args, input)
    };
    let outcome = exec("e1", &["/bin/sh", "-c", "echo in $$; exit 3"], None).exits(3);
    assert!(outcome.stdout.starts_with("in "), "{}", outcome.report());
    assert_eq!(exec("e1", &["/bin/cat"], Some("typed")).succeeds().stdout, "typed");
    exec("e2", &["/no/such"], None).exits(1).says(&["no such file or directory"]);
    assert_eq!(containerd.status("exec1"), "RUNNING");
}

/// SHIM-CTR-06: a terminal stands between the program and the client.
#[test]
fn gives_a_terminal() {
    let containerd = ContainerdOfShims::start();
    containerd.run(&["-d"], "tty1", &["/bin/sleep", "100000"]).succeeds();
    // script(1) gives ctr a terminal of its own.
    let ctr = format!(
        "{:?}",
        containerd.command(&["task", "exec", "-t", "--exec-id", "t", "tty1", "/bin/tty"])
    );
    let log = containerd.path("typescript");
    let mut command = std::process::Command::new("script");
    command.args(["-qec", &ctr]).arg(&log).stdin(std::process::Stdio::null());
    let output = command.output().expect("script");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("/dev/pts/0"), "{text}");
}

/// SHIM-CTR-07: containerd tells of everything in order.
#[test]
fn tells_events_in_order() {
    let containerd = ContainerdOfShims::start();
    let mut events = containerd.command(&["events"]);
    let log = fs::File::create(containerd.path("events")).expect("a file");
    events.stdout(log).stdin(std::process::Stdio::null());
    let _events = keel_tests::Child::start(events);
    let seen = || fs::read_to_string(containerd.path("events")).unwrap_or_default();
    // The stream of events has no beginning that could be waited for; an image's label makes one.
    eventually("events come", || {
        containerd.ctr(&["images", "label", IMAGE, "x=y"]).succeeds();
        seen().contains("/images/update").then_some(())
    });
    containerd.run(&["--rm"], "ev1", &["/bin/true"]).succeeds();
    let topics = eventually("the deletion is told", || {
        let text = seen();
        let tasks = text.lines().filter(|line| line.contains("/tasks/"));
        let topics: Vec<String> = tasks
            .filter_map(|line| line.split(' ').find(|it| it.starts_with("/tasks/")))
            .map(str::to_owned)
            .collect();
        topics.iter().any(|it| it == "/tasks/delete").then_some(topics)
    });
    assert_eq!(topics, ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]);
}

/// SHIM-CTR-08: containerd is killed and started again: the task runs on, and is looked after as before.
#[test]
fn outlives_containerd() {
    let mut containerd = ContainerdOfShims::start();
    containerd.run(&["-d"], "again1", &["/bin/sleep", "100000"]).succeeds();
    let shims = containerd.shims();
    containerd.restart();
    assert_eq!(containerd.status("again1"), "RUNNING");
    assert_eq!(containerd.shims(), shims);
    let outcome =
        containerd.ctr(&["task", "exec", "--exec-id", "e", "again1", "/bin/echo", "hello"]);
    assert_eq!(outcome.succeeds().stdout, "hello\n");
    containerd.ctr(&["task", "kill", "-s", "KILL", "again1"]).succeeds();
    eventually("the task stops", || (containerd.status("again1") == "STOPPED").then_some(()));
    containerd.ctr(&["task", "delete", "again1"]).succeeds().says(&["exit code 137"]);
}

/// SHIM-CTR-10: a task that ends while there is no containerd is a stopped one of the next, and its status is known.
#[test]
fn ends_without_containerd() {
    let mut containerd = ContainerdOfShims::start();
    let script = "while ! test -e /end; do sleep 0.05; done; exit 7";
    containerd.run(&["-d"], "alone1", &["/bin/sh", "-c", script]).succeeds();
    let pid = containerd.pid_of("alone1");
    containerd.restart_after(|| {
        fs::write(format!("/proc/{pid}/root/end"), "").expect("a file");
        let gone = || (!fs::exists(format!("/proc/{pid}/exe")).unwrap_or(true)).then_some(());
        eventually("it ends", gone);
    });
    assert_eq!(containerd.status("alone1"), "STOPPED");
    containerd.ctr(&["task", "delete", "alone1"]).succeeds().says(&["exit code 7"]);
}

/// SHIM-CTR-09: a shim that is killed takes its container along, and all of it is cleaned up.
#[test]
fn is_cleaned_up_after_it_was_killed() {
    let containerd = ContainerdOfShims::start();
    containerd.run(&["-d"], "dead1", &["/bin/sleep", "100000"]).succeeds();
    let shims = containerd.shims();
    assert_eq!(shims.len(), 1, "one shim");
    let pid = containerd.pid_of("dead1");
    kill(shims[0]);
    eventually("the task is gone", || {
        (containerd.status("dead1").as_str() != "RUNNING").then_some(())
    });
    eventually("its process is gone", || {
        (!fs::exists(format!("/proc/{pid}/ns")).unwrap_or(true)).then_some(())
    });
    eventually("its bundle is gone", || (!containerd.bundle("dead1").exists()).then_some(()));
}
