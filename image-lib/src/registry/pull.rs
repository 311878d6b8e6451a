//! From a registry into the store. All layers are fetched and unpacked at the same time: what has come of
//! a blob is read, decompressed and unpacked while the rest is on its way. Nothing of it is visible
//! before all digests are the right ones.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::RegistryError;
use super::blob::{Fetch, Fetched, Stale};
use super::client::Client;
use super::remote::Remote;
use super::repository::{Repository, Selector};
use crate::identity::{Digest, ImageId};
use crate::reference::Reference;
use crate::spec::{Descriptor, Platform, Preferences};
use crate::store::{
    Arriving, Event, Image, Layer, Partial, Progress, Staged, StagedBlob, Store, StoreError,
};

/// How an image is pulled.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// The platform; without one this machine's, with the newest variant that its processor has.
    pub platform: Option<Platform>,
}

/// An image that was pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// Its name.
    pub reference: Reference,
    /// What the registry knows it by: the digest of a manifest, or of an index that has it.
    pub digest: Digest,
    /// Its id.
    pub id: ImageId,
    /// Has anything changed in the store?
    pub is_new: bool,
}

impl Client {
    /// Fetches the image that `reference` names into `store` and unpacks its layers. What the store has
    /// is not fetched.
    ///
    /// # Errors
    /// The registry cannot be used; what it has is not what it should be, or no image; the store's.
    /// Then nothing of it is visible in the store, and what has come is kept for the next time.
    pub fn pull(
        &self,
        store: &Store,
        reference: &Reference,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<Pulled, RegistryError> {
        let reference = reference.clone().or_latest();
        let repository = self.repository(&reference)?;
        let pull = Pull {
            client: self,
            store,
            repository: &repository,
            selector: Selector::of(&reference),
            reference,
            progress,
        };
        let pulled = pull.run(options);
        for warning in self.take_warnings() {
            progress.note(Event::Warning(&warning));
        }
        pulled
    }
}

struct Pull<'a> {
    client: &'a Client,
    store: &'a Store,
    repository: &'a Repository,
    selector: Selector,
    reference: Reference,
    progress: &'a dyn Progress,
}

/// An image of the registry, understood but for its layers.
struct Found {
    /// What the store's index will list.
    root: Descriptor,
    /// What the registry knows it by.
    digest: Digest,
    documents: Vec<(Descriptor, Vec<u8>)>,
    image: Image,
}

impl Pull<'_> {
    fn run(&self, options: &PullOptions) -> Result<Pulled, RegistryError> {
        let hold = self.store.hold().map_err(|e| self.kept_badly(e))?;
        if let Some(pulled) = self.present(options)? {
            return Ok(pulled);
        }
        let found = self.resolve(options)?;
        let was_there = self.is_listed(&found)?;
        let is_new = !was_there | self.take_layers(&found)?;
        for (descriptor, bytes) in &found.documents {
            self.put(descriptor, bytes).map_err(|e| self.kept_badly(e))?;
        }
        let name = self.name();
        self.store.put_record(&found.root, &[name]).map_err(|e| self.kept_badly(e))?;
        drop(hold);
        Ok(Pulled {
            reference: self.reference.clone(),
            digest: found.digest,
            id: found.image.id().clone(),
            is_new,
        })
    }

    /// The image, if the store has under this name what the registry has.
    fn present(&self, options: &PullOptions) -> Result<Option<Pulled>, RegistryError> {
        if options.platform.is_some() {
            return Ok(None);
        }
        let kept = |source| self.kept_badly(source);
        let name = self.name();
        let records = self.store.records().map_err(kept)?;
        let record = records.into_iter().find(|record| record.reference.as_ref() == Some(&name));
        let Some(record) = record else { return Ok(None) };
        // Whatever is wrong with what is there: it is fetched again.
        let Ok(image) = self.store.read(&record.descriptor) else { return Ok(None) };
        let layers = image.layers();
        let is_whole = layers.iter().all(|layer| self.store.layer_is_present(layer))
            && (!self.store.can_unpack() || self.store.is_unpacked(layers).map_err(kept)?);
        if !is_whole {
            return Ok(None);
        }
        let digest = record.descriptor.digest;
        let is_same = match &self.selector {
            Selector::Digest(wanted) => *wanted == digest,
            Selector::Tag(_) => self.repository.head(&self.selector)?.as_ref() == Some(&digest),
        };
        let reference = self.reference.clone();
        let id = image.id().clone();
        Ok(is_same.then_some(Pulled { reference, digest, id, is_new: false }))
    }

    /// Manifest and configuration, as the registry has them.
    fn resolve(&self, options: &PullOptions) -> Result<Found, RegistryError> {
        let preferences = options.platform.as_ref().map(Preferences::of);
        let preferences = preferences.unwrap_or_else(Preferences::host);
        let root = self.repository.manifest(&self.selector)?;
        let mut listed = root.descriptor.clone();
        let digest = listed.digest.clone();
        let remote = Remote::new(self.repository, root);
        let image = remote.image(&self.selector, &listed, &preferences)?;
        // Whoever asks for a platform means that image and not the list of all.
        if options.platform.is_some() {
            listed = image.descriptor().clone();
            listed.platform = None;
        }
        let mut documents = remote.into_indexes();
        let config = image.manifest().value().config.clone();
        documents.push((config, image.config().bytes().to_vec()));
        documents.push((image.descriptor().clone(), image.manifest().bytes().to_vec()));
        Ok(Found { root: listed, digest, documents, image })
    }

    fn is_listed(&self, found: &Found) -> Result<bool, RegistryError> {
        let name = self.name();
        let records = self.store.records().map_err(|source| self.kept_badly(source))?;
        Ok(records.iter().any(|record| {
            record.reference.as_ref() == Some(&name)
                && record.descriptor.digest == found.root.digest
        }))
    }

    /// The name that the image gets: a tag beside a digest only names.
    fn name(&self) -> Reference {
        match self.reference.tag() {
            Some(tag) => self.reference.with_tag(tag).unwrap_or_else(|_| self.reference.clone()),
            None => self.reference.clone(),
        }
    }

    /// Fetches, verifies and unpacks what is missing. False if nothing was.
    fn take_layers(&self, found: &Found) -> Result<bool, RegistryError> {
        let layers = found.image.layers();
        match self.take_layers_once(layers)? {
            Ok(is_new) => Ok(is_new),
            // What an earlier pull had left was wrong, and is gone now.
            Err(Stale) => match self.take_layers_once(layers)? {
                Ok(is_new) => Ok(is_new),
                Err(Stale) => Err(RegistryError::Cancelled),
            },
        }
    }

    fn take_layers_once(&self, layers: &[Layer]) -> Result<Result<bool, Stale>, RegistryError> {
        let mut missing: BTreeMap<&Digest, (&Descriptor, Arriving)> = BTreeMap::new();
        let mut order = Vec::new();
        for layer in layers {
            let blob = &layer.descriptor;
            if self.store.layer_is_present(layer) {
                self.progress.note(Event::Present { blob: &blob.digest });
            } else if !missing.contains_key(&blob.digest) {
                missing.insert(&blob.digest, (blob, Arriving::default()));
                order.push(&blob.digest);
            }
        }
        let jobs: Vec<&(&Descriptor, Arriving)> =
            order.iter().filter_map(|digest| missing.get(*digest)).collect();
        let staged: Staged = jobs
            .iter()
            .map(|(blob, arriving)| (blob.digest.clone(), StagedBlob::Arriving(arriving.clone())))
            .collect();
        let (given_up, next) = (AtomicBool::new(false), AtomicUsize::new(0));
        let is_given_up = || given_up.load(Ordering::Relaxed);
        let fetched = Mutex::new(Vec::new());
        let fetch = || {
            while let Some((blob, arriving)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let result = Fetch {
                    repository: self.repository,
                    store: self.store,
                    blob,
                    arriving,
                    progress: self.progress,
                    is_given_up: &is_given_up,
                }
                .run();
                if !matches!(result, Ok(Ok(_))) {
                    given_up.store(true, Ordering::Relaxed);
                }
                fetched.lock().unwrap_or_else(PoisonError::into_inner).push(result);
            }
        };
        let parallel = self.client.0.options.parallel.clamp(1, jobs.len().max(1));
        let unpacked = std::thread::scope(|scope| {
            for _ in 0..parallel {
                scope.spawn(fetch);
            }
            let unpacked = self.unpack(layers, &staged);
            if unpacked.is_err() {
                given_up.store(true, Ordering::Relaxed);
            }
            unpacked
        });
        let results = fetched.into_inner().unwrap_or_else(PoisonError::into_inner);
        let partials = match self.settle(results)? {
            Ok(partials) => partials,
            Err(Stale) => return Ok(Err(Stale)),
        };
        let has_unpacked = match unpacked {
            Ok(has_unpacked) => has_unpacked,
            Err(error) => {
                self.discard_refused(partials, &error)?;
                return Err(self.kept_badly(error));
            }
        };
        let is_new = has_unpacked || !partials.is_empty();
        for partial in partials {
            partial.publish().map_err(|source| self.kept_badly(source))?;
        }
        Ok(Ok(is_new))
    }

    /// Unpacks the layers while they come; says whether there was anything to do.
    fn unpack(&self, layers: &[Layer], staged: &Staged) -> Result<bool, StoreError> {
        let mut is_new = false;
        if self.store.can_unpack() {
            is_new = !self.store.is_unpacked(layers)?;
            self.store.unpack_staged(layers, staged, self.progress)?;
        }
        // Layers that were unpacked already are not read; but their blobs shall be right too.
        let unread = layers.iter().filter(|layer| match staged.get(&layer.descriptor.digest) {
            Some(StagedBlob::Arriving(arriving)) => !arriving.is_followed(),
            _ => false,
        });
        let unread: Vec<Layer> = unread.cloned().collect();
        self.store.verify_layers(&unread, staged)?;
        Ok(is_new)
    }

    /// The blobs that came, or why one did not. That the others were given up then is no reason.
    fn settle<'s>(
        &self,
        results: Vec<Result<Result<Fetched<'s>, Stale>, RegistryError>>,
    ) -> Result<Result<Vec<Partial<'s>>, Stale>, RegistryError> {
        let mut partials = Vec::new();
        let (mut failure, mut is_stale) = (None, false);
        for result in results {
            match result {
                Ok(Ok(Fetched::Complete(partial))) => partials.push(*partial),
                Ok(Ok(Fetched::InStore)) => {}
                Ok(Err(Stale)) => is_stale = true,
                Err(RegistryError::Cancelled) => {}
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        self.client.0.check_cancelled()?;
        match failure {
            Some(error) => Err(error),
            None if is_stale => Ok(Err(Stale)),
            None => Ok(Ok(partials)),
        }
    }

    /// A blob that is refused for what is in it is not kept for the next time.
    fn discard_refused(
        &self,
        partials: Vec<Partial<'_>>,
        error: &StoreError,
    ) -> Result<(), RegistryError> {
        let (StoreError::Layer { blob, .. } | StoreError::DiffId { blob, .. }) = error else {
            return Ok(());
        };
        for partial in partials {
            if partial.blob().digest == *blob {
                partial.discard().map_err(|source| self.kept_badly(source))?;
            }
        }
        Ok(())
    }

    fn put(&self, descriptor: &Descriptor, bytes: &[u8]) -> Result<(), StoreError> {
        use std::io::Write as _;
        if self.store.has_blob(&descriptor.digest, descriptor.size) {
            return Ok(());
        }
        let mut ingest = self.store.ingest(descriptor.digest.algorithm())?;
        ingest.write_all(bytes).map_err(|source| self.store.reading(&descriptor.digest, source))?;
        self.store.commit_ingest(ingest, Some(descriptor)).map(drop)
    }

    fn kept_badly(&self, source: StoreError) -> RegistryError {
        RegistryError::Store {
            subject: self.repository.subject(&self.selector),
            source: Box::new(source),
        }
    }
}
