//! Layers as files: every rule of layer.md, seen as umoci's result where umoci follows it.

use std::collections::BTreeMap;
use std::fs;

use keel_tests::{ImageStore, Layout, TarEntry, differences, fixture, portrait, tarball};

/// What keel-image and umoci make of an image of these archives, lowest first.
struct Unpacked {
    seen: BTreeMap<String, String>,
    wanted: BTreeMap<String, String>,
}

fn layout(store: &ImageStore, archives: &[Vec<u8>]) {
    let mut layout = Layout::new(&store.beside("layout"));
    for archive in archives {
        layout.layer(archive);
    }
    layout.finish("image");
}

fn unpack(archives: &[Vec<u8>]) -> Unpacked {
    let store = ImageStore::new();
    layout(&store, archives);
    store.tool("umoci", &["unpack", "--image", "layout:image", "umoci"]);
    store.call(&["load", "-i", "layout"]).succeeds();
    let bundle = store.bundle("image", &[]);
    let seen = portrait(&bundle.join("rootfs"));
    let wanted = portrait(&store.beside("umoci/rootfs"));
    Unpacked { seen, wanted }
}

#[track_caller]
fn as_umoci(archives: &[Vec<u8>]) -> Unpacked {
    let unpacked = unpack(archives);
    let differences = differences(&unpacked.wanted, &unpacked.seen);
    assert!(differences.is_empty(), "{differences:#?}");
    unpacked
}

/// IMG-LAYER-01: a real distribution in several layers is unpacked as umoci does.
#[test]
fn debian_is_what_umoci_unpacks() {
    let base = fs::read(fixture("debian.tar")).expect("a fixture");
    let change = tarball(&[
        TarEntry::directory("etc", 0o755),
        TarEntry::file("etc/.wh.passwd", ""),
        TarEntry::file("etc/group", "root:x:0:\n").owner(0, 42),
        TarEntry::directory("var", 0o755),
        TarEntry::directory("var/lib", 0o755),
        TarEntry::file("var/lib/.wh.dpkg", ""),
        TarEntry::file("usr/bin/new", "#!/bin/sh\n").mode(0o6755),
        TarEntry::hard_link("usr/bin/linked", "usr/bin/dpkg"),
    ]);
    let unpacked = as_umoci(&[base, change]);
    assert!(unpacked.seen.len() > 3000, "{} entries", unpacked.seen.len());
}

/// IMG-CLI-08: `unpack` prints the directories of the layers, lowest first; overlayfs shows them as the image.
#[test]
fn prints_the_layers() {
    let store = ImageStore::new();
    let lower = tarball(&[TarEntry::file("gone", "1"), TarEntry::file("kept", "1")]);
    let upper = tarball(&[TarEntry::file(".wh.gone", ""), TarEntry::file("new", "2")]);
    layout(&store, &[lower, upper]);
    store.call(&["load", "-i", "layout"]).succeeds();
    let printed = store.call(&["unpack", "image"]).succeeds().stdout;
    let layers: Vec<&str> = printed.lines().collect();
    let [lower, upper] = layers[..] else { panic!("{printed}") };
    let view = store.beside("view");
    fs::create_dir(&view).expect("a folder");
    let options = format!("ro,lowerdir={upper}:{lower}");
    let view = view.display().to_string();
    store.tool("mount", &["-t", "overlay", "overlay", "-o", &options, &view]);
    let mut names: Vec<_> =
        fs::read_dir(&view).expect("a folder").flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    store.tool("umount", &[&view]);
    assert_eq!(names, ["kept", "new"]);
    let json = store.call(&["unpack", "--json", "image"]).succeeds().json();
    assert_eq!(json["Layers"].as_array().map(Vec::len), Some(2), "{json}");
}
