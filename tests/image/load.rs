//! `load`: archives that other tools wrote.

use std::fs;

use keel_tests::{ImageStore, fixture};

/// An OCI layout `layout:app` of two layers by umoci: the second changes, adds and deletes files.
fn make_layout(store: &ImageStore) {
    let busybox = fixture("busybox.tar").display().to_string();
    store.tool("umoci", &["init", "--layout", "layout"]);
    store.tool("umoci", &["new", "--image", "layout:app"]);
    store.tool("umoci", &["unpack", "--image", "layout:app", "one"]);
    store.tool("tar", &["-C", "one/rootfs", "-xpf", &busybox]);
    let rootfs = store.beside("one/rootfs");
    fs::create_dir_all(rootfs.join("data/gone")).expect("a folder");
    fs::write(rootfs.join("data/gone/file"), "x").expect("a file");
    fs::write(rootfs.join("data/deleted"), "x").expect("a file");
    fs::write(rootfs.join("data/changed"), "old").expect("a file");
    store.tool("umoci", &["repack", "--image", "layout:app", "one"]);
    store.tool("umoci", &["unpack", "--image", "layout:app", "two"]);
    let rootfs = store.beside("two/rootfs");
    fs::remove_dir_all(rootfs.join("data/gone")).expect("a folder");
    fs::remove_file(rootfs.join("data/deleted")).expect("a file");
    fs::write(rootfs.join("data/changed"), "new").expect("a file");
    fs::write(rootfs.join("data/added"), "added").expect("a file");
    store.tool("umoci", &["repack", "--image", "layout:app", "two"]);
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
