//! Garbage collection: what no image, no retained name and no living process needs goes away.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use rustix::fs::FlockOperation;
use serde_json::Value;

use super::error::At;
use super::{Store, StoreError, lock};
use crate::identity::{Algorithm, DiffId, Digest};
use crate::spec::CONFIG_BYTES_MAX;

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs, with their sizes.
    pub blobs: Vec<(Digest, u64)>,
    /// Unpacked layers.
    pub layers: Vec<DiffId>,
}

impl Store {
    /// Removes what nothing needs. Nothing is returned if something is being made just now, since
    /// nobody can tell then what will be needed; the next collection finds it.
    ///
    /// # Errors
    /// The index cannot be read; the disk's.
    pub fn collect(&self) -> Result<Option<Collected>, StoreError> {
        let path = self.path().join("locks/content");
        let Some(_alone) = lock::attempt(&path, FlockOperation::NonBlockingLockExclusive)? else {
            return Ok(None);
        };
        let needed = self.needed()?;
        let mut collected = Collected::default();
        self.collect_partials()?;
        for (digest, path, size) in self.all_blobs()? {
            if !needed.contains(&digest) {
                fs::remove_file(&path).at("remove", &path)?;
                collected.blobs.push((digest, size));
            }
        }
        for (folder, note) in self.all_layers()? {
            match note {
                Some(note) if needed.contains(note.diff_id.digest()) => {}
                note => {
                    self.discard_layer(&folder)?;
                    collected.layers.extend(note.map(|note| note.diff_id));
                }
            }
        }
        Ok(Some(collected))
    }

    /// Everything that can be reached: blobs by their digests, layers by their diff ids.
    fn needed(&self) -> Result<BTreeSet<Digest>, StoreError> {
        let mut needed = BTreeSet::new();
        let index = serde_json::to_value(self.read_index()?).map_err(StoreError::Encode)?;
        let mut read = BTreeSet::new();
        let mut pending = Vec::new();
        note_digests(&index, &mut pending);
        needed.extend(self.retained()?);
        needed.extend(self.protected()?);
        while let Some((digest, is_document)) = pending.pop() {
            needed.insert(digest.clone());
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
        Ok(needed)
    }

    fn all_blobs(&self) -> Result<Vec<(Digest, PathBuf, u64)>, StoreError> {
        let mut blobs = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let folder = self.path().join("blobs").join(algorithm.name());
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries {
                let entry = entry.at("read", &folder)?;
                let name = entry.file_name();
                let text = format!("{}:{}", algorithm.name(), name.to_string_lossy());
                // What is not named as a blob is not ours to remove.
                let Ok(digest) = text.parse::<Digest>() else { continue };
                let size = entry.metadata().at("stat", &entry.path())?.len();
                blobs.push((digest, entry.path(), size));
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
