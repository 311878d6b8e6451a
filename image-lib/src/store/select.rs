//! Which manifest below an entry of the index is meant: the entry itself, or the best one for a
//! platform of an index of several. However often an entry stands in the indexes of an image, it is
//! looked into once: a few megabytes of indexes that list one another must not keep anybody busy for ever.

use std::collections::{BTreeMap, BTreeSet};

use super::StoreError;
use crate::identity::Digest;
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
    let mut search = Search { documents, preferences, known: BTreeMap::new() };
    if let Some((_, best)) = search.best(root, 0)? {
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
    gather(documents, root, 0, &mut BTreeSet::new(), &mut images)?;
    Ok(images)
}

fn gather(
    documents: &impl Documents,
    descriptor: &Descriptor,
    depth: usize,
    seen: &mut BTreeSet<(Digest, Option<Platform>)>,
    images: &mut Vec<(Descriptor, Platform)>,
) -> Result<(), StoreError> {
    let is_manifest = media_type::is_manifest(&descriptor.media_type);
    let stated = descriptor.platform.clone();
    let stated = stated.filter(|platform| is_manifest && !platform.architecture.is_empty());
    // An image may be listed for several platforms.
    if !seen.insert((descriptor.digest.clone(), stated.clone())) {
        return Ok(());
    }
    if is_manifest {
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
        gather(documents, entry, depth + 1, seen, images)?;
    }
    Ok(())
}

/// The search for the best image.
struct Search<'a, D> {
    documents: &'a D,
    preferences: &'a Preferences,
    /// What was found for entries that were looked into.
    known: BTreeMap<Digest, Option<(u32, Descriptor)>>,
}

impl<D: Documents> Search<'_, D> {
    fn best(
        &mut self,
        index: &Descriptor,
        depth: usize,
    ) -> Result<Option<(u32, Descriptor)>, StoreError> {
        let index = read_index(self.documents, index, depth)?;
        let mut best_yet: Option<(u32, Descriptor)> = None;
        for Candidate { descriptor, rank } in self.preferences.candidates(&index.value().manifests)
        {
            if !self.documents.is_present(descriptor) {
                continue;
            }
            let found = match rank {
                _ if media_type::is_index(&descriptor.media_type) => {
                    let below = self.look_into(descriptor, depth)?;
                    below.map(|(of_image, image)| (rank.unwrap_or(of_image), image))
                }
                Some(rank) => Some((rank, descriptor.clone())),
                // Asked for only where nobody says that it fits.
                None if best_yet.is_some() => None,
                None => self.look_into(descriptor, depth)?,
            };
            let Some((rank, image)) = found else { continue };
            if best_yet.as_ref().is_none_or(|(of_best, _)| rank < *of_best) {
                best_yet = Some((rank, image));
            }
        }
        Ok(best_yet)
    }

    /// What an entry that does not say all itself leads to.
    fn look_into(
        &mut self,
        entry: &Descriptor,
        depth: usize,
    ) -> Result<Option<(u32, Descriptor)>, StoreError> {
        if let Some(known) = self.known.get(&entry.digest) {
            return Ok(known.clone());
        }
        let found = if media_type::is_index(&entry.media_type) {
            self.best(entry, depth + 1)?
        } else {
            platform_of(self.documents, entry)?
                .and_then(|platform| self.preferences.rank(&platform))
                .map(|rank| (rank, entry.clone()))
        };
        self.known.insert(entry.digest.clone(), found.clone());
        Ok(found)
    }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::cell::Cell;
    use std::collections::HashMap;

    use super::*;

    /// Documents in memory, and how often one was read.
    #[derive(Default)]
    struct Counted {
        documents: HashMap<Digest, Vec<u8>>,
        reads: Cell<usize>,
    }

    impl Documents for Counted {
        fn document(&self, descriptor: &Descriptor, _: u64) -> Result<Vec<u8>, StoreError> {
            self.reads.set(self.reads.get() + 1);
            Ok(self.documents[&descriptor.digest].clone())
        }

        fn is_present(&self, descriptor: &Descriptor) -> bool {
            self.documents.contains_key(&descriptor.digest)
        }
    }

    impl Counted {
        fn put(&mut self, media_type: &str, value: &impl serde::Serialize) -> Descriptor {
            let bytes = serde_json::to_vec(value).unwrap();
            let descriptor = Descriptor::new(media_type, Digest::of(&bytes), bytes.len() as u64);
            self.documents.insert(descriptor.digest.clone(), bytes);
            descriptor
        }
    }

    #[test]
    fn what_is_listed_often_is_read_once() {
        let mut documents = Counted::default();
        let other: Platform = "plan9/mips".parse().unwrap();
        let config = documents.put(media_type::OCI_CONFIG, &ImageConfig::new(&other));
        let manifest = Manifest::new(config, Vec::new());
        let mut entry = documents.put(media_type::OCI_MANIFEST, &manifest);
        for _ in 0..INDEX_DEPTH_MAX {
            entry = documents.put(media_type::OCI_INDEX, &Index::new(vec![entry; 20]));
        }
        let host = Preferences::of(&"linux/amd64".parse().unwrap());
        assert!(select(&documents, &entry, Wanted::For(&host)).is_err());
        // Four indexes, a manifest and a configuration, by the search and for the message.
        assert_eq!(documents.reads.get(), 12);
    }

    #[test]
    fn an_image_for_several_platforms_is_told_for_each() {
        let mut documents = Counted::default();
        let config = documents.put(media_type::OCI_CONFIG, &ImageConfig::default());
        let mut entry = documents.put(media_type::OCI_MANIFEST, &Manifest::new(config, Vec::new()));
        let entries = ["linux/arm/v6", "linux/arm/v7"].map(|text| {
            entry.platform = Some(text.parse().unwrap());
            entry.clone()
        });
        let root = documents.put(media_type::OCI_INDEX, &Index::new(entries.to_vec()));
        assert_eq!(images_below(&documents, &root).unwrap().len(), 2);
    }
}
