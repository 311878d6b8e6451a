//! The files of an archive, digested and set aside on the store's disk while the rest is read.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;

use super::ArchiveError;
use crate::blob::Meter;
use crate::identity::{Algorithm, Digest};
use crate::store::{Scratch, Staged, StagedBlob, Store, StoreError};

/// A file that was set aside.
#[derive(Debug, Clone)]
pub(super) struct Spooled {
    pub(super) digest: Digest,
    pub(super) size: u64,
    /// Where it is; nowhere but in the store if that has it.
    pub(super) path: Option<PathBuf>,
}

/// Files set aside, by content.
#[derive(Debug)]
pub(super) struct Spool<'s> {
    store: &'s Store,
    scratch: Scratch,
    files: HashMap<Digest, Spooled>,
}

impl<'s> Spool<'s> {
    pub(super) fn new(store: &'s Store) -> Result<Self, StoreError> {
        Ok(Self { store, scratch: store.scratch()?, files: HashMap::new() })
    }

    /// Reads `content` to its end. If the archive names it by a digest, it must be that one. What the store
    /// has by this digest is not even looked at: its own bytes are the right ones.
    pub(super) fn add(
        &mut self,
        entry: &str,
        content: &mut dyn BufRead,
        size: u64,
        expected: Option<&Digest>,
    ) -> Result<Spooled, ArchiveError> {
        if let Some(known) = expected.and_then(|digest| self.known(digest, size)) {
            return Ok(known);
        }
        let failed = |source| ArchiveError::Entry { entry: entry.to_owned(), source };
        let algorithm = expected.map_or(Algorithm::Sha256, Digest::algorithm);
        let path = self.scratch.path().join(format!("file-{}", self.files.len()));
        let file = File::create(&path).map_err(failed)?;
        let (digest, size) = copy(content, file, algorithm).map_err(failed)?;
        if expected.is_some_and(|expected| *expected != digest) {
            return Err(ArchiveError::Damaged { entry: entry.to_owned(), actual: digest });
        }
        let spooled = Spooled { digest: digest.clone(), size, path: Some(path) };
        Ok(self.files.entry(digest).or_insert(spooled).clone())
    }

    /// The blob of the store with this digest and size, if there is one.
    pub(super) fn known(&mut self, digest: &Digest, size: u64) -> Option<Spooled> {
        if !self.store.keep_blob(digest, size) {
            return None;
        }
        let known = Spooled { digest: digest.clone(), size, path: None };
        Some(self.files.entry(digest.clone()).or_insert(known).clone())
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<&Spooled> {
        self.files.get(digest)
    }

    /// Where the bytes of a digest are, for those that are not in the store.
    pub(super) fn staged(&self) -> Staged {
        let path = |(digest, file): (&Digest, &Spooled)| {
            Some((digest.clone(), StagedBlob::File(file.path.clone()?)))
        };
        self.files.iter().filter_map(path).collect()
    }
}

fn copy(
    content: &mut dyn BufRead,
    to: impl Write,
    algorithm: Algorithm,
) -> io::Result<(Digest, u64)> {
    let mut meter = Meter::writer(to, algorithm);
    loop {
        let part = content.fill_buf()?;
        let length = part.len();
        if length == 0 {
            break;
        }
        meter.write_all(part)?;
        content.consume(length);
    }
    let (_, digest, size) = meter.into_parts();
    Ok((digest, size))
}
