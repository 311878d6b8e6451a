//! Compares how images are pulled, interleaved: keel-image, podman and containerd, from Debian's docker-registry on the
//! loopback interface, until a container could start.
//!
//! `cargo build --release --workspace && TMPDIR=/dev/shm target/*/release/bench-pull 5`
//!
//! The image is that of `bench-unpack`, and so is the floor: it reads the blobs from a folder and not from a
//! registry, whose own processor time is in no row. containerd's is in ctr's row. `KEEL_BENCH_FILES` sets the number
//! of small files (20000).

use std::process::Command;
use std::rc::Rc;

use keel_tests::{Containerd, Protection, Registry, Scratch, program};

mod unpacking;

use unpacking::containerd::forget;
use unpacking::contender::{Contender, compare};
use unpacking::{installed, sample};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if sample::is_made(&words) {
        return;
    }
    let rounds = words.first().map_or(5, |word| word.parse().expect("a number of rounds"));
    let scratch = Scratch::new();
    let layout = sample::layout(&scratch);
    let registry = Registry::start(Protection::None);
    registry.push(&format!("oci:{}:image", layout.display()), "image:1");
    let name = registry.name("image:1");

    let (keel, from) = (program("keel-image"), name.clone());
    let mut contenders = vec![Contender::new("keel-image pull", move |folder| {
        let mut command = Command::new(&keel);
        command.arg("--root").arg(folder.join("store")).args(["pull", "-q", &from]);
        command
    })];
    if installed("podman") {
        let from = name.clone();
        contenders.push(Contender::new("podman pull", move |folder| {
            let mut command = Command::new("podman");
            command.arg("--root").arg(folder.join("root")).arg("--runroot").arg(folder.join("run"));
            command.args([
                "--storage-driver",
                "overlay",
                "pull",
                "-q",
                "--tls-verify=false",
                &from,
            ]);
            command
        }));
    }
    let floor = program("bench-unpack-floor");
    contenders.push(Contender::new("floor", move |folder| {
        let mut command = Command::new(&floor);
        command.arg(&layout).arg(folder);
        command
    }));
    let containerd = installed("containerd").then(|| Rc::new(Containerd::start()));
    if let Some(containerd) = containerd {
        let daemon = Rc::clone(&containerd);
        let ctr = Contender::new("ctr images pull", move |_| {
            forget(&daemon, &name);
            daemon.command(&["images", "pull", "--plain-http", &name])
        });
        contenders.push(ctr.with(&containerd));
    }
    compare("pull: registry to image", rounds, &scratch, &mut contenders);
}
