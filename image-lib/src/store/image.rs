//! Images of the store, looked up by name, digest or id.

use std::collections::{BTreeMap, BTreeSet};

use super::select::{Documents, Wanted, images_below, read_config, read_manifest, select};
use super::{Record, Store, StoreError};
use crate::identity::{DiffId, Digest, ImageId};
use crate::reference::{Reference, id_prefix};
use crate::spec::{Descriptor, ImageConfig, Manifest, Platform, Preferences, Raw, media_type};

/// A layer of an image: what it holds, and the blob that it is in.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// The digest of the uncompressed archive.
    pub diff_id: DiffId,
    /// The blob.
    pub descriptor: Descriptor,
}

/// An image for one platform.
#[derive(Debug, Clone)]
pub struct Image {
    pub(super) id: ImageId,
    pub(super) root: Descriptor,
    pub(super) descriptor: Descriptor,
    pub(super) manifest: Raw<Manifest>,
    pub(super) config: Raw<ImageConfig>,
    pub(super) layers: Vec<Layer>,
}

impl Image {
    /// The digest of the configuration.
    #[must_use]
    pub fn id(&self) -> &ImageId {
        &self.id
    }

    /// What the store's index lists: the manifest, or an index that has it.
    #[must_use]
    pub fn root(&self) -> &Descriptor {
        &self.root
    }

    /// The manifest's descriptor.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &Raw<Manifest> {
        &self.manifest
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Raw<ImageConfig> {
        &self.config
    }

    /// The layers, lowest first.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }
}

/// Reads the image that `root` names: a manifest, or the one of an index that is wanted.
pub(crate) fn read_image(
    documents: &impl Documents,
    root: &Descriptor,
    wanted: Wanted<'_>,
) -> Result<Image, StoreError> {
    let descriptor = select(documents, root, wanted)?;
    let manifest = read_manifest(documents, &descriptor)?;
    let config = &manifest.value().config;
    // Artifacts use manifests for other things than images.
    if !media_type::is_config(&config.media_type) {
        let (digest, media_type) = (descriptor.digest.clone(), config.media_type.clone());
        return Err(StoreError::MediaType { digest, media_type });
    }
    let id = ImageId::new(config.digest.clone());
    let config = read_config(documents, config)?;
    let layers = pair_layers(&descriptor.digest, manifest.value(), config.value())?;
    Ok(Image { id, root: root.clone(), descriptor, manifest, config, layers })
}

/// The layers of all images below `root` but the one whose manifest is `taken`, each once, as far as their
/// blobs are there: an index may list images, and an image layers, that nobody has fetched.
pub(crate) fn other_layers(
    documents: &impl Documents,
    root: &Descriptor,
    taken: &Digest,
) -> Result<Vec<Layer>, StoreError> {
    let mut layers = BTreeMap::new();
    for (manifest, _) in images_below(documents, root)? {
        if manifest.digest == *taken {
            continue;
        }
        let image = read_image(documents, &manifest, Wanted::Rather(&Preferences::host()))?;
        let present = image.layers.into_iter().filter(|l| documents.is_present(&l.descriptor));
        layers.extend(present.map(|l| ((l.descriptor.digest.clone(), l.diff_id.clone()), l)));
    }
    Ok(layers.into_values().collect())
}

fn pair_layers(
    digest: &Digest,
    manifest: &Manifest,
    config: &ImageConfig,
) -> Result<Vec<Layer>, StoreError> {
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        return Err(StoreError::LayerCount {
            manifest: digest.clone(),
            layers: manifest.layers.len(),
            diff_ids: diff_ids.len(),
        });
    }
    let pairs = manifest.layers.iter().zip(diff_ids);
    pairs
        .map(|(descriptor, diff_id)| {
            if media_type::is_encrypted(&descriptor.media_type) {
                return Err(StoreError::Encrypted { digest: descriptor.digest.clone() });
            }
            if !media_type::is_layer(&descriptor.media_type) {
                let media_type = descriptor.media_type.clone();
                return Err(StoreError::MediaType {
                    digest: descriptor.digest.clone(),
                    media_type,
                });
            }
            Ok(Layer { diff_id: diff_id.clone(), descriptor: descriptor.clone() })
        })
        .collect()
}

impl Documents for Store {
    fn document(&self, descriptor: &Descriptor, bytes_max: u64) -> Result<Vec<u8>, StoreError> {
        self.read_blob(descriptor, bytes_max)
    }

    fn is_present(&self, descriptor: &Descriptor) -> bool {
        self.has_blob(&descriptor.digest, descriptor.size) || descriptor.inline().is_some()
    }
}

impl Store {
    /// Reads the image of an entry of the index. Of several it is the best one for this host; if
    /// none is for it, the first one whose documents are present.
    ///
    /// # Errors
    /// A document is missing, damaged or of another kind.
    pub fn read(&self, descriptor: &Descriptor) -> Result<Image, StoreError> {
        read_image(self, descriptor, Wanted::Rather(&Preferences::host()))
    }

    /// As [`Store::read`], of several the best one by `preferences`.
    ///
    /// # Errors
    /// As [`Store::read`]; none is wanted.
    pub fn read_for(
        &self,
        descriptor: &Descriptor,
        preferences: &Preferences,
    ) -> Result<Image, StoreError> {
        read_image(self, descriptor, Wanted::For(preferences))
    }

    /// The manifests below an entry of the index that are present, with their platforms: one for a
    /// manifest, those of an index in its order.
    ///
    /// # Errors
    /// A document is missing, damaged or of another kind.
    pub fn platforms(
        &self,
        descriptor: &Descriptor,
    ) -> Result<Vec<(Descriptor, Platform)>, StoreError> {
        images_below(self, descriptor)
    }

    /// The image that `name` means: `name[:tag]`, `name@digest`, an id, or the beginning of one.
    ///
    /// # Errors
    /// There is none ([`StoreError::NoSuchImage`]), or several ids begin so; documents cannot be
    /// read.
    pub fn resolve(&self, name: &str) -> Result<Image, StoreError> {
        self.find(name)?.ok_or_else(|| StoreError::NoSuchImage { name: name.to_owned() })
    }

    /// As [`Store::resolve`], but nothing if there is none.
    ///
    /// # Errors
    /// Several ids begin so; documents cannot be read.
    pub fn find(&self, name: &str) -> Result<Option<Image>, StoreError> {
        // What the index says now is still there when its documents are read.
        let _hold = self.hold()?;
        let records = self.records()?;
        if let Ok(reference) = name.parse::<Reference>() {
            let reference = reference.or_latest();
            let found = records.iter().find(|record| is_meant(&reference, record));
            if let Some(record) = found {
                return self.read(&record.descriptor).map(Some);
            }
        }
        let Some(prefix) = id_prefix(name) else { return Ok(None) };
        let mut seen = BTreeSet::new();
        let mut images = Vec::new();
        for record in &records {
            if !seen.insert(record.descriptor.digest.clone()) {
                continue;
            }
            // A damaged or foreign entry does not keep the others from being found.
            let Ok(image) = self.read(&record.descriptor) else { continue };
            let by_manifest = record.descriptor.digest.hex().starts_with(prefix);
            if by_manifest || image.id.digest().hex().starts_with(prefix) {
                images.push(image);
            }
        }
        let ids: BTreeSet<_> = images.iter().map(|image| image.id.clone()).collect();
        if ids.len() > 1 {
            return Err(StoreError::Ambiguous { prefix: prefix.to_owned(), count: ids.len() });
        }
        Ok(images.pop())
    }

    /// All entries of the index that lead to this image by its id, whatever their manifests: the
    /// same image may have come in several forms.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn records_of(&self, image: &Image) -> Result<Vec<Record>, StoreError> {
        let mut records = self.records()?;
        records.retain(|record| {
            record.descriptor.digest == image.root.digest
                || self.read(&record.descriptor).is_ok_and(|other| other.id == image.id)
        });
        Ok(records)
    }

    /// The names of the image, sorted.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn references(&self, image: &Image) -> Result<Vec<Reference>, StoreError> {
        let records = self.records_of(image)?;
        let mut references: Vec<Reference> =
            records.into_iter().filter_map(|record| record.reference).collect();
        references.sort();
        Ok(references)
    }
}

/// Does the reference mean the record? A digest decides alone; a tag beside it only names.
fn is_meant(reference: &Reference, record: &Record) -> bool {
    let Some(of_record) = &record.reference else { return false };
    match reference.digest() {
        Some(digest) => of_record.name() == reference.name() && record.descriptor.digest == *digest,
        None => of_record == reference,
    }
}
