//! OCI image layouts as directories (image-spec image-layout.md). Entries and files that others have
//! written stay.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::{Content, CopyError, Destination, Source};
use crate::archive::entries;
use crate::identity::Digest;
use crate::reference::Reference;
use crate::spec::{Descriptor, Index, object};
use crate::store::{CONTAINERD_NAME, Image, REF_NAME, Store, reference_of};

const LAYOUT: &[u8] = b"{\"imageLayoutVersion\":\"1.0.0\"}";
/// The most bytes of an `index.json`.
const INDEX_BYTES_MAX: u64 = 64 << 20;

/// The entry of an index that `name` means: what skopeo has written there, a whole reference, or a
/// digest. Without a name it is the only one.
pub(super) fn find<'i>(
    index: &'i Index,
    name: Option<&str>,
    place: &Path,
) -> Result<&'i Descriptor, CopyError> {
    let place = || place.display().to_string();
    let Some(name) = name else {
        let mut distinct: Vec<&Descriptor> = Vec::new();
        for entry in &index.manifests {
            if !distinct.iter().any(|known| known.digest == entry.digest) {
                distinct.push(entry);
            }
        }
        return match distinct[..] {
            [only] => Ok(only),
            _ => Err(CopyError::Ambiguous { place: place(), count: distinct.len() }),
        };
    };
    let reference = name.parse::<Reference>().ok().map(Reference::or_latest);
    let digest = name.trim_start_matches('@').parse::<Digest>().ok();
    let is_meant = |entry: &&Descriptor| {
        entry.annotations.get(REF_NAME).is_some_and(|own| own == name)
            || (reference.is_some() && reference_of(entry) == reference)
            || digest.as_ref() == Some(&entry.digest)
    };
    let found = index.manifests.iter().find(is_meant);
    found.ok_or_else(|| CopyError::NoSuchImage { name: name.to_owned(), place: place() })
}

fn read_index(path: &Path) -> Result<Option<Index>, CopyError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(CopyError::at("open", path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(INDEX_BYTES_MAX).read_to_end(&mut bytes).map_err(CopyError::at("read", path))?;
    let index = object(&bytes);
    index.map(Some).map_err(|source| CopyError::Json { path: path.to_owned(), source })
}

fn blob_path(root: &Path, digest: &Digest) -> PathBuf {
    root.join("blobs").join(digest.algorithm().name()).join(digest.hex())
}

/// An image of a layout.
#[derive(Debug)]
pub struct LayoutSource {
    path: PathBuf,
    name: Option<String>,
    entry: Option<Descriptor>,
}

impl LayoutSource {
    /// The image `name` of the layout at `path`; without a name the only one.
    #[must_use]
    pub fn new(path: &Path, name: Option<&str>) -> Self {
        Self { path: path.to_owned(), name: name.map(str::to_owned), entry: None }
    }
}

impl Source for LayoutSource {
    fn root(&mut self) -> Result<Descriptor, CopyError> {
        let path = self.path.join("index.json");
        let index = read_index(&path)?.ok_or_else(|| {
            CopyError::at("open", &path)(io::Error::from(io::ErrorKind::NotFound))
        })?;
        let entry = find(&index, self.name.as_deref(), &self.path)?.clone();
        self.entry = Some(entry.clone());
        Ok(entry)
    }

    fn references(&self) -> Vec<Reference> {
        self.entry.as_ref().and_then(reference_of).into_iter().collect()
    }

    fn open(&self, blob: &Descriptor) -> Result<Option<Box<dyn Read + '_>>, CopyError> {
        let path = blob_path(&self.path, &blob.digest);
        match File::open(&path) {
            Ok(file) => Ok(Some(Box::new(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CopyError::at("open", &path)(error)),
        }
    }
}

/// A layout that takes an image.
#[derive(Debug)]
pub struct LayoutDestination {
    path: PathBuf,
    name: Option<String>,
}

impl LayoutDestination {
    /// The layout at `path`, which is made if it does not exist; the image gets `name` there.
    ///
    /// # Errors
    /// The directory cannot be made, or is something else.
    pub fn new(path: &Path, name: Option<&str>) -> Result<Self, CopyError> {
        let blobs = path.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(CopyError::at("create", &blobs))?;
        let version = path.join("oci-layout");
        if !version.exists() {
            replace(&version, LAYOUT)?;
        }
        Ok(Self { path: path.to_owned(), name: name.map(str::to_owned) })
    }
}

impl Destination for LayoutDestination {
    fn has(&self, blob: &Descriptor) -> Result<bool, CopyError> {
        let path = blob_path(&self.path, &blob.digest);
        Ok(fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() == blob.size))
    }

    fn put(&self, blob: &Descriptor, content: &Content<'_>) -> Result<(), CopyError> {
        write_new(&self.place_of(blob)?, &mut *content()?)
    }

    fn finish(&mut self, root: &Descriptor, _: &[Reference]) -> Result<(), CopyError> {
        let mut entry = root.clone();
        entry.annotations.remove(CONTAINERD_NAME);
        entry.annotations.remove(REF_NAME);
        self.update_index(|index| match &self.name {
            Some(name) => {
                let is_other = |e: &Descriptor| e.annotations.get(REF_NAME) != Some(name);
                index.manifests.retain(is_other);
                entry.annotations.insert(REF_NAME.to_owned(), name.clone());
                index.manifests.push(entry);
            }
            None => add_nameless(index, entry),
        })
    }
}

fn add_nameless(index: &mut Index, entry: Descriptor) {
    if !index.manifests.iter().any(|known| known.digest == entry.digest) {
        index.manifests.push(entry);
    }
}

impl LayoutDestination {
    /// Puts `images` of `store` there, each with its names, of which an image that had one loses it. What is
    /// there already is not written again; the rest is copied as it lies.
    ///
    /// # Errors
    /// A blob is missing or has another size; the directory's.
    pub fn save(
        &mut self,
        store: &Store,
        images: &[(Image, Vec<Reference>)],
    ) -> Result<(), CopyError> {
        for (image, _) in images {
            let manifest = image.manifest().value();
            let documents = [&manifest.config, image.descriptor()];
            for blob in manifest.layers.iter().chain(documents) {
                if !self.has(blob)? {
                    let mut file = store.open_whole(blob)?;
                    write_new(&self.place_of(blob)?, &mut file)?;
                }
            }
        }
        self.update_index(|index| {
            for (image, references) in images {
                for entry in entries(image, references) {
                    let name = reference_of(&entry);
                    if name.is_none() {
                        add_nameless(index, entry);
                        continue;
                    }
                    index.manifests.retain(|known| reference_of(known) != name);
                    index.manifests.push(entry);
                }
            }
        })
    }

    /// Where a blob goes, in a folder that is there.
    fn place_of(&self, blob: &Descriptor) -> Result<PathBuf, CopyError> {
        let path = blob_path(&self.path, &blob.digest);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(CopyError::at("create", folder))?;
        }
        Ok(path)
    }

    /// Changes the index; nobody else does meanwhile.
    fn update_index(&self, change: impl FnOnce(&mut Index)) -> Result<(), CopyError> {
        // A store is a layout, too, and has a lock of its own; for others the folder is the lock.
        let lock = Some(self.path.join("locks/index")).filter(|path| path.exists());
        let lock = lock.unwrap_or_else(|| self.path.clone());
        let file = File::open(&lock).map_err(CopyError::at("open", &lock))?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)
            .map_err(|errno| CopyError::at("lock", &lock)(errno.into()))?;
        let path = self.path.join("index.json");
        let mut index = read_index(&path)?.unwrap_or_else(|| Index::new(Vec::new()));
        change(&mut index);
        let bytes = serde_json::to_vec(&index)
            .map_err(|source| CopyError::Json { path: path.clone(), source })?;
        replace(&path, &bytes)
    }
}

/// Writes a file that appears when it is complete.
pub(super) fn write_new<R: Read + ?Sized>(path: &Path, content: &mut R) -> Result<(), CopyError> {
    let temporary = temporary_beside(path);
    let mut write = || {
        let mut file = File::create_new(&temporary)?;
        io::copy(content, &mut file)?;
        file.sync_data()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&temporary);
        CopyError::at("write", path)(error)
    })
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), CopyError> {
    write_new(path, &mut &bytes[..])
}

/// A name that no other thread or process uses.
pub(super) fn temporary_beside(path: &Path) -> PathBuf {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}-{count}.partial", std::process::id()))
}
