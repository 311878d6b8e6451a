//! New content: an upper directory becomes a layer, a configuration with layers becomes an image.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::error::At;
use super::layers::{Note, TREE, independent_name};
use super::{Layer, Store, StoreError};
use crate::blob::{Compression, Encoder, Meter};
use crate::fsroot::Root;
use crate::identity::{Algorithm, DiffId, ImageId};
use crate::layer::{DiffOptions, LayerError, write_upper};
use crate::reference::Reference;
use crate::spec::{Descriptor, ImageConfig, Manifest, Timestamp, media_type};
use crate::tar::Writer;

/// How a layer is made of an upper directory.
#[derive(Debug, Clone, Copy, Default)]
pub struct CommitOptions {
    /// How the blob is compressed.
    pub compression: Compression,
    /// No time in the layer is later than this (`SOURCE_DATE_EPOCH`).
    pub epoch: Option<Timestamp>,
}

/// The media type of a layer compressed so; nothing for what is read only.
pub(crate) fn layer_media_type(compression: Compression) -> Option<&'static str> {
    match compression {
        Compression::None => Some(media_type::OCI_LAYER),
        Compression::Gzip => Some(media_type::OCI_LAYER_GZIP),
        Compression::Zstd => Some(media_type::OCI_LAYER_ZSTD),
        Compression::Bzip2 | Compression::Xz => None,
    }
}

impl Store {
    /// Makes a layer of the directory `upper`, which lies in a [`super::Scratch`] of this store and
    /// is not mounted any more. The directory is moved away to be the unpacked layer. Nothing is
    /// returned, and nothing moved, if it is empty. The caller holds a [`super::Hold`] until an image
    /// has the layer or it is retained.
    ///
    /// # Errors
    /// A file cannot be read or cannot be said in a layer; the disk's.
    pub fn commit_upper(
        &self,
        upper: &Path,
        options: &CommitOptions,
    ) -> Result<Option<Layer>, StoreError> {
        let root = Root::open(upper)?;
        if root.directory().entries()?.is_empty() {
            return Ok(None);
        }
        let failed = |source| StoreError::Commit { path: upper.to_owned(), source };
        let media_type = layer_media_type(options.compression)
            .ok_or(StoreError::Compression { name: options.compression.name() })?;
        let ingest = self.ingest(Algorithm::Sha256)?;
        let encoder = Encoder::new(ingest, options.compression).at("write", upper)?;
        let buffered = std::io::BufWriter::with_capacity(128 << 10, encoder);
        let mut writer = Writer::new(Meter::writer(buffered, Algorithm::Sha256));
        let contents = write_upper(&root, &mut writer, DiffOptions { epoch: options.epoch })
            .map_err(failed)?;
        let meter = writer.finish().map_err(LayerError::Archive).map_err(failed)?;
        let (buffered, diff_id, _) = meter.into_parts();
        let encoder = buffered.into_inner().map_err(|e| e.into_error()).at("write", upper)?;
        let ingest = encoder.finish().at("write", upper)?;
        let (digest, size) = self.commit_ingest(ingest, None)?;
        let diff_id = DiffId::new(diff_id);
        self.adopt(upper, &diff_id, contents)?;
        let descriptor = Descriptor::new(media_type, digest, size);
        Ok(Some(Layer { diff_id, descriptor }))
    }

    /// Moves an upper directory to be the unpacked layer.
    fn adopt(
        &self,
        upper: &Path,
        diff_id: &DiffId,
        contents: crate::layer::Contents,
    ) -> Result<(), StoreError> {
        let scratch = self.scratch()?;
        let container = scratch.path().join("layer");
        fs::DirBuilder::new().mode(0o700).create(&container).at("create", &container)?;
        let tree = container.join(TREE);
        fs::rename(upper, &tree).at("move", upper)?;
        let note = Note::new(diff_id.clone(), contents.content_bytes, contents.entries);
        self.write_note(&container, &note, false)?;
        self.publish_layer(&container, &independent_name(diff_id))?;
        Ok(())
    }

    /// Makes an image of `config` and `layers` (lowest first), whose blobs are in the store, and
    /// names it. The diff ids of the configuration are set to those of the layers.
    ///
    /// # Errors
    /// The disk's.
    pub fn put_image(
        &self,
        config: &ImageConfig,
        layers: &[Layer],
        references: &[Reference],
    ) -> Result<ImageId, StoreError> {
        let _hold = self.hold()?;
        let mut config = config.clone();
        config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let bytes = serde_json::to_vec(&config).map_err(StoreError::Encode)?;
        self.put_image_bytes(&bytes, layers, references)
    }

    /// As [`Store::put_image`], with a configuration whose bytes are kept as they are.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn put_image_bytes(
        &self,
        config: &[u8],
        layers: &[Layer],
        references: &[Reference],
    ) -> Result<ImageId, StoreError> {
        for layer in layers {
            if !self.has_blob(&layer.descriptor.digest, layer.descriptor.size) {
                return Err(StoreError::NoSuchBlob { digest: layer.descriptor.digest.clone() });
            }
        }
        let config = self.put_bytes(media_type::OCI_CONFIG, config)?;
        let id = ImageId::new(config.digest.clone());
        let layers = layers.iter().map(|layer| layer.descriptor.clone()).collect();
        let manifest = serde_json::to_vec(&Manifest::new(config, layers));
        let manifest = manifest.map_err(StoreError::Encode)?;
        let descriptor = self.put_bytes(media_type::OCI_MANIFEST, &manifest)?;
        self.put_record(&descriptor, references)?;
        Ok(id)
    }
}
