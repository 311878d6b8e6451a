//! In which form an image is written: how its layers are compressed, whose media types it has, and what its
//! documents are annotated with.

use std::collections::BTreeMap;

use super::cache::{BuildCache, StepRecord};
use super::cache_key::KeyMaker;
use super::output::Built;
use super::solve::cache_directory;
use crate::blob::Compression;
use crate::spec::{Timestamp, media_type};
use crate::store::{Layer, Store, StoreError, layer_media_type};

/// Annotations by what bears them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageAnnotations {
    /// The manifest.
    pub manifest: BTreeMap<String, String>,
    /// The index, where there is one.
    pub index: BTreeMap<String, String>,
    /// What stands for the manifest in the index.
    pub manifest_descriptor: BTreeMap<String, String>,
}

impl ImageAnnotations {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.manifest.is_empty() && self.index.is_empty() && self.manifest_descriptor.is_empty()
    }

    /// Adds those of `other`, which win.
    pub fn extend(&mut self, other: &Self) {
        self.manifest.extend(other.manifest.clone());
        self.index.extend(other.index.clone());
        self.manifest_descriptor.extend(other.manifest_descriptor.clone());
    }
}

/// A form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form {
    /// How the layers of the build are compressed; without, as they lie in the store.
    pub compression: Option<Compression>,
    /// The compressor's own measure of its effort.
    pub level: Option<u32>,
    /// Whether the layers of base images are compressed anew, too.
    pub is_forced: bool,
    /// Whether the documents have Docker's media types and not OCI's.
    pub is_docker: bool,
    /// Annotations beside those of the build.
    pub annotations: ImageAnnotations,
}

impl Built {
    /// The same image with its layers compressed as `form` says. What was compressed once is taken from the
    /// cache.
    ///
    /// # Errors
    /// A layer is gone or damaged; the disk's.
    pub fn in_form(&self, store: &Store, form: &Form) -> Result<Self, StoreError> {
        let mut built = self.clone();
        let compression = form.compression.unwrap_or_default();
        if form.compression.is_none() && form.level.is_none() && !form.is_forced {
            return Ok(built);
        }
        for (index, layer) in built.layers.iter_mut().enumerate() {
            let kind = layer.descriptor.media_type.as_str();
            let is_chosen = form.is_forced || self.own_layers.get(index) == Some(&true);
            let is_so = form.level.is_none() && layer_media_type(compression) == Some(kind);
            if is_chosen && !is_so && !media_type::is_nondistributable(kind) {
                *layer = compressed(store, layer, compression, form.level)?;
            }
        }
        Ok(built)
    }
}

fn compressed(
    store: &Store,
    layer: &Layer,
    compression: Compression,
    level: Option<u32>,
) -> Result<Layer, StoreError> {
    let cache = BuildCache::new(cache_directory(store));
    let key = KeyMaker::new("recompress")
        .part("layer", layer.diff_id.to_string())
        .part("compression", compression.name())
        .part("level", level.map(|level| level.to_string()).unwrap_or_default())
        .finish();
    let known = cache.get(&key).and_then(|record| record.layer);
    if let Some(known) = known.filter(|known| store.layer_is_present(known)) {
        return Ok(known);
    }
    let made = store.recompress(layer, compression, level)?;
    let record = StepRecord { created: Timestamp::now(), layer: Some(made.clone()), twin: None };
    // Without the record it is done again the next time, and no worse.
    let _ = cache.put(&key, &record);
    Ok(made)
}

/// What a layer is called in Docker's manifests; nothing if it cannot be in one.
pub(super) fn docker_layer(kind: &str) -> Option<&'static str> {
    match kind {
        media_type::OCI_LAYER | media_type::DOCKER_LAYER => Some(media_type::DOCKER_LAYER),
        media_type::OCI_LAYER_GZIP | media_type::DOCKER_LAYER_GZIP => {
            Some(media_type::DOCKER_LAYER_GZIP)
        }
        _ => None,
    }
}
