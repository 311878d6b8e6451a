//! Garbage collection: what no image, no lease and no living process needs goes away, once it has
//! been lying about for a while. An image that is removed takes its parts along at once.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;
use serde_json::Value;

use super::error::At;
use super::{Store, StoreError, lock};
use crate::identity::{Algorithm, DiffId, Digest};
use crate::spec::{CONFIG_BYTES_MAX, Descriptor};

/// What is collected of all that is not needed.
#[derive(Debug, Clone, Default)]
pub struct Garbage {
    grace: Duration,
    at_once: BTreeSet<Digest>,
}

impl Garbage {
    /// How long what nothing needs stays when nobody says otherwise: a program that was killed and
    /// begins again finds what it had got.
    pub const GRACE: Duration = Duration::from_mins(10);

    /// What has not been touched for `grace`.
    #[must_use]
    pub fn older_than(grace: Duration) -> Self {
        Self { grace, at_once: BTreeSet::new() }
    }

    /// Also `digests`, however young they are: those of an image that was removed on purpose.
    #[must_use]
    pub fn and(mut self, digests: impl IntoIterator<Item = Digest>) -> Self {
        self.at_once.extend(digests);
        self
    }

    fn takes(&self, digest: &Digest, file: &Path) -> bool {
        if self.grace.is_zero() || self.at_once.contains(digest) {
            return true;
        }
        let age = fs::metadata(file).and_then(|m| m.modified()).ok();
        // A time in the future is a young one.
        age.and_then(|time| time.elapsed().ok()).is_some_and(|age| age > self.grace)
    }
}

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs, with their sizes.
    pub blobs: Vec<(Digest, u64)>,
    /// Unpacked layers.
    pub layers: Vec<DiffId>,
}

impl Store {
    /// Removes all that nothing needs. Nothing is returned if something is being made just now,
    /// since nobody can tell then what will be needed; the next collection finds it.
    ///
    /// # Errors
    /// The index cannot be read; the disk's.
    pub fn collect(&self) -> Result<Option<Collected>, StoreError> {
        self.collect_garbage(&Garbage::default())
    }

    /// As [`Store::collect`], of a part.
    ///
    /// # Errors
    /// As [`Store::collect`].
    pub fn collect_garbage(&self, garbage: &Garbage) -> Result<Option<Collected>, StoreError> {
        let path = self.path().join("locks/content");
        let Some(_alone) = lock::attempt(&path, FlockOperation::NonBlockingLockExclusive)? else {
            return Ok(None);
        };
        let needed = self.needed()?;
        let mut collected = Collected::default();
        self.collect_partials()?;
        for (digest, path, size) in self.all_blobs()? {
            if !needed.contains(&digest) && garbage.takes(&digest, &path) {
                fs::remove_file(&path).at("remove", &path)?;
                collected.blobs.push((digest, size));
            }
        }
        for (folder, note) in self.all_layers()? {
            let is_garbage = match &note {
                Some(note) => {
                    let digest = note.diff_id.digest();
                    !needed.contains(digest) && garbage.takes(digest, &folder)
                }
                // Nobody finds a layer without a note.
                None => true,
            };
            if is_garbage {
                self.discard_layer(&folder)?;
                collected.layers.extend(note.map(|note| note.diff_id));
            }
        }
        Ok(Some(collected))
    }

    /// Everything that can be reached: blobs by their digests, layers by their diff ids.
    pub(super) fn needed(&self) -> Result<BTreeSet<Digest>, StoreError> {
        let index = serde_json::to_value(self.read_index()?).map_err(StoreError::Encode)?;
        let mut pending = Vec::new();
        note_digests(&index, &mut pending);
        let mut needed = self.follow(pending);
        needed.extend(self.retained()?);
        needed.extend(self.protected()?);
        Ok(needed)
    }

    /// Every blob that can be reached from `root`, and the diff ids of every configuration among
    /// them: what the image takes along when it is removed, as far as nothing else needs it.
    #[must_use]
    pub fn reachable(&self, root: &Descriptor) -> BTreeSet<Digest> {
        self.follow(vec![(root.digest.clone(), true)])
    }

    fn follow(&self, mut pending: Vec<(Digest, bool)>) -> BTreeSet<Digest> {
        let mut found = BTreeSet::new();
        let mut read = BTreeSet::new();
        while let Some((digest, is_document)) = pending.pop() {
            found.insert(digest.clone());
            if !is_document || !read.insert(digest.clone()) {
                continue;
            }
            // A document that is missing or no JSON leads to nothing.
            let path = self.blob_path(&digest);
            if fs::metadata(&path).is_ok_and(|m| m.len() <= CONFIG_BYTES_MAX)
                && let Ok(bytes) = fs::read(&path)
                && let Ok(value) = serde_json::from_slice::<Value>(&bytes)
            {
                note_digests(&value, &mut pending);
            }
        }
        found
    }

    pub(super) fn all_blobs(&self) -> Result<Vec<(Digest, PathBuf, u64)>, StoreError> {
        let mut blobs = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let folder = self.path().join("blobs").join(algorithm.name());
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries {
                let entry = entry.at("read", &folder)?;
                let name = entry.file_name();
                let text = format!("{}:{}", algorithm.name(), name.to_string_lossy());
                // What is not named as a blob, or is a directory or a link, is not ours to remove.
                let Ok(digest) = text.parse::<Digest>() else { continue };
                let metadata = entry.metadata().at("stat", &entry.path())?;
                if metadata.is_file() {
                    blobs.push((digest, entry.path(), metadata.len()));
                }
            }
        }
        Ok(blobs)
    }
}

/// Collects every digest of a document, and whether it may be one of a further document. Whatever
/// kind of document it is, also one of another tool's, what it names is kept: descriptors say
/// `digest`, configurations list `diff_ids`.
fn note_digests(value: &Value, found: &mut Vec<(Digest, bool)>) {
    match value {
        Value::Object(object) => {
            if let Some(digest) = object.get("digest").and_then(Value::as_str)
                && let Ok(digest) = digest.parse()
            {
                let media_type = object.get("mediaType").and_then(Value::as_str);
                // What has no media type is looked into, too.
                let is_document =
                    media_type.is_none_or(|m| m.ends_with("json") || m.ends_with("jws"));
                found.push((digest, is_document));
            }
            object.values().for_each(|value| note_digests(value, found));
        }
        Value::Array(array) => array.iter().for_each(|value| note_digests(value, found)),
        Value::String(text) => {
            if let Ok(digest) = text.parse() {
                found.push((digest, false));
            }
        }
        _ => {}
    }
}
