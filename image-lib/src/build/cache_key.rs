//! The key under which the result of a step is kept: a digest of everything that the result
//! depends on, and of nothing else.
//!
//! A key is made of what a step starts from (the diff ids below it, not the steps that made them),
//! what it does, and the contents that it reads. So a step whose input came out the same is a hit,
//! also where an earlier instruction was changed.

use std::fmt;
use std::os::unix::ffi::OsStrExt;

use sha2::{Digest as _, Sha256};

use super::source_tree::{Kept, Selected};
use crate::fsroot::FileKind;

/// The key of a step.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CacheKey(String);

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl CacheKey {
    /// A key as it is written; nothing if it is none.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let is_key = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        is_key.then(|| Self(text.to_owned()))
    }
}

/// Gathers what a key is made of. Every part is named and measured, so that no two lists of parts
/// read the same.
#[derive(Debug, Clone)]
pub struct KeyMaker(Sha256);

impl KeyMaker {
    /// Begins the key of a kind of step. The number is raised when the same parts come to mean
    /// another result.
    #[must_use]
    pub fn new(kind: &str) -> Self {
        Self(Sha256::new()).part("keel-build-1", kind)
    }

    /// Adds a part.
    #[must_use]
    pub fn part(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        for bytes in [name.as_bytes(), value.as_ref()] {
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
            key = key.part(name, value);
            count += 1;
        }
        key.part(name, count.to_le_bytes())
    }

    /// Adds the contents of what a copy selected: everything that will be seen of it, but for its
    /// times.
    #[must_use]
    pub fn contents(mut self, selected: &[Selected]) -> Self {
        for source in selected {
            // Only the name goes in, not where the source lay: a moved source is still a hit.
            self = self.part("source", source.name().as_bytes());
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
                self = self.part("path", entry.path.as_os_str().as_bytes()).part("file", line);
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
        CacheKey(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }
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
