//! From the store to a registry, byte for byte: what the registry has is not sent, all else at the same
//! time, and the manifest last, so that nobody sees an image before all of it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::RegistryError;
use super::client::Client;
use super::endpoint::Endpoint;
use super::repository::{Repository, Selector};
use super::scope::Scopes;
use super::upload::{Arrived, Upload};
use crate::identity::Digest;
use crate::reference::Reference;
use crate::spec::{
    Descriptor, Index, MANIFEST_BYTES_MAX, Manifest, Platform, Preferences, Raw, media_type,
};
use crate::store::{Event, Progress, Sent, Store, StoreError};

/// How deep indexes may lie in one another.
const DEPTH_MAX: usize = 4;

/// How an image is pushed.
#[derive(Debug, Clone, Default)]
pub struct PushOptions {
    /// Only the image for this platform, without the index that it is in.
    pub platform: Option<Platform>,
    /// Bytes of the pieces in which blobs are sent; without it each is one piece. A registry may ask for
    /// larger ones.
    pub chunk_bytes: Option<u64>,
}

/// An image that was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Its name.
    pub reference: Reference,
    /// The digest of what was pushed, a manifest or an index.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// The index that it was taken out of, because the store has not all that the index lists.
    pub narrowed_from: Option<Digest>,
}

impl Client {
    /// Sends the image that the store has under the name `reference` to the registry of that name.
    ///
    /// # Errors
    /// The store has no such image, or not all of it; the registry refuses it.
    pub fn push(
        &self,
        store: &Store,
        reference: &Reference,
        options: &PushOptions,
        progress: &dyn Progress,
    ) -> Result<Pushed, RegistryError> {
        let reference = reference.clone().or_latest();
        let repository = self.repository(&reference)?;
        let endpoint = repository.origin()?;
        let push = Push { store, repository: &repository, endpoint, reference, options, progress };
        let pushed = push.run();
        for warning in self.take_warnings() {
            progress.note(Event::Warning(&warning));
        }
        pushed
    }
}

struct Push<'a> {
    store: &'a Store,
    repository: &'a Repository,
    endpoint: &'a Endpoint,
    reference: Reference,
    options: &'a PushOptions,
    progress: &'a dyn Progress,
}

/// What an image is made of.
#[derive(Default)]
struct Parts {
    seen: BTreeSet<Digest>,
    blobs: Vec<Descriptor>,
    /// Manifests and indexes, each after what it names.
    documents: Vec<(Descriptor, Vec<u8>)>,
    /// What an index lists and the store does not have.
    absent: Vec<Descriptor>,
}

impl Push<'_> {
    fn run(&self) -> Result<Pushed, RegistryError> {
        let _hold = self.store.hold().map_err(|e| self.unread(e))?;
        let image = self.store.resolve(&self.reference.to_string()).map_err(|e| self.unread(e))?;
        let mut root = image.root().clone();
        if let Some(platform) = &self.options.platform {
            let image = self.store.read_for(&root, &Preferences::of(platform));
            root = image.map_err(|e| self.unread(e))?.descriptor().clone();
        }
        let mut parts = self.parts(&root)?;
        let mut narrowed_from = None;
        let scopes = Scopes::push(&self.endpoint.repository);
        if !self.has_all(&parts.absent, &scopes)? {
            narrowed_from = Some(root.digest);
            root = image.descriptor().clone();
            parts = self.parts(&root)?;
        }
        self.send_blobs(&parts.blobs)?;
        // The root comes last and has the name; what it lists is known by digests.
        for (descriptor, bytes) in &parts.documents {
            let selector = match descriptor.digest == root.digest {
                true => Selector::of(&self.reference),
                false => Selector::Digest(descriptor.digest.clone()),
            };
            self.repository.put_manifest(&selector, descriptor, bytes)?;
        }
        Ok(Pushed {
            reference: self.reference.clone(),
            digest: root.digest,
            size: root.size,
            narrowed_from,
        })
    }

    fn parts(&self, root: &Descriptor) -> Result<Parts, RegistryError> {
        let mut parts = Parts::default();
        self.gather(root, 0, &mut parts).map_err(|e| self.unread(e))?;
        Ok(parts)
    }

    fn gather(
        &self,
        descriptor: &Descriptor,
        depth: usize,
        parts: &mut Parts,
    ) -> Result<(), StoreError> {
        if !parts.seen.insert(descriptor.digest.clone()) {
            return Ok(());
        }
        let kind = descriptor.media_type.as_str();
        let bytes = self.store.read_blob(descriptor, MANIFEST_BYTES_MAX)?;
        if media_type::is_index(kind) && depth < DEPTH_MAX {
            let index: Raw<Index> = Raw::parse_as("index", kind, bytes)?;
            for entry in &index.value().manifests {
                if self.is_whole(entry) {
                    self.gather(entry, depth + 1, parts)?;
                } else {
                    parts.absent.push(entry.clone());
                }
            }
            parts.documents.push((descriptor.clone(), index.bytes().to_vec()));
        } else if media_type::is_manifest(kind) {
            let manifest: Raw<Manifest> = Raw::parse_as("manifest", kind, bytes)?;
            let Manifest { layers, config, .. } = manifest.value();
            for blob in layers.iter().chain([config]) {
                self.gather_blob(blob, parts)?;
            }
            parts.documents.push((descriptor.clone(), manifest.bytes().to_vec()));
        } else {
            let (digest, media_type) = (descriptor.digest.clone(), kind.to_owned());
            return Err(StoreError::MediaType { digest, media_type });
        }
        Ok(())
    }

    fn gather_blob(&self, blob: &Descriptor, parts: &mut Parts) -> Result<(), StoreError> {
        let is_elsewhere = media_type::is_nondistributable(&blob.media_type);
        if is_elsewhere || !parts.seen.insert(blob.digest.clone()) {
            return Ok(());
        }
        if !self.has(blob) {
            return Err(StoreError::NoSuchBlob { digest: blob.digest.clone() });
        }
        parts.blobs.push(blob.clone());
        Ok(())
    }

    fn has(&self, blob: &Descriptor) -> bool {
        self.store.has_blob(&blob.digest, blob.size) || blob.inline().is_some()
    }

    /// Does the store have an entry of an index, and all that it is made of? Not what lists others again:
    /// what it lacks is found when it is read.
    fn is_whole(&self, entry: &Descriptor) -> bool {
        if !media_type::is_manifest(&entry.media_type) {
            return self.has(entry);
        }
        let Ok(bytes) = self.store.read_blob(entry, MANIFEST_BYTES_MAX) else { return false };
        let Ok(manifest) = Raw::<Manifest>::parse_as("manifest", &entry.media_type, bytes) else {
            return false;
        };
        let Manifest { layers, config, .. } = manifest.value();
        layers
            .iter()
            .chain([config])
            .all(|blob| media_type::is_nondistributable(&blob.media_type) || self.has(blob))
    }

    /// Has the registry what the store lacks?
    fn has_all(&self, absent: &[Descriptor], scopes: &Scopes) -> Result<bool, RegistryError> {
        for entry in absent {
            if !self.repository.has_manifest(&entry.digest, scopes)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The repositories of the same registry that may have a blob, as far as the store knows.
    fn origins(&self, blobs: &[Descriptor]) -> Result<BTreeMap<Digest, String>, RegistryError> {
        let records = self.store.records().map_err(|e| self.unread(e))?;
        let mut roots: BTreeMap<String, Descriptor> = BTreeMap::new();
        for record in records {
            if let Some(reference) = record.reference
                && reference.domain() == self.reference.domain()
                && reference.path() != self.reference.path()
            {
                roots.insert(reference.path().to_owned(), record.descriptor);
            }
        }
        let mut origins = BTreeMap::new();
        for (path, root) in roots {
            let reachable = self.store.reachable(&root);
            for blob in blobs.iter().filter(|blob| reachable.contains(&blob.digest)) {
                origins.entry(blob.digest.clone()).or_insert_with(|| path.clone());
            }
        }
        Ok(origins)
    }

    fn send_blobs(&self, blobs: &[Descriptor]) -> Result<(), RegistryError> {
        let origins = self.origins(blobs)?;
        // One token for all of it.
        let scopes = origins.values().fold(Scopes::push(&self.endpoint.repository), |all, from| {
            all.and(&format!("repository:{from}"), &["pull"])
        });
        let (given_up, next) = (AtomicBool::new(false), AtomicUsize::new(0));
        let is_given_up = || given_up.load(Ordering::Relaxed);
        let failure = Mutex::new(None);
        let send = || {
            while let Some(blob) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                if is_given_up() {
                    return;
                }
                let upload = Upload {
                    repository: self.repository,
                    endpoint: self.endpoint,
                    blob,
                    from: origins.get(&blob.digest).map(String::as_str),
                    scopes: &scopes,
                    chunk: self.options.chunk_bytes,
                    progress: self.progress,
                    is_given_up: &is_given_up,
                };
                if let Err(error) = self.send(&upload) {
                    given_up.store(true, Ordering::Relaxed);
                    // The first one is the reason, later ones are its consequence.
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
        };
        let options = &self.repository.client().0.options;
        std::thread::scope(|scope| {
            for _ in 0..options.parallel.clamp(1, blobs.len().max(1)) {
                scope.spawn(send);
            }
        });
        self.repository.client().0.check_cancelled()?;
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn send(&self, upload: &Upload<'_>) -> Result<(), RegistryError> {
        let blob = upload.blob;
        self.progress.note(Event::BeginPush { blob: &blob.digest, bytes: blob.size });
        let arrived = upload.run(&|| match self.store.open_blob(blob) {
            Ok(reader) => Ok(Box::new(reader)),
            Err(error) => match blob.inline() {
                Some(bytes) => Ok(Box::new(std::io::Cursor::new(bytes))),
                None => Err(std::io::Error::other(error)),
            },
        })?;
        let how = match arrived {
            Arrived::Present => Sent::Present,
            Arrived::Mounted => Sent::Mounted(upload.from.unwrap_or_default()),
            Arrived::Sent => Sent::Whole,
        };
        self.progress.note(Event::EndPush { blob: &blob.digest, how });
        Ok(())
    }

    fn unread(&self, source: StoreError) -> RegistryError {
        let subject = self.repository.subject(&Selector::of(&self.reference));
        RegistryError::Store { subject, source: Box::new(source) }
    }
}
