//! Registries as places: `docker://NAME`. Blobs come and go as streams; what the other side has is not
//! asked for, and what another repository of the same registry has is mounted.

use std::io::{self, Cursor, Read};

use super::{Content, CopyError, Destination, Source};
use crate::reference::Reference;
use crate::registry::{Client, Document, RegistryError, Repository, Selector, SendOptions};
use crate::spec::{Descriptor, media_type};
use crate::store::Silent;

/// An image at a registry.
#[derive(Debug)]
pub struct RegistrySource {
    repository: Repository,
    reference: Reference,
    root: Option<Document>,
}

impl RegistrySource {
    /// The image that `reference` names; without a tag and a digest `latest` is meant.
    ///
    /// # Errors
    /// The configuration forbids the registry or cannot be read.
    pub fn new(client: &Client, reference: &Reference) -> Result<Self, CopyError> {
        let repository = client.repository(reference)?;
        Ok(Self { repository, reference: reference.clone().or_latest(), root: None })
    }

    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, RegistryError> {
        match &self.root {
            Some(root) if root.descriptor.digest == descriptor.digest => Ok(root.bytes.clone()),
            _ => self.repository.child(descriptor).map(|document| document.bytes),
        }
    }
}

/// What a registry does not have is nothing, and no error.
fn found<T>(result: Result<T, RegistryError>) -> Result<Option<T>, CopyError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.refusal().is_some_and(|refusal| refusal.status == 404) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Source for RegistrySource {
    fn root(&mut self) -> Result<Descriptor, CopyError> {
        let document = self.repository.manifest(&Selector::of(&self.reference))?;
        let descriptor = document.descriptor.clone();
        self.root = Some(document);
        Ok(descriptor)
    }

    fn references(&self) -> Vec<Reference> {
        let tag = self.reference.tag().and_then(|tag| self.reference.with_tag(tag).ok());
        tag.into_iter().collect()
    }

    fn open(&self, blob: &Descriptor) -> Result<Option<Box<dyn Read + '_>>, CopyError> {
        let kind = blob.media_type.as_str();
        if media_type::is_manifest(kind) || media_type::is_index(kind) {
            let bytes = found(self.document(blob))?;
            return Ok(bytes.map(|bytes| Box::new(Cursor::new(bytes)) as Box<dyn Read>));
        }
        let reader = found(self.repository.open(blob))?;
        Ok(reader.map(|reader| Box::new(reader) as Box<dyn Read>))
    }

    fn at_once(&self) -> usize {
        self.repository.client().options().parallel
    }
}

/// A repository of a registry that takes an image.
#[derive(Debug)]
pub struct RegistryDestination {
    repository: Repository,
    reference: Reference,
    options: SendOptions,
    /// The document that came last: which one is the image, and gets the name, shows at the end.
    last: Option<(Descriptor, Vec<u8>)>,
}

impl RegistryDestination {
    /// The image gets the name `reference`, or `latest` there.
    ///
    /// # Errors
    /// The configuration forbids the registry or cannot be read.
    pub fn new(
        client: &Client,
        reference: &Reference,
        options: SendOptions,
    ) -> Result<Self, CopyError> {
        let repository = client.repository(reference)?;
        Ok(Self { repository, reference: reference.clone().or_latest(), options, last: None })
    }

    fn put_last(&mut self, selector: Option<&Selector>) -> Result<(), CopyError> {
        let Some((descriptor, bytes)) = self.last.take() else { return Ok(()) };
        let own = Selector::Digest(descriptor.digest.clone());
        self.repository.put_manifest(selector.unwrap_or(&own), &descriptor, &bytes)?;
        Ok(())
    }
}

/// Fails before the last bytes are given if they are not the right ones: a registry never has all of a
/// damaged blob.
struct Checked<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self.left.saturating_sub(count as u64);
        if self.left == 0 && count > 0 {
            io::copy(&mut self.inner, &mut io::sink())?;
        }
        Ok(count)
    }
}

impl Destination for RegistryDestination {
    fn has(&self, blob: &Descriptor) -> Result<bool, CopyError> {
        // Whoever made such a layer does not want it to be in other registries.
        let is_elsewhere = media_type::is_nondistributable(&blob.media_type);
        Ok(is_elsewhere || self.repository.has_blob(blob, &self.options)?)
    }

    fn put(&self, blob: &Descriptor, content: &Content<'_>) -> Result<(), CopyError> {
        let open = || -> io::Result<Box<dyn Read>> {
            let inner = content().map_err(io::Error::other)?;
            Ok(Box::new(Checked { inner, left: blob.size }))
        };
        match self.repository.put_blob(blob, &self.options, &open, &Silent) {
            Err(RegistryError::Content { source, .. }) => {
                Err(CopyError::reading(&blob.digest, source))
            }
            other => other.map(drop).map_err(Into::into),
        }
    }

    fn put_manifest(&mut self, manifest: &Descriptor, bytes: &[u8]) -> Result<(), CopyError> {
        self.put_last(None)?;
        self.last = Some((manifest.clone(), bytes.to_vec()));
        Ok(())
    }

    fn finish(&mut self, root: &Descriptor, _: &[Reference]) -> Result<(), CopyError> {
        if self.reference.digest().is_some_and(|digest| *digest != root.digest) {
            return Err(CopyError::Unfit {
                place: "a name with a digest",
                what: "the image of that digest alone",
            });
        }
        if self.last.as_ref().is_none_or(|(last, _)| last.digest != root.digest) {
            return Err(CopyError::Missing { digest: root.digest.clone() });
        }
        self.put_last(Some(&Selector::of(&self.reference)))
    }

    fn at_once(&self) -> usize {
        self.repository.client().options().parallel
    }
}
