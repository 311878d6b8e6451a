//! The store as a place: what comes in is unpacked, or at least verified, before it has a name.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use super::{Content, CopyError, Destination, Source};
use crate::identity::Digest;
use crate::reference::Reference;
use crate::spec::{Descriptor, Preferences};
use crate::store::{
    Garbage, Hold, Progress, Staged, Store, StoreError, Wanted, other_layers, read_image,
};

/// An image of the store.
#[derive(Debug)]
pub struct StoreSource<'s> {
    store: &'s Store,
    name: String,
    references: Vec<Reference>,
    /// What was found is still there when it is read.
    _hold: Hold,
}

impl<'s> StoreSource<'s> {
    /// The image that `name` means.
    ///
    /// # Errors
    /// The store cannot be used.
    pub fn new(store: &'s Store, name: &str) -> Result<Self, CopyError> {
        let hold = store.hold()?;
        Ok(Self { store, name: name.to_owned(), references: Vec::new(), _hold: hold })
    }
}

impl Source for StoreSource<'_> {
    fn root(&mut self) -> Result<Descriptor, CopyError> {
        let image = self.store.resolve(&self.name)?;
        let asked = self.name.parse::<Reference>().ok().map(Reference::or_latest);
        let known = self.store.references(&image)?;
        self.references = match asked.filter(|name| known.contains(name)) {
            Some(name) => vec![name],
            None => known,
        };
        Ok(image.root().clone())
    }

    fn references(&self) -> Vec<Reference> {
        self.references.clone()
    }

    fn open(&self, blob: &Descriptor) -> Result<Option<Box<dyn Read + '_>>, CopyError> {
        let path = self.store.blob_file(&blob.digest);
        match File::open(&path) {
            Ok(file) => Ok(Some(Box::new(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CopyError::at("open", &path)(error)),
        }
    }
}

/// A store that takes an image.
pub struct StoreDestination<'s> {
    store: &'s Store,
    name: Option<Reference>,
    progress: &'s dyn Progress,
    hold: Option<Hold>,
    /// What has been written, in case that it is for nothing.
    begun: Mutex<BTreeSet<Digest>>,
}

impl std::fmt::Debug for StoreDestination<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreDestination").field("name", &self.name).finish()
    }
}

impl<'s> StoreDestination<'s> {
    /// The image gets `name`; without one those that it has where it comes from.
    ///
    /// # Errors
    /// The store cannot be used.
    pub fn new(
        store: &'s Store,
        name: Option<Reference>,
        progress: &'s dyn Progress,
    ) -> Result<Self, CopyError> {
        let hold = Some(store.hold()?);
        Ok(Self { store, name, progress, hold, begun: Mutex::default() })
    }

    fn begun_mut(&mut self) -> &mut BTreeSet<Digest> {
        self.begun.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    fn verify(&mut self, root: &Descriptor) -> Result<(), StoreError> {
        let store = self.store;
        let preferred = read_image(store, root, Wanted::Rather(&Preferences::host()))?;
        self.begun_mut()
            .extend(preferred.layers().iter().map(|layer| layer.diff_id.digest().clone()));
        if store.can_unpack() {
            store.unpack(preferred.layers(), self.progress)?;
        } else {
            store.verify_layers(preferred.layers(), &Staged::new())?;
        }
        let others = other_layers(store, root, &preferred.descriptor().digest)?;
        store.verify_layers(&others, &Staged::new())
    }
}

impl Destination for StoreDestination<'_> {
    fn has(&self, blob: &Descriptor) -> Result<bool, CopyError> {
        Ok(self.store.keep_blob(&blob.digest, blob.size))
    }

    fn put(&self, blob: &Descriptor, content: &Content<'_>) -> Result<(), CopyError> {
        let mut ingest = self.store.ingest(blob.digest.algorithm())?;
        io::copy(&mut *content()?, &mut ingest)
            .map_err(|error| CopyError::reading(&blob.digest, error))?;
        self.store.commit_ingest(ingest, Some(blob))?;
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).insert(blob.digest.clone());
        Ok(())
    }

    fn finish(&mut self, root: &Descriptor, names: &[Reference]) -> Result<(), CopyError> {
        self.verify(root)?;
        let own: Vec<Reference> = self.name.iter().cloned().collect();
        let mut entry = root.clone();
        entry.annotations.clear();
        self.store.put_record(&entry, if own.is_empty() { names } else { &own })?;
        self.begun_mut().clear();
        Ok(())
    }
}

impl Drop for StoreDestination<'_> {
    fn drop(&mut self) {
        drop(self.hold.take());
        let begun = std::mem::take(self.begun_mut());
        if !begun.is_empty() {
            let garbage = Garbage::older_than(Garbage::GRACE).and(begun);
            // Whatever prevents it here is found by the next collection.
            let _ = self.store.collect_garbage(&garbage);
        }
    }
}
