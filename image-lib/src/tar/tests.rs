//! What is written is read back; what is odd is refused.
#![allow(clippy::unwrap_used)]

use std::io::Read;

use super::*;
use crate::spec::Timestamp;

fn archive(entries: &[(Entry, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, content) in entries {
        writer.append_content(entry, &mut &content[..]).unwrap();
    }
    writer.finish().unwrap()
}

fn read_all(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
    let mut reader = Reader::new(bytes, Limits::default());
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut content = Vec::new();
        let read = reader.read_to_end(&mut content);
        read.map_err(|error| *error.into_inner().unwrap().downcast::<TarError>().unwrap())?;
        entries.push((entry, content));
    }
    Ok(entries)
}

fn file(path: &str, content: &[u8]) -> Entry {
    Entry { size: content.len() as u64, ..Entry::new(path.as_bytes(), EntryKind::File, 0o644) }
}

#[test]
fn reads_what_it_writes() {
    let long = format!("{}/{}", "d".repeat(120), "n".repeat(200));
    let mut odd = file(&long, b"content");
    odd.uid = 3_000_000;
    odd.gid = u32::MAX;
    odd.mode = 0o6755;
    odd.mtime = Timestamp { seconds: -5, nanoseconds: 250_000_000 };
    odd.xattrs = vec![
        (b"security.capability".to_vec(), b"\x01\0\n=\0".to_vec()),
        (b"user.a".to_vec(), vec![]),
        (b"user.a=b%".to_vec(), b"=c".to_vec()),
    ];
    // An empty value is how PAX takes a record back, but not for attributes.
    let mut link = Entry::new(b"l\xff", EntryKind::Symlink, 0o777);
    link.link = vec![b't'; 150];
    let mut device = Entry::new(b"dev", EntryKind::BlockDevice, 0o600);
    device.device = (259, 70_000);
    let mut prefix = file(&format!("{}/{}", "p".repeat(150), "q".repeat(99)), b"");
    prefix.mtime = Timestamp { seconds: 7, nanoseconds: 1 };
    let directory = Entry::new(b"dir/", EntryKind::Directory, 0o1777);
    let entries =
        [(odd, &b"content"[..]), (link, b""), (device, b""), (prefix, b""), (directory, b"")];
    let read = read_all(&archive(&entries)).unwrap();
    for ((expected, content), (actual, actual_content)) in entries.iter().zip(&read) {
        assert_eq!((actual, actual_content.as_slice()), (expected, *content));
    }
    assert_eq!(read.len(), entries.len());
}

#[test]
fn refuses_damage() {
    let bytes = archive(&[(file("a", b"hello"), b"hello"), (file("b", b""), b"")]);
    for cut in [1, 511, 513, 516, 1025] {
        assert!(read_all(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    // Missing end blocks are no damage.
    assert_eq!(read_all(&bytes[..1536]).unwrap().len(), 2);
    for flip in [0, 100, 124, 150, 156, 257] {
        let mut damaged = bytes.clone();
        damaged[flip] ^= 1;
        let error = read_all(&damaged).unwrap_err();
        assert!(matches!(error, TarError::Entry { problem: Problem::Checksum, .. }), "{flip}");
    }
    let mut lone = bytes[..1024].to_vec();
    lone.extend([0; 512]);
    lone.extend(&bytes[1024..]);
    assert!(read_all(&lone).is_err());
}

#[test]
fn applies_a_size_to_the_right_entry() {
    // The size of the record belongs to the file, not to the long name between them.
    let mut bytes = Vec::new();
    let mut records = b"10 size=5\n".to_vec();
    records.resize(512, 0);
    let mut pax = archive(&[(file("x", &[0; 10]), &[0; 10])])[..512].to_vec();
    set_flag(&mut pax, b'x');
    bytes.extend(&pax);
    bytes.extend(&records);
    let name = b"long-name\0";
    let mut long = archive(&[(file("y", name), name)])[..1024].to_vec();
    set_flag(&mut long, b'L');
    bytes.extend(&long);
    let mut empty = archive(&[(file("short", b""), b"")])[..512].to_vec();
    set_flag(&mut empty, b'0');
    bytes.extend(&empty);
    let mut content = b"hello".to_vec();
    content.resize(512, 0);
    bytes.extend(&content);
    let read = read_all(&bytes).unwrap();
    assert_eq!(read[0].0.path, b"long-name");
    assert_eq!(read[0].1, b"hello");
}

fn set_flag(block: &mut [u8], flag: u8) {
    block[156] = flag;
    block[148..156].fill(b' ');
    let sum: u32 = block[..512].iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn keeps_to_its_limits() {
    let bytes = archive(&[(file("a", b"hello"), b"hello"), (file("b/c/d", b""), b"")]);
    let limits = [
        Limits { entries_max: 1, ..Limits::default() },
        Limits { content_bytes_max: 4, ..Limits::default() },
        Limits { depth_max: 2, ..Limits::default() },
        Limits { path_bytes_total_max: 5, ..Limits::default() },
        Limits { path_bytes_max: 3, ..Limits::default() },
    ];
    for limits in limits {
        let mut reader = Reader::new(&bytes[..], limits);
        let result = reader.next_entry().and_then(|_| reader.next_entry());
        let Err(TarError::Entry { problem: Problem::Limit { .. }, .. }) = result else {
            panic!("{limits:?}: {result:?}");
        };
    }
}

#[test]
fn skips_the_content_of_a_directory_that_was_a_file() {
    let mut bytes = archive(&[(file("d", b"hello"), b"hello"), (file("b", b""), b"")]);
    bytes[1] = b'/';
    set_flag(&mut bytes, b'0');
    let read = read_all(&bytes).unwrap();
    assert_eq!(read[0].0.kind, EntryKind::Directory);
    assert_eq!(read[1].0.path, b"b");
}

/// As umoci's insert writes it.
#[test]
fn ends_with_the_last_byte_of_content() {
    let bytes = archive(&[(file("a", b"hello"), b"hello")]);
    for length in [512 + 5, 512 + 6, 1023, 1024, 1536] {
        assert_eq!(read_all(&bytes[..length]).unwrap()[0].1, b"hello", "{length}");
        // Also when nobody reads the content.
        let mut reader = Reader::new(&bytes[..length], Limits::default());
        assert!(reader.next_entry().unwrap().is_some());
        assert_eq!(reader.next_entry().unwrap(), None, "{length}");
    }
    for length in [512 + 4, 1024 + 100] {
        let error = read_all(&bytes[..length]).unwrap_err();
        assert!(matches!(error, TarError::Entry { problem: Problem::Truncated, .. }), "{error}");
    }
}
