//! Compares builds with buildah's, interleaved: everything cached, one file changed, and eleven steps done anew.
//!
//! `cargo build --release --workspace && TMPDIR=/dev/shm target/*/release/bench-build 10`
//!
//! Both have the same base image unpacked in a store of their own and build the same folder. buildah runs its
//! commands by chroot, the cheapest way it has, and keel-image in a container.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use keel_tests::sys::wait4;
use keel_tests::{Distribution, ImageStore, fixture};

/// Files that changed just now are digested again; both builders look at settled ones.
const SETTLED: Duration = Duration::from_millis(60);

const COPIES: &str = "FROM localhost/base\nWORKDIR /app\nCOPY lib lib\nRUN ls lib > listing\n\
    COPY src src\nCMD [\"true\"]\n";

const STEPS: &str = "FROM localhost/base\nENV A=1\nWORKDIR /app\nCOPY src src\n\
    RUN echo 1 > one\nRUN mkdir two\nRUN ls src > three\nRUN cp one four\nRUN ln -s one five\n\
    RUN rm four\nRUN cat one three > six\nCMD [\"true\"]\n";

/// What is measured: a Dockerfile over so many files, and what is done before and said in each round.
struct Case {
    name: &'static str,
    dockerfile: &'static str,
    files: usize,
    flags: &'static [&'static str],
    is_changed: bool,
}

const CASES: [Case; 4] = [
    Case {
        name: "cached, 2000 files",
        dockerfile: COPIES,
        files: 2000,
        flags: &[],
        is_changed: false,
    },
    Case {
        name: "cached, 50000 files",
        dockerfile: COPIES,
        files: 50_000,
        flags: &[],
        is_changed: false,
    },
    Case {
        name: "one file changed",
        dockerfile: COPIES,
        files: 2000,
        flags: &[],
        is_changed: true,
    },
    Case {
        name: "eleven steps anew",
        dockerfile: STEPS,
        files: 20,
        flags: &["--no-cache"],
        is_changed: false,
    },
];

/// Half of the files are below `lib`, half below `src`, a hundred in a folder.
fn fill(context: &Path, case: &Case) {
    let _ = fs::remove_dir_all(context);
    fs::create_dir(context).expect("a folder");
    fs::write(context.join("Dockerfile"), case.dockerfile).expect("a file");
    for number in 0..case.files {
        let part = if number % 2 == 0 { "lib" } else { "src" };
        let folder = context.join(part).join(format!("d{}", number / 200));
        fs::create_dir_all(&folder).expect("a folder");
        let text = format!("file {number}\n").repeat(20);
        fs::write(folder.join(format!("f{number}")), text).expect("a file");
    }
    settle();
}

/// Waits until what was written is settled. The clock itself is what is waited for.
#[expect(clippy::disallowed_methods, reason = "nothing but the clock can be waited for")]
fn settle() {
    sleep(SETTLED);
}

fn keel(store: &ImageStore, case: &Case) -> Command {
    store.command(&[&["build", "-q", "-t", "app"], case.flags, &["context"]].concat())
}

fn buildah(store: &ImageStore, words: &[&str]) -> Command {
    let mut command = Command::new("buildah");
    command.arg("--root").arg(store.beside("buildah"));
    command.arg("--runroot").arg(store.beside("buildah-run"));
    command.args(["--storage-driver", "overlay"]).args(words).current_dir(store.beside(""));
    command
}

fn peer(store: &ImageStore, case: &Case) -> Command {
    let words = ["bud", "-q", "--layers", "--pull-never", "--isolation", "chroot", "-t", "app"];
    buildah(store, &[&words, case.flags, &["context"]].concat())
}

#[derive(Default)]
struct Cost {
    wall: Distribution,
    cpu: Distribution,
    rss_kib: i64,
}

impl Cost {
    fn turn(&mut self, mut command: Command, is_counted: bool) {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let start = Instant::now();
        #[expect(clippy::zombie_processes, reason = "wait4 reaps it and gives its resource usage")]
        let child = command.spawn().expect("it starts");
        let usage = wait4(child.id().cast_signed()).expect("an own child");
        assert_eq!(usage.status, 0, "{command:?} failed");
        if is_counted {
            self.wall.add(start.elapsed());
            self.cpu.add(usage.cpu);
            self.rss_kib = self.rss_kib.max(usage.rss_kib);
        }
    }
}

fn main() {
    let rounds = std::env::args().nth(1).map_or(10, |word| word.parse().expect("a number"));
    let store = ImageStore::new();
    store.import(&fixture("busybox.tar"), "localhost/base").succeeds();
    store.call(&["save", "-o", "base.tar", "localhost/base"]).succeeds();
    store.finish(buildah(&store, &["pull", "-q", "docker-archive:base.tar"])).succeeds();
    println!("build, {rounds} rounds, milliseconds; the ratio is keel-image's to buildah's");
    println!("| what | program | wall median | cpu median | peak MiB | wall | cpu |");
    for case in &CASES {
        let (mut own, mut other) = (Cost::default(), Cost::default());
        fill(&store.beside("context"), case);
        // The first two rounds fill the caches: what was made a moment ago is remembered by the second.
        for round in 0..rounds + 2 {
            if case.is_changed {
                fs::write(store.beside("context/src/d0/f1"), format!("round {round}\n"))
                    .expect("a file");
                settle();
            }
            own.turn(keel(&store, case), round > 1);
            other.turn(peer(&store, case), round > 1);
        }
        let ratio = |own: &Distribution, other: &Distribution| {
            format!("×{:.3}", own.percentile(50) / other.percentile(50))
        };
        let ratios = [ratio(&own.wall, &other.wall), ratio(&own.cpu, &other.cpu)];
        for (program, cost, [wall, cpu]) in
            [("keel-image", &own, ratios), ("buildah", &other, ["×1".to_owned(), "×1".to_owned()])]
        {
            println!(
                "| {} | {program} | {:.1} | {:.1} | {:.1} | {wall} | {cpu} |",
                case.name,
                cost.wall.percentile(50),
                cost.cpu.percentile(50),
                f64::from(i32::try_from(cost.rss_kib).unwrap_or(i32::MAX)) / 1024.0,
            );
        }
    }
}
