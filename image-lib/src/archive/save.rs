//! The store's images into an archive: an OCI image layout with `manifest.json` in it, as Docker
//! has written since version 25, which `docker load` of any age, skopeo's `docker-archive:` and
//! `oci-archive:`, and this crate read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::AsFd;

use super::ArchiveError;
use super::docker::Item;
use crate::identity::Digest;
use crate::reference::Reference;
use crate::spec::{Descriptor, Index, Manifest};
use crate::store::{CONTAINERD_NAME, Image, REF_NAME, Store, StoreError};
use crate::tar::{Entry, EntryKind, TarError, Writer};

/// Writes `images`, each with its names, to `stream`. The same images always give the same bytes. Layers
/// are copied as they lie; whoever loads the archive verifies them.
///
/// # Errors
/// A blob is missing or has another size; a document is damaged; the stream's.
pub fn save<W: Write>(
    store: &Store,
    images: &[(Image, Vec<Reference>)],
    stream: W,
) -> Result<(), ArchiveError> {
    save_by(store, images, Writer::new(stream), Writer::append_file)
}

/// As [`save`], to a file, a pipe or a socket, to which the kernel copies layers by itself.
///
/// # Errors
/// As [`save`].
pub fn save_file<W: Write + AsFd>(
    store: &Store,
    images: &[(Image, Vec<Reference>)],
    file: BufWriter<W>,
) -> Result<(), ArchiveError> {
    save_by(store, images, Writer::new(file), Writer::send_file)
}

fn save_by<W: Write>(
    store: &Store,
    images: &[(Image, Vec<Reference>)],
    mut writer: Writer<W>,
    append_file: impl Fn(&mut Writer<W>, &Entry, &File) -> Result<(), TarError>,
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
        let entry = file_entry(name, bytes.len() as u64);
        writer.append_content(&entry, &mut bytes.as_slice()).map_err(ArchiveError::Write)?;
    }
    for (digest, descriptor) in &blobs {
        let file = store.open_whole(descriptor)?;
        let entry = file_entry(&blob_path(digest), descriptor.size);
        append_file(&mut writer, &entry, &file).map_err(ArchiveError::Write)?;
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

fn file_entry(name: &str, size: u64) -> Entry {
    Entry { size, ..Entry::new(name.as_bytes(), EntryKind::File, 0o644) }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// The entries of an image in the index: one for each name, or one without.
pub(crate) fn entries(image: &Image, references: &[Reference]) -> Vec<Descriptor> {
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
