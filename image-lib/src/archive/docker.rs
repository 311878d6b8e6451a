//! `manifest.json`, by which `docker save` archives say what they hold (Docker's image
//! specification 1.2, "Combined Image JSON + Filesystem Changeset Format").

use serde::{Deserialize, Serialize};

use super::ArchiveError;
use super::contents::Contents;
use super::layout::document;
use super::spool::Spooled;
use crate::blob::Decoder;
use crate::reference::Reference;
use crate::spec::{
    CONFIG_BYTES_MAX, Descriptor, ImageConfig, MANIFEST_BYTES_MAX, Manifest, media_type,
};
use crate::store::{KnownLayers, Layer, StoreError, layer_media_type};

/// One image of an archive.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Item {
    pub(super) config: String,
    /// Go writes `null` for none.
    pub(super) repo_tags: Option<Vec<String>>,
    pub(super) layers: Option<Vec<String>>,
}

impl Item {
    /// The names of the image; those that are none are left out, as Docker does.
    pub(super) fn references(&self) -> Vec<Reference> {
        let tags = self.repo_tags.iter().flatten();
        tags.filter_map(|tag| tag.parse::<Reference>().ok()).map(Reference::or_latest).collect()
    }
}

/// The images of an archive; nothing if it does not have this file.
pub(super) fn items(contents: &Contents<'_>) -> Result<Option<Vec<Item>>, ArchiveError> {
    match contents.bytes("manifest.json", MANIFEST_BYTES_MAX)? {
        Some(bytes) => document("manifest.json", &bytes).map(Some),
        None => Ok(None),
    }
}

/// An image of the old form, which has no manifest: its configuration's own bytes, its layers, and
/// the manifest that is made for it.
#[derive(Debug)]
pub(super) struct OldImage {
    pub(super) config: Vec<u8>,
    pub(super) layers: Vec<Layer>,
}

impl OldImage {
    /// Reads what `item` names; `known` are layers of the store, whose bytes are not read here again. The
    /// image is what its configuration says: a layer with the right diff id is the right one, whatever the
    /// archive has in its place.
    pub(super) fn read(
        contents: &mut Contents<'_>,
        item: &Item,
        known: Option<&KnownLayers<'_>>,
    ) -> Result<Self, ArchiveError> {
        let missing = |entry: &str| ArchiveError::Missing {
            entry: entry.to_owned(),
            referrer: "manifest.json".to_owned(),
        };
        let config = contents.bytes(&item.config, CONFIG_BYTES_MAX)?;
        let config = config.ok_or_else(|| missing(&item.config))?;
        let parsed: ImageConfig = document(&item.config, &config)?;
        let paths = item.layers.clone().unwrap_or_default();
        let diff_ids = parsed.rootfs.diff_ids;
        if paths.len() != diff_ids.len() {
            let digest = crate::identity::Digest::of(&config);
            let (layers, diff_ids) = (paths.len(), diff_ids.len());
            return Err(StoreError::LayerCount { manifest: digest, layers, diff_ids }.into());
        }
        let mut layers = Vec::new();
        for (path, diff_id) in paths.iter().zip(diff_ids) {
            let size = contents.size(path).ok_or_else(|| missing(path))?;
            let file = match known.and_then(|known| known.find(&diff_id, size)) {
                Some((digest, size)) => Spooled { digest, size, path: None },
                None => contents.file(path)?.ok_or_else(|| missing(path))?,
            };
            // The media type must say what the bytes are.
            let compression = Decoder::new(contents.open(&file)?)?.compression();
            let media_type = layer_media_type(compression)
                .ok_or(StoreError::Compression { name: compression.name() })?;
            let descriptor = Descriptor::new(media_type, file.digest, file.size);
            layers.push(Layer { diff_id, descriptor });
        }
        Ok(Self { config, layers })
    }

    /// The manifest's bytes.
    pub(super) fn manifest(&self) -> Result<Vec<u8>, ArchiveError> {
        let digest = crate::identity::Digest::of(&self.config);
        let config = Descriptor::new(media_type::OCI_CONFIG, digest, self.config.len() as u64);
        let layers = self.layers.iter().map(|layer| layer.descriptor.clone()).collect();
        let manifest = serde_json::to_vec(&Manifest::new(config, layers));
        Ok(manifest.map_err(StoreError::Encode)?)
    }
}
