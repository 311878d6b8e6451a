//! The key under which the result of a step is kept: a digest of everything that the result
//! depends on, and of nothing else.
//!
//! A key is made of what a step starts from (the diff ids below it, not the steps that made them),
//! what it does, and the contents that it reads. So a step whose input came out the same is a hit,
//! also where an earlier instruction was changed.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::key_parts::{FILE_BYTES, KeyParts};
use super::source_tree::{Kept, Selected};
use super::stat_cache::Sum;
use crate::fsroot::{FileKind, Metadata};

/// The key of a step.
#[derive(Debug, Clone)]
pub struct CacheKey {
    text: String,
    /// What it was made of; nothing of a key that was read.
    parts: Arc<KeyParts>,
}

impl PartialEq for CacheKey {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for CacheKey {}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl CacheKey {
    /// A key as it is written; nothing if it is none.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let is_key = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        is_key.then(|| Self { text: text.to_owned(), parts: Arc::default() })
    }

    /// What it was made of.
    pub(super) fn parts(&self) -> &[u8] {
        self.parts.bytes()
    }
}

/// Gathers what a key is made of. Every part is named and measured, so that no two lists of parts
/// read the same.
#[derive(Debug, Clone)]
pub struct KeyMaker(Sha256, KeyParts);

impl KeyMaker {
    /// Begins the key of a kind of step. The number is raised when the same parts come to mean
    /// another result.
    #[must_use]
    pub fn new(kind: &str) -> Self {
        Self(Sha256::new(), KeyParts::default()).part("keel-build-1", kind)
    }

    /// Adds a part.
    #[must_use]
    pub fn part(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.1.part(name, value.as_ref());
        self.hash(name, value.as_ref())
    }

    fn hash(mut self, name: &str, value: &[u8]) -> Self {
        for bytes in [name.as_bytes(), value] {
            self.0.update((bytes.len() as u64).to_le_bytes());
            self.0.update(bytes);
        }
        self
    }

    /// Adds a part for each of `values`, and their number.
    #[must_use]
    pub fn parts<T: AsRef<[u8]>>(self, name: &str, values: impl IntoIterator<Item = T>) -> Self {
        let mut count: u64 = 0;
        let mut key = self;
        for value in values {
            key.1.item(name, value.as_ref());
            key = key.hash(name, value.as_ref());
            count += 1;
        }
        key.hash(name, &count.to_le_bytes())
    }

    /// Adds the contents of what a copy selected: everything that will be seen of it, but for its
    /// times.
    #[must_use]
    pub fn contents(mut self, selected: &[Selected]) -> Self {
        for source in selected {
            // Only the name goes in, not where the source lay: a moved source is still a hit.
            self.1.source(source.path.as_os_str().as_bytes());
            self = self.hash("source", source.name().as_bytes());
            for entry in &source.entries {
                let file = &entry.metadata;
                let kind: u8 = match file.kind {
                    FileKind::File => 0,
                    FileKind::Directory => 1,
                    FileKind::Symlink => 2,
                    FileKind::CharacterDevice => 3,
                    FileKind::BlockDevice => 4,
                    FileKind::Fifo => 5,
                    FileKind::Socket => 6,
                };
                let mut line = vec![kind];
                for number in [file.mode, file.uid, file.gid, file.device.0, file.device.1] {
                    line.extend(number.to_le_bytes());
                }
                line.extend(entry.sum);
                let path = entry.path.as_os_str().as_bytes();
                self.1.file(path, attributes(kind, file, &entry.sum));
                self = self.hash("path", path).hash("file", &line);
            }
        }
        self
    }

    /// Adds what `COPY --parents` selected: contents, and the paths that are kept.
    #[must_use]
    pub fn kept(mut self, kept: &[Kept]) -> Self {
        for source in kept {
            self = self.part("kept", source.path.as_os_str().as_bytes());
            for (path, directory) in &source.parents {
                let numbers = [directory.mode, directory.uid, directory.gid];
                let line: Vec<u8> = numbers.into_iter().flat_map(u32::to_le_bytes).collect();
                self = self.part("parent", path.as_os_str().as_bytes()).part("directory", line);
            }
            self = self.contents(std::slice::from_ref(&source.selected));
        }
        self
    }

    /// The key.
    #[must_use]
    pub fn finish(self) -> CacheKey {
        let digest = self.0.finalize();
        let text = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        CacheKey { text, parts: Arc::new(self.1) }
    }
}

/// What is kept of a file: enough to tell what of it changed.
fn attributes(kind: u8, file: &Metadata, sum: &Sum) -> [u8; FILE_BYTES] {
    let mut bytes = [0; FILE_BYTES];
    bytes[0] = kind;
    for (at, number) in [file.mode, file.uid, file.gid].into_iter().enumerate() {
        bytes[1 + 4 * at..5 + 4 * at].copy_from_slice(&number.to_le_bytes());
    }
    bytes[13..].copy_from_slice(&sum[..FILE_BYTES - 13]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::KeyMaker;

    #[test]
    fn tells_parts_apart() {
        let keys = [
            KeyMaker::new("run").part("a", "bc"),
            KeyMaker::new("run").part("ab", "c"),
            KeyMaker::new("run").part("a", "b").part("a", "c"),
            KeyMaker::new("run").parts("a", ["b", "c"]),
            KeyMaker::new("run").parts("a", ["bc"]),
            KeyMaker::new("copy").part("a", "bc"),
        ]
        .map(|key| key.finish().to_string());
        for (index, key) in keys.iter().enumerate() {
            assert_eq!(key.len(), 64);
            assert!(!keys[..index].contains(key), "{index}");
        }
    }
}
