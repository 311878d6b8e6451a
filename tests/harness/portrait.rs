//! A folder with all that can be seen of it, so that what two tools unpacked can be compared entry by entry.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::digest;

/// What is seen of each entry below a folder, by its path; the folder itself is `.`.
///
/// Kind, mode, owner, group, device number, time of change to the nanosecond, size and digest of the content, target
/// of a link, extended attributes, and the first name of a file that has several.
///
/// # Panics
/// Something cannot be read.
pub fn portrait(folder: &Path) -> BTreeMap<String, String> {
    portrait_as(folder, |owner| owner)
}

/// As [`portrait`], with each owner and group as the caller sees them.
///
/// # Panics
/// Something cannot be read.
pub fn portrait_as(
    folder: &Path,
    owner: impl Fn((u32, u32)) -> (u32, u32),
) -> BTreeMap<String, String> {
    let mut seen = BTreeMap::new();
    let mut first = BTreeMap::new();
    let mut pending = vec![PathBuf::new()];
    // In order, so that the first name of a file is always the same.
    while let Some(path) = pending.pop() {
        let here = folder.join(&path);
        let meta = fs::symlink_metadata(&here).expect("an entry has metadata");
        let kind = meta.file_type();
        let detail = if kind.is_file() {
            let content = fs::read(&here).expect("a file is read");
            format!("file {} {}", content.len(), &digest(&content)[7..23])
        } else if kind.is_symlink() {
            format!("link to {:?}", fs::read_link(&here).expect("a link has a target"))
        } else if kind.is_dir() {
            let mut names: Vec<PathBuf> = fs::read_dir(&here)
                .expect("a folder is read")
                .map(|entry| path.join(entry.expect("an entry").file_name()))
                .collect();
            names.sort();
            pending.extend(names.into_iter().rev());
            "directory".to_owned()
        } else {
            let number = meta.rdev();
            let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
            match () {
                () if kind.is_char_device() => format!("character device {major}:{minor}"),
                () if kind.is_block_device() => format!("block device {major}:{minor}"),
                () if kind.is_fifo() => "fifo".to_owned(),
                () => "socket".to_owned(),
            }
        };
        let name =
            format!("{:?}", if path.as_os_str().is_empty() { Path::new(".") } else { &path });
        let shared = if meta.nlink() > 1 && !kind.is_dir() {
            let known = first.entry((meta.dev(), meta.ino())).or_insert_with(|| name.clone());
            format!(" same as {known}")
        } else {
            String::new()
        };
        let (uid, gid) = owner((meta.uid(), meta.gid()));
        let line = format!(
            "{detail} {:o} {uid}:{gid} {}.{:09}{shared}{}",
            meta.mode() & 0o7777,
            meta.mtime(),
            meta.mtime_nsec(),
            attributes(&here).iter().map(|word| format!(" {word}")).collect::<String>()
        );
        seen.insert(name, line);
    }
    seen
}

/// The extended attributes of an entry, in order.
pub(crate) fn attributes(path: &Path) -> Vec<String> {
    let mut buffer = vec![0; 64 << 10];
    let length = rustix::fs::llistxattr(path, &mut buffer[..]).unwrap_or(0);
    let mut words = Vec::new();
    for name in buffer[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 64 << 10];
        let length = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value[..]);
        value.truncate(length.unwrap_or(0));
        let name = String::from_utf8_lossy(name);
        words.push(format!("{name}=\"{}\"", value.escape_ascii()));
    }
    words.sort();
    words
}

/// The entries in which two portraits differ, for people.
pub fn differences(
    wanted: &BTreeMap<String, String>,
    seen: &BTreeMap<String, String>,
) -> Vec<String> {
    let names = wanted.keys().chain(seen.keys()).collect::<std::collections::BTreeSet<_>>();
    let line = |of: &BTreeMap<String, String>, name| {
        of.get(name).map_or("missing", String::as_str).to_owned()
    };
    names
        .into_iter()
        .filter(|name| wanted.get(*name) != seen.get(*name))
        .map(|name| format!("{name}: wanted {}, seen {}", line(wanted, name), line(seen, name)))
        .collect()
}
