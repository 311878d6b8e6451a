//! A container whose program counts in its memory, saved and restored with a real criu: what tests of
//! `checkpoint` and `restore` look at.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::{Container, Outcome, criu_folder, eventually};

/// Counts in its memory, and shows the count in a file of a tmpfs.
const COUNTER: &str = "i=0; while :; do i=$((i+1)); echo $i > /dev/shm/new; mv /dev/shm/new /dev/shm/n; sleep 0.02; done";

/// A container with the counter and these fields.
pub fn counting(delta: impl FnOnce(&mut Value)) -> Container {
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["sh", "-c", COUNTER]);
        delta(config);
    });
    std::os::unix::fs::symlink("busybox", container.rootfs().join("bin/mv")).expect("an applet");
    container
}

/// A command that finds criu.
pub fn command(container: &Container, words: &[&str]) -> Command {
    let mut command = container.command(words);
    command.env("PATH", path_with_criu());
    command
}

/// `PATH` with the folder of criu first.
pub fn path_with_criu() -> String {
    format!("{}:{}", criu_folder().display(), std::env::var("PATH").unwrap_or_default())
}

/// A command that finds criu, and its outcome.
pub fn call(container: &Container, words: &[&str]) -> Outcome {
    container.finish(command(container, words))
}

/// Runs a command whose container gets /dev/null for its streams: other runtimes cannot save a file that lies
/// outside of the container.
#[track_caller]
pub fn with_null(mut command: Command) {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the runtime starts");
    let status = eventually("the command ends", || child.try_wait().expect("a child"));
    assert!(status.success(), "{command:?}: {status}");
}

/// `run --detach`.
#[track_caller]
pub fn run(container: &Container) {
    with_null(command(container, &["run", "--detach", container.id()]));
}

/// `restore --detach` with these flags.
#[track_caller]
pub fn restore(container: &Container, flags: &[&str]) {
    let words: Vec<&str> =
        ["restore", "--detach"].iter().chain(flags).copied().chain([container.id()]).collect();
    with_null(command(container, &words));
}

/// `checkpoint` with these flags.
pub fn checkpoint(container: &Container, flags: &[&str]) -> Outcome {
    let words: Vec<&str> =
        ["checkpoint"].iter().chain(flags).copied().chain([container.id()]).collect();
    call(container, &words)
}

/// What the counter has come to.
#[track_caller]
pub fn count(container: &Container) -> u64 {
    let shown = container.exec(&["cat", "/dev/shm/n"]).succeeds();
    shown.stdout.trim().parse().expect("a number")
}

/// Waits until the counter is there; what it has come to.
#[track_caller]
pub fn counts_to(container: &Container, at_least: u64) -> u64 {
    eventually(&format!("the counter is at {at_least}"), || {
        let shown = container.exec(&["cat", "/dev/shm/n"]);
        shown.stdout.trim().parse().ok().filter(|count| *count >= at_least)
    })
}

/// Checkpoints a counter, restores it, and sees that it goes on where it was.
#[track_caller]
pub fn goes_on(container: &Container, saving: &[&str], restoring: &[&str]) {
    let before = counts_to(container, 3);
    checkpoint(container, saving).succeeds();
    container.assert_nothing_left();
    restore(container, restoring);
    let first = count(container);
    assert!(first >= before, "it began anew: {first} after {before}");
    counts_to(container, first + 1);
    assert_eq!(container.state()["status"], "running");
}
