//! An archive that has been read and is looked into: its images, and the bytes of their blobs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Cursor, Read};

use super::contents::Contents;
use super::docker::{self, OldImage};
use super::{ArchiveError, layout};
use crate::identity::Digest;
use crate::reference::Reference;
use crate::spec::{Descriptor, media_type};
use crate::store::{Hold, Store, reference_of};

/// The images of an archive of either kind. Its blobs lie on the disk of a store that they are not part
/// of, until this is dropped.
#[derive(Debug)]
pub struct Archive<'s> {
    contents: Contents<'s>,
    entries: Vec<Descriptor>,
    /// Names that only Docker's `manifest.json` gives.
    names: BTreeMap<Digest, Vec<Reference>>,
    /// Documents that an old archive does not have.
    made: BTreeMap<Digest, Vec<u8>>,
    /// Blobs that the store has are read there.
    _hold: Hold,
}

impl<'s> Archive<'s> {
    /// Reads all of `stream`, compressed or not.
    ///
    /// # Errors
    /// The archive is damaged or no image.
    pub fn read(store: &'s Store, stream: impl Read) -> Result<Self, ArchiveError> {
        let hold = store.hold()?;
        Self::new(Contents::of_stream(store, stream)?, hold)
    }

    /// As [`Archive::read`]; of a plain archive in a regular file only what is asked for is read.
    ///
    /// # Errors
    /// As [`Archive::read`].
    pub fn open_file(store: &'s Store, file: File) -> Result<Self, ArchiveError> {
        let hold = store.hold()?;
        Self::new(Contents::of_file(store, file)?, hold)
    }

    fn new(contents: Contents<'s>, hold: Hold) -> Result<Self, ArchiveError> {
        let items = docker::items(&contents)?;
        let mut archive = Self {
            contents,
            entries: Vec::new(),
            names: BTreeMap::new(),
            made: BTreeMap::new(),
            _hold: hold,
        };
        match (layout::index(&archive.contents)?, items) {
            (Some(index), _) => archive.entries = index.manifests,
            (None, Some(items)) => archive.make_manifests(&items)?,
            (None, None) => return Err(ArchiveError::Form),
        }
        Ok(archive)
    }

    fn make_manifests(&mut self, items: &[docker::Item]) -> Result<(), ArchiveError> {
        for item in items {
            let image = OldImage::read(&mut self.contents, item, None)?;
            let manifest = image.manifest()?;
            let digest = Digest::of(&manifest);
            let size = manifest.len() as u64;
            self.entries.push(Descriptor::new(media_type::OCI_MANIFEST, digest.clone(), size));
            self.names.entry(digest.clone()).or_default().extend(item.references());
            self.made.insert(digest, manifest);
            self.made.insert(Digest::of(&image.config), image.config);
        }
        Ok(())
    }

    /// The entries of its index; of an old archive those that are made for its images.
    #[must_use]
    pub fn entries(&self) -> &[Descriptor] {
        &self.entries
    }

    /// The entry that Docker's `manifest.json` calls so.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<Descriptor> {
        let wanted = name.parse::<Reference>().ok()?.or_latest();
        let is_named = |entry: &&Descriptor| {
            self.names.get(&entry.digest).is_some_and(|names| names.contains(&wanted))
        };
        self.entries.iter().find(is_named).cloned()
    }

    /// The names of an entry.
    #[must_use]
    pub fn references(&self, entry: &Descriptor) -> Vec<Reference> {
        let same = self.entries.iter().filter(|other| other.digest == entry.digest);
        let mut references: Vec<Reference> = same.filter_map(reference_of).collect();
        references.extend(self.names.get(&entry.digest).into_iter().flatten().cloned());
        references
    }

    /// The bytes of a blob or document, not verified; nothing if the archive does not have it.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(&self, blob: &Descriptor) -> Result<Option<Box<dyn Read + '_>>, ArchiveError> {
        if let Some(bytes) = self.made.get(&blob.digest) {
            return Ok(Some(Box::new(Cursor::new(bytes.as_slice()))));
        }
        self.contents.open_blob(&blob.digest)
    }
}
