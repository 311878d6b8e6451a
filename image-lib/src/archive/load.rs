//! Archives into the store.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::contents::Contents;
use super::docker::{self, OldImage};
use super::{ArchiveError, layout};
use crate::identity::{Digest, ImageId};
use crate::reference::Reference;
use crate::spec::{CONFIG_BYTES_MAX, Descriptor, MANIFEST_BYTES_MAX, Preferences, media_type};
use crate::store::{
    Documents, Garbage, Hold, KnownLayers, Layer, Progress, Staged, StagedBlob, Store, Wanted,
    other_layers, read_image, reference_of,
};

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its id.
    pub id: ImageId,
    /// Its names; an archive may give none.
    pub references: Vec<Reference>,
}

/// Loads all images of the archive that `stream` gives, compressed or not: what `docker save` writes
/// in its old and its new form, and archives of an OCI image layout. The stream is read once, to its
/// end.
///
/// # Errors
/// The archive is damaged or no image; then nothing of it is in the store.
pub fn load(
    store: &Store,
    stream: impl Read,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>, ArchiveError> {
    load_for(store, stream, None, progress)
}

/// As [`load`]; of an index only the best image for a platform, without the index.
///
/// # Errors
/// As [`load`]; an index has no image for the platform.
pub fn load_for(
    store: &Store,
    stream: impl Read,
    platform: Option<&Preferences>,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>, ArchiveError> {
    let hold = store.hold()?;
    let contents = Contents::of_stream(store, stream)?;
    take_or_nothing(store, contents, platform, progress, hold)
}

/// As [`load_for`], of the archive in `file`. Of a plain archive in a regular file that is at its beginning
/// nothing is read but headers, documents and what the store does not have.
///
/// # Errors
/// As [`load_for`].
pub fn load_file(
    store: &Store,
    file: File,
    platform: Option<&Preferences>,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>, ArchiveError> {
    let hold = store.hold()?;
    let contents = Contents::of_file(store, file)?;
    take_or_nothing(store, contents, platform, progress, hold)
}

/// Loads all images of the OCI image layout in the directory `path`, of which nothing is read but documents
/// and what the store does not have.
///
/// # Errors
/// As [`load`].
pub fn load_directory(
    store: &Store,
    path: &Path,
    platform: Option<&Preferences>,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>, ArchiveError> {
    let hold = store.hold()?;
    let contents = layout::of_directory(store, path)?;
    take_or_nothing(store, contents, platform, progress, hold)
}

/// If one of several images is refused, the layers of those before it are not kept either.
fn take_or_nothing(
    store: &Store,
    mut contents: Contents<'_>,
    platform: Option<&Preferences>,
    progress: &dyn Progress,
    hold: Hold,
) -> Result<Vec<Loaded>, ArchiveError> {
    let mut begun = BTreeSet::new();
    let taken = take(store, &mut contents, platform, progress, &mut begun);
    drop(hold);
    if taken.is_err() {
        // Whatever prevents it here is found by the next collection.
        let _ = store.collect_garbage(&Garbage::older_than(Garbage::GRACE).and(begun));
    }
    taken
}

/// An image of the archive, understood and complete.
struct Candidate {
    id: ImageId,
    /// What the index will list.
    root: Descriptor,
    references: Vec<Reference>,
    layers: Vec<Layer>,
    /// The layers of images for other platforms.
    others: Vec<Layer>,
    /// The blobs that belong to it.
    blobs: Vec<Descriptor>,
    /// Documents that the archive does not have: media type and bytes.
    made: Vec<(&'static str, Vec<u8>)>,
}

fn take(
    store: &Store,
    contents: &mut Contents<'_>,
    platform: Option<&Preferences>,
    progress: &dyn Progress,
    begun: &mut BTreeSet<Digest>,
) -> Result<Vec<Loaded>, ArchiveError> {
    let items = docker::items(contents)?;
    let index = layout::index(contents)?;
    let likely = index.iter().flat_map(|index| &index.manifests).map(|entry| &entry.digest);
    let known = store.known_layers(likely)?;
    let candidates = match (&index, &items) {
        (Some(index), _) => of_layout(contents, &index.manifests, items.as_deref(), platform)?,
        (None, Some(items)) => of_manifest(contents, items, &known)?,
        (None, None) => return Err(ArchiveError::Form),
    };
    for candidate in &candidates {
        begun.extend(candidate.layers.iter().map(|layer| layer.diff_id.digest().clone()));
        begun.extend(candidate.blobs.iter().map(|blob| blob.digest.clone()));
        for blob in &candidate.blobs {
            contents.take(blob)?;
        }
    }
    let staged = contents.staged();
    // All layers are verified before anything of any image becomes visible.
    for candidate in &candidates {
        verify(store, candidate, &staged, &known, progress)?;
    }
    let mut published = BTreeSet::new();
    for candidate in &candidates {
        for blob in &candidate.blobs {
            if published.insert(blob.digest.clone())
                && let Some(StagedBlob::File(path)) = staged.get(&blob.digest)
            {
                store.publish_file(path, blob)?;
            }
        }
        for (media_type, bytes) in &candidate.made {
            store.put_bytes(media_type, bytes)?;
        }
    }
    let mut loaded = Vec::new();
    for candidate in candidates {
        store.put_record(&candidate.root, &candidate.references)?;
        loaded.push(Loaded { id: candidate.id, references: candidate.references });
    }
    Ok(loaded)
}

/// Unpacks the layers of the image that will be used, and reads all others to their ends, but for those that
/// the store knows.
fn verify(
    store: &Store,
    candidate: &Candidate,
    staged: &Staged,
    known: &KnownLayers<'_>,
    progress: &dyn Progress,
) -> Result<(), ArchiveError> {
    let unread = if store.can_unpack() {
        // The tree of such a layer says nothing of the blob that the archive has for it.
        let unread = store.unpacked(&candidate.layers)?;
        store.unpack_staged(&candidate.layers, staged, progress)?;
        unread
    } else {
        candidate.layers.clone()
    };
    let mut unread: Vec<Layer> = unread.into_iter().chain(candidate.others.clone()).collect();
    unread.retain(|layer| !known.has(layer));
    Ok(store.verify_layers(&unread, staged)?)
}

/// The old form: images without manifests.
fn of_manifest(
    contents: &mut Contents<'_>,
    items: &[docker::Item],
    known: &KnownLayers<'_>,
) -> Result<Vec<Candidate>, ArchiveError> {
    let mut candidates = Vec::new();
    for item in items {
        let image = OldImage::read(contents, item, Some(known))?;
        let manifest = image.manifest()?;
        let size = manifest.len() as u64;
        let root = Descriptor::new(media_type::OCI_MANIFEST, Digest::of(&manifest), size);
        candidates.push(Candidate {
            id: ImageId::new(Digest::of(&image.config)),
            root,
            references: item.references(),
            blobs: image.layers.iter().map(|layer| layer.descriptor.clone()).collect(),
            layers: image.layers,
            others: Vec::new(),
            made: vec![
                (media_type::OCI_CONFIG, image.config),
                (media_type::OCI_MANIFEST, manifest),
            ],
        });
    }
    Ok(candidates)
}

/// A layout, whose images may have further names in `manifest.json`.
fn of_layout(
    contents: &Contents<'_>,
    manifests: &[Descriptor],
    items: Option<&[docker::Item]>,
    platform: Option<&Preferences>,
) -> Result<Vec<Candidate>, ArchiveError> {
    let host = Preferences::host();
    let wanted = platform.map_or(Wanted::Rather(&host), Wanted::For);
    let mut candidates: Vec<Candidate> = Vec::new();
    for entry in manifests {
        let references: Vec<Reference> = reference_of(entry).into_iter().collect();
        if let Some(known) = candidates.iter_mut().find(|c| c.root.digest == entry.digest) {
            known.references.extend(references);
            continue;
        }
        if !contents.is_present(entry) {
            let missing = (entry.digest.to_string(), "index.json".to_owned());
            return Err(ArchiveError::Missing { entry: missing.0, referrer: missing.1 });
        }
        let image = read_image(contents, entry, wanted)?;
        let root = if platform.is_some() { image.descriptor() } else { entry };
        let mut blobs = Vec::new();
        reachable(contents, root, &mut blobs)?;
        for layer in image.layers() {
            if !contents.is_present(&layer.descriptor) {
                return Err(ArchiveError::Missing {
                    entry: layer.descriptor.digest.to_string(),
                    referrer: format!("manifest {}", image.descriptor().digest),
                });
            }
        }
        candidates.push(Candidate {
            id: image.id().clone(),
            root: root.clone(),
            references,
            layers: image.layers().to_vec(),
            others: other_layers(contents, root, &image.descriptor().digest)?,
            blobs,
            made: Vec::new(),
        });
    }
    for item in items.unwrap_or_default() {
        let Some(config) = contents.digest(&item.config, CONFIG_BYTES_MAX)? else { continue };
        let same = |c: &&mut Candidate| *c.id.digest() == config;
        if let Some(candidate) = candidates.iter_mut().find(same) {
            for reference in item.references() {
                if !candidate.references.contains(&reference) {
                    candidate.references.push(reference);
                }
            }
        }
    }
    Ok(candidates)
}

/// Every blob of the archive that can be reached from `root`. An index may list images that the
/// archive leaves out.
fn reachable(
    contents: &Contents<'_>,
    root: &Descriptor,
    found: &mut Vec<Descriptor>,
) -> Result<(), ArchiveError> {
    let mut pending = vec![root.clone()];
    let mut seen = BTreeSet::new();
    while let Some(descriptor) = pending.pop() {
        if !seen.insert(descriptor.digest.clone()) || !contents.is_present(&descriptor) {
            continue;
        }
        // The size that the archive announces is compared with the one that was found.
        let is_stored = contents.store().has_blob(&descriptor.digest, descriptor.size);
        if let Some(size) = contents.blob_size(&descriptor.digest).filter(|_| !is_stored) {
            crate::store::check(&descriptor, &descriptor.digest, size)?;
        }
        let kind = descriptor.media_type.as_str();
        let limit = MANIFEST_BYTES_MAX.max(CONFIG_BYTES_MAX);
        if media_type::is_manifest(kind) || media_type::is_index(kind) {
            let bytes = contents.document(&descriptor, limit)?;
            let value: Value = layout::document(&descriptor.digest.to_string(), &bytes)?;
            descriptors(&value, &mut pending);
        }
        found.push(descriptor);
    }
    Ok(())
}

/// The descriptors of a manifest or an index.
fn descriptors(document: &Value, found: &mut Vec<Descriptor>) {
    let lists = ["manifests", "layers", "blobs"].into_iter().filter_map(|name| document.get(name));
    let single = document.get("config").into_iter();
    let values = lists.filter_map(Value::as_array).flatten().chain(single);
    found.extend(values.filter_map(|value| serde_json::from_value(value.clone()).ok()));
}
