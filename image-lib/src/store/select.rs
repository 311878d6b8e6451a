//! Which manifest below an entry of the index is meant: the entry itself, or the best one for a
//! platform of an index of several.

use super::StoreError;
use crate::spec::{
    CONFIG_BYTES_MAX, Candidate, Descriptor, ImageConfig, Index, MANIFEST_BYTES_MAX, Manifest,
    Platform, Preferences, Raw, is_image, media_type,
};

/// How deep indexes may lie in one another.
const INDEX_DEPTH_MAX: usize = 4;

/// Where documents are read from: a store, or an archive on its way into one.
pub(crate) trait Documents {
    /// The bytes of a document of at most `bytes_max` bytes, verified.
    fn document(&self, descriptor: &Descriptor, bytes_max: u64) -> Result<Vec<u8>, StoreError>;

    /// Is the blob there?
    fn is_present(&self, descriptor: &Descriptor) -> bool;
}

/// Which of several images is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted<'a> {
    /// The best one for a platform; an error if there is none.
    For(&'a Preferences),
    /// The best one for a platform, otherwise the first one that is there.
    Rather(&'a Preferences),
}

/// The manifest below `root` that is wanted, of those that are present.
pub(crate) fn select(
    documents: &impl Documents,
    root: &Descriptor,
    wanted: Wanted<'_>,
) -> Result<Descriptor, StoreError> {
    let (Wanted::For(preferences) | Wanted::Rather(preferences)) = wanted;
    if media_type::is_manifest(&root.media_type) {
        return Ok(root.clone());
    }
    if let Some((_, best)) = best(documents, root, preferences, 0)? {
        return Ok(best);
    }
    let present = images_below(documents, root)?;
    match (wanted, present.first()) {
        (Wanted::Rather(_), Some((first, _))) => Ok(first.clone()),
        _ => Err(StoreError::Platform {
            digest: root.digest.clone(),
            platform: preferences.wanted().to_string(),
            available: list(&present),
        }),
    }
}

fn list(present: &[(Descriptor, Platform)]) -> String {
    let mut names: Vec<String> = present.iter().map(|(_, platform)| platform.to_string()).collect();
    names.sort();
    names.dedup();
    if names.is_empty() { "none that is present".to_owned() } else { names.join(", ") }
}

/// Every image below `root` that is present, with its platform, in the order of the indexes.
pub(crate) fn images_below(
    documents: &impl Documents,
    root: &Descriptor,
) -> Result<Vec<(Descriptor, Platform)>, StoreError> {
    let mut images = Vec::new();
    gather(documents, root, 0, &mut images)?;
    Ok(images)
}

fn gather(
    documents: &impl Documents,
    descriptor: &Descriptor,
    depth: usize,
    images: &mut Vec<(Descriptor, Platform)>,
) -> Result<(), StoreError> {
    if media_type::is_manifest(&descriptor.media_type) {
        let stated = descriptor.platform.clone().filter(|p| !p.architecture.is_empty());
        let platform = match stated {
            Some(platform) => Some(platform.normalized()),
            None => platform_of(documents, descriptor)?,
        };
        images.extend(platform.map(|platform| (descriptor.clone(), platform)));
        return Ok(());
    }
    let index = read_index(documents, descriptor, depth)?;
    let entries = index.value().manifests.iter();
    for entry in entries.filter(|entry| is_image(entry) && documents.is_present(entry)) {
        gather(documents, entry, depth + 1, images)?;
    }
    Ok(())
}

fn best(
    documents: &impl Documents,
    descriptor: &Descriptor,
    preferences: &Preferences,
    depth: usize,
) -> Result<Option<(u32, Descriptor)>, StoreError> {
    let index = read_index(documents, descriptor, depth)?;
    let mut best_yet: Option<(u32, Descriptor)> = None;
    for Candidate { descriptor, rank } in preferences.candidates(&index.value().manifests) {
        if !documents.is_present(descriptor) {
            continue;
        }
        let is_index = media_type::is_index(&descriptor.media_type);
        let found = match rank {
            _ if is_index => {
                let below = best(documents, descriptor, preferences, depth + 1)?;
                below.map(|(of_image, image)| (rank.unwrap_or(of_image), image))
            }
            Some(rank) => Some((rank, descriptor.clone())),
            // Asked for only where nobody says that it fits.
            None if best_yet.is_some() => None,
            None => platform_of(documents, descriptor)?
                .and_then(|platform| preferences.rank(&platform))
                .map(|rank| (rank, descriptor.clone())),
        };
        let Some((rank, image)) = found else { continue };
        if best_yet.as_ref().is_none_or(|(of_best, _)| rank < *of_best) {
            best_yet = Some((rank, image));
        }
    }
    Ok(best_yet)
}

fn read_index(
    documents: &impl Documents,
    descriptor: &Descriptor,
    depth: usize,
) -> Result<Raw<Index>, StoreError> {
    let digest = || descriptor.digest.clone();
    if media_type::is_schema1(&descriptor.media_type) {
        return Err(StoreError::Schema1 { digest: digest() });
    }
    if !media_type::is_index(&descriptor.media_type) || depth == INDEX_DEPTH_MAX {
        let media_type = descriptor.media_type.clone();
        return Err(StoreError::MediaType { digest: digest(), media_type });
    }
    read_document(documents, descriptor, "index", MANIFEST_BYTES_MAX)
}

/// Reads a manifest; one whose own media type is another than its descriptor's is refused, so that
/// nobody can have it taken for two things (CVE-2021-41190).
pub(crate) fn read_manifest(
    documents: &impl Documents,
    descriptor: &Descriptor,
) -> Result<Raw<Manifest>, StoreError> {
    read_document(documents, descriptor, "manifest", MANIFEST_BYTES_MAX)
}

pub(crate) fn read_config(
    documents: &impl Documents,
    descriptor: &Descriptor,
) -> Result<Raw<ImageConfig>, StoreError> {
    read_document(documents, descriptor, "image configuration", CONFIG_BYTES_MAX)
}

fn read_document<T: serde::de::DeserializeOwned>(
    documents: &impl Documents,
    descriptor: &Descriptor,
    what: &'static str,
    limit: u64,
) -> Result<Raw<T>, StoreError> {
    let bytes = documents.document(descriptor, limit)?;
    Ok(Raw::parse_as(what, &descriptor.media_type, bytes)?)
}

/// What the configuration of a manifest says; nothing if it is no image.
fn platform_of(
    documents: &impl Documents,
    manifest: &Descriptor,
) -> Result<Option<Platform>, StoreError> {
    let manifest = read_manifest(documents, manifest)?;
    let config: &Descriptor = &manifest.value().config;
    if !media_type::is_config(&config.media_type) || !documents.is_present(config) {
        return Ok(None);
    }
    Ok(Some(read_config(documents, config)?.value().platform()))
}
