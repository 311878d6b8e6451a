//! The results of steps on disk: one small file per key under `cache/` of the store.
//!
//! ```text
//! cache/steps/<key>        JSON: version, created, and the layer if the step made one
//! cache/contexts/<digest>  what is known of a context's files, see `stat_cache`
//! cache/explained/<digest> what a step was made of when it ran last, see `explain`
//! cache/reads/<key>        what a command read, see `reads`
//! cache/downloads/<digest> a file that came by its URL, see `remote::web`
//! cache/turns/<key>        locked by whoever does the step
//! cache/mounts/<digest>    a directory of `RUN --mount=type=cache`; with `.id` its id, with `.lock` its lock
//! ```
//!
//! A record is a promise about a layer that may have been collected since; the one who reads it
//! checks that the layer is there.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::cache_key::CacheKey;
use crate::identity::{DiffId, Digest};
use crate::spec::{Descriptor, Timestamp};
use crate::store::Layer;

/// Raised when old records can no longer be read.
const VERSION: u64 = 1;

/// The cache of one store.
#[derive(Debug, Clone)]
pub struct BuildCache {
    directory: PathBuf,
}

/// What a step came to.
#[derive(Debug, Clone)]
pub struct StepRecord {
    /// When it ran.
    pub created: Timestamp,
    /// The layer it made.
    pub layer: Option<Layer>,
    /// A further key under which the same is found: of what was read, where this one is of what it was made of.
    pub twin: Option<CacheKey>,
}

impl BuildCache {
    /// The cache in `directory`, which is made when something is kept.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    fn step_file(&self, key: &CacheKey) -> PathBuf {
        self.directory.join("steps").join(key.to_string())
    }

    /// The file that is locked by whoever does the step of `key`.
    pub(super) fn turn_file(&self, key: &CacheKey) -> PathBuf {
        self.directory.join("turns").join(key.to_string())
    }

    /// The directory of the cache mount that is called `name`.
    pub(super) fn mount_directory(&self, name: &str) -> PathBuf {
        self.directory.join("mounts").join(name)
    }

    /// The file that is locked by whoever has the cache mount at `path` for himself.
    pub(super) fn open_mount_lock(path: &Path) -> io::Result<File> {
        path.parent().map_or(Ok(()), make_private)?;
        File::create(path.with_extension("lock"))
    }

    /// The file that holds the id of the cache mount at `path`.
    pub(super) fn mount_name_file(path: &Path) -> PathBuf {
        path.with_extension("id")
    }

    /// Where it is kept what a step was made of, or which steps a stage had.
    pub(super) fn explained_file(&self, name: &Digest) -> PathBuf {
        self.directory.join("explained").join(name.hex())
    }

    /// What the command of `key` read.
    pub(super) fn reads_file(&self, key: &CacheKey) -> PathBuf {
        self.directory.join("reads").join(key.to_string())
    }

    /// The file that holds what came from `url`.
    pub(super) fn download_file(&self, url: &str) -> PathBuf {
        self.directory.join("downloads").join(Digest::of(url.as_bytes()).hex())
    }

    /// Where the knowledge about the files of the context at `path` is kept.
    #[must_use]
    pub fn context_file(&self, path: &Path) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        let name = Digest::of(path.as_os_str().as_bytes());
        self.directory.join("contexts").join(name.hex())
    }

    /// The record under `key`. What cannot be read is a miss.
    #[must_use]
    pub fn get(&self, key: &CacheKey) -> Option<StepRecord> {
        decode(&std::fs::read(self.step_file(key)).ok()?)
    }

    /// Keeps a record.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn put(&self, key: &CacheKey, record: &StepRecord) -> io::Result<()> {
        write_whole(&self.step_file(key), &encode(record))
    }
}

/// The record in the file `path`; nothing if it is none.
pub(super) fn read_record(path: &Path) -> Option<StepRecord> {
    decode(&std::fs::read(path).ok()?)
}

fn encode(record: &StepRecord) -> Vec<u8> {
    let mut value = to_json(record);
    value["version"] = json!(VERSION);
    value.to_string().into_bytes()
}

fn decode(bytes: &[u8]) -> Option<StepRecord> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    if value.get("version")?.as_u64()? != VERSION {
        return None;
    }
    from_json(&value)
}

/// A record as JSON.
pub(super) fn to_json(record: &StepRecord) -> Value {
    let layer = record.layer.as_ref().map(|layer| {
        json!({
            "diffId": layer.diff_id.to_string(),
            "mediaType": layer.descriptor.media_type,
            "digest": layer.descriptor.digest.to_string(),
            "size": layer.descriptor.size,
        })
    });
    let mut value = json!({ "created": record.created.to_string(), "layer": layer });
    if let Some(twin) = &record.twin {
        value["twin"] = json!(twin.to_string());
    }
    value
}

/// The record of a JSON; nothing if it is none.
pub(super) fn from_json(value: &Value) -> Option<StepRecord> {
    let created = value.get("created")?.as_str()?.parse().ok()?;
    let layer = match value.get("layer")? {
        Value::Null => None,
        layer => Some(Layer {
            diff_id: DiffId::new(layer.get("diffId")?.as_str()?.parse::<Digest>().ok()?),
            descriptor: Descriptor::new(
                layer.get("mediaType")?.as_str()?,
                layer.get("digest")?.as_str()?.parse().ok()?,
                layer.get("size")?.as_u64()?,
            ),
        }),
    };
    let twin = value.get("twin").and_then(Value::as_str).and_then(CacheKey::read);
    Some(StepRecord { created, layer, twin })
}

/// Makes a directory of the cache. Nobody else may reach into it: what containers leave in cache
/// mounts can be set-user-id programs.
pub(super) fn make_private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Writes a file so that it is seen whole or not at all. It is not forced to the disk: what a
/// crash takes from a cache is made again.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let missing = || io::Error::from(io::ErrorKind::InvalidInput);
    let directory = path.parent().ok_or_else(missing)?;
    make_private(directory)?;
    let mut name = std::ffi::OsString::from(".new-");
    // Two threads may write the same file at once.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    name.push(format!("{}-{}-", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    name.push(path.file_name().ok_or_else(missing)?);
    let temporary = directory.join(name);
    let written = File::create(&temporary)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // The name is this process's own; what matters is the first error.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::{
        CacheKey, Descriptor, DiffId, Digest, Layer, StepRecord, Timestamp, decode, encode,
    };

    #[test]
    fn keeps_records() {
        let layer = Layer {
            diff_id: DiffId::new(Digest::of(b"a")),
            descriptor: Descriptor::new("type", Digest::of(b"b"), 7),
        };
        let created = Timestamp { seconds: 5, nanoseconds: 6 };
        let twin = CacheKey::read(&"a".repeat(64));
        let record = StepRecord { created, layer: Some(layer), twin };
        let found = decode(&encode(&record)).unwrap();
        assert_eq!(found.created, created);
        assert_eq!(found.twin, record.twin);
        assert_eq!(found.layer.unwrap().descriptor.size, 7);
        assert!(
            decode(&encode(&StepRecord { created, layer: None, twin: None }))
                .unwrap()
                .layer
                .is_none()
        );
        assert!(decode(b"{\"version\":2}").is_none() && decode(b"").is_none());
    }
}
