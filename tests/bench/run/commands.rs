//! What the other commands cost, each alone, and how many containers twenty callers run side by side.

use std::process::Command;
use std::time::Instant;

use keel_tests::{Container, Distribution, Runtime};
use serde_json::{Value, json};

use super::plot::Block;
use super::{Result, docker, measure, table};

const COMMANDS: [&str; 6] = ["--version", "create", "start", "state", "exec", "delete"];
const CALLERS: usize = 20;

/// Commands on a container like Docker's, interleaved.
pub(crate) fn compare(rounds: usize, names: &[String]) -> Vec<Block> {
    let sleeping = |config: &mut Value| {
        docker(config);
        config["process"]["args"] = json!(["/bin/sleep", "1000"]);
    };
    let containers: Vec<Container> =
        names.iter().map(|name| Container::of(Runtime::named(name), sleeping)).collect();
    let results = || COMMANDS.map(|_| Result::default());
    let mut results: Vec<_> = names.iter().map(|_| results()).collect();
    for round in 0..=rounds {
        for turn in 0..containers.len() {
            let at = (round + turn) % containers.len();
            for (command, result) in COMMANDS.iter().zip(&mut results[at]) {
                if *command == "delete" {
                    end(&containers[at]);
                }
                // The first round warms caches and is not counted.
                measure(one(&containers[at], command), (round > 0).then_some(result));
            }
        }
    }
    let block = |(at, command): (usize, &&str)| {
        let title = format!("{command}, like Docker's configuration");
        table(title, rounds, names, results.iter().map(|of| &of[at]).collect())
    };
    COMMANDS.iter().enumerate().map(block).collect()
}

fn one(container: &Container, command: &str) -> Command {
    match command {
        "--version" => container.command(&[command]),
        "exec" => container.command(&[command, container.id(), "/bin/true"]),
        _ => container.command(&[command, container.id()]),
    }
}

fn end(container: &Container) {
    container.kill("KILL").succeeds();
    container.becomes("stopped");
}

/// Containers a second that twenty callers run, each some after another; rounds of the runtimes alternate.
pub(crate) fn side_by_side(rounds: usize, names: &[String]) {
    const EACH: usize = 5;
    let containers = |name: &String| -> Vec<Container> {
        (0..CALLERS).map(|_| Container::of(Runtime::named(name), docker)).collect()
    };
    let containers: Vec<Vec<Container>> = names.iter().map(containers).collect();
    let mut walls: Vec<Distribution> = names.iter().map(|_| Distribution::default()).collect();
    for round in 0..rounds.max(1) {
        for turn in 0..names.len() {
            let at = (round + turn) % names.len();
            let start = Instant::now();
            std::thread::scope(|scope| {
                for container in &containers[at] {
                    scope.spawn(|| {
                        for _ in 0..EACH {
                            measure(container.command(&["run", container.id()]), None);
                        }
                    });
                }
            });
            walls[at].add(start.elapsed());
        }
    }
    println!(
        "\n`run` by {CALLERS} callers side by side, like Docker's configuration ({rounds} rounds)\n"
    );
    println!("| runtime | containers a second, median | against the first |");
    println!("|---|--:|--:|");
    let rate = |wall: &Distribution| (CALLERS * EACH) as f64 * 1000.0 / wall.percentile(50);
    let first = rate(&walls[0]);
    for (name, wall) in names.iter().zip(&walls) {
        println!("| {name} | {:.1} | ×{:.2} |", rate(wall), rate(wall) / first);
    }
}
