//! A kernel that answers one call with an error: the runtime goes on as if nothing had been, or says what failed
//! and leaves nothing. It never hangs, and never does less than it was asked for without saying so.
//!
//! `KEEL_TESTS_PLACES=all` lets every call of every process fail in each way (some minutes), otherwise a sample
//! is taken from a seed on.

use std::panic::{AssertUnwindSafe, catch_unwind};

use keel_tests::stepper::{Fate, Stepped, places, step};
use keel_tests::{Container, cgroup_value, eventually, requires};
use serde_json::{Value, json};

const ERRORS: [i32; 5] = [libc::ENOSYS, libc::EPERM, libc::EINTR, libc::ENOMEM, libc::ENOSPC];

/// Without memory a program can but end; the kernel's part of that is a killed program's.
const MEMORY: [i64; 5] =
    [libc::SYS_brk, libc::SYS_mmap, libc::SYS_mremap, libc::SYS_mprotect, libc::SYS_munmap];

fn limited(config: &mut Value) {
    config["linux"]["resources"]["pids"] = json!({"limit": 50});
    config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]});
    let bind = json!({"destination": "/made/mnt", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]});
    config["mounts"].as_array_mut().expect("an array").push(bind);
    config["root"]["readonly"] = json!(false);
}

fn can_be_run(container: &Container) -> bool {
    requires(container.runtime().is("keel"), "the packaged runc and crun were not made for it")
        && requires(cfg!(target_arch = "x86_64"), "x86_64: the registers of a call")
}

/// Visits the places of a command with each error, until it is over before it comes to one; tells all that went
/// wrong.
fn visit(container: &Container, stride: usize, mut round: impl FnMut(usize, i32) -> Stepped) {
    let mut wrong = 0;
    for (n, errno) in ERRORS.into_iter().enumerate() {
        let mut failures = 0;
        for at in places(stride) {
            // Each error has its own places.
            let at = at + n * stride / ERRORS.len();
            match catch_unwind(AssertUnwindSafe(|| round(at, errno))) {
                Ok(ended) if ended.struck.is_none() => break,
                Ok(_) => failures += 1,
                // What went wrong has been printed.
                Err(_) => {
                    wrong += 1;
                    assert!(wrong < 20, "that is enough");
                    container.delete(&["--force"]);
                }
            }
        }
        println!("{failures} calls failed with {errno}");
        assert!(wrong + failures > 1, "only {failures} places were visited");
    }
    assert_eq!(wrong, 0, "see above");
}

fn failing(container: &Container, at: usize, errno: i32, words: &[&str]) -> Stepped {
    let ended = step(container.command(words), &container.path("io"), at, Fate::Fails(errno));
    assert!(!ended.hung, "{words:?} hangs: {}", told(at, errno, &ended));
    if ended.status != 0 {
        // A program that the kernel does not even let begin cannot speak.
        let mute = ended.status > 128 && at < 30;
        assert!(mute || !ended.stderr.is_empty(), "no word: {}", told(at, errno, &ended));
    }
    ended
}

fn told(at: usize, errno: i32, ended: &Stepped) -> String {
    format!("call {at}, errno {errno}: {ended:#?}")
}

/// Fails when a command that has failed left something; a program without memory may leave it to `delete`.
fn nothing_left(container: &Container, what: &str, ended: &Stepped) {
    if ended.struck.is_some_and(|(number, _)| MEMORY.contains(&number)) {
        container.delete(&["--force"]).succeeds();
    }
    let mut left = Vec::new();
    let is_empty = || {
        left = container.left();
        left.is_empty()
    };
    if !keel_tests::within_a_while(is_empty) {
        panic!("{left:#?} is left: {what}");
    }
}

/// The report without what differs from run to run.
fn stable(mut seen: Value) -> Value {
    let report = seen.as_object_mut().expect("an object");
    for key in ["namespaces", "tty"] {
        report.remove(key);
    }
    let numbers = seen["fds"].as_object().map(|fds| fds.keys().cloned().collect::<Vec<_>>());
    seen["fds"] = json!(numbers);
    // A home that cannot be looked up is the root folder.
    if let Some(env) = seen["env"].as_object_mut() {
        env.remove("HOME");
    }
    seen
}

/// What looks different where a call is refused that keel can do without: devices are bound where none may be
/// made, and the version 2 hierarchy, which has no controller here, is left out where it may not be changed.
fn fallback(number: i64, errno: i32) -> Option<&'static str> {
    match (number, errno) {
        (libc::SYS_mknodat, libc::EPERM) => Some("mounts"),
        (libc::SYS_mkdirat | libc::SYS_openat, libc::EPERM) => Some("cgroup"),
        _ => None,
    }
}

/// RT-FAULT-01: a `run` of which one call fails gives the container that was asked for, or an error, and
/// leaves nothing.
#[test]
fn run_is_whole_or_not_at_all() {
    let container = Container::new(limited);
    if !can_be_run(&container) {
        return;
    }
    let wanted = stable(container.observe());
    visit(&container, 17, |at, errno| {
        let ended = failing(&container, at, errno, &["run", container.id()]);
        let what = told(at, errno, &ended);
        if ended.status != 0 && !ended.stdout.is_empty() {
            // The program has run; what could not be deleted has been told, and can be deleted again.
            container.delete(&["--force"]).succeeds();
        }
        nothing_left(&container, &what, &ended);
        if ended.status == 0 {
            let seen = stable(serde_json::from_str(&ended.stdout).expect("a report"));
            for (key, value) in wanted.as_object().expect("an object") {
                let fallback = ended.struck.and_then(|(number, _)| fallback(number, errno));
                if fallback != Some(key) {
                    assert_eq!(&seen[key], value, "{key}: {what}");
                }
            }
        }
        ended
    });
}

/// RT-FAULT-02: a `create` of which one call fails gives a container with its limits that can be started, or
/// an error, and leaves nothing.
#[test]
fn create_is_whole_or_not_at_all() {
    let container = Container::sleeping(limited);
    if !can_be_run(&container) {
        return;
    }
    visit(&container, 17, |at, errno| {
        let ended = failing(&container, at, errno, &["create", container.id()]);
        let what = told(at, errno, &ended);
        let by_itself = ended.struck.is_some_and(|(_, main)| !main);
        if ended.status == 0 {
            if !by_itself {
                let limit = cgroup_value(container.pid(), "pids", "pids.max");
                assert_eq!(limit, "50", "{what}");
            }
            let started = container.start();
            // A process that ends while it waits for `start` is what that tells of.
            let fine = started.status == 0 || (by_itself && started.stderr.contains("stopped"));
            assert!(fine, "{what}\n{}", started.report());
            container.delete(&["--force"]).succeeds();
        }
        nothing_left(&container, &what, &ended);
        ended
    });
}

/// RT-FAULT-03: a `start` of which one call fails has started the program, or says why not; the state is true.
#[test]
fn start_tells_the_truth() {
    let container = Container::sleeping(limited);
    if !can_be_run(&container) {
        return;
    }
    visit(&container, 11, |at, errno| {
        container.create().succeeds();
        let ended = failing(&container, at, errno, &["start", container.id()]);
        let what = told(at, errno, &ended);
        if ended.status == 0 {
            assert_eq!(container.state()["status"], "running", "{what}");
        }
        let outcome = container.delete(&["--force"]);
        assert_eq!(outcome.status, 0, "{what}\n{}", outcome.report());
        nothing_left(&container, &what, &ended);
        ended
    });
}

/// RT-FAULT-04: an `exec` of which one call fails runs the program as it was asked for, or says why not, and
/// leaves no process.
#[test]
fn exec_is_whole_or_not_at_all() {
    let container = Container::sleeping(limited);
    if !can_be_run(&container) {
        return;
    }
    let mut pid = container.up();
    let wanted = stable(container.exec_report(&[]));
    visit(&container, 17, |at, errno| {
        // After a round that went wrong.
        if container.call(&["state", container.id()]).status != 0 {
            pid = container.up();
        }
        let words = ["exec", container.id(), "/bin/probe", "report"];
        let ended = failing(&container, at, errno, &words);
        let what = told(at, errno, &ended);
        eventually(&format!("only the program is there: {what}"), || {
            let inside = container.call(&["ps", "--format", "json", container.id()]).succeeds();
            (inside.json() == json!([pid])).then_some(())
        });
        if ended.status == 0 {
            let seen = stable(serde_json::from_str(&ended.stdout).expect("a report"));
            for (key, value) in wanted.as_object().expect("an object") {
                let fallback = ended.struck.and_then(|(number, _)| fallback(number, errno));
                if !["pid", "processes"].contains(&key.as_str()) && fallback != Some(key) {
                    assert_eq!(&seen[key], value, "{key}: {what}");
                }
            }
        }
        assert_eq!(container.state()["status"], "running", "{what}");
        ended
    });
}

/// RT-FAULT-05: a `delete` of which one call fails has deleted all, or says what it could not, and can be
/// repeated.
#[test]
fn delete_can_be_repeated() {
    let container = Container::sleeping(limited);
    if !can_be_run(&container) {
        return;
    }
    visit(&container, 11, |at, errno| {
        container.create().succeeds();
        let ended = failing(&container, at, errno, &["delete", "--force", container.id()]);
        let what = told(at, errno, &ended);
        if ended.status != 0 {
            let outcome = container.delete(&["--force"]);
            assert_eq!(outcome.status, 0, "{what}\n{}", outcome.report());
        }
        nothing_left(&container, &what, &ended);
        ended
    });
}
