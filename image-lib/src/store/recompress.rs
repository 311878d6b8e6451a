//! A layer in another compression: the same tar, and so the same diff id, in another blob.

use std::io;

use super::commit::layer_media_type;
use super::error::At;
use super::{Layer, Store, StoreError};
use crate::blob::{Compression, Decoder, Encoder, Meter, Mismatch};
use crate::identity::Algorithm;
use crate::spec::Descriptor;

impl Store {
    /// Compresses a layer anew; its blob is in the store then. `level` is the compressor's own measure, and
    /// what this store uses without. The caller holds a [`super::Hold`] until an image has the layer.
    ///
    /// # Errors
    /// The layer's blob is gone or damaged; the compression is one that is read only; the disk's.
    pub fn recompress(
        &self,
        layer: &Layer,
        compression: Compression,
        level: Option<u32>,
    ) -> Result<Layer, StoreError> {
        let refused = StoreError::Compression { name: compression.name() };
        let media_type = layer_media_type(compression).ok_or(refused)?;
        let path = self.blob_path(&layer.descriptor.digest);
        let reading = |error| self.reading(&layer.descriptor.digest, error);
        let decoder = Decoder::new(self.open_blob(&layer.descriptor)?);
        let decoder = decoder.map_err(|error| reading(error.0))?;
        let mut tar = Meter::new(decoder, layer.diff_id.digest().algorithm());
        let ingest = self.ingest(Algorithm::Sha256)?;
        let mut encoder = Encoder::with_level(ingest, compression, level).at("write", &path)?;
        io::copy(&mut tar, &mut encoder).map_err(reading)?;
        let ingest = encoder.finish().at("write", &path)?;
        let (found, _) = tar.finish();
        if found != *layer.diff_id.digest() {
            let digest = layer.diff_id.digest().clone();
            return Err(Mismatch::Digest { digest, actual: found }.into());
        }
        let (digest, size) = self.commit_ingest(ingest, None)?;
        let descriptor = Descriptor::new(media_type, digest, size);
        Ok(Layer { diff_id: layer.diff_id.clone(), descriptor })
    }
}
