//! Compares how images are unpacked, interleaved: keel-image, umoci, podman, containerd, and the floor.
//!
//! `cargo build --release --workspace && target/*/release/bench-unpack 5`
//!
//! Two ways are measured. *unpack*: from an image layout on disk to files (`keel-image unpack` on the layout as its
//! store, `umoci unpack`, and `bench-unpack-floor`). *load*: from an archive to an image that can run (`keel-image
//! load`, `podman load`, `ctr images import` with containerd's own processor time added); what is not installed is
//! left out. A word after the number of rounds (`unpack`, `load`, `containerd`) measures one. `KEEL_BENCH_FILES` sets the number of small files (20000). A last round counts system calls. `TMPDIR`
//! says where: on a disk its file system is measured with the programs, so that a tmpfs tells more.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use keel_tests::sys::wait4;
use keel_tests::{Distribution, Layout, Scratch, TarEntry, eventually, program, tarball};

/// Says that the image is to be made, and nothing else.
const IMAGE: &str = "image";
/// Bytes of the file that makes a layer big.
const BIG: usize = 96 << 20;

/// Numbers that are always the same.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap_or(0) % below
    }

    /// Text that gzip makes about a third of, as it does of programs and their data.
    fn content(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 16);
        while bytes.len() < length {
            match self.next(4) {
                0 => bytes.extend(self.next(usize::MAX).to_le_bytes()),
                _ => {
                    let word = self.next(2000);
                    bytes.extend(format!("word{word:x} ").as_bytes());
                    bytes.extend([b'a' + (word % 26) as u8; 6]);
                }
            }
        }
        bytes.truncate(length);
        bytes
    }
}

/// A big layer, one of many small files, and one that changes and adds to both.
fn make_image(folder: &Path, files: usize) {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut layout = Layout::new(folder);
    let mut base = vec![TarEntry::directory("opt", 0o755)];
    base.push(TarEntry::file("opt/big", numbers.content(BIG)));
    for number in 0..12 {
        let content = numbers.content(4 << 20);
        base.push(TarEntry::file(format!("opt/lib{number}.so"), content).mode(0o755));
    }
    layout.layer(&tarball(&base));
    drop(base);
    let mut small = vec![TarEntry::directory("usr", 0o755)];
    let mut change = vec![TarEntry::directory("usr", 0o755), TarEntry::directory("etc", 0o755)];
    for number in 0..files {
        let (directory, name) = (number / 25, number % 25);
        if name == 0 {
            small.push(TarEntry::directory(format!("usr/d{directory:04}"), 0o755));
            change.push(TarEntry::directory(format!("usr/d{directory:04}"), 0o755));
        }
        let path = format!("usr/d{directory:04}/file-{name}");
        let length = 200 + numbers.next(7000);
        small.push(TarEntry::file(&path, numbers.content(length)));
        match number % 20 {
            0 => change.push(TarEntry::file(format!("usr/d{directory:04}/.wh.file-{name}"), "")),
            1..5 => {
                let content = numbers.content(length / 2);
                change.push(TarEntry::file(format!("etc/f{number:06}"), content).owner(1000, 1000));
            }
            5 => change.push(TarEntry::symlink(format!("etc/l{number:06}"), path)),
            6 => {
                let first = format!("etc/f{:06}", number - 2);
                change.push(TarEntry::hard_link(format!("etc/h{number:06}"), first));
            }
            _ => {}
        }
    }
    layout.layer(&tarball(&small));
    layout.layer(&tarball(&change));
    layout.finish("image");
}

/// One program to compare.
struct Contender {
    name: &'static str,
    wall: Distribution,
    cpu: Distribution,
    rss_kib: i64,
    calls: String,
    command: Box<dyn Fn(&Path) -> Command>,
}

impl Contender {
    fn new(name: &'static str, command: impl Fn(&Path) -> Command + 'static) -> Self {
        let (wall, cpu) = (Distribution::default(), Distribution::default());
        Self { name, wall, cpu, rss_kib: 0, calls: "-".to_owned(), command: Box::new(command) }
    }

    /// Runs it once in an empty folder.
    fn turn(&mut self, folder: &Path, daemon: Option<&Daemon>, counted: bool) {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir(folder).expect("a folder");
        let mut command = (self.command)(folder);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let before = daemon.map(Daemon::cpu);
        let start = Instant::now();
        #[expect(clippy::zombie_processes, reason = "wait4 reaps it and gives its resource usage")]
        let child = command.spawn().expect("it starts");
        let usage = wait4(child.id().cast_signed()).expect("an own child");
        let wall = start.elapsed();
        assert_eq!(usage.status, 0, "{} failed", self.name);
        let of_daemon = before.zip(daemon).map(|(before, daemon)| daemon.cpu() - before);
        if counted {
            self.wall.add(wall);
            self.cpu.add(usage.cpu + of_daemon.unwrap_or_default());
            self.rss_kib = self.rss_kib.max(usage.rss_kib).max(daemon.map_or(0, Daemon::rss_kib));
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

/// A containerd of our own.
struct Daemon {
    child: Child,
    address: PathBuf,
}

impl Daemon {
    fn start(scratch: &Path) -> Option<Self> {
        let address = scratch.join("containerd.sock");
        let config = scratch.join("containerd.toml");
        let text = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
        fs::write(&config, text).expect("a file");
        let mut command = Command::new("containerd");
        command.arg("-c").arg(&config).arg("--root").arg(scratch.join("containerd"));
        command.arg("--state").arg(scratch.join("containerd-state")).arg("-a").arg(&address);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        eventually("containerd listens", || address.exists().then_some(()));
        Some(Self { child, address })
    }

    fn cpu(&self) -> Duration {
        let stat =
            fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        // After the name: user and system time are the twelfth and thirteenth, in hundredths.
        let ticks = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
        Duration::from_millis(ticks.sum::<u64>() * 10)
    }

    fn rss_kib(&self) -> i64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn installed(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// The layout's files under new names, so that a store can stand beside them.
fn link_layout(layout: &Path, store: &Path) {
    fs::create_dir_all(store.join("blobs/sha256")).expect("a folder");
    for name in ["oci-layout", "index.json"] {
        fs::copy(layout.join(name), store.join(name)).expect("a copy");
    }
    for blob in fs::read_dir(layout.join("blobs/sha256")).expect("blobs").flatten() {
        let name = store.join("blobs/sha256").join(blob.file_name());
        fs::hard_link(blob.path(), name).expect("a link");
    }
}

fn main() {
    let mut words = std::env::args().skip(1);
    let first = words.next().unwrap_or_else(|| "5".to_owned());
    if first == IMAGE {
        let folder = words.next().expect("a folder");
        let files = std::env::var("KEEL_BENCH_FILES").ok().and_then(|word| word.parse().ok());
        return make_image(Path::new(&folder), files.unwrap_or(20_000));
    }
    let rounds = first.parse().expect("a number of rounds");
    let scratch = Scratch::new();
    let layout = scratch.join("layout");
    // In a process of its own, because the peak memory of a process counts for those that it starts.
    let own = std::env::current_exe().expect("a path");
    let made = Command::new(own).arg(IMAGE).arg(&layout).status();
    assert!(made.is_ok_and(|status| status.success()), "the image is made");
    let keel = program("keel-image");
    let floor = std::env::current_exe().expect("a path").with_file_name("bench-unpack-floor");

    let (from, program) = (layout.clone(), keel.clone());
    let mut unpack = vec![Contender::new("keel-image unpack", move |folder| {
        link_layout(&from, &folder.join("store"));
        let mut command = Command::new(&program);
        command.arg("--root").arg(folder.join("store")).args(["unpack", "image"]);
        command
    })];
    if installed("umoci") {
        let from = layout.clone();
        unpack.push(Contender::new("umoci unpack", move |folder| {
            let mut command = Command::new("umoci");
            let image = format!("{}:image", from.display());
            command.args(["unpack", "--image", &image]).arg(folder.join("bundle"));
            command
        }));
    }
    let from = layout.clone();
    unpack.push(Contender::new("floor", move |folder| {
        let mut command = Command::new(&floor);
        command.arg(&from).arg(folder);
        command
    }));
    let part = words.next();
    let wanted = |name: &str| part.as_deref().is_none_or(|part| part == name);
    if wanted("unpack") {
        compare("unpack: image layout to files", rounds, &scratch, None, &mut unpack);
    }
    if !installed("skopeo") || !(wanted("load") || wanted("containerd")) {
        return;
    }
    let archive = scratch.join("image.tar");
    let source = format!("oci:{}:image", layout.display());
    let target = format!("oci-archive:{}:docker.io/library/image:1", archive.display());
    let copied = Command::new("skopeo").args(["copy", "-q", &source, &target]).status();
    assert!(copied.is_ok_and(|status| status.success()), "skopeo copies");
    let (program, from) = (keel, archive.clone());
    let mut load = vec![Contender::new("keel-image load", move |folder| {
        let mut command = Command::new(&program);
        command.arg("--root").arg(folder.join("store")).args(["load", "-q", "-i"]).arg(&from);
        command
    })];
    if installed("podman") {
        let from = archive.clone();
        load.push(Contender::new("podman load", move |folder| {
            let mut command = Command::new("podman");
            command.arg("--root").arg(folder.join("root")).arg("--runroot").arg(folder.join("run"));
            command.args(["--storage-driver", "overlay", "load", "-q", "-i"]).arg(&from);
            command
        }));
    }
    if wanted("load") {
        compare("load: archive to image", rounds, &scratch, None, &mut load);
    }
    let containerd = installed("containerd") && wanted("containerd");
    if let Some(daemon) = containerd.then(|| Daemon::start(&scratch)).flatten() {
        let address = daemon.address.clone();
        let mut import = vec![Contender::new("ctr images import", move |_| {
            let ctr = |words: &[&str]| {
                let mut command = Command::new("ctr");
                command.arg("-a").arg(&address).args(words);
                command
            };
            // An image that is there would not be unpacked again.
            let _ = ctr(&["images", "rm", "--sync", "docker.io/library/image:1"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            let mut command = ctr(&["images", "import"]);
            command.arg(&archive);
            command
        })];
        compare("load: containerd", rounds, &scratch, Some(&daemon), &mut import);
    }
}

fn compare(
    title: &str,
    rounds: usize,
    scratch: &Path,
    daemon: Option<&Daemon>,
    contenders: &mut [Contender],
) {
    let folder = scratch.join("turn");
    for round in 0..=rounds {
        for turn in 0..contenders.len() {
            let at = (round + turn) % contenders.len();
            // The first round warms caches and is not counted.
            contenders[at].turn(&folder, daemon, round > 0);
        }
    }
    if daemon.is_none() && installed("strace") {
        for contender in contenders.iter_mut() {
            contender.count_calls(&folder);
        }
    }
    let _ = fs::remove_dir_all(&folder);
    println!("\n{title} ({rounds} rounds)\n");
    println!(
        "| program | wall median ms | p10 | cpu median ms | cpu p10 | peak MiB | system calls | first's cpu against it |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|");
    let first = contenders[0].cpu.percentile(50);
    for contender in contenders {
        println!(
            "| {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.1} | {} | ×{:.2} |",
            contender.name,
            contender.wall.percentile(50),
            contender.wall.percentile(10),
            contender.cpu.percentile(50),
            contender.cpu.percentile(10),
            contender.rss_kib as f64 / 1024.0,
            contender.calls,
            first / contender.cpu.percentile(50),
        );
    }
}
