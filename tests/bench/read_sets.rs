//! What it costs to watch what a `RUN` reads, and what a build saves by it: each command without and with
//! `--read-sets`, in turns, and found by its read set after a file that it did not read was changed.
//!
//! `cargo build --release --workspace && target/*/release/bench-read-sets 10`

use std::fs;
use std::process::Stdio;
use std::time::Instant;

use keel_tests::sys::wait4;
use keel_tests::{Distribution, ImageStore, fixture};

/// Commands on Debian with compilers: what does nothing, what looks at names alone, what looks at every file in three
/// ways, and what compiles.
const COMMANDS: [(&str, &str); 4] = [
    ("true", "true"),
    ("find", "find / -xdev | wc -l"),
    ("ls", "ls -lR /usr | wc -l"),
    ("gcc", "for i in $(seq 20); do gcc -O2 -o /m$i /in/main.c; done"),
];
const SOURCE: &str =
    "#include <stdio.h>\n#include <string.h>\nint main(void) { puts(\"x\"); return 0; }\n";

fn main() {
    let rounds = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(10);
    let store = ImageStore::new();
    store.import(&fixture("compilers.tar"), "base:1").succeeds();
    fs::create_dir_all(store.beside("context/in")).expect("a folder");
    fs::write(store.beside("context/in/main.c"), SOURCE).expect("a file");
    println!("milliseconds, medians of {rounds} rounds: wall (processor)");
    println!("| command | without | with | with / without | found by its read set |");
    println!("|---|--:|--:|--:|--:|");
    let mut changes: u64 = 1_000_000;
    for (name, command) in COMMANDS {
        let text = format!("FROM base:1\nCOPY in /in\nRUN {command}\n");
        fs::write(store.beside("context/Dockerfile"), text).expect("a file");
        let mut change = || {
            changes += 1;
            fs::write(store.beside("context/in/other"), changes.to_string()).expect("a file");
        };
        change();
        let mut seen = [(); 3].map(|()| (Distribution::default(), Distribution::default()));
        for _ in 0..rounds {
            build(&store, &["--no-cache"], &mut seen[0]);
            build(&store, &["--no-cache", "--read-sets"], &mut seen[1]);
        }
        for _ in 0..rounds {
            change();
            build(&store, &["--read-sets"], &mut seen[2]);
        }
        let [without, with, found] =
            seen.map(|(wall, cpu)| (wall.percentile(50), cpu.percentile(50)));
        println!(
            "| {name} | {:.0} ({:.0}) | {:.0} ({:.0}) | ×{:.2} | {:.0} ({:.0}) |",
            without.0,
            without.1,
            with.0,
            with.1,
            with.0 / without.0,
            found.0,
            found.1
        );
    }
}

fn build(store: &ImageStore, flags: &[&str], seen: &mut (Distribution, Distribution)) {
    let mut command = store.command(&[&["build"], flags, &["context"]].concat());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    #[expect(clippy::zombie_processes, reason = "wait4 reaps it and gives its resource usage")]
    let child = command.spawn().expect("keel-image starts");
    let usage = wait4(child.id().cast_signed()).expect("an own child");
    seen.0.add(start.elapsed());
    seen.1.add(usage.cpu);
    assert_eq!(usage.status, 0, "the build failed");
}
