//! The time of a rebuild of the example in which every step is cached.
//!
//! `cargo run --release -p keel-tests --bin bench-rebuild -- 20`

use std::process::Stdio;
use std::time::Instant;

use keel_tests::sys::wait4;
use keel_tests::{Distribution, ImageStore, example_context};

fn main() {
    let rounds = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(20);
    let store = ImageStore::new();
    let example = example_context(&store.beside("")).display().to_string();
    let words = ["build", "-t", "hello", &example];
    store.call(&words).succeeds();
    let (mut wall, mut cpu) = (Distribution::default(), Distribution::default());
    for _ in 0..rounds {
        let mut command = store.command(&words);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let start = Instant::now();
        #[expect(clippy::zombie_processes, reason = "wait4 reaps it and gives its resource usage")]
        let child = command.spawn().expect("keel-image starts");
        let usage = wait4(child.id().cast_signed()).expect("an own child");
        wall.add(start.elapsed());
        cpu.add(usage.cpu);
        assert_eq!(usage.status, 0, "the build failed");
    }
    println!("cached rebuild of examples/hello, {rounds} rounds, milliseconds");
    println!(
        "wall median {:.2}, p10 {:.2}, p90 {:.2}",
        wall.percentile(50),
        wall.percentile(10),
        wall.percentile(90)
    );
    println!("cpu median {:.2}", cpu.percentile(50));
}
