//! Compares how images are unpacked, interleaved: keel-image, umoci, podman, containerd, and the floor.
//!
//! `cargo build --release --workspace && target/*/release/bench-unpack 5`
//!
//! Two ways are measured. *unpack*: from an image layout on disk to files (`keel-image unpack` on the layout as its
//! store, `umoci unpack`, and `bench-unpack-floor`). *load*: from an archive to an image that can run (`keel-image
//! load`, `podman load`, `ctr images import` with containerd's own processor time added); what is not installed is
//! left out. A word after the number of rounds (`unpack`, `load`) measures one. `KEEL_BENCH_FILES` sets the number of small files (20000). A last round counts system
//! calls. `TMPDIR` says where: on a disk its file system is measured with the programs, so that a tmpfs tells more.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;

use keel_tests::{Containerd, Scratch, program};

mod unpacking;

use unpacking::containerd::forget;
use unpacking::contender::{Contender, compare};
use unpacking::{installed, sample};

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
    let words: Vec<String> = std::env::args().skip(1).collect();
    if sample::is_made(&words) {
        return;
    }
    let rounds = words.first().map_or(5, |word| word.parse().expect("a number of rounds"));
    let part = words.get(1).cloned();
    let scratch = Scratch::new();
    let layout = sample::layout(&scratch);
    let keel = program("keel-image");
    let floor = program("bench-unpack-floor");

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
    let wanted = |name: &str| part.as_deref().is_none_or(|part| part == name);
    if wanted("unpack") {
        compare("unpack: image layout to files", rounds, &scratch, &mut unpack);
    }
    if !installed("skopeo") || !wanted("load") {
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
    let containerd = installed("containerd").then(|| Rc::new(Containerd::start()));
    if let Some(containerd) = containerd {
        let daemon = Rc::clone(&containerd);
        let import = Contender::new("ctr images import", move |_| {
            forget(&daemon, "docker.io/library/image:1");
            let mut command = daemon.command(&["images", "import"]);
            command.arg(&archive);
            command
        });
        load.push(import.with(&containerd));
    }
    compare("load: archive to image", rounds, &scratch, &mut load);
}
