//! One image as loose files, as skopeo's `dir:` has it: `manifest.json`, `version`, and each blob under
//! its digits.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::layout::write_new;
use super::{Content, CopyError, Destination, Source};
use crate::identity::Digest;
use crate::reference::Reference;
use crate::spec::{Descriptor, MANIFEST_BYTES_MAX, media_type, object};

const VERSION: &[u8] = b"Directory Transport Version: 1.1\n";

/// What a document says of itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
}

/// The image of a directory.
#[derive(Debug)]
pub struct DirectorySource {
    path: PathBuf,
    root: Option<Digest>,
}

impl DirectorySource {
    /// The image at `path`.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), root: None }
    }
}

impl Source for DirectorySource {
    fn root(&mut self) -> Result<Descriptor, CopyError> {
        let path = self.path.join("manifest.json");
        let mut bytes = Vec::new();
        let file = File::open(&path).map_err(CopyError::at("open", &path))?;
        file.take(MANIFEST_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(CopyError::at("read", &path))?;
        let kind: Kind =
            object(&bytes).map_err(|source| CopyError::Json { path: path.clone(), source })?;
        let guess = match kind.manifests {
            Some(_) => media_type::OCI_INDEX,
            None => media_type::OCI_MANIFEST,
        };
        let kind = kind.media_type.unwrap_or_else(|| guess.to_owned());
        let root = Descriptor::new(&kind, Digest::of(&bytes), bytes.len() as u64);
        self.root = Some(root.digest.clone());
        Ok(root)
    }

    fn open(&self, blob: &Descriptor) -> Result<Option<Box<dyn Read + '_>>, CopyError> {
        let hex = blob.digest.hex();
        let mut names = vec![hex.to_owned(), format!("{hex}.manifest.json")];
        if self.root.as_ref() == Some(&blob.digest) {
            names.insert(0, "manifest.json".to_owned());
        }
        for name in names {
            let path = self.path.join(name);
            match File::open(&path) {
                Ok(file) => return Ok(Some(Box::new(file))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(CopyError::at("open", &path)(error)),
            }
        }
        Ok(None)
    }
}

/// A directory that takes one image.
#[derive(Debug)]
pub struct DirectoryDestination {
    path: PathBuf,
    /// Which of several is the image shows at the end.
    manifests: BTreeMap<Digest, Vec<u8>>,
}

impl DirectoryDestination {
    /// The directory at `path`, which is made if it does not exist.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(path: &Path) -> Result<Self, CopyError> {
        fs::create_dir_all(path).map_err(CopyError::at("create", path))?;
        Ok(Self { path: path.to_owned(), manifests: BTreeMap::new() })
    }
}

impl Destination for DirectoryDestination {
    fn has(&self, blob: &Descriptor) -> Result<bool, CopyError> {
        let path = self.path.join(blob.digest.hex());
        Ok(fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() == blob.size))
    }

    fn put(&self, blob: &Descriptor, content: &Content<'_>) -> Result<(), CopyError> {
        write_new(&self.path.join(blob.digest.hex()), &mut *content()?)
    }

    fn put_manifest(&mut self, manifest: &Descriptor, bytes: &[u8]) -> Result<(), CopyError> {
        self.manifests.insert(manifest.digest.clone(), bytes.to_vec());
        Ok(())
    }

    fn finish(&mut self, root: &Descriptor, _: &[Reference]) -> Result<(), CopyError> {
        write_new(&self.path.join("version"), &mut &VERSION[..])?;
        for (digest, bytes) in self.manifests.iter().filter(|(digest, _)| **digest != root.digest) {
            let name = format!("{}.manifest.json", digest.hex());
            write_new(&self.path.join(name), &mut bytes.as_slice())?;
        }
        let missing = || CopyError::Missing { digest: root.digest.clone() };
        let bytes = self.manifests.get(&root.digest).ok_or_else(missing)?;
        write_new(&self.path.join("manifest.json"), &mut bytes.as_slice())
    }
}
