//! The store's images into an archive: an OCI image layout with `manifest.json` in it, as Docker
//! has written since version 25, which `docker load` of any age, skopeo's `docker-archive:` and
//! `oci-archive:`, and this crate read.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use super::ArchiveError;
use super::docker::Item;
use crate::identity::Digest;
use crate::reference::Reference;
use crate::spec::{Descriptor, Index, Manifest};
use crate::store::{CONTAINERD_NAME, Image, REF_NAME, Store, StoreError};
use crate::tar::{Entry, EntryKind, Writer};

/// Writes `images`, each with its names, to `stream`. The same images always give the same bytes.
///
/// # Errors
/// A blob is missing or damaged; the stream's.
pub fn save(
    store: &Store,
    images: &[(Image, Vec<Reference>)],
    stream: &mut dyn Write,
) -> Result<(), ArchiveError> {
    let mut blobs = BTreeMap::new();
    let mut manifests = Vec::new();
    let mut items = Vec::new();
    for (image, references) in images {
        let manifest = image.manifest().value();
        let parts = [image.descriptor(), &manifest.config].into_iter().chain(&manifest.layers);
        for part in parts {
            blobs.insert(part.digest.clone(), part.clone());
        }
        manifests.extend(entries(image, references));
        items.push((manifest.clone(), references.clone()));
    }
    let json = |value: Result<Vec<u8>, serde_json::Error>| value.map_err(StoreError::Encode);
    // The documents stand first, so that a reader of a pipe knows at once what comes.
    let mut writer = Writer::new(stream);
    for directory in ["blobs/", "blobs/sha256/"] {
        let entry = Entry::new(directory.as_bytes(), EntryKind::Directory, 0o755);
        writer.append(&entry).map_err(ArchiveError::Write)?;
    }
    let mut documents = vec![
        ("oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}".to_vec()),
        ("index.json", json(serde_json::to_vec(&Index::new(manifests)))?),
    ];
    documents.extend(docker_documents(&items)?);
    for (name, bytes) in documents {
        append(&mut writer, name, bytes.len() as u64, &mut bytes.as_slice())?;
    }
    for (digest, descriptor) in &blobs {
        let mut reader = store.open_blob(descriptor)?;
        append(&mut writer, &blob_path(digest), descriptor.size, &mut reader)?;
        // The copy stops at the announced size; whether the digest is right shows at the end.
        reader.drain().map_err(|error| store.reading(digest, error))?;
    }
    writer.finish().map_err(ArchiveError::Write)?;
    Ok(())
}

/// The files by which Docker finds images, each with its names, in an archive: `manifest.json` and the
/// older `repositories`.
pub(crate) fn docker_documents(
    images: &[(Manifest, Vec<Reference>)],
) -> Result<Vec<(&'static str, Vec<u8>)>, StoreError> {
    let mut items = Vec::new();
    let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (manifest, references) in images {
        items.push(Item {
            config: blob_path(&manifest.config.digest),
            repo_tags: Some(references.iter().map(Reference::familiar).collect()),
            layers: Some(manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect()),
        });
        for reference in references {
            let tags = repositories.entry(reference.familiar_name()).or_default();
            let top = manifest.layers.last().map(|layer| layer.digest.hex().to_owned());
            tags.insert(reference.tag().unwrap_or_default().to_owned(), top.unwrap_or_default());
        }
    }
    let items = serde_json::to_vec(&items).map_err(StoreError::Encode)?;
    let repositories = serde_json::to_vec(&repositories).map_err(StoreError::Encode)?;
    Ok(vec![("manifest.json", items), ("repositories", repositories)])
}

fn append(
    writer: &mut Writer<&mut dyn Write>,
    name: &str,
    size: u64,
    content: &mut dyn Read,
) -> Result<(), ArchiveError> {
    let entry = Entry { size, ..Entry::new(name.as_bytes(), EntryKind::File, 0o644) };
    writer.append_content(&entry, content).map_err(ArchiveError::Write)
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// The entries of an image in the index: one for each name, or one without.
fn entries(image: &Image, references: &[Reference]) -> Vec<Descriptor> {
    let mut plain = image.descriptor().clone();
    plain.annotations.remove(REF_NAME);
    plain.annotations.remove(CONTAINERD_NAME);
    if references.is_empty() {
        return vec![plain];
    }
    let named = references.iter().map(|reference| {
        let mut entry = plain.clone();
        let tag = reference.tag().unwrap_or("latest").to_owned();
        // In an archive Docker gives the tag alone here, and skopeo and containerd expect it.
        entry.annotations.insert(REF_NAME.to_owned(), tag);
        entry.annotations.insert(CONTAINERD_NAME.to_owned(), reference.to_string());
        entry
    });
    named.collect()
}
