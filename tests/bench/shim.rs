//! Compares shims under one containerd, interleaved: `ctr run --rm ... /bin/true`, the memory of a shim whose container
//! sleeps, and what it uses when nothing happens.
//!
//! `cargo run --release -p keel-tests --bin bench-shim -- 20`
//!
//! Where controllers stand on both cgroup versions, containerd and all its shims are in a mount namespace without the
//! version 2 mount, because crun starts nothing otherwise.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use keel_tests::{ContainerdOfShims, Distribution, IMAGE};

const INNER: &str = "KEEL_BENCH_INNER";

/// Containers that sleep while their shims are looked at, and for how long.
const SLEEPERS: usize = 10;
const QUIET: Duration = Duration::from_secs(5);

/// A name for the table, and the words of `ctr run` that choose shim and runtime.
const CHOICES: [(&str, &[&str]); 4] = [
    ("keel's shim, keel", &["--runtime", "io.containerd.keel.v2"]),
    (
        "runc's shim, crun",
        &["--runtime", "io.containerd.runc.v2", "--runc-binary", "/usr/bin/crun"],
    ),
    ("runc's shim, runc", &["--runtime", "io.containerd.runc.v2"]),
    ("runc's shim, keel", &["--runtime", "io.containerd.runc.v2", "--runc-binary", "keel"]),
];

fn main() -> ExitCode {
    let unified = Path::new("/sys/fs/cgroup/unified/cgroup.controllers").exists();
    if unified && std::env::var_os(INNER).is_none() {
        return within_namespace();
    }
    let rounds = std::env::args().nth(1).and_then(|it| it.parse().ok()).unwrap_or(20);
    let containerd = ContainerdOfShims::start();
    times(&containerd, rounds);
    memory(&containerd);
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

fn run(containerd: &ContainerdOfShims, choice: &[&str], flag: &str, id: &str, words: &[&str]) {
    let streams = containerd.path("fifo").display().to_string();
    let mut args = vec!["run", flag, "--fifo-dir", &streams];
    args.extend(choice);
    args.extend([IMAGE, id]);
    args.extend(words);
    let mut command = containerd.command(&args);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(command.status().expect("ctr").success(), "{id}");
}

fn times(containerd: &ContainerdOfShims, rounds: usize) {
    let mut results: Vec<Distribution> = CHOICES.iter().map(|_| Distribution::default()).collect();
    for round in 0..=rounds {
        for turn in 0..CHOICES.len() {
            let at = (round + turn) % CHOICES.len();
            let start = Instant::now();
            run(containerd, CHOICES[at].1, "--rm", "bench", &["/bin/true"]);
            // The first round warms caches and is not counted.
            if round > 0 {
                results[at].add(start.elapsed());
            }
        }
    }
    println!("\n`ctr run --rm … /bin/true` ({rounds} rounds, milliseconds)\n");
    println!(
        "| shim, runtime | median | p10 | p90 | against runc's shim, crun |\n|---|--:|--:|--:|--:|"
    );
    let peer = results[1].percentile(50);
    for (choice, result) in CHOICES.iter().zip(&results) {
        let median = result.percentile(50);
        let (low, high) = (result.percentile(10), result.percentile(90));
        println!("| {} | {median:.1} | {low:.1} | {high:.1} | ×{:.2} |", choice.0, median / peer);
    }
}

fn memory(containerd: &ContainerdOfShims) {
    println!("\nA shim whose container sleeps ({SLEEPERS} of each; medians)\n");
    println!("| shim | PSS KiB | RSS KiB | private KiB | threads | ticks in {QUIET:?}, all |");
    println!("|---|--:|--:|--:|--:|--:|");
    for (name, choice) in [CHOICES[0], CHOICES[2]] {
        let ids: Vec<String> = (0..SLEEPERS).map(|it| format!("sleeper{it}")).collect();
        for id in &ids {
            run(containerd, choice, "-d", id, &["/bin/sleep", "100000"]);
        }
        let shims = containerd.shims();
        assert_eq!(shims.len(), SLEEPERS, "a shim for each");
        quiet();
        let before: u64 = shims.iter().map(|&it| ticks(it)).sum();
        quiet();
        let used = shims.iter().map(|&it| ticks(it)).sum::<u64>() - before;
        let median = |of: &dyn Fn(i32) -> u64| {
            let mut values: Vec<u64> = shims.iter().map(|&it| of(it)).collect();
            values.sort_unstable();
            values[values.len() / 2]
        };
        println!(
            "| {name} | {} | {} | {} | {} | {used} |",
            median(&|pid| kib(pid, "smaps_rollup", "Pss:")),
            median(&|pid| kib(pid, "smaps_rollup", "Rss:")),
            median(&|pid| {
                kib(pid, "smaps_rollup", "Private_Dirty:")
                    + kib(pid, "smaps_rollup", "Private_Clean:")
            }),
            median(&|pid| kib(pid, "status", "Threads:")),
        );
        for id in &ids {
            containerd.ctr(&["task", "delete", "-f", id]).succeeds();
            containerd.ctr(&["containers", "rm", id]).succeeds();
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "what is measured is a time in which nothing happens"
)]
fn quiet() {
    std::thread::sleep(QUIET);
}

fn kib(pid: i32, file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).expect("a process");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
    line.split_whitespace().next().and_then(|it| it.parse().ok()).expect("a number")
}

/// Processor time, in the kernel's hundredths of a second.
fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let after = stat.rsplit_once(')').expect("a name").1;
    after.split_whitespace().skip(11).take(2).filter_map(|it| it.parse::<u64>().ok()).sum()
}
