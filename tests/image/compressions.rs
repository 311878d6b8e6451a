//! Layers as the archives of other tools: what they are compressed with, and what that costs.

use std::fs;
use std::process::Command;

use keel_tests::{ImageStore, Layout, TarEntry, listing, portrait, program, tarball};

/// IMG-LAYER-16: layers in bzip2 and xz are read; a damaged one is named, and nothing of it is kept.
#[test]
fn other_compressions_are_read() {
    let archive = tarball(&[TarEntry::file("a", "1")]);
    for tool in ["bzip2", "xz"] {
        let store = ImageStore::new();
        fs::write(store.beside("layer"), &archive).expect("an archive");
        store.tool("sh", &["-c", &format!("{tool} -c layer > compressed")]);
        let mut blob = fs::read(store.beside("compressed")).expect("an archive");
        let media_type = "application/vnd.oci.image.layer.v1.tar";
        Layout::new(&store.beside("whole")).layer_of(&archive, &blob, media_type).finish("image");
        let middle = blob.len() / 2;
        blob[middle] ^= 0x10;
        Layout::new(&store.beside("bad")).layer_of(&archive, &blob, media_type).finish("image");
        store.call(&["load", "-i", "bad"]).fails_naming(&["sha256:"]);
        assert_eq!(listing(&store.path().join("layers")), Vec::<String>::new(), "{tool}");
        store.call(&["load", "-i", "whole"]).succeeds();
        let seen = portrait(&store.bundle("image", &[]).join("rootfs"));
        assert!(seen["\"a\""].starts_with("file 1 "), "{tool}: {seen:#?}");
    }
}

/// IMG-LAYER-20: layers whose decompression asks for 128 MiB each are unpacked one after the other; more is refused.
#[test]
fn large_windows_take_turns() {
    let store = ImageStore::new();
    let archive =
        |number| tarball(&[TarEntry::file(format!("zeros{number}"), vec![0_u8; 8 << 20])]);
    let compress = |archive: &[u8], window: u32| {
        fs::write(store.beside("layer"), archive).expect("an archive");
        // Only of a pipe the window is not bounded by the size.
        let command = format!("cat layer | zstd -q -1 --long={window} -c > compressed");
        store.tool("sh", &["-c", &command]);
        fs::read(store.beside("compressed")).expect("an archive")
    };
    let zstd = "application/vnd.oci.image.layer.v1.tar+zstd";
    let mut written = Layout::new(&store.beside("layout"));
    for number in 0..6 {
        written.layer_of(&archive(number), &compress(&archive(number), 27), zstd);
    }
    written.finish("image");
    let mut bounded = Command::new("prlimit");
    bounded.arg("--data=209715200").arg(program("keel-image")).arg("--root").arg(store.path());
    bounded.args(["load", "-i"]).arg(store.beside("layout"));
    store.finish(bounded).succeeds();
    let unpacked = store.call(&["unpack", "image"]).succeeds().stdout;
    assert_eq!(unpacked.lines().count(), 6, "{unpacked}");

    let store = ImageStore::new();
    let blob = compress(&archive(0), 28);
    Layout::new(&store.beside("layout")).layer_of(&archive(0), &blob, zstd).finish("image");
    store.call(&["load", "-i", "layout"]).fails_naming(&["sha256:", "too much memory"]);
    assert_eq!(listing(&store.path().join("layers")), Vec::<String>::new());
}
