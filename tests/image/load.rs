//! `load`: archives that other tools wrote.

use std::fs;
use std::process::{Command, Stdio};

use keel_tests::{ImageStore, Moved, busybox_layout, noisy_layout};

/// The layout of [`busybox_layout`], with an image that tells what it sees.
fn make_layout(store: &ImageStore) {
    busybox_layout(store);
    let words = [
        "--config.env",
        "COLOUR=blue",
        "--config.workingdir",
        "/data",
        "--config.cmd",
        "sh",
        "--config.cmd",
        "-c",
    ];
    let mut all = vec!["config", "--image", "layout:app"];
    all.extend(words);
    all.extend(["--config.cmd", "ls; cat changed; echo; echo $COLOUR; pwd"]);
    store.tool("umoci", &all);
}

const WANTED: &str = "added\nchanged\nnew\nblue\n/data\n";

/// IMG-LOAD-01: a `docker save` archive, written by skopeo from umoci's layers, loads and runs, on two runtimes.
#[test]
fn loads_a_docker_archive() {
    let store = ImageStore::new();
    make_layout(&store);
    store.tool(
        "skopeo",
        &["copy", "-q", "oci:layout:app", "docker-archive:app.tar:example.org/team/app:v1"],
    );
    store.call(&["load", "-i", "app.tar"]).succeeds();
    for runtime in ["runc", "keel"] {
        let outcome = store.run_on(runtime, "example.org/team/app:v1", &[]).succeeds();
        assert_eq!(outcome.stdout, WANTED, "{runtime}");
    }
}

/// IMG-LOAD-02: an OCI archive loads and runs, on two runtimes.
#[test]
fn loads_an_oci_archive() {
    let store = ImageStore::new();
    make_layout(&store);
    store.tool("skopeo", &["copy", "-q", "oci:layout:app", "oci-archive:app.tar:app:v2"]);
    store.call(&["load", "-i", "app.tar"]).succeeds();
    for runtime in ["runc", "keel"] {
        assert_eq!(store.run_on(runtime, "app:v2", &[]).succeeds().stdout, WANTED, "{runtime}");
    }
}

/// IMG-LOAD-03: an archive comes by standard input too.
#[test]
fn loads_from_standard_input() {
    let store = ImageStore::new();
    make_layout(&store);
    store.tool("skopeo", &["copy", "-q", "oci:layout:app", "docker-archive:app.tar:app:v3"]);
    let mut command = store.command(&["load"]);
    command.stdin(fs::File::open(store.beside("app.tar")).expect("an archive"));
    let output = command.output().expect("keel-image starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("app:v3"), "{said}");
}

/// IMG-LOAD-04: loading the same archive twice changes nothing.
#[test]
fn loading_twice_changes_nothing() {
    let store = ImageStore::new();
    make_layout(&store);
    store.tool("skopeo", &["copy", "-q", "oci:layout:app", "oci-archive:app.tar:app:v4"]);
    store.call(&["load", "-i", "app.tar"]).succeeds();
    let before = keel_tests::listing(&store.path().join("blobs"));
    store.call(&["load", "-i", "app.tar"]).succeeds();
    assert_eq!(keel_tests::listing(&store.path().join("blobs")), before);
}

/// What a command may read and write beside the bytes that are new: headers and documents.
const LITTLE: u64 = 512 << 10;
const LAYER: usize = 6 << 20;

/// `app:1` in a layout of two layers of noise, and `app:2` with one more, as three kinds of archive.
fn noisy_archives(store: &ImageStore) {
    noisy_layout(store, &[LAYER, LAYER]);
    let archive = |version: &str| {
        let name = format!("app:{version}");
        for (kind, file) in [("oci-archive", "oci"), ("docker-archive", "docker")] {
            let target = format!("{kind}:{file}{version}.tar:{name}");
            store.tool("skopeo", &["copy", "-q", "oci:layout:app", &target]);
        }
        let own = ImageStore::new();
        let archive = store.beside(&format!("oci{version}.tar")).display().to_string();
        own.call(&["load", "-q", "-i", &archive]).succeeds();
        let saved = store.beside(&format!("keel{version}.tar")).display().to_string();
        own.call(&["save", "-o", &saved, &name]).succeeds();
    };
    archive("1");
    store.tool("umoci", &["unpack", "--image", "layout:app", "more"]);
    // Other bytes that no compression makes fewer.
    let mut noise = fs::read(store.beside("more/rootfs/noise0")).expect("a file");
    noise.reverse();
    fs::write(store.beside("more/rootfs/more"), noise).expect("a file");
    store.tool("umoci", &["repack", "--image", "layout:app", "more"]);
    archive("2");
}

/// IMG-LOAD-06: what the store has already is neither read nor written, of an archive in a file, of standard input
/// that is one, and of a directory; of a further image only what is new.
#[test]
fn reads_only_what_is_new() {
    let store = ImageStore::new();
    noisy_archives(&store);
    for kind in ["oci", "docker", "keel"] {
        let (first, second) = (format!("{kind}1.tar"), format!("{kind}2.tar"));
        store.call(&["rmi", "-f", "app:1"]);
        store.call(&["rmi", "-f", "app:2"]);
        let all = store.moved(&["load", "-q", "-i", &first]);
        assert!(all.read > 2 * LAYER as u64 && all.written > 2 * LAYER as u64, "{kind}: {all:?}");
        let again = store.moved(&["load", "-q", "-i", &first]);
        assert!(again.read < LITTLE && again.written < LITTLE, "{kind} again: {again:?}");
        let mut command = store.command(&["load", "-q"]);
        let archive = fs::File::open(store.beside(&first)).expect("an archive");
        command.stdin(archive).stdout(Stdio::null());
        let input = Moved::by(command);
        assert!(input.read < LITTLE && input.written < LITTLE, "{kind} as input: {input:?}");
        let more = store.moved(&["load", "-q", "-i", &second]);
        // Set aside, and read again to be unpacked.
        let most = 3 * LAYER as u64 + LITTLE;
        assert!(more.written > LAYER as u64 / 2, "{kind} with one layer more: {more:?}");
        assert!(more.read < most && more.written < most, "{kind} with one layer more: {more:?}");
        assert_eq!(store.call(&["images", "-q"]).succeeds().stdout.lines().count(), 2, "{kind}");
        store.call(&["fsck"]).succeeds();
    }
    let again = store.moved(&["load", "-q", "-i", "layout"]);
    assert!(again.read < LITTLE && again.written < LITTLE, "a directory: {again:?}");
}

/// IMG-LOAD-07: from a pipe, too, nothing is written that the store has.
#[test]
fn writes_only_what_is_new() {
    let store = ImageStore::new();
    noisy_archives(&store);
    for kind in ["oci", "docker", "keel"] {
        let archive = format!("{kind}1.tar");
        store.call(&["rmi", "-f", "app:1"]);
        store.call(&["load", "-q", "-i", &archive]).succeeds();
        let mut cat = Command::new("cat");
        let cat = cat.arg(store.beside(&archive)).stdout(Stdio::piped()).spawn();
        let mut cat = cat.expect("cat");
        let mut command = store.command(&["load", "-q"]);
        command.stdin(cat.stdout.take().expect("a pipe")).stdout(Stdio::null());
        let piped = Moved::by(command);
        assert!(cat.wait().expect("an end").success(), "{kind}: the pipe is read to its end");
        assert!(piped.written < LITTLE, "{kind}: {piped:?}");
    }
}
