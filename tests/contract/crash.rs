//! A runtime that is killed between any two system calls: `delete --force` undoes what was begun.
//!
//! containerd's shim gives the runtime SIGKILL when it dies itself, so that this happens in the field.

use std::process::Command;

use keel_tests::{Container, requires};

/// Calls with an effect outside, and those on which two processes meet.
const CALLS: [&str; 16] = [
    "openat",
    "mkdirat",
    "mknodat",
    "write",
    "clone3",
    "clone",
    "fchmod",
    "sendto",
    "sendmsg",
    "recvmsg",
    "read",
    "poll",
    "renameat2",
    "unlinkat",
    "rmdir",
    "pidfd_send_signal",
];

/// Runs a command of the runtime that is killed when it makes the n-th call of a name; whether it was.
fn killed_at(container: &Container, call: &str, number: usize, words: &[&str]) -> bool {
    let plain = container.command(words);
    let mut strace = Command::new("strace");
    let inject = format!("inject={call}:signal=KILL:when={number}");
    strace.args(["-qq", "-o", "/dev/null", "-e", &inject]);
    strace.arg(plain.get_program()).args(plain.get_args()).current_dir(container.bundle());
    container.finish(strace).status == 137
}

/// RT-CRASH-01: after a `create` that was killed at any call, delete by force leaves nothing and the id is free.
#[test]
fn a_killed_create_can_be_deleted() {
    let container = Container::sleeping(|_| ());
    if !requires(
        container.runtime().is("keel"),
        "the packaged runc and crun are known to leave things",
    ) {
        return;
    }
    let mut deaths = 0;
    for call in CALLS {
        for number in (1..).step_by(2) {
            let killed = killed_at(&container, call, number, &["create", container.id()]);
            let outcome = container.delete(&["--force"]);
            assert_eq!(outcome.status, 0, "killed at {call} {number}\n{}", outcome.report());
            assert_gone(&container, call, number);
            if !killed {
                break;
            }
            deaths += 1;
        }
    }
    assert!(deaths > 20, "only {deaths} places were visited");
    container.up();
}

/// RT-CRASH-02: after a `delete` that was killed at any call, another one finishes its work.
#[test]
fn a_killed_delete_can_be_repeated() {
    let container = Container::sleeping(|_| ());
    if !requires(
        container.runtime().is("keel"),
        "the packaged runc and crun are known to leave things",
    ) {
        return;
    }
    let mut deaths = 0;
    for call in CALLS {
        for number in (1..).step_by(2) {
            container.create().succeeds();
            let killed =
                killed_at(&container, call, number, &["delete", "--force", container.id()]);
            let outcome = container.delete(&["--force"]);
            assert_eq!(outcome.status, 0, "killed at {call} {number}\n{}", outcome.report());
            assert_gone(&container, call, number);
            if !killed {
                break;
            }
            deaths += 1;
        }
    }
    assert!(deaths > 10, "only {deaths} places were visited");
}

/// A process of a killed command may end a moment later by itself; what stays for good is an error.
fn assert_gone(container: &Container, call: &str, number: usize) {
    keel_tests::eventually(
        &format!("nothing is left of the command killed at {call} {number}"),
        || container.left().is_empty().then_some(()),
    );
}
