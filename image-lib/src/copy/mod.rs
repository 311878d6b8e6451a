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
mod registry;
mod store;

use std::collections::BTreeSet;
use std::io::{self, Cursor, Read};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

pub use archive::{ArchiveDestination, ArchiveForm, ArchiveSource};
pub use directory::{DirectoryDestination, DirectorySource};
pub use error::CopyError;
pub use layout::{LayoutDestination, LayoutSource};
pub use place::{Place, PlaceError};
pub use registry::{RegistryDestination, RegistrySource};
pub use store::{StoreDestination, StoreSource};

use crate::blob::VerifiedReader;
use crate::reference::Reference;
use crate::spec::{
    Descriptor, Index, MANIFEST_BYTES_MAX, Manifest, Preferences, Raw, is_image, media_type,
};
use crate::store::{Event, Progress};

/// How deep indexes are followed.
const DEPTH_MAX: usize = 4;
/// How many blobs are copied at the same time where a place does not say it.
const AT_ONCE: usize = 4;

/// Opens the bytes of a blob at their beginning. They fail at their end if they are not the right ones.
pub type Content<'c> = dyn Fn() -> Result<Box<dyn Read + 'c>, CopyError> + 'c;

/// Where an image comes from.
pub trait Source: Sync {
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
    fn open(&self, blob: &Descriptor) -> Result<Option<Box<dyn Read + '_>>, CopyError>;

    /// How many blobs may be read at the same time.
    fn at_once(&self) -> usize {
        AT_ONCE
    }
}

/// Where an image goes.
pub trait Destination: Sync {
    /// Is the blob there already, so that it need not be sent?
    ///
    /// # Errors
    /// The place's.
    fn has(&self, blob: &Descriptor) -> Result<bool, CopyError>;

    /// Takes a layer, a configuration or another blob. `content` opens it as often as it takes, and is not
    /// called where the bytes are not needed. Nothing may become visible of a blob that cannot be read to
    /// its end.
    ///
    /// # Errors
    /// The content's, and the place's.
    fn put(&self, blob: &Descriptor, content: &Content<'_>) -> Result<(), CopyError>;

    /// How many blobs may be put at the same time.
    fn at_once(&self) -> usize {
        AT_ONCE
    }

    /// Takes a manifest or an index, after all that it names. Registries keep them apart from blobs.
    ///
    /// # Errors
    /// The place's.
    fn put_manifest(&mut self, manifest: &Descriptor, bytes: &[u8]) -> Result<(), CopyError> {
        self.put(manifest, &|| Ok(Box::new(Cursor::new(bytes))))
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
    let bytes = read_document(source, &root)?;
    let mut copying = Copying { source, destination, progress, seen: BTreeSet::new() };
    copying.image(&root, bytes, 0)?;
    copying.destination.finish(&root, &names)?;
    Ok(root)
}

/// The bytes of a document, verified.
///
/// # Errors
/// It is missing, too large or damaged; the place's.
pub fn read_document(source: &dyn Source, descriptor: &Descriptor) -> Result<Vec<u8>, CopyError> {
    let missing = || CopyError::Missing { digest: descriptor.digest.clone() };
    match read_if_there(source, descriptor)? {
        Some(bytes) => Ok(bytes),
        None => descriptor.inline().ok_or_else(missing),
    }
}

fn read_if_there(
    source: &dyn Source,
    descriptor: &Descriptor,
) -> Result<Option<Vec<u8>>, CopyError> {
    let digest = || descriptor.digest.clone();
    if descriptor.size > MANIFEST_BYTES_MAX {
        return Err(CopyError::Large { digest: digest(), limit: MANIFEST_BYTES_MAX });
    }
    let Some(content) = source.open(descriptor)? else { return Ok(None) };
    let mut bytes = Vec::new();
    let mut reader = VerifiedReader::new(content, digest(), descriptor.size);
    reader.read_to_end(&mut bytes).map_err(|error| CopyError::reading(&digest(), error))?;
    Ok(Some(bytes))
}

fn select(
    source: &dyn Source,
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
    source: &'a dyn Source,
    destination: &'a mut dyn Destination,
    progress: &'a dyn Progress,
    seen: BTreeSet<crate::identity::Digest>,
}

impl Copying<'_> {
    /// An image or an index, of which these are the bytes, all that it names first.
    fn image(
        &mut self,
        descriptor: &Descriptor,
        bytes: Vec<u8>,
        depth: usize,
    ) -> Result<(), CopyError> {
        self.seen.insert(descriptor.digest.clone());
        let kind = descriptor.media_type.as_str();
        if media_type::is_schema1(kind) {
            return Err(CopyError::Schema1 { digest: descriptor.digest.clone() });
        }
        if media_type::is_index(kind) {
            if depth == DEPTH_MAX {
                return Err(CopyError::Deep { digest: descriptor.digest.clone() });
            }
            let index: Raw<Index> = Raw::parse_as("index", kind, bytes)?;
            for entry in &index.value().manifests {
                if self.seen.contains(&entry.digest) {
                    continue;
                }
                // An index may list what was never fetched.
                if let Some(bytes) = read_if_there(self.source, entry)? {
                    self.image(entry, bytes, depth + 1)?;
                }
            }
            return self.destination.put_manifest(descriptor, index.bytes());
        }
        if media_type::is_manifest(kind) {
            let manifest: Raw<Manifest> = Raw::parse_as("manifest", kind, bytes)?;
            let layers = manifest.value().layers.iter();
            let mut blobs: Vec<&Descriptor> = layers.chain([&manifest.value().config]).collect();
            blobs.retain(|blob| self.seen.insert(blob.digest.clone()));
            self.blobs(&blobs)?;
            return self.destination.put_manifest(descriptor, manifest.bytes());
        }
        self.destination.put(descriptor, &|| Ok(Box::new(Cursor::new(&bytes))))
    }

    /// Copies several blobs at the same time.
    fn blobs(&self, blobs: &[&Descriptor]) -> Result<(), CopyError> {
        let (next, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
        let one = One {
            source: self.source,
            destination: &*self.destination,
            progress: self.progress,
            stopped: &stopped,
        };
        let failure = Mutex::new(None);
        let work = || {
            while let Some(blob) = blobs.get(next.fetch_add(1, Ordering::Relaxed))
                && !stopped.load(Ordering::Relaxed)
            {
                if let Err(error) = one.copy(blob) {
                    stopped.store(true, Ordering::Relaxed);
                    // The first one is the reason, later ones are its consequence.
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
        };
        let at_once = self.source.at_once().min(self.destination.at_once());
        std::thread::scope(|scope| {
            for _ in 1..at_once.min(blobs.len()) {
                scope.spawn(work);
            }
            work();
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}

/// Copies one blob.
struct One<'a> {
    source: &'a dyn Source,
    destination: &'a dyn Destination,
    progress: &'a dyn Progress,
    /// Has another one failed?
    stopped: &'a AtomicBool,
}

impl One<'_> {
    fn copy(&self, blob: &Descriptor) -> Result<(), CopyError> {
        if self.destination.has(blob)? {
            return Ok(());
        }
        let is_optional =
            media_type::is_nondistributable(&blob.media_type) && blob.inline().is_none();
        if is_optional && self.source.open(blob)?.is_none() {
            return Ok(());
        }
        self.destination.put(blob, &|| self.open(blob))?;
        self.progress.note(Event::EndFetch { blob: &blob.digest });
        Ok(())
    }

    fn open<'s>(&'s self, blob: &'s Descriptor) -> Result<Box<dyn Read + 's>, CopyError> {
        let digest = &blob.digest;
        let content = match (self.source.open(blob)?, blob.inline()) {
            (Some(content), _) => content,
            (None, Some(bytes)) => Box::new(Cursor::new(bytes)),
            (None, None) => return Err(CopyError::Missing { digest: digest.clone() }),
        };
        self.progress.note(Event::BeginFetch { blob: digest, bytes: blob.size, present: 0 });
        let inner = VerifiedReader::new(content, digest.clone(), blob.size);
        Ok(Box::new(Watched { inner, digest, progress: self.progress, stopped: self.stopped }))
    }
}

/// Tells how much of a blob has been copied.
struct Watched<'a, R> {
    inner: R,
    digest: &'a crate::identity::Digest,
    progress: &'a dyn Progress,
    stopped: &'a AtomicBool,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let count = self.inner.read(buffer)?;
        self.progress.note(Event::AdvanceFetch { blob: self.digest, bytes: count as u64 });
        Ok(count)
    }
}
