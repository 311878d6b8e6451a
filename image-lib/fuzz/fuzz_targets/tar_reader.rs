//! Tar archives: reading ends, gives each file the bytes that it announces, and what was read can be
//! written and is read again as the same. The first byte says whether the headers' sums are put
//! right, which chance would never do.
#![no_main]

use std::io::{Read, copy, sink};

use keel_image::tar::{Entry, EntryKind, Limits, Reader, Writer};
use libfuzzer_sys::fuzz_target;

const BLOCK: usize = 512;
const LIMITS: Limits = Limits {
    entries_max: 200,
    path_bytes_max: 4095,
    depth_max: 64,
    extended_header_bytes_max: 1 << 16,
    xattrs_max: 64,
    path_bytes_total_max: 1 << 16,
    content_bytes_max: 1 << 18,
};
/// The writer's own bound on device numbers, far above the kernel's.
const DEVICE_NUMBER_MAX: u32 = 0o777_7777;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let mut archive = bytes.to_vec();
    if first & 1 == 1 {
        archive.chunks_exact_mut(BLOCK).for_each(put_sum_right);
    }
    let mut reader = Reader::new(archive.as_slice(), LIMITS);
    let mut read = Vec::new();
    let mut writer = Writer::new(Vec::new());
    while let Ok(Some(entry)) = reader.next_entry() {
        let mut content = Vec::new();
        match first & 2 == 0 || entry.kind != EntryKind::File {
            true if reader.read_to_end(&mut content).is_err() => return,
            true => assert_eq!(content.len() as u64, entry.size, "{entry:?}"),
            // What is not read is skipped.
            false => content.resize(usize::try_from(entry.size).expect("a bounded size"), 0),
        }
        if let Ok(path) = entry.relative_path() {
            assert!(path.is_relative() && !path.iter().any(|name| name == ".."), "{path:?}");
            let (major, minor) = entry.device;
            if major <= DEVICE_NUMBER_MAX && minor <= DEVICE_NUMBER_MAX {
                writer.append_content(&entry, &mut content.as_slice()).expect("it can be written");
                read.push(entry);
            }
        }
    }
    let _ = copy(&mut reader.into_inner(), &mut sink());
    let written = writer.finish().expect("memory takes all");
    let mut again = Reader::new(written.as_slice(), LIMITS);
    for entry in &read {
        let seen = again.next_entry().expect("what was written is read").expect("an entry");
        assert_same(entry, &seen);
    }
    assert!(again.next_entry().expect("an end").is_none());
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

fn assert_same(one: &Entry, other: &Entry) {
    let names = |entry: &Entry| (entry.relative_path(), entry.link.clone());
    assert_eq!(names(one), names(other));
    let numbers = |entry: &Entry| {
        (entry.kind, entry.mode, entry.uid, entry.gid, entry.size, entry.mtime, entry.device)
    };
    assert_eq!(numbers(one), numbers(other), "{one:?}");
    assert_eq!(one.xattrs, other.xattrs);
}
