//! The documents of an image at a registry, fetched as they are asked for: what the store's own reading
//! of images goes through to find the one for a platform.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use super::RegistryError;
use super::manifests::Document;
use super::repository::{Repository, Selector};
use crate::identity::Digest;
use crate::spec::{Descriptor, Preferences, media_type};
use crate::store::{Documents, Image, StoreError, Wanted, read_image};

/// How many documents are fetched to find an image. Indexes say the platforms of their entries; only
/// where they do not, entries are looked into.
const DOCUMENTS_MAX: usize = 64;

/// Documents of a repository.
pub(super) struct Remote<'a> {
    repository: &'a Repository,
    fetched: RefCell<BTreeMap<Digest, (String, Vec<u8>)>>,
    left: Cell<usize>,
    failure: RefCell<Option<RegistryError>>,
}

impl Repository {
    /// The image for a platform that `root`, which [`Repository::manifest`] has given, is or lists: manifest
    /// and configuration, all but the layers.
    ///
    /// # Errors
    /// There is none for the platform; it is no image; the registry cannot be asked.
    pub fn image(&self, root: Document, preferences: &Preferences) -> Result<Image, RegistryError> {
        let descriptor = root.descriptor.clone();
        let selector = Selector::Digest(descriptor.digest.clone());
        Remote::new(self, root).image(&selector, &descriptor, preferences)
    }
}

impl<'a> Remote<'a> {
    /// Begins with `root`, which has been fetched.
    pub(super) fn new(repository: &'a Repository, root: Document) -> Self {
        let Document { descriptor, bytes } = root;
        let known = (descriptor.digest, (descriptor.media_type, bytes));
        Self {
            repository,
            fetched: RefCell::new(BTreeMap::from([known])),
            left: Cell::new(DOCUMENTS_MAX),
            failure: RefCell::new(None),
        }
    }

    /// The image for a platform: manifest and configuration, all but the layers.
    pub(super) fn image(
        &self,
        selector: &Selector,
        root: &Descriptor,
        preferences: &Preferences,
    ) -> Result<Image, RegistryError> {
        let image = read_image(self, root, Wanted::For(preferences));
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let subject = || self.repository.subject(selector);
        image.map_err(|error| match error {
            StoreError::Platform { platform, available, .. } => {
                RegistryError::Platform { subject: subject(), wanted: platform, available }
            }
            StoreError::Schema1 { .. } => RegistryError::Schema1 { subject: subject() },
            StoreError::MediaType { digest, media_type } => {
                RegistryError::Kind { subject: subject(), digest, media_type }
            }
            error => RegistryError::Store { subject: subject(), source: Box::new(error) },
        })
    }

    /// The indexes that were fetched.
    pub(super) fn into_indexes(self) -> Vec<(Descriptor, Vec<u8>)> {
        let fetched = self.fetched.into_inner().into_iter();
        let indexes = fetched.filter(|(_, (kind, _))| media_type::is_index(kind));
        indexes
            .map(|(digest, (kind, bytes))| {
                (Descriptor::new(&kind, digest, bytes.len() as u64), bytes)
            })
            .collect()
    }

    fn fetch(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, RegistryError> {
        let kind = &descriptor.media_type;
        if media_type::is_manifest(kind) || media_type::is_index(kind) {
            return self.repository.child(descriptor).map(|document| document.bytes);
        }
        self.repository.small_blob(descriptor, limit)
    }
}

impl Documents for Remote<'_> {
    fn document(&self, descriptor: &Descriptor, bytes_max: u64) -> Result<Vec<u8>, StoreError> {
        if let Some((_, bytes)) = self.fetched.borrow().get(&descriptor.digest) {
            return Ok(bytes.clone());
        }
        let digest = || descriptor.digest.clone();
        if descriptor.size > bytes_max {
            let size = descriptor.size;
            return Err(StoreError::Large { digest: digest(), size, limit: bytes_max });
        }
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        let fetched = if left == 0 {
            Err(self.repository.too_many(&digest(), DOCUMENTS_MAX))
        } else {
            self.fetch(descriptor, bytes_max)
        };
        match fetched {
            Ok(bytes) => {
                let known = (descriptor.media_type.clone(), bytes.clone());
                self.fetched.borrow_mut().insert(digest(), known);
                Ok(bytes)
            }
            Err(error) => {
                *self.failure.borrow_mut() = Some(error);
                Err(StoreError::NoSuchBlob { digest: digest() })
            }
        }
    }

    fn is_present(&self, _: &Descriptor) -> bool {
        true
    }
}
