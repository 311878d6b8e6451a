//! Layers that need not be read again: those of images that the index lists were verified when they came.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};

use super::select::{Wanted, images_below};
use super::{Layer, Record, Store, StoreError, read_image};
use crate::identity::{DiffId, Digest};
use crate::spec::{Descriptor, Preferences};

/// Which blobs are known to be which layers.
type Pairs = HashMap<DiffId, BTreeSet<(Digest, u64)>>;

/// The layers of the listed images.
#[derive(Debug)]
pub(crate) struct KnownLayers<'s> {
    store: &'s Store,
    records: Vec<Record>,
    /// Those of the images that are asked for.
    near: Pairs,
    /// Those of all, which are looked at when these are not enough.
    all: OnceCell<Pairs>,
}

impl Store {
    /// What is known of layers; `likely` are the manifests and indexes that are looked at first, if they
    /// are listed.
    pub(crate) fn known_layers<'d>(
        &self,
        likely: impl Iterator<Item = &'d Digest>,
    ) -> Result<KnownLayers<'_>, StoreError> {
        let likely: BTreeSet<&Digest> = likely.collect();
        let records = self.records()?;
        let listed = records.iter().filter(|record| likely.contains(&record.descriptor.digest));
        let near = self.pairs(listed.map(|record| &record.descriptor));
        Ok(KnownLayers { store: self, records, near, all: OnceCell::new() })
    }

    /// An entry that cannot be read says nothing.
    fn pairs<'d>(&self, roots: impl Iterator<Item = &'d Descriptor>) -> Pairs {
        let mut pairs = Pairs::new();
        let mut seen = BTreeSet::new();
        let host = Preferences::host();
        for root in roots.filter(|root| seen.insert(&root.digest)) {
            for (manifest, _) in images_below(self, root).unwrap_or_default() {
                let image = read_image(self, &manifest, Wanted::Rather(&host));
                for layer in image.iter().flat_map(|image| image.layers()) {
                    let blob = (layer.descriptor.digest.clone(), layer.descriptor.size);
                    pairs.entry(layer.diff_id.clone()).or_default().insert(blob);
                }
            }
        }
        pairs
    }
}

impl KnownLayers<'_> {
    fn all(&self) -> &Pairs {
        self.all
            .get_or_init(|| self.store.pairs(self.records.iter().map(|record| &record.descriptor)))
    }

    /// Is it known that the layer's blob expands to what its diff id says?
    pub(crate) fn has(&self, layer: &Layer) -> bool {
        let Layer { diff_id, descriptor } = layer;
        let has = |pairs: &Pairs| {
            let blobs = pairs.get(diff_id).into_iter().flatten();
            blobs.into_iter().any(|(digest, _)| *digest == descriptor.digest)
        };
        // What is its own expansion is not compressed.
        *diff_id.digest() == descriptor.digest || has(&self.near) || has(self.all())
    }

    /// A blob of the store, digest and size, that is this layer; `size` is that of the expanded layer.
    pub(crate) fn find(&self, diff_id: &DiffId, size: u64) -> Option<(Digest, u64)> {
        if self.store.keep_blob(diff_id.digest(), size) {
            return Some((diff_id.digest().clone(), size));
        }
        let blobs = self.all().get(diff_id)?;
        blobs.iter().find(|(digest, size)| self.store.keep_blob(digest, *size)).cloned()
    }
}
