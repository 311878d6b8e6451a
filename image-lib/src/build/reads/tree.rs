//! What a command can have learnt of the tree that it started from: each path is walked there, and every link and
//! directory on the way counts as well.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use crate::fsroot::{FileKind, FsError, Metadata, Root, components_reversed};
use crate::identity::{Algorithm, Digest, Hasher};

/// The kernel's own limit of links in a path.
const LINKS_MAX: usize = 40;
/// What stands for a path at which there is nothing.
const NOTHING: &str = "-";

/// How much is learnt of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Depth {
    /// Whether it is there, what it is, whose, its mode, size, target and extended attributes; no times.
    Attributes,
    /// The bytes of a file, the names in a directory, too.
    Content,
}

/// The paths of one tree that matter.
pub(super) struct Tree<'a> {
    root: &'a Root,
    /// Paths without links and `..`, below the root.
    found: BTreeMap<PathBuf, (Depth, Option<Metadata>)>,
    /// Whether a link leads to where only the command knew what is there: to another link, of procfs.
    pub(super) is_open: bool,
}

impl<'a> Tree<'a> {
    pub(super) fn new(root: &'a Root) -> Self {
        Self { root, found: BTreeMap::new(), is_open: false }
    }

    /// Adds an absolute path, its last component followed where it is a link, and what lies on the way.
    pub(super) fn add(&mut self, path: &Path, depth: Depth) -> Result<(), FsError> {
        let mut links = 0;
        let mut real = PathBuf::new();
        let mut pending = components_reversed(path);
        while let Some(name) = pending.pop() {
            if name == ".." {
                real.pop();
                continue;
            }
            let here = real.join(&name);
            match self.look(&here, Depth::Attributes)?.map(|found| found.kind) {
                Some(FileKind::Symlink) => {
                    let target = self.root.read_link(&here)?;
                    links += 1;
                    if links > LINKS_MAX {
                        return Ok(());
                    }
                    if target.as_bytes().starts_with(b"/") {
                        real.clear();
                    }
                    self.is_open |= is_magic(&real.join(&target));
                    pending.extend(components_reversed(Path::new(&target)));
                }
                Some(FileKind::Directory) => real = here,
                // A file is learnt of whole where the path ends there; what would be below it is not there.
                Some(_) if pending.is_empty() => real = here,
                _ => return Ok(()),
            }
        }
        self.look(&real, depth)?;
        Ok(())
    }

    fn look(&mut self, path: &Path, depth: Depth) -> Result<Option<Metadata>, FsError> {
        if let Some((known, found)) = self.found.get_mut(path) {
            *known = depth.max(*known);
            return Ok(*found);
        }
        let found = self.root.symlink_metadata(at(path))?;
        self.found.insert(path.to_owned(), (depth, found));
        Ok(found)
    }

    /// Each path with what there is.
    pub(super) fn read(self) -> Result<Vec<(PathBuf, Depth, String)>, FsError> {
        let read = |(path, (depth, _)): (PathBuf, (Depth, _))| {
            let print = print(self.root, &path, depth)?;
            Ok((path, depth, print))
        };
        self.found.into_iter().map(read).collect()
    }
}

/// Whether a path may go through a link of procfs that leads to a process's files.
fn is_magic(path: &Path) -> bool {
    let names = ["root", "cwd", "exe", "fd", "task", "map_files"].map(OsStr::new);
    let words = components_reversed(path);
    words.iter().any(|word| word == "proc") && words.iter().any(|word| names.contains(&&**word))
}

/// The root itself is the empty path.
fn at(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

/// What there is at a path without links: words for kind, mode, owner, and what depends on the kind.
pub(super) fn print(root: &Root, path: &Path, depth: Depth) -> Result<String, FsError> {
    let path = at(path);
    let Some(found) = root.symlink_metadata(path)? else { return Ok(NOTHING.to_owned()) };
    let mut rest = match found.kind {
        FileKind::File if depth == Depth::Content => sum_of_file(root, path)?,
        FileKind::File => found.size.to_string(),
        FileKind::Directory if depth == Depth::Content => sum_of_names(root, path)?,
        FileKind::Symlink => Digest::of(root.read_link(path)?.as_bytes()).hex().to_owned(),
        FileKind::CharacterDevice | FileKind::BlockDevice => {
            format!("{}:{}", found.device.0, found.device.1)
        }
        _ => String::new(),
    };
    let mut attributes = match path.file_name() {
        Some(_) => root.xattrs(path)?,
        // Layers have none for the root itself.
        None => Vec::new(),
    };
    if !attributes.is_empty() {
        attributes.sort();
        let mut hash = Hasher::new(Algorithm::Sha256);
        for (name, value) in attributes {
            hash.update(&(name.len() as u64).to_le_bytes());
            hash.update(&name);
            hash.update(&(value.len() as u64).to_le_bytes());
            hash.update(&value);
        }
        rest.push('+');
        rest.push_str(hash.finish().hex());
    }
    Ok(format!("{} {:o} {}:{} {rest}", word(found.kind), found.mode, found.uid, found.gid))
}

fn word(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "link",
        FileKind::CharacterDevice => "character",
        FileKind::BlockDevice => "block",
        FileKind::Fifo => "fifo",
        FileKind::Socket => "socket",
    }
}

fn sum_of_file(root: &Root, path: &Path) -> Result<String, FsError> {
    let mut file = root.open_file(path)?;
    let mut hash = Hasher::new(Algorithm::Sha256);
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hash.finish().hex().to_owned()),
            Ok(count) => hash.update(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(FsError::new("read", path, error)),
        }
    }
}

fn sum_of_names(root: &Root, path: &Path) -> Result<String, FsError> {
    let mut hash = Hasher::new(Algorithm::Sha256);
    for (name, kind) in root.entries(path)? {
        hash.update(name.as_bytes());
        hash.update(&[0]);
        hash.update(word(kind).as_bytes());
        hash.update(&[0]);
    }
    Ok(hash.finish().hex().to_owned())
}

/// What of a path is no more as it was, in words.
pub(super) fn change(before: &str, after: &str) -> &'static str {
    let words = |text: &str| -> Vec<String> { text.splitn(4, ' ').map(str::to_owned).collect() };
    let (one, other) = (words(before), words(after));
    match (before, after) {
        (NOTHING, _) => "was not there",
        (_, NOTHING) => "is gone",
        _ if one.first() != other.first() => "another kind of file",
        _ if one.get(1) != other.get(1) => "mode",
        _ if one.get(2) != other.get(2) => "owner",
        _ if before.starts_with("directory") => "entries",
        _ if before.starts_with("link") => "target",
        _ => "content",
    }
}

/// A path as text in which every byte is a character.
pub(super) fn to_text(path: &Path) -> String {
    path.as_os_str().as_bytes().iter().copied().map(char::from).collect()
}

/// The path of such a text.
pub(super) fn from_text(text: &str) -> Option<PathBuf> {
    let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c).ok()).collect();
    bytes.map(|bytes| PathBuf::from(OsString::from_vec(bytes)))
}

/// Whether a path of the container leads to what is no part of the image: the kernel's own file systems.
pub(super) fn is_foreign(path: &OsStr) -> bool {
    let bytes = path.as_bytes();
    let climbs = bytes.windows(4).any(|four| four == b"/../") || bytes.ends_with(b"/..");
    !climbs && [&b"/proc/"[..], b"/sys/", b"/dev/"].iter().any(|place| bytes.starts_with(place))
}
