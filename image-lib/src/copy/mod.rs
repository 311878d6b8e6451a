//! Images from one place to another, byte for byte: nothing is decompressed, compressed or written
//! anew, so that every digest stays what it was.
//!
//! A [`Source`] gives the descriptor of an image and opens blobs; a [`Destination`] takes blobs, and
//! last the image's names. Whatever can do the one or the other takes part: a store, an image layout
//! as a directory or an archive, Docker's archive, skopeo's `dir:`, a registry.

mod archive;
mod directory;
mod error;
mod layout;
mod place;
mod store;

use std::collections::BTreeSet;
use std::io::Read;

pub use archive::{ArchiveDestination, ArchiveForm, ArchiveSource};
pub use directory::{DirectoryDestination, DirectorySource};
pub use error::CopyError;
pub use layout::{LayoutDestination, LayoutSource};
pub use place::{Place, PlaceError};
pub use store::{StoreDestination, StoreSource};

use crate::blob::VerifiedReader;
use crate::reference::Reference;
use crate::spec::{
    Descriptor, Index, MANIFEST_BYTES_MAX, Manifest, Preferences, Raw, is_image, media_type,
};
use crate::store::{Event, Progress};

/// How deep indexes are followed.
const DEPTH_MAX: usize = 4;

/// Where an image comes from.
pub trait Source {
    /// The image's manifest or index.
    ///
    /// # Errors
    /// There is no such image; the place cannot be read.
    fn root(&mut self) -> Result<Descriptor, CopyError>;

    /// The names that the image has there.
    fn references(&self) -> Vec<Reference> {
        Vec::new()
    }

    /// Opens a blob or document. Whoever reads it verifies its bytes. Nothing if it is not there.
    ///
    /// # Errors
    /// The place's.
    fn open(&mut self, blob: &Descriptor) -> Result<Option<Box<dyn Read + '_>>, CopyError>;
}

/// Where an image goes.
pub trait Destination {
    /// Is the blob there already, so that it need not be sent?
    ///
    /// # Errors
    /// The place's.
    fn has(&mut self, blob: &Descriptor) -> Result<bool, CopyError>;

    /// Takes a layer, a configuration or another blob. The reader fails at its end if the bytes are
    /// not the right ones; nothing may become visible then.
    ///
    /// # Errors
    /// The reader's, and the place's.
    fn put(&mut self, blob: &Descriptor, content: &mut dyn Read) -> Result<(), CopyError>;

    /// Takes a manifest or an index, after all that it names. Registries keep them apart from blobs.
    ///
    /// # Errors
    /// The place's.
    fn put_manifest(&mut self, manifest: &Descriptor, bytes: &[u8]) -> Result<(), CopyError> {
        self.put(manifest, &mut &bytes[..])
    }

    /// Everything is there: `root` gets its name.
    ///
    /// # Errors
    /// The image is not what it says it is; the place's.
    fn finish(&mut self, root: &Descriptor, names: &[Reference]) -> Result<(), CopyError>;
}

/// Which images of an index are copied.
#[derive(Debug, Clone, Default)]
pub enum Selection {
    /// The index with all that is present of it.
    #[default]
    All,
    /// The best one for a platform, without the index.
    For(Preferences),
}

/// Copies the image of `source` to `destination`; returns what was copied, the descriptor of the
/// manifest or index.
///
/// # Errors
/// A blob is missing or damaged; either place's.
pub fn copy(
    source: &mut dyn Source,
    destination: &mut dyn Destination,
    selection: &Selection,
    progress: &dyn Progress,
) -> Result<Descriptor, CopyError> {
    let root = source.root()?;
    let root = match selection {
        Selection::All => root,
        Selection::For(preferences) => select(source, &root, preferences)?,
    };
    let names = source.references();
    let mut copying = Copying { source, destination, progress, seen: BTreeSet::new() };
    copying.image(&root, 0)?;
    copying.destination.finish(&root, &names)?;
    Ok(root)
}

/// The bytes of a document, verified.
///
/// # Errors
/// It is missing, too large or damaged; the place's.
pub fn read_document(
    source: &mut dyn Source,
    descriptor: &Descriptor,
) -> Result<Vec<u8>, CopyError> {
    let digest = || descriptor.digest.clone();
    if descriptor.size > MANIFEST_BYTES_MAX {
        return Err(CopyError::Large { digest: digest(), limit: MANIFEST_BYTES_MAX });
    }
    let Some(content) = source.open(descriptor)? else {
        return descriptor.inline().ok_or_else(|| CopyError::Missing { digest: digest() });
    };
    let mut bytes = Vec::new();
    let mut reader = VerifiedReader::new(content, digest(), descriptor.size);
    reader.read_to_end(&mut bytes).map_err(|error| CopyError::reading(&digest(), error))?;
    Ok(bytes)
}

fn select(
    source: &mut dyn Source,
    root: &Descriptor,
    preferences: &Preferences,
) -> Result<Descriptor, CopyError> {
    let mut root = root.clone();
    for _ in 0..DEPTH_MAX {
        if !media_type::is_index(&root.media_type) {
            return Ok(root);
        }
        let bytes = read_document(source, &root)?;
        let index: Raw<Index> = Raw::parse_as("index", &root.media_type, bytes)?;
        let entries = &index.value().manifests;
        let candidates = preferences.candidates(entries);
        let Some(best) = candidates.first() else {
            let stated = entries.iter().filter(|entry| is_image(entry));
            let mut names: Vec<String> =
                stated.filter_map(|e| e.platform.as_ref()).map(ToString::to_string).collect();
            names.dedup();
            return Err(CopyError::Platform {
                digest: root.digest,
                platform: preferences.wanted().to_string(),
                available: names.join(", "),
            });
        };
        root = best.descriptor.clone();
    }
    Err(CopyError::Deep { digest: root.digest })
}

struct Copying<'a> {
    source: &'a mut dyn Source,
    destination: &'a mut dyn Destination,
    progress: &'a dyn Progress,
    seen: BTreeSet<crate::identity::Digest>,
}

impl Copying<'_> {
    /// An image or an index, all that it names first.
    fn image(&mut self, descriptor: &Descriptor, depth: usize) -> Result<(), CopyError> {
        if !self.seen.insert(descriptor.digest.clone()) {
            return Ok(());
        }
        let kind = descriptor.media_type.as_str();
        if media_type::is_schema1(kind) {
            return Err(CopyError::Schema1 { digest: descriptor.digest.clone() });
        }
        let bytes = read_document(self.source, descriptor)?;
        if media_type::is_index(kind) {
            if depth == DEPTH_MAX {
                return Err(CopyError::Deep { digest: descriptor.digest.clone() });
            }
            let index: Raw<Index> = Raw::parse_as("index", kind, bytes)?;
            for entry in &index.value().manifests {
                // An index may list what was never fetched.
                if self.source.open(entry)?.is_some() {
                    self.image(entry, depth + 1)?;
                }
            }
            return self.destination.put_manifest(descriptor, index.bytes());
        }
        if media_type::is_manifest(kind) {
            let manifest: Raw<Manifest> = Raw::parse_as("manifest", kind, bytes)?;
            let layers = manifest.value().layers.iter();
            for blob in layers.chain([&manifest.value().config]) {
                self.blob(blob)?;
            }
            return self.destination.put_manifest(descriptor, manifest.bytes());
        }
        self.destination.put(descriptor, &mut &bytes[..])
    }

    fn blob(&mut self, blob: &Descriptor) -> Result<(), CopyError> {
        if !self.seen.insert(blob.digest.clone()) || self.destination.has(blob)? {
            return Ok(());
        }
        let digest = &blob.digest;
        let Some(content) = self.source.open(blob)? else {
            let may_lack = media_type::is_nondistributable(&blob.media_type);
            return match blob.inline() {
                Some(bytes) => self.destination.put(blob, &mut &bytes[..]),
                None if may_lack => Ok(()),
                None => Err(CopyError::Missing { digest: digest.clone() }),
            };
        };
        self.progress.note(Event::Begin { blob: digest, bytes: blob.size });
        let reader = VerifiedReader::new(content, digest.clone(), blob.size);
        let mut watched = Watched { inner: reader, blob, progress: self.progress };
        self.destination.put(blob, &mut watched)?;
        self.progress.note(Event::End { blob: digest });
        Ok(())
    }
}

/// Tells how much of a blob has been copied.
struct Watched<'a, R> {
    inner: R,
    blob: &'a Descriptor,
    progress: &'a dyn Progress,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.progress.note(Event::Advance { blob: &self.blob.digest, bytes: count as u64 });
        Ok(count)
    }
}
