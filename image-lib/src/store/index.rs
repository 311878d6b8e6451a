//! `index.json`: which images there are and what they are called. Entries and properties that other
//! tools have written stay.

use std::fs;
use std::io::{self, Read};

use rustix::fs::FlockOperation;

use super::error::At;
use super::{Store, StoreError, lock};
use crate::reference::Reference;
use crate::spec::{Descriptor, Index, object};

/// The name of an image for skopeo, umoci and others: `oci:STORE:NAME`. They compare it exactly, so
/// it is the form that people write.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The full name of an image for containerd and Docker.
pub(crate) const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// The most bytes of `index.json`, which is held in memory: some hundred thousand images.
const INDEX_BYTES_MAX: u64 = 64 << 20;

/// One entry of the index.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The image's name; an image may have several records, or one without a name.
    pub reference: Option<Reference>,
    /// The image's manifest, or an index of manifests for several platforms.
    pub descriptor: Descriptor,
}

impl Record {
    /// Does the entry have a name of whatever kind? Other tools give names that are no references,
    /// such as a tag alone.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.reference.is_some() || has_any_name(&self.descriptor)
    }
}

fn has_any_name(entry: &Descriptor) -> bool {
    reference_of(entry).is_some() || entry.annotations.contains_key(REF_NAME)
}

/// The name that an entry gives to its image.
pub(crate) fn reference_of(descriptor: &Descriptor) -> Option<Reference> {
    let annotation = |key| descriptor.annotations.get(key).map(String::as_str);
    if let Some(name) = annotation(CONTAINERD_NAME).and_then(|n| n.parse::<Reference>().ok()) {
        return Some(name.or_latest());
    }
    // By the specification a bare word would be a tag of something that is not named.
    let name = annotation(REF_NAME).filter(|name| name.contains([':', '/']))?;
    name.parse::<Reference>().ok().map(Reference::or_latest)
}

/// The entry for an image under a name.
pub(crate) fn named(descriptor: &Descriptor, reference: Option<&Reference>) -> Descriptor {
    let mut entry = descriptor.clone();
    entry.annotations.remove(REF_NAME);
    entry.annotations.remove(CONTAINERD_NAME);
    if let Some(reference) = reference {
        entry.annotations.insert(REF_NAME.to_owned(), reference.familiar());
        entry.annotations.insert(CONTAINERD_NAME.to_owned(), reference.to_string());
    }
    entry
}

impl Store {
    /// All entries of the index, in its order.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn records(&self) -> Result<Vec<Record>, StoreError> {
        let record =
            |descriptor: Descriptor| Record { reference: reference_of(&descriptor), descriptor };
        Ok(self.read_index()?.manifests.into_iter().map(record).collect())
    }

    pub(super) fn read_index(&self) -> Result<Index, StoreError> {
        let path = self.path().join("index.json");
        let mut bytes = Vec::new();
        match fs::File::open(&path) {
            Ok(file) => {
                file.take(INDEX_BYTES_MAX).read_to_end(&mut bytes).at("read", &path)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Index::new(Vec::new()));
            }
            Err(error) => return Err(error).at("read", &path),
        }
        object(&bytes).map_err(|source| StoreError::Index { path, source })
    }

    /// Changes the index; no other process changes it meanwhile.
    fn update_index<T>(&self, change: impl FnOnce(&mut Index) -> T) -> Result<T, StoreError> {
        let path = self.path().join("locks/index");
        let _lock = lock::wait(&path, FlockOperation::LockExclusive)?;
        let mut index = self.read_index()?;
        let before = index.clone();
        let result = change(&mut index);
        if index != before {
            let bytes = serde_json::to_vec(&index).map_err(StoreError::Encode)?;
            self.sync_blob_names()?;
            self.replace_file("index.json", &bytes)?;
        }
        Ok(result)
    }

    /// Names the image `descriptor`; all of its parts are in the store already. An image that had
    /// the name before keeps an entry without a name. With no names at all, the image gets such an
    /// entry itself, unless it is known already.
    ///
    /// # Errors
    /// The index cannot be read or written.
    pub fn put_record(
        &self,
        descriptor: &Descriptor,
        references: &[Reference],
    ) -> Result<(), StoreError> {
        self.update_index(|index| {
            let is_same = |entry: &Descriptor| entry.digest == descriptor.digest;
            let own: Vec<_> =
                index.manifests.iter().filter(|e| is_same(e)).map(reference_of).collect();
            let has = |reference: &Reference| own.iter().flatten().any(|known| known == reference);
            // Nothing to do: the index need not be written.
            if !references.is_empty() && !own.contains(&None) && references.iter().all(has) {
                return;
            }
            for reference in references {
                release_name(index, reference, Some(descriptor));
            }
            if references.is_empty() {
                if !index.manifests.iter().any(is_same) {
                    index.manifests.push(named(descriptor, None));
                }
                return;
            }
            index.manifests.retain(|entry| !is_same(entry) || reference_of(entry).is_some());
            let entries = references.iter().map(|r| named(descriptor, Some(r)));
            index.manifests.extend(entries);
        })
    }

    /// Takes `reference` from the image that has it. The image keeps an entry without a name if
    /// that was its last one. False if no image has the name.
    ///
    /// # Errors
    /// The index cannot be read or written.
    pub fn untag(&self, reference: &Reference) -> Result<bool, StoreError> {
        self.update_index(|index| release_name(index, reference, None))
    }

    /// Removes the entries of the image whose manifest or index is `descriptor`, but for those that
    /// give it a name.
    ///
    /// # Errors
    /// The index cannot be read or written.
    pub fn forget_nameless(&self, descriptor: &Descriptor) -> Result<(), StoreError> {
        self.update_index(|index| {
            index
                .manifests
                .retain(|entry| entry.digest != descriptor.digest || reference_of(entry).is_some());
        })
    }

    /// Removes all entries of the image whose manifest or index is `descriptor`.
    ///
    /// # Errors
    /// The index cannot be read or written.
    pub fn forget(&self, descriptor: &Descriptor) -> Result<(), StoreError> {
        self.update_index(|index| {
            index.manifests.retain(|entry| entry.digest != descriptor.digest);
        })
    }
}

/// Takes a name from whoever has it. The one that lost its last name stays without one, unless it
/// is `successor`, which gets the name anew.
fn release_name(index: &mut Index, reference: &Reference, successor: Option<&Descriptor>) -> bool {
    let has_name = |entry: &Descriptor| reference_of(entry).as_ref() == Some(reference);
    let owners: Vec<Descriptor> = index.manifests.iter().filter(|e| has_name(e)).cloned().collect();
    index.manifests.retain(|entry| !has_name(entry));
    for owner in &owners {
        let is_successor = successor.is_some_and(|s| s.digest == owner.digest);
        let is_listed = index.manifests.iter().any(|entry| entry.digest == owner.digest);
        if !is_successor && !is_listed {
            index.manifests.push(named(owner, None));
        }
    }
    !owners.is_empty()
}
