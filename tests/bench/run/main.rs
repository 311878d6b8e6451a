//! Compares the commands of several runtimes on the same bundles, interleaved.
//!
//! `cargo run --release -p keel-tests --bin bench-run -- 30 crun runc keel floor`
//!
//! A runtime is a name or a path, so youki may join: `cargo install --root target/tools youki` and
//! `target/tools/bin/youki`. With `--plot FILE` the medians are drawn, too, as SVG.
//!
//! `floor` is no runtime but a program that has the kernel do what it must for `run`, and nothing else.
//!
//! Each round runs every runtime once, in an order that rotates, so that load hits all alike. A command is
//! started as posix_spawn does and its processor time is that of the whole waited tree. Where controllers
//! stand on both cgroup versions, all of them run in a mount namespace without the version 2 mount, because
//! crun starts nothing otherwise.

mod commands;
mod floor;
mod plot;

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use keel_tests::sys::wait4;
use keel_tests::{Container, Distribution, Runtime};
use plot::Block;
use serde_json::{Value, json};

const INNER: &str = "KEEL_BENCH_INNER";

fn main() -> ExitCode {
    let unified = Path::new("/sys/fs/cgroup/unified/cgroup.controllers").exists();
    if unified && std::env::var_os(INNER).is_none() {
        return within_namespace();
    }
    let mut words = std::env::args().skip(1).peekable();
    let plot = words.next_if(|word| word == "--plot").and_then(|_| words.next());
    let rounds = words.next_if(|word| word.parse::<usize>().is_ok());
    let rounds = rounds.and_then(|word| word.parse().ok()).unwrap_or(30);
    let mut names: Vec<String> = words.collect();
    if names.is_empty() {
        names = ["crun", "runc", "keel", floor::NAME].map(str::to_owned).to_vec();
    }
    let mut blocks = vec![compare("as runc spec writes it", "min", rounds, &names, min)];
    let title = "like Docker's: seccomp, limits, capabilities";
    blocks.push(compare(title, "docker", rounds, &names, docker));
    names.retain(|name| name != floor::NAME);
    blocks.extend(commands::compare(rounds, &names));
    if let Some(file) = plot {
        std::fs::write(&file, plot::svg(&blocks)).expect("a file for the picture");
    }
    // Of twenty of youki 0.7's `run` side by side some never end.
    names.retain(|name| !name.ends_with("/youki"));
    commands::side_by_side(rounds.div_ceil(10), &names);
    ExitCode::SUCCESS
}

fn within_namespace() -> ExitCode {
    let own = std::env::current_exe().expect("a program has a path");
    let status = Command::new("unshare")
        .args(["-m", "sh", "-c", "umount /sys/fs/cgroup/unified && exec \"$0\" \"$@\""])
        .arg(own)
        .args(std::env::args().skip(1))
        .env(INNER, "1")
        .status()
        .expect("unshare is installed");
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn min(config: &mut Value) {
    config["process"]["args"] = json!(["/bin/true"]);
}

fn docker(config: &mut Value) {
    let capture = include_str!("../../captures/docker28.5-default-config.json");
    let capture: Value = serde_json::from_str(capture).expect("a capture is JSON");
    min(config);
    config["process"]["capabilities"] = capture["process"]["capabilities"].clone();
    config["linux"]["seccomp"] = capture["linux"]["seccomp"].clone();
    config["linux"]["resources"] = json!({
        "devices": capture["linux"]["resources"]["devices"],
        "memory": {"limit": 268_435_456}, "pids": {"limit": 100}, "cpu": {"shares": 512}});
    config["linux"]["maskedPaths"] = capture["linux"]["maskedPaths"].clone();
}

#[derive(Default)]
struct Result {
    wall: Distribution,
    cpu: Distribution,
    rss_kib: i64,
}

/// `run` of the same configuration by each, and by the floor if that is among the names.
fn compare(
    title: &str,
    mode: &str,
    rounds: usize,
    names: &[String],
    delta: fn(&mut Value),
) -> Block {
    let floor = names.iter().any(|name| name == floor::NAME).then(floor::build);
    let container = |name: &String| {
        // The floor has only the root file system of its container, which no runtime runs.
        let runtime = if name == floor::NAME { "keel" } else { name };
        Container::of(Runtime::named(runtime), delta)
    };
    let containers: Vec<Container> = names.iter().map(container).collect();
    let mut results: Vec<Result> = names.iter().map(|_| Result::default()).collect();
    for round in 0..=rounds {
        for turn in 0..containers.len() {
            let at = (round + turn) % containers.len();
            let container = &containers[at];
            let command = match &floor {
                Some(program) if names[at] == floor::NAME => floor::run(program, mode, container),
                _ => container.command(&["run", container.id()]),
            };
            // The first round warms caches and is not counted.
            measure(command, (round > 0).then_some(&mut results[at]));
        }
    }
    table(format!("run, {title}"), rounds, names, results.iter().collect())
}

/// Prints what was measured, and gives what is drawn of it.
fn table(title: String, rounds: usize, names: &[String], results: Vec<&Result>) -> Block {
    header(&title, rounds);
    let mut rows = Vec::new();
    for (name, &result) in names.iter().zip(&results) {
        let name = name.rsplit('/').next().unwrap_or_default();
        row(name, result, results[0]);
        let medians = (result.cpu.percentile(50), result.wall.percentile(50));
        rows.push((name.to_owned(), medians.0, medians.1));
    }
    (title, rows)
}

/// Runs a command, and adds what it used.
fn measure(mut command: Command, result: Option<&mut Result>) {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let start = Instant::now();
    #[expect(clippy::zombie_processes, reason = "wait4 reaps it and gives its resource usage")]
    let child = command.spawn().expect("a runtime starts");
    let usage = wait4(child.id().cast_signed()).expect("an own child");
    let wall = start.elapsed();
    // A runtime that refuses the configuration looks very fast.
    assert_eq!(usage.status, 0, "{command:?} failed");
    if let Some(result) = result {
        result.wall.add(wall);
        result.cpu.add(usage.cpu);
        result.rss_kib = result.rss_kib.max(usage.rss_kib);
    }
}

fn header(title: &str, rounds: usize) {
    println!("\n{title} ({rounds} rounds, milliseconds)\n");
    println!(
        "| runtime | wall median | p10 | p90 | cpu median | cpu p10 | max RSS MiB | wall and cpu against the first |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|");
}

fn row(name: &str, result: &Result, first: &Result) {
    let against =
        |of: fn(&Result) -> &Distribution| of(result).percentile(50) / of(first).percentile(50);
    println!(
        "| {name} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.1} | ×{:.2}, ×{:.2} |",
        result.wall.percentile(50),
        result.wall.percentile(10),
        result.wall.percentile(90),
        result.cpu.percentile(50),
        result.cpu.percentile(10),
        result.rss_kib as f64 / 1024.0,
        against(|result| &result.wall),
        against(|result| &result.cpu),
    );
}
