//! Archives as places: an image layout in a tar, and what `docker save` writes. An archive is read in
//! one pass, whatever its order, and written in one.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::layout::{find, temporary_beside};
use super::{Content, CopyError, Destination, Source};
use crate::archive::{Archive, ArchiveError, docker_documents};
use crate::reference::Reference;
use crate::spec::{Descriptor, Index, Manifest, Raw, is_image, media_type};
use crate::store::{CONTAINERD_NAME, REF_NAME, Store};
use crate::tar::{Entry, EntryKind, Writer};

/// An image of an archive.
#[derive(Debug)]
pub struct ArchiveSource<'s> {
    archive: Archive<'s>,
    path: PathBuf,
    name: Option<String>,
    references: Vec<Reference>,
}

impl<'s> ArchiveSource<'s> {
    /// The image `name` of the archive at `path`; without a name the only one. Blobs that `store` does
    /// not have are set aside on its disk for as long as this lives.
    ///
    /// # Errors
    /// The archive is damaged or no image.
    pub fn new(store: &'s Store, path: &Path, name: Option<&str>) -> Result<Self, CopyError> {
        let file = File::open(path).map_err(CopyError::at("open", path))?;
        let archive = Archive::open_file(store, file)?;
        let name = name.map(str::to_owned);
        Ok(Self { archive, path: path.to_owned(), name, references: Vec::new() })
    }
}

impl Source for ArchiveSource<'_> {
    fn root(&mut self) -> Result<Descriptor, CopyError> {
        let index = Index::new(self.archive.entries().to_vec());
        let entry = match (find(&index, self.name.as_deref(), &self.path), &self.name) {
            (Err(error), Some(name)) => self.archive.named(name).ok_or(error)?,
            (found, _) => found?.clone(),
        };
        self.references = self.archive.references(&entry);
        Ok(entry)
    }

    fn references(&self) -> Vec<Reference> {
        self.references.clone()
    }

    fn open(&self, blob: &Descriptor) -> Result<Option<Box<dyn Read + '_>>, CopyError> {
        Ok(self.archive.open(blob)?)
    }
}

/// What kind of archive is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveForm {
    /// An image layout.
    Layout,
    /// An image layout that has Docker's `manifest.json`, too.
    Docker,
}

/// An archive that takes one image. It appears when it is complete.
pub struct ArchiveDestination {
    path: PathBuf,
    temporary: PathBuf,
    /// One stream takes one blob after the other.
    writer: Mutex<Option<Writer<BufWriter<File>>>>,
    form: ArchiveForm,
    name: Option<String>,
    manifests: Vec<(Descriptor, Vec<u8>)>,
}

impl std::fmt::Debug for ArchiveDestination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArchiveDestination").field("path", &self.path).finish_non_exhaustive()
    }
}

impl ArchiveDestination {
    /// A new archive at `path`, in which the image is called `name`.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn new(path: &Path, form: ArchiveForm, name: Option<&str>) -> Result<Self, CopyError> {
        let temporary = temporary_beside(path);
        let file = File::create_new(&temporary).map_err(CopyError::at("create", &temporary))?;
        let mut writer = Writer::new(BufWriter::with_capacity(128 << 10, file));
        for directory in ["blobs/", "blobs/sha256/"] {
            let entry = Entry::new(directory.as_bytes(), EntryKind::Directory, 0o755);
            writer.append(&entry).map_err(ArchiveError::Write)?;
        }
        let (path, name) = (path.to_owned(), name.map(str::to_owned));
        let writer = Mutex::new(Some(writer));
        Ok(Self { path, temporary, writer, form, name, manifests: Vec::new() })
    }

    fn append(&self, name: &str, size: u64, content: &mut dyn Read) -> Result<(), CopyError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(writer) = &mut *writer else { return Ok(()) };
        let entry = Entry { size, ..Entry::new(name.as_bytes(), EntryKind::File, 0o644) };
        writer.append_content(&entry, content).map_err(ArchiveError::Write)?;
        Ok(())
    }

    /// The names that the archive gives: as a tag for skopeo, as references for Docker.
    fn names(&self, given: &[Reference]) -> Vec<Reference> {
        match self.name.as_deref().map(str::parse::<Reference>) {
            Some(Ok(name)) => vec![name.or_latest()],
            Some(Err(_)) => Vec::new(),
            None => given.to_vec(),
        }
    }

    fn entries(&self, root: &Descriptor, names: &[Reference]) -> Vec<Descriptor> {
        let mut plain = root.clone();
        plain.annotations.remove(CONTAINERD_NAME);
        plain.annotations.remove(REF_NAME);
        let named = |text: &str, full: Option<&Reference>| {
            let mut entry = plain.clone();
            entry.annotations.insert(REF_NAME.to_owned(), text.to_owned());
            if let Some(full) = full {
                entry.annotations.insert(CONTAINERD_NAME.to_owned(), full.to_string());
            }
            entry
        };
        match (self.form, &self.name) {
            // What was asked for is found again by the same word.
            (ArchiveForm::Layout, Some(name)) => vec![named(name, None)],
            _ if names.is_empty() => vec![plain],
            _ => names.iter().map(|n| named(n.tag().unwrap_or("latest"), Some(n))).collect(),
        }
    }

    /// The manifest of the image, which may stand in an index beside what is said of it.
    fn only_image(&self, root: &Descriptor) -> Result<Raw<Manifest>, CopyError> {
        let unfit = CopyError::Unfit {
            place: "docker-archive",
            what: "an image for one platform, which --platform chooses",
        };
        let known = |wanted: &Descriptor| {
            self.manifests.iter().find(|(known, _)| known.digest == wanted.digest)
        };
        let Some((mut descriptor, mut bytes)) = known(root).cloned() else { return Err(unfit) };
        if media_type::is_index(&descriptor.media_type) {
            let index: Raw<Index> = Raw::parse_as("index", &descriptor.media_type, bytes)?;
            let entries = index.value().manifests.iter();
            let images: Vec<_> =
                entries.filter(|entry| is_image(entry)).filter_map(known).collect();
            let [(image, its_bytes)] = images[..] else { return Err(unfit) };
            (descriptor, bytes) = (image.clone(), its_bytes.clone());
        }
        Ok(Raw::parse_as("manifest", &descriptor.media_type, bytes)?)
    }

    fn write_end(&mut self, root: &Descriptor, given: &[Reference]) -> Result<(), CopyError> {
        let names = self.names(given);
        let index = Index::new(self.entries(root, &names));
        let json = |value: Result<Vec<u8>, serde_json::Error>| {
            value.map_err(|source| CopyError::Json { path: self.path.clone(), source })
        };
        let mut documents = vec![
            ("oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}".to_vec()),
            ("index.json", json(serde_json::to_vec(&index))?),
        ];
        if self.form == ArchiveForm::Docker {
            let manifest = self.only_image(root)?;
            documents.extend(docker_documents(&[(manifest.value().clone(), names)])?);
        }
        for (name, bytes) in documents {
            self.append(name, bytes.len() as u64, &mut bytes.as_slice())?;
        }
        let failed = CopyError::at("write", &self.path);
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(writer) = writer.take() {
            let mut file = writer.finish().map_err(ArchiveError::Write)?;
            let end = file.flush().and_then(|()| fs::rename(&self.temporary, &self.path));
            end.map_err(failed)?;
        }
        Ok(())
    }
}

impl Destination for ArchiveDestination {
    fn has(&self, _: &Descriptor) -> Result<bool, CopyError> {
        Ok(false)
    }

    fn put(&self, blob: &Descriptor, content: &Content<'_>) -> Result<(), CopyError> {
        let digest = &blob.digest;
        let name = format!("blobs/{}/{}", digest.algorithm().name(), digest.hex());
        let mut content = content()?;
        self.append(&name, blob.size, &mut *content)?;
        // The copy stops at the announced size; whether the digest is right shows at the end.
        std::io::copy(&mut content, &mut std::io::sink())
            .map_err(|error| CopyError::reading(digest, error))?;
        Ok(())
    }

    fn put_manifest(&mut self, manifest: &Descriptor, bytes: &[u8]) -> Result<(), CopyError> {
        self.manifests.push((manifest.clone(), bytes.to_vec()));
        self.put(manifest, &|| Ok(Box::new(bytes)))
    }

    fn finish(&mut self, root: &Descriptor, names: &[Reference]) -> Result<(), CopyError> {
        self.write_end(root, names)
    }

    fn at_once(&self) -> usize {
        1
    }
}

impl Drop for ArchiveDestination {
    fn drop(&mut self) {
        // Not there any more if the rename succeeded.
        let _ = fs::remove_file(&self.temporary);
    }
}
