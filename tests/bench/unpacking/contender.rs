//! Programs that are compared: by turns, each in an empty folder.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Instant;

use keel_tests::sys::wait4;
use keel_tests::{Containerd, Distribution};

use super::{containerd, installed};

/// One program to compare.
pub(crate) struct Contender {
    name: &'static str,
    wall: Distribution,
    cpu: Distribution,
    rss_kib: i64,
    calls: String,
    command: Box<dyn Fn(&Path) -> Command>,
    daemon: Option<Rc<Containerd>>,
}

impl Contender {
    /// One that is started by `command`, which is told a folder and may prepare it.
    pub(crate) fn new(name: &'static str, command: impl Fn(&Path) -> Command + 'static) -> Self {
        let (wall, cpu) = (Distribution::default(), Distribution::default());
        let (calls, command) = ("-".to_owned(), Box::new(command));
        Self { name, wall, cpu, rss_kib: 0, calls, command, daemon: None }
    }

    /// One whose command has the work done by `daemon`.
    pub(crate) fn with(mut self, daemon: &Rc<Containerd>) -> Self {
        self.daemon = Some(Rc::clone(daemon));
        self
    }

    /// Runs it once in an empty folder.
    fn turn(&mut self, folder: &Path, counted: bool) {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir(folder).expect("a folder");
        let mut command = (self.command)(folder);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let daemon = self.daemon.as_deref();
        let before = daemon.map(containerd::cpu);
        let start = Instant::now();
        #[expect(clippy::zombie_processes, reason = "wait4 reaps it and gives its resource usage")]
        let child = command.spawn().expect("it starts");
        let usage = wait4(child.id().cast_signed()).expect("an own child");
        let wall = start.elapsed();
        assert_eq!(usage.status, 0, "{} failed", self.name);
        let of_daemon = before.zip(daemon).map(|(before, daemon)| containerd::cpu(daemon) - before);
        if counted {
            self.wall.add(wall);
            self.cpu.add(usage.cpu + of_daemon.unwrap_or_default());
            let of_daemon = daemon.map_or(0, containerd::rss_kib);
            self.rss_kib = self.rss_kib.max(usage.rss_kib).max(of_daemon);
        }
    }

    fn count_calls(&mut self, folder: &Path) {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir(folder).expect("a folder");
        let plain = (self.command)(folder);
        let counts = folder.with_extension("calls");
        let mut command = Command::new("strace");
        command.args(["-f", "-c", "-o"]).arg(&counts).arg(plain.get_program());
        command.args(plain.get_args()).stdin(Stdio::null()).stdout(Stdio::null());
        if command.stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
            let text = fs::read_to_string(&counts).unwrap_or_default();
            let total = text.lines().rev().find(|line| line.trim_end().ends_with("total"));
            let count = total.and_then(|line| line.split_whitespace().nth(3));
            self.calls = count.unwrap_or("?").to_owned();
        }
    }
}

/// Takes the turns and prints the table.
pub(crate) fn compare(title: &str, rounds: usize, scratch: &Path, contenders: &mut [Contender]) {
    let folder = scratch.join("turn");
    for round in 0..=rounds {
        for turn in 0..contenders.len() {
            let at = (round + turn) % contenders.len();
            // The first round warms caches and is not counted.
            contenders[at].turn(&folder, round > 0);
        }
    }
    if installed("strace") {
        for contender in contenders.iter_mut().filter(|contender| contender.daemon.is_none()) {
            contender.count_calls(&folder);
        }
    }
    let _ = fs::remove_dir_all(&folder);
    println!("\n{title} ({rounds} rounds)\n");
    println!(
        "| program | wall median ms | p10 | cpu median ms | cpu p10 | peak MiB | system calls | first's wall against it | first's cpu |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|");
    let (first_wall, first) = (contenders[0].wall.percentile(50), contenders[0].cpu.percentile(50));
    for contender in contenders {
        println!(
            "| {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.1} | {} | ×{:.2} | ×{:.2} |",
            contender.name,
            contender.wall.percentile(50),
            contender.wall.percentile(10),
            contender.cpu.percentile(50),
            contender.cpu.percentile(10),
            contender.rss_kib as f64 / 1024.0,
            contender.calls,
            first_wall / contender.wall.percentile(50),
            first / contender.cpu.percentile(50),
        );
    }
}
