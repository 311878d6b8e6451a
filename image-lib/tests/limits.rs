//! Bounds of layers that strangers made: each of them can be set, holds, and is told.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod scene;

use keel_image::blob::Compression;
use keel_image::layer::Limits;
use keel_image::store::{Layer, Silent};
use keel_image::tar;
use scene::{Folder, assert_empty, chain, directory, file, put_layer, tar as archive};

/// Ten files in a deep folder with attributes, a megabyte of zeros.
fn bytes() -> Vec<u8> {
    let mut entries = vec![directory("a", 0o755), directory("a/b", 0o755)];
    for number in 0..10 {
        let mut file = file(&format!("a/b/file-{number}"), &"\0".repeat(100_000));
        file.0.xattrs = vec![(b"user.a".to_vec(), vec![b'x'; 1000]), (b"user.b".to_vec(), vec![])];
        entries.push(file);
    }
    archive(&entries)
}

#[track_caller]
fn refused(words: &str, limits: Limits) {
    let folder = Folder::new("limits");
    let store = folder.store().with_limits(limits);
    let layer = put_layer(&store, &bytes(), Compression::Gzip);
    let layers: Vec<Layer> = vec![layer.clone(), layer];
    let error = store.unpack(&layers, &Silent).unwrap_err();
    let text = chain(&error);
    assert!(text.contains(words), "{words}: {text}");
    store.collect().unwrap();
    assert_empty(&store);
}

#[test]
fn every_bound_holds() {
    let of_archive = |archive: tar::Limits| Limits { archive, ..Limits::default() };
    let archive = tar::Limits::default();
    refused("700000 bytes", Limits { expanded_bytes_max: 700_000, ..Limits::default() });
    let ratio = Limits { ratio_max: 50, ratio_from_bytes: 200_000, ..Limits::default() };
    refused("50 times its compressed size", ratio);
    refused("more than the 1 that are taken", Limits { layers_max: 1, ..Limits::default() });
    refused("9 entries", of_archive(tar::Limits { entries_max: 9, ..archive }));
    refused("2 components", of_archive(tar::Limits { depth_max: 2, ..archive }));
    refused("8 bytes of a path", of_archive(tar::Limits { path_bytes_max: 8, ..archive }));
    refused(
        "30 bytes of all paths",
        of_archive(tar::Limits { path_bytes_total_max: 30, ..archive }),
    );
    let header = tar::Limits { extended_header_bytes_max: 900, ..archive };
    refused("900 bytes of an extended header", of_archive(header));
    refused("1 extended attributes", of_archive(tar::Limits { xattrs_max: 1, ..archive }));
    let content = tar::Limits { content_bytes_max: 250_000, ..archive };
    refused("250000 bytes of content", of_archive(content));
}
