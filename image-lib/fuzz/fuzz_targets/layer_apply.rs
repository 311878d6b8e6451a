//! Layers: whatever an archive says, applying it ends, and nothing outside of the layer's own folder
//! changes. The first byte says whether the headers' sums are put right, which chance would never do.
#![no_main]

use std::fs;
use std::os::unix::fs::MetadataExt;

use keel_image::fsroot::Root;
use keel_image::identity::Algorithm;
use keel_image::layer::{Limits, Threads, apply};
use libfuzzer_sys::fuzz_target;

const BLOCK: usize = 512;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let mut archive = bytes.to_vec();
    if first & 1 == 1 {
        archive.chunks_exact_mut(BLOCK).for_each(put_sum_right);
    }
    let top = std::env::temp_dir().join(format!("keel-fuzz-layer-{}", std::process::id()));
    let container = top.join("layer");
    fs::create_dir_all(&container).expect("a folder");
    fs::write(top.join("outside"), "untouched").expect("a file");
    let before = fs::metadata(top.join("outside")).expect("a file");

    let limits = Limits {
        archive: keel_image::tar::Limits {
            entries_max: 100,
            content_bytes_max: 1 << 20,
            ..Default::default()
        },
        expanded_bytes_max: 1 << 20,
        ..Default::default()
    };
    let directory = Root::open(&container).and_then(|root| root.directory().try_clone());
    let directory = directory.expect("a folder");
    let _ = apply(&mut archive.as_slice(), Algorithm::Sha256, directory, &limits, Threads::One);

    let mut names: Vec<_> =
        fs::read_dir(&top).expect("a folder").flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    assert_eq!(names, ["layer", "outside"]);
    assert_eq!(fs::read_to_string(top.join("outside")).expect("a file"), "untouched");
    let after = fs::metadata(top.join("outside")).expect("a file");
    let seen = |m: &fs::Metadata| (m.mode(), m.uid(), m.gid(), m.nlink(), m.mtime(), m.ino());
    assert_eq!(seen(&before), seen(&after));
    let inside: Vec<_> = fs::read_dir(&container).expect("a folder").flatten().collect();
    assert!(inside.iter().all(|entry| entry.file_name() == "fs"), "{inside:?}");
    let root = Root::open(&top).expect("a folder");
    root.directory().remove_tree("layer".as_ref()).expect("it can be removed");
});

/// An empty block is the archive's end and stays one.
fn put_sum_right(block: &mut [u8]) {
    if block.iter().all(|byte| *byte == 0) || block[257..262] != *b"ustar" {
        return;
    }
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
