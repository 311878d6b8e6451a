//! Layers as directories: what is not there is unpacked, all layers of an image at once.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use super::error::{At, reading};
use super::layers::{TREE, dependent_name, independent_name, note_of};
use super::partial::{Arriving, Follower};
use super::{Event, Layer, Progress, Scratch, Store, StoreError, workers};
use crate::blob::VerifiedReader;
use crate::fsroot::Root;
use crate::identity::{ChainId, DiffId, Digest};
use crate::layer::{Extracted, Threads, apply, verify};
use crate::snapshot::Overlay;
use crate::spec::Descriptor;

/// Blobs that are on the store's disk but have no name yet.
pub(crate) type Staged = HashMap<Digest, StagedBlob>;

/// Where the bytes of a blob are that has no name yet.
#[derive(Debug, Clone)]
pub(crate) enum StagedBlob {
    /// In this file.
    File(PathBuf),
    /// On their way.
    Arriving(Arriving),
}

/// Reads a blob; its end is not reported unless size and digest are the expected ones.
#[derive(Debug)]
pub(crate) enum StagedReader {
    Verified(VerifiedReader<File>),
    Arriving(Follower),
}

impl Read for StagedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Verified(reader) => reader.read(buffer),
            Self::Arriving(reader) => reader.read(buffer),
        }
    }
}

impl StagedReader {
    /// Reads what is left, so that all is verified.
    pub(crate) fn drain(&mut self) -> io::Result<()> {
        io::copy(self, &mut io::sink()).map(drop)
    }
}

/// A layer that was unpacked into a scratch directory.
struct Unpacked {
    extracted: Extracted,
    container: PathBuf,
}

impl Store {
    /// The directories of `layers`, which are given lowest first; they are returned in the same
    /// order. What is not yet unpacked is unpacked now. Nothing becomes visible unless all layers
    /// turn out to be the right ones. The caller holds a [`super::Hold`], or the layers belong to an
    /// image of the index.
    ///
    /// # Errors
    /// A blob is missing, damaged, refused or not the layer that the configuration names; the
    /// disk's.
    pub fn unpack(
        &self,
        layers: &[Layer],
        progress: &dyn Progress,
    ) -> Result<Vec<PathBuf>, StoreError> {
        self.unpack_staged(layers, &Staged::new(), progress)
    }

    /// Is there nothing left to unpack of `layers`?
    ///
    /// # Errors
    /// The disk's.
    pub fn is_unpacked(&self, layers: &[Layer]) -> Result<bool, StoreError> {
        Ok(self.unpacked(layers)?.len() == layers.len())
    }

    /// Those of `layers` that are unpacked.
    pub(crate) fn unpacked(&self, layers: &[Layer]) -> Result<Vec<Layer>, StoreError> {
        let mut unpacked = Vec::new();
        for (layer, chain_id) in layers.iter().zip(chain(layers)) {
            if self.find_layer(&layer.diff_id, &chain_id)?.is_some() {
                unpacked.push(layer.clone());
            }
        }
        Ok(unpacked)
    }

    /// The bytes of all files that the layer on top of `layers` has, as it was unpacked; nothing if
    /// it is not.
    #[must_use]
    pub fn content_bytes(&self, layers: &[Layer]) -> Option<u64> {
        let chain_id = chain(layers).pop()?;
        Some(self.layer_note(&layers.last()?.diff_id, &chain_id)?.content_bytes)
    }

    pub(crate) fn unpack_staged(
        &self,
        layers: &[Layer],
        staged: &Staged,
        progress: &dyn Progress,
    ) -> Result<Vec<PathBuf>, StoreError> {
        let limit = self.limits().layers_max;
        if layers.len() > limit {
            return Err(StoreError::TooManyLayers { count: layers.len(), limit });
        }
        let _hold = self.hold()?;
        let chain_ids = chain(layers);
        let mut found = Vec::new();
        let mut missing: Vec<&Layer> = Vec::new();
        for (layer, chain_id) in layers.iter().zip(&chain_ids) {
            let tree = self.find_layer(&layer.diff_id, chain_id)?;
            if tree.is_none() && !missing.iter().any(|m| m.diff_id == layer.diff_id) {
                missing.push(layer);
            }
            found.push(tree);
        }
        if missing.is_empty() {
            return Ok(found.into_iter().flatten().collect());
        }
        let scratch = self.scratch()?;
        let mut unpacked = self.unpack_all(&missing, staged, &scratch, progress)?;
        let mut names: Vec<(usize, PathBuf, String)> = Vec::new();
        let mut trees: Vec<PathBuf> = Vec::new();
        for (position, (layer, chain_id)) in layers.iter().zip(&chain_ids).enumerate() {
            if let Some(tree) = found.get(position).cloned().flatten() {
                trees.push(tree);
                continue;
            }
            let Some(mut new) = unpacked.remove(&layer.diff_id) else {
                // The same layer a second time.
                let first = layers.iter().position(|l| l.diff_id == layer.diff_id).unwrap_or(0);
                let tree = trees.get(first).cloned().ok_or_else(|| StoreError::NoSuchBlob {
                    digest: layer.descriptor.digest.clone(),
                })?;
                trees.push(tree);
                continue;
            };
            let name = if new.extracted.is_independent() {
                independent_name(&layer.diff_id)
            } else {
                inherit(&layer.descriptor.digest, &mut new.extracted, &trees, &scratch)?;
                dependent_name(chain_id)
            };
            let note = note_of(&new.extracted, &layer.diff_id);
            self.write_note(&new.container, &note, new.extracted.has_root_entry())?;
            for warning in new.extracted.warnings() {
                progress.note(Event::Warning(warning));
            }
            trees.push(new.container.join(TREE));
            names.push((position, new.container, name));
        }
        for (position, container, name) in names {
            let own = container.join(TREE);
            let tree = self.publish_layer(&container, &name)?;
            for other in trees.iter_mut().skip(position).filter(|other| **other == own) {
                other.clone_from(&tree);
            }
        }
        Ok(trees)
    }

    /// Makes the tree in `container` the unpacked form of a layer that has nothing below it.
    pub(crate) fn adopt_base(
        &self,
        container: &std::path::Path,
        mut extracted: Extracted,
        diff_id: &DiffId,
        blob: &Digest,
        scratch: &Scratch,
    ) -> Result<PathBuf, StoreError> {
        let name = if extracted.is_independent() {
            independent_name(diff_id)
        } else {
            inherit(blob, &mut extracted, &[], scratch)?;
            // The chain id of a single layer is its diff id.
            dependent_name(&ChainId::new(diff_id.digest().clone()))
        };
        self.write_note(container, &note_of(&extracted, diff_id), extracted.has_root_entry())?;
        self.publish_layer(container, &name)
    }

    /// Unpacks `layers`, each alone, on as many threads as there are processors.
    fn unpack_all(
        &self,
        layers: &[&Layer],
        staged: &Staged,
        scratch: &Scratch,
        progress: &dyn Progress,
    ) -> Result<HashMap<DiffId, Unpacked>, StoreError> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        // They are begun in this order, so that those behind one are what is left.
        let threads = |from| threads_for(&layers[from..], processors);
        let works: Vec<(&Layer, Threads)> =
            layers.iter().enumerate().map(|(at, layer)| (*layer, threads(at))).collect();
        let unpack = |(layer, threads): &(&Layer, Threads)| {
            let unpacked = self.unpack_one(layer, staged, scratch, *threads, progress);
            unpacked.map(|unpacked| (layer.diff_id.clone(), unpacked))
        };
        workers::map_all(&works, unpack, Result::is_err).into_iter().collect()
    }

    fn unpack_one(
        &self,
        layer: &Layer,
        staged: &Staged,
        scratch: &Scratch,
        threads: Threads,
        progress: &dyn Progress,
    ) -> Result<Unpacked, StoreError> {
        let blob = &layer.descriptor.digest;
        let container = scratch.path().join(layer.diff_id.digest().hex());
        fs::DirBuilder::new().mode(0o700).create(&container).at("create", &container)?;
        progress.note(Event::Begin { blob, bytes: layer.descriptor.size });
        let directory = Root::open(&container)?.directory().try_clone()?;
        let (path, mut reader) = self.open_staged(&layer.descriptor, staged)?;
        let mut watched = Watched { inner: &mut reader, blob, progress };
        let algorithm = layer.diff_id.digest().algorithm();
        let applied = apply(&mut watched, algorithm, directory, self.limits(), threads);
        let applied = match applied {
            Ok(applied) => applied,
            Err(source) => {
                // If the blob is damaged, that is the reason, and not what was made of it.
                reader.drain().map_err(|error| reading(error, &path))?;
                return Err(StoreError::Layer { blob: blob.clone(), source });
            }
        };
        progress.note(Event::End { blob });
        check_diff_id(layer, applied.diff_id)?;
        Ok(Unpacked { extracted: applied.extracted, container })
    }

    /// Reads `layers` to their ends and checks both digests of each, without unpacking them.
    pub(crate) fn verify_layers(
        &self,
        layers: &[Layer],
        staged: &Staged,
    ) -> Result<(), StoreError> {
        for layer in layers {
            let blob = &layer.descriptor.digest;
            let (path, mut reader) = self.open_staged(&layer.descriptor, staged)?;
            let algorithm = layer.diff_id.digest().algorithm();
            match verify(&mut reader, algorithm, self.limits(), Threads::available()) {
                Ok((diff_id, _)) => check_diff_id(layer, diff_id)?,
                Err(source) => {
                    reader.drain().map_err(|error| reading(error, &path))?;
                    return Err(StoreError::Layer { blob: blob.clone(), source });
                }
            }
        }
        Ok(())
    }

    pub(crate) fn open_staged(
        &self,
        descriptor: &Descriptor,
        staged: &Staged,
    ) -> Result<(PathBuf, StagedReader), StoreError> {
        let stored = || {
            let reader = StagedReader::Verified(self.open_blob(descriptor)?);
            Ok((self.blob_path(&descriptor.digest), reader))
        };
        match staged.get(&descriptor.digest) {
            None => stored(),
            Some(StagedBlob::File(path)) => {
                let file = File::open(path).at("open", path)?;
                let reader = VerifiedReader::new(file, descriptor.digest.clone(), descriptor.size);
                Ok((path.clone(), StagedReader::Verified(reader)))
            }
            Some(StagedBlob::Arriving(arriving)) => match arriving.follow() {
                Some(follower) => {
                    let path = self.blob_path(&descriptor.digest);
                    Ok((path, StagedReader::Arriving(follower)))
                }
                None => stored(),
            },
        }
    }
}

/// A layer smaller than this is done before more threads would pay.
const LARGE_BYTES: u64 = 4 << 20;

/// The threads for the first of `left`, the layers that nobody has begun: several if it is more than a
/// processor's share of them, and so what all others would wait for.
fn threads_for(left: &[&Layer], processors: usize) -> Threads {
    let size = |layer: &&Layer| u128::from(layer.descriptor.size);
    let first = left.first().map_or(0, size);
    let all: u128 = left.iter().map(size).sum();
    let is_large = first >= u128::from(LARGE_BYTES);
    match is_large && first * processors as u128 > all {
        true => Threads::Several,
        false => Threads::One,
    }
}

fn check_diff_id(layer: &Layer, actual: DiffId) -> Result<(), StoreError> {
    if actual == layer.diff_id {
        return Ok(());
    }
    let (blob, expected) = (layer.descriptor.digest.clone(), layer.diff_id.clone());
    Err(StoreError::DiffId { blob, expected, actual })
}

/// Completes a layer from those below it.
fn inherit(
    blob: &Digest,
    extracted: &mut Extracted,
    below: &[PathBuf],
    scratch: &Scratch,
) -> Result<(), StoreError> {
    let blob = || blob.clone();
    let lower = if below.is_empty() {
        // Nothing is below the lowest layer, which an empty tree says too.
        let empty = scratch.path().join("nothing");
        fs::create_dir_all(&empty).at("create", &empty)?;
        Root::open(&empty)?
    } else {
        Overlay::open(below).map_err(|source| StoreError::Below { blob: blob(), source })?
    };
    extracted.inherit(&lower).map_err(|source| StoreError::Layer { blob: blob(), source })
}

fn chain(layers: &[Layer]) -> Vec<ChainId> {
    let mut ids: Vec<ChainId> = Vec::with_capacity(layers.len());
    for layer in layers {
        let id = match ids.last() {
            Some(below) => Some(below.push(&layer.diff_id)),
            None => ChainId::of(std::slice::from_ref(&layer.diff_id)),
        };
        ids.extend(id);
    }
    ids
}

/// Tells how much of a blob has been read.
struct Watched<'a, R> {
    inner: &'a mut R,
    blob: &'a Digest,
    progress: &'a dyn Progress,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.progress.note(Event::Advance { blob: self.blob, bytes: count as u64 });
        Ok(count)
    }
}
