//! A cache that goes from one store to another: `--cache-to` and `--cache-from`.
//!
//! ```text
//! manifest ──config──▶ {"version": 1, "records": [{"key", "created", "layer"}]}
//!          └─layers──▶ the blobs of all layers
//! ```
//!
//! It is an ordinary manifest, so that every layout and registry takes it. Inline, the records stand in the
//! configuration of the image, which has the layers. A record is believed as the image of its maker would be;
//! its blobs are verified when they come, and come only when a step asks for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::cache::{StepRecord, from_json, to_json};
use super::cache_key::CacheKey;
use super::output::Built;
use super::solve::Build;
use crate::blob::VerifiedReader;
use crate::copy::{CopyError, Source, read_document};
use crate::spec::{Descriptor, Index, Manifest, Platform, Preferences, Raw, SpecError, media_type};
use crate::store::{Layer, Store, StoreError};

/// The configuration of a cache's manifest.
const MEDIA_TYPE: &str = "application/vnd.keel.buildcache.v1+json";
/// Where the records stand in an image's configuration.
const INLINE: &str = "keel.buildcache.v1";
const VERSION: u64 = 1;

/// A step that a build did or found.
#[derive(Debug, Clone)]
pub struct KeptStep {
    /// Its key.
    pub key: CacheKey,
    /// What it came to.
    pub record: StepRecord,
}

/// How much of a cache is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The steps whose layers the image has.
    Min,
    /// All steps.
    Max,
}

/// A cache that somebody else made.
pub struct CacheSource {
    name: String,
    source: Box<dyn Source + Send>,
    records: BTreeMap<String, StepRecord>,
}

impl std::fmt::Debug for CacheSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let records = self.records.len();
        f.debug_struct("CacheSource").field("name", &self.name).field("records", &records).finish()
    }
}

impl CacheSource {
    /// Reads the records that `source` has, in a manifest of their own or in an image. Its layers stay where
    /// they are. `name` stands in messages.
    ///
    /// # Errors
    /// There is nothing, or it cannot be read.
    pub fn open(name: &str, mut source: Box<dyn Source + Send>) -> Result<Self, CopyError> {
        let mut root = source.root()?;
        if media_type::is_index(&root.media_type) {
            let bytes = read_document(&*source, &root)?;
            let index: Raw<Index> = Raw::parse_as("index", &root.media_type, bytes)?;
            let preferences = Preferences::of(&Platform::host());
            let best = preferences.candidates(&index.value().manifests);
            let best = best.first().map(|candidate| candidate.descriptor.clone());
            root = best.ok_or_else(|| CopyError::Missing { digest: root.digest.clone() })?;
        }
        let bytes = read_document(&*source, &root)?;
        let manifest: Raw<Manifest> = Raw::parse_as("manifest", &root.media_type, bytes)?;
        let config = &manifest.value().config;
        let bytes = read_document(&*source, config)?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|source| {
            let (what, digest) = ("build cache", config.digest.clone());
            CopyError::from(SpecError::Json { what, digest, source })
        })?;
        let list = if config.media_type == MEDIA_TYPE { Some(&value) } else { value.get(INLINE) };
        let records = list.map(read_records).unwrap_or_default();
        Ok(Self { name: name.to_owned(), source, records })
    }

    /// How many steps it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether it knows none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn fetch(&self, store: &Store, layer: &Layer) -> Result<(), CopyError> {
        let blob = &layer.descriptor;
        if store.keep_blob(&blob.digest, blob.size) {
            return Ok(());
        }
        let missing = || CopyError::Missing { digest: blob.digest.clone() };
        let content = self.source.open(blob)?.ok_or_else(missing)?;
        let mut reader = VerifiedReader::new(content, blob.digest.clone(), blob.size);
        let mut ingest = store.ingest(blob.digest.algorithm())?;
        std::io::copy(&mut reader, &mut ingest)
            .map_err(|error| CopyError::reading(&blob.digest, error))?;
        store.commit_ingest(ingest, Some(blob))?;
        Ok(())
    }
}

fn read_records(value: &Value) -> BTreeMap<String, StepRecord> {
    if value.get("version").and_then(Value::as_u64) != Some(VERSION) {
        return BTreeMap::new();
    }
    let list = value.get("records").and_then(Value::as_array).into_iter().flatten();
    let one = |entry: &Value| Some((entry.get("key")?.as_str()?.to_owned(), from_json(entry)?));
    list.filter_map(one).collect()
}

impl Build<'_> {
    /// The result that somebody else's cache has under `key`; its layer is fetched, and the own cache knows
    /// it from now on.
    pub(super) fn imported(&self, key: &CacheKey) -> Option<StepRecord> {
        let text = key.to_string();
        for source in &self.options.cache_sources {
            let Some(record) = source.records.get(&text) else { continue };
            if self.options.dry_run {
                return Some(record.clone());
            }
            let fetched = record.layer.as_ref().map(|layer| source.fetch(self.store, layer));
            match fetched.transpose() {
                Ok(_) => {
                    // Without the record the next build asks again, and no worse.
                    let _ = self.cache.put(key, record);
                    return Some(record.clone());
                }
                Err(error) => {
                    let text = format!("the cache of {} cannot be used: {error}", source.name);
                    self.reporter.warning(&text);
                }
            }
        }
        None
    }
}

/// The records of `built` that an export has.
fn chosen(built: &Built, mode: Mode) -> Vec<&KeptStep> {
    let has = |layer: &Layer| built.layers.iter().any(|own| own.diff_id == layer.diff_id);
    let is_chosen =
        |step: &&KeptStep| mode == Mode::Max || step.record.layer.as_ref().is_none_or(has);
    built.kept_steps.iter().filter(is_chosen).collect()
}

fn document(steps: &[&KeptStep]) -> Value {
    let one = |step: &&KeptStep| {
        let mut value = to_json(&step.record);
        value["key"] = json!(step.key.to_string());
        value
    };
    json!({ "version": VERSION, "records": steps.iter().map(one).collect::<Vec<_>>() })
}

/// Puts the cache of what was built, for all its platforms, into `store` as a manifest without a name.
///
/// # Errors
/// The disk's.
pub fn write_cache(store: &Store, built: &[Built], mode: Mode) -> Result<Descriptor, StoreError> {
    let mut steps: Vec<&KeptStep> = Vec::new();
    for step in built.iter().flat_map(|one| chosen(one, mode)) {
        if !steps.iter().any(|known| known.key == step.key) {
            steps.push(step);
        }
    }
    let mut layers: Vec<Descriptor> = Vec::new();
    for layer in steps.iter().filter_map(|step| step.record.layer.as_ref()) {
        if !layers.iter().any(|known| known.digest == layer.descriptor.digest) {
            layers.push(layer.descriptor.clone());
        }
    }
    let bytes = serde_json::to_vec(&document(&steps)).map_err(StoreError::Encode)?;
    let config = store.put_bytes(MEDIA_TYPE, &bytes)?;
    let manifest =
        serde_json::to_vec(&Manifest::new(config, layers)).map_err(StoreError::Encode)?;
    store.put_bytes(media_type::OCI_MANIFEST, &manifest)
}

/// Puts the records of an image's own layers into its configuration.
pub fn write_inline(built: &mut Built) {
    let value = document(&chosen(built, Mode::Min));
    built.config.extra.insert(INLINE.to_owned(), value);
}

/// Caches of others are shared by the builds of one call.
pub type CacheSources = Vec<Arc<CacheSource>>;
