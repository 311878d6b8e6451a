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

/// RT-CRASH-03: after a `create` that was killed at any call, `gc` leaves nothing of it, and the id is free.
#[test]
fn a_killed_create_is_collected() {
    let container = Container::sleeping(|_| ());
    if !requires(container.runtime().is("keel"), "`gc` is a command of keel") {
        return;
    }
    let mut deaths = 0;
    for call in CALLS {
        for number in (1..).step_by(3) {
            let killed = killed_at(&container, call, number, &["create", container.id()]);
            let created = container.call(&["state", container.id()]);
            if created.status == 0 && created.json()["status"] != "stopped" {
                // It came to its commit: `gc` has to leave it alone.
                container.call(&["gc"]).succeeds();
                assert_eq!(container.state()["status"], "created", "{call} {number}");
                container.delete(&["--force"]).succeeds();
            }
            keel_tests::eventually(&format!("gc finds all of {call} {number}"), || {
                container.call(&["gc", "--stopped"]).succeeds();
                container.left().is_empty().then_some(())
            });
            if !killed {
                break;
            }
            deaths += 1;
        }
    }
    assert!(deaths > 12, "only {deaths} places were visited");
    container.up();
}

/// RT-CRASH-04: after a `start` that was killed at any call, the state is true and delete by force leaves nothing.
#[test]
fn a_killed_start_is_told_truly() {
    let container = Container::sleeping(|_| ());
    if !requires(container.runtime().is("keel"), "the packaged runc and crun were not made for it")
    {
        return;
    }
    for call in ["openat", "write", "unlinkat", "poll", "read", "flock"] {
        for number in 1..40 {
            container.create().succeeds();
            let pid = container.pid();
            let killed = killed_at(&container, call, number, &["start", container.id()]);
            let program = || {
                let words = std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
                words.unwrap_or_default().starts_with("sleep")
            };
            keel_tests::eventually(&format!("the state is true after {call} {number}"), || {
                let status = container.state()["status"].clone();
                (status == if program() { "running" } else { "created" }).then_some(())
            });
            container.delete(&["--force"]).succeeds();
            assert_gone(&container, call, number);
            if !killed {
                break;
            }
        }
    }
}

/// CLI-GC-01: `gc` says what it would do, does it, and leaves live containers and other commands' work alone.
#[test]
fn gc_tells_and_spares() {
    let container = Container::sleeping(|_| ());
    if !requires(container.runtime().is("keel"), "`gc` is a command of keel") {
        return;
    }
    let bare = container.state_root().join("bare");
    std::fs::create_dir(&bare).expect("a folder");
    container.up();
    let told = container.call(&["gc", "--dry-run"]).succeeds().stdout;
    assert_eq!(told, "bare: creation that recorded nothing: would be removed\n");
    assert!(bare.exists());
    let held = std::fs::File::open(&bare).expect("the folder");
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).expect("flock");
    assert_eq!(container.call(&["gc"]).succeeds().stdout, "");
    drop(held);
    assert_eq!(
        container.call(&["gc"]).succeeds().stdout,
        "bare: creation that recorded nothing: removed\n"
    );
    assert!(!bare.exists());
    assert_eq!(container.state()["status"], "running");
    container.kill("KILL").succeeds();
    container.becomes("stopped");
    let idle = container.call(&["gc"]).succeeds().stdout;
    assert!(
        idle.ends_with(": FIFOs and empty cgroups of a stopped container: removed\n"),
        "{idle}"
    );
    assert_eq!(container.call(&["gc"]).succeeds().stdout, "");
    assert_eq!(container.state()["status"], "stopped");
    let stopped = container.call(&["gc", "--stopped"]).succeeds().stdout;
    assert!(stopped.ends_with(": stopped container: removed\n"), "{stopped}");
    container.assert_nothing_left();
}

/// CLI-GC-02: containers that are created while `gc` runs again and again come to be.
#[test]
fn gc_does_not_disturb_creations() {
    let containers: Vec<Container> = (0..4).map(|_| Container::sleeping(|_| ())).collect();
    if !requires(containers[0].runtime().is("keel"), "`gc` is a command of keel") {
        return;
    }
    let root = containers[0].state_root().display().to_string();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let mut rounds = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                containers[0].call(&["gc", "--stopped"]).succeeds();
                rounds += 1;
            }
            rounds
        });
        let makers: Vec<_> = containers[1..]
            .iter()
            .map(|container| {
                let root = root.clone();
                scope.spawn(move || {
                    for _ in 0..15 {
                        let mut create = container.runtime().command();
                        create.args(["--root", &root, "create", container.id()]);
                        create.current_dir(container.bundle());
                        container.finish(create).succeeds();
                        let mut delete = container.runtime().command();
                        delete.args(["--root", &root, "delete", "--force", container.id()]);
                        container.finish(delete).succeeds();
                    }
                })
            })
            .collect();
        let ended: Vec<_> = makers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(collector.join().expect("gc succeeds") > 1);
        for maker in ended {
            maker.expect("every creation succeeds");
        }
    });
}

/// A process of a killed command may end a moment later by itself; what stays for good is an error.
fn assert_gone(container: &Container, call: &str, number: usize) {
    keel_tests::eventually(
        &format!("nothing is left of the command killed at {call} {number}"),
        || container.left().is_empty().then_some(()),
    );
}
