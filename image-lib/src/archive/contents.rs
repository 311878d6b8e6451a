//! All that an archive or a layout directory holds, before it is understood.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use super::ArchiveError;
use super::spool::{Spool, Spooled};
use crate::identity::Digest;
use crate::spec::Descriptor;
use crate::store::{Documents, Staged, Store, StoreError};
use crate::tar::{EntryKind, Reader};

/// How many links may lead from one entry to the next.
const LINKS_MAX: usize = 8;

/// The files of an archive.
#[derive(Debug)]
pub(super) struct Contents<'s> {
    store: &'s Store,
    spool: Spool<'s>,
    entries: HashMap<PathBuf, Member>,
}

#[derive(Debug)]
enum Member {
    File(Spooled),
    /// Old archives store a layer once and link to it.
    Link(PathBuf),
}

impl<'s> Contents<'s> {
    pub(super) fn new(store: &'s Store) -> Result<Self, ArchiveError> {
        Ok(Self { store, spool: Spool::new(store)?, entries: HashMap::new() })
    }

    /// Reads a tar to its end.
    pub(super) fn read<R: Read>(&mut self, archive: R) -> Result<(), ArchiveError> {
        let archive = BufReader::with_capacity(128 << 10, archive);
        let mut reader = Reader::new(archive, self.store.limits().archive);
        while let Some(entry) = reader.next_entry()? {
            let path = entry.relative_path().map_err(|problem| reader.refuse(problem))?;
            match entry.kind {
                EntryKind::File => {
                    self.add(&path, &mut reader, entry.size)?;
                }
                EntryKind::Symlink | EntryKind::HardLink => {
                    use std::os::unix::ffi::OsStrExt;
                    let target = Path::new(std::ffi::OsStr::from_bytes(&entry.link));
                    let from = match entry.kind {
                        EntryKind::Symlink => path.parent().unwrap_or_else(|| Path::new("")),
                        _ => Path::new(""),
                    };
                    if let Some(target) = resolve(from, target) {
                        self.entries.insert(path, Member::Link(target));
                    }
                }
                _ => {}
            }
        }
        // What stands behind the archive's end is read, so that whoever writes to a pipe is not
        // cut off.
        let mut rest = reader.into_inner();
        std::io::copy(&mut rest, &mut std::io::sink())
            .map_err(|source| ArchiveError::Entry { entry: "the end".to_owned(), source })?;
        Ok(())
    }

    /// Adds one file.
    pub(super) fn add(
        &mut self,
        path: &Path,
        content: &mut dyn BufRead,
        size: u64,
    ) -> Result<(), ArchiveError> {
        let expected = blob_name(path);
        let name = path.to_string_lossy();
        let file = self.spool.add(&name, content, size, expected.as_ref())?;
        self.entries.insert(path.to_owned(), Member::File(file));
        Ok(())
    }

    /// The file at `path`, through links.
    pub(super) fn file(&self, path: &str) -> Option<&Spooled> {
        let mut path = resolve(Path::new(""), Path::new(path))?;
        for _ in 0..LINKS_MAX {
            match self.entries.get(&path)? {
                Member::File(file) => return Some(file),
                Member::Link(target) => path.clone_from(target),
            }
        }
        None
    }

    /// The bytes of a small file.
    pub(super) fn bytes(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, ArchiveError> {
        let Some(file) = self.file(path) else { return Ok(None) };
        if file.size > limit {
            return Err(ArchiveError::Large { entry: path.to_owned(), limit });
        }
        let descriptor = Descriptor::new("", file.digest.clone(), file.size);
        Ok(Some(self.document(&descriptor, limit)?))
    }

    pub(super) fn staged(&self) -> Staged {
        self.spool.staged()
    }

    pub(super) fn spooled(&self, digest: &Digest) -> Option<&Spooled> {
        self.spool.get(digest)
    }

    /// Opens a file that was set aside, or is in the store already.
    pub(super) fn open(&self, file: &Spooled) -> Result<File, ArchiveError> {
        let descriptor = Descriptor::new("", file.digest.clone(), file.size);
        let path = match &file.path {
            Some(path) => path.clone(),
            None => self.store.blob_file(&descriptor.digest),
        };
        File::open(&path).map_err(|source| ArchiveError::Entry {
            entry: path.to_string_lossy().into_owned(),
            source,
        })
    }
}

/// An archive's documents, and those of the store that it leaves out.
impl Documents for Contents<'_> {
    fn document(&self, descriptor: &Descriptor, bytes_max: u64) -> Result<Vec<u8>, StoreError> {
        self.store.read_staged(descriptor, &self.staged(), bytes_max)
    }

    fn is_present(&self, descriptor: &Descriptor) -> bool {
        self.spool.get(&descriptor.digest).is_some()
            || self.store.has_blob(&descriptor.digest, descriptor.size)
    }
}

/// The digest that a path below `blobs/` names.
fn blob_name(path: &Path) -> Option<Digest> {
    let parts: Vec<&str> = path.iter().map(|part| part.to_str()).collect::<Option<_>>()?;
    match parts[..] {
        ["blobs", algorithm, hex] => format!("{algorithm}:{hex}").parse().ok(),
        _ => None,
    }
}

/// `path` as seen from `from`, by names alone: an archive has no directories to follow. Nothing if
/// it leaves the archive.
fn resolve(from: &Path, path: &Path) -> Option<PathBuf> {
    let mut resolved = if path.has_root() { PathBuf::new() } else { from.to_owned() };
    for component in path.components() {
        match component {
            Component::Normal(name) => resolved.push(name),
            Component::ParentDir if !resolved.pop() => return None,
            _ => {}
        }
    }
    Some(resolved)
}
