//! `import`: a root file system archive becomes an image.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use keel_tests::{ImageStore, fixture, listing};

/// IMG-IMPORT-01: busybox's root file system, imported, runs on keel and on runc with the same output.
#[test]
fn busybox_runs_on_two_runtimes() {
    let store = ImageStore::new();
    store.import(&fixture("busybox.tar"), "busybox:1").succeeds();
    let script = "ls / && echo $PATH && readlink /bin/ls && id -u";
    let words = ["/bin/sh", "-c", script];
    let wanted = store.run_on("runc", "busybox:1", &words).succeeds();
    assert!(wanted.stdout.contains("busybox\n"), "{}", wanted.report());
    assert_eq!(store.run_on("keel", "busybox:1", &words).succeeds().stdout, wanted.stdout);
}

/// IMG-IMPORT-02: Debian's root file system, imported, runs on keel and on runc with the same output.
#[test]
fn debian_runs_on_two_runtimes() {
    let store = ImageStore::new();
    store.import(&fixture("debian.tar"), "debian:12").succeeds();
    let script = "cat /etc/debian_version; dpkg -l | wc -l; getent passwd nobody; stat -c '%a %U' /tmp /etc/shadow; perl -e 'print 6*7, \"\\n\"'";
    let words = ["/bin/bash", "-c", script];
    let wanted = store.run_on("runc", "debian:12", &words).succeeds();
    assert!(wanted.stdout.starts_with("12."), "{}", wanted.report());
    assert!(wanted.stdout.contains("1777 root"), "{}", wanted.report());
    assert_eq!(store.run_on("keel", "debian:12", &words).succeeds().stdout, wanted.stdout);
}

/// IMG-IMPORT-03: what lies in the bundle is what GNU tar unpacks: names, modes, owners, links, sizes.
#[test]
fn the_tree_is_what_gnu_tar_unpacks() {
    let store = ImageStore::new();
    store.import(&fixture("debian.tar"), "debian:12").succeeds();
    let bundle = store.bundle("debian:12", &["/bin/true"]);
    let unpacked = store.beside("gnu");
    fs::create_dir(&unpacked).expect("a folder");
    let archive = fixture("debian.tar").display().to_string();
    let mut tar = Command::new("tar");
    tar.args(["-C", &unpacked.display().to_string(), "--numeric-owner", "-xpf", &archive]);
    store.finish(tar).succeeds();
    let wanted: BTreeSet<String> = listing(&unpacked).into_iter().collect();
    let seen: BTreeSet<String> = listing(&bundle.join("rootfs")).into_iter().collect();
    assert!(wanted.len() > 3000, "{} entries", wanted.len());
    let differs: Vec<&String> = wanted.symmetric_difference(&seen).take(20).collect();
    assert!(differs.is_empty(), "{differs:#?}");
}

/// IMG-IMPORT-04: a compressed archive gives the same layer as the plain one.
#[test]
fn compression_does_not_change_the_layer() {
    let store = ImageStore::new();
    let plain = fixture("busybox.tar");
    store.import(&plain, "plain:1").succeeds();
    let plain = plain.display().to_string();
    store.tool(
        "sh",
        &["-c", &format!("gzip -c {plain} > b.tar.gz; zstd -q -c {plain} > b.tar.zst")],
    );
    let layers = |image: &str| -> serde_json::Value {
        store.call(&["inspect", image]).succeeds().json()[0]["RootFS"]["Layers"].clone()
    };
    let wanted = layers("plain:1");
    assert_eq!(wanted.as_array().map(Vec::len), Some(1), "{wanted}");
    for archive in ["b.tar.gz", "b.tar.zst"] {
        let name = format!("{}:1", archive.replace('.', "-"));
        store.import(&store.beside(archive), &name).succeeds();
        assert_eq!(layers(&name), wanted, "{archive}");
    }
}
