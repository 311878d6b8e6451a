//! Counts what does not depend on load: system calls of one `run`, and the memory of a created container's
//! process before it executes the program.
//!
//! `cargo run --release -p keel-tests --bin bench-counts -- crun runc keel`

use std::fs;
use std::process::Command;

use keel_tests::{Container, Runtime};
use serde_json::json;

fn main() {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    if names.is_empty() {
        names = ["crun", "runc", "keel"].map(str::to_owned).to_vec();
    }
    println!("| runtime | system calls of one run | peak memory of the created process, KiB |");
    println!("|---|--:|--:|");
    for name in &names {
        println!("| {name} | {} | {} |", system_calls(name), created_memory(name));
    }
}

/// The total of `strace -f -c`; of the second run, so that caches are warm. Where the runtime needs a wrapper,
/// only what follows the runtime's own execve would be right, so the wrapper stands outside of strace.
fn system_calls(name: &str) -> String {
    let container = Container::of(Runtime::named(name), |config| {
        config["process"]["args"] = json!(["/bin/true"]);
    });
    container.run().succeeds();
    let counts = container.path("counts");
    let traced = format!("strace -f -c -o {} \"$0\" \"$@\"", counts.display());
    let plain = container.command(&["run", container.id()]);
    let mut words: Vec<String> = std::iter::once(plain.get_program())
        .chain(plain.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    // The harness's wrapper ends in `exec "$0" "$@"`; without one, a shell of our own does it.
    match words.iter_mut().find(|word| word.contains("exec \"$0\"")) {
        Some(script) => *script = script.replace("exec \"$0\" \"$@\"", &traced),
        None => {
            words.splice(0..0, ["sh".to_owned(), "-c".to_owned(), traced]);
        }
    }
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).current_dir(container.bundle());
    container.finish(command).succeeds();
    let text = fs::read_to_string(&counts).unwrap_or_default();
    let total = text.lines().rev().find(|line| line.trim_end().ends_with("total"));
    total.and_then(|line| line.split_whitespace().nth(3)).unwrap_or("?").to_owned()
}

fn created_memory(name: &str) -> String {
    let container = Container::of(Runtime::named(name), |config| {
        config["process"]["args"] = json!(["/bin/true"]);
    });
    container.create().succeeds();
    let status =
        fs::read_to_string(format!("/proc/{}/status", container.pid())).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    line.and_then(|line| line.split_whitespace().nth(1)).unwrap_or("?").to_owned()
}
