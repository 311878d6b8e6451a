//! From the index to manifests, configurations and layers: is everything there that is named?

use std::collections::{BTreeMap, BTreeSet};

use super::{Checked, Damage, Finding, FsckOptions, Report, reason};
use crate::identity::Digest;
use crate::spec::{Descriptor, Index, MANIFEST_BYTES_MAX, Preferences, Raw, is_image, media_type};
use crate::store::image::read_image;
use crate::store::select::{Documents as _, Wanted, read_manifest};
use crate::store::{Record, Store, StoreError};

/// How deep indexes are followed; reading refuses less.
const DEPTH_MAX: usize = 8;

impl Store {
    /// Follows every entry of the index; returns the images whose documents are whole.
    pub(super) fn check_documents(
        &self,
        options: FsckOptions,
        report: &mut Report,
    ) -> Result<Vec<Checked>, StoreError> {
        let records = match self.records() {
            Ok(records) => records,
            Err(StoreError::Index { source, .. }) => {
                report.findings.push(Finding::new(Damage::Index { reason: source.to_string() }));
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        report.images = records.len();
        check_names(&records, report);
        let mut walk = Walk {
            store: self,
            options,
            report,
            name: String::new(),
            seen: BTreeSet::new(),
            images: Vec::new(),
        };
        for record in &records {
            walk.name = match &record.reference {
                Some(reference) => reference.familiar(),
                None => record.descriptor.digest.to_string(),
            };
            walk.seen.clear();
            walk.entry(&record.descriptor, "index.json", 0);
        }
        Ok(walk.images)
    }
}

fn check_names(records: &[Record], report: &mut Report) {
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    for reference in records.iter().filter_map(|record| record.reference.as_ref()) {
        *names.entry(reference.familiar()).or_default() += 1;
    }
    for (name, count) in names.into_iter().filter(|(_, count)| *count > 1) {
        report.findings.push(Finding::new(Damage::Name { name, count }));
    }
}

/// The way from one entry of the index downwards.
struct Walk<'a> {
    store: &'a Store,
    options: FsckOptions,
    report: &'a mut Report,
    /// What the entry is called.
    name: String,
    /// The indexes and manifests below it that have been looked into.
    seen: BTreeSet<Digest>,
    images: Vec<Checked>,
}

impl Walk<'_> {
    fn entry(&mut self, descriptor: &Descriptor, referrer: &str, depth: usize) {
        if !self.is_whole(descriptor, referrer) {
            return;
        }
        let kind = descriptor.media_type.as_str();
        if (media_type::is_index(kind) || media_type::is_manifest(kind))
            && !self.seen.insert(descriptor.digest.clone())
        {
            return;
        }
        if media_type::is_index(kind) && depth < DEPTH_MAX {
            let index = match read_index(self.store, descriptor) {
                Ok(index) => index,
                Err(error) => return self.refuse(&descriptor.digest, &error),
            };
            let referrer = format!("index {}", descriptor.digest);
            for entry in &index.value().manifests {
                // An index may list images of other platforms that were never fetched.
                let known = self.report.damaged().contains(&entry.digest);
                if known || self.store.is_present(entry) {
                    self.entry(entry, &referrer, depth + 1);
                }
            }
        } else if media_type::is_manifest(kind) {
            self.manifest(descriptor);
        }
    }

    fn manifest(&mut self, descriptor: &Descriptor) {
        let manifest = match read_manifest(self.store, descriptor) {
            Ok(manifest) => manifest,
            Err(error) => return self.refuse(&descriptor.digest, &error),
        };
        let manifest = manifest.value();
        let referrer = format!("manifest {}", descriptor.digest);
        let mut whole = self.is_whole(&manifest.config, &referrer);
        for layer in &manifest.layers {
            // Some layers may be fetched from their makers only, and need not be here.
            let may_lack = media_type::is_nondistributable(&layer.media_type);
            if !may_lack || self.store.is_present(layer) {
                whole &= self.is_whole(layer, &referrer);
            }
        }
        // Artifacts have no configuration of an image, and what is said of one is no image.
        if !media_type::is_config(&manifest.config.media_type) || !is_image(descriptor) || !whole {
            return;
        }
        match read_image(self.store, descriptor, Wanted::For(&Preferences::host())) {
            Ok(image) => {
                let (name, layers) = (self.name.clone(), image.layers().to_vec());
                self.images.push(Checked { name, layers });
            }
            Err(error) => self.refuse(&descriptor.digest, &error),
        }
    }

    /// Is the blob there, of the announced size and not known to be damaged?
    fn is_whole(&mut self, descriptor: &Descriptor, referrer: &str) -> bool {
        let digest = &descriptor.digest;
        if self.report.damaged().contains(digest) {
            self.report.blame(digest, &self.name);
            return false;
        }
        if self.store.is_present(descriptor) {
            return true;
        }
        let digest = digest.clone();
        let metadata = std::fs::metadata(self.store.blob_file(&digest));
        let damage = match metadata {
            Ok(metadata) => {
                let reason = format!(
                    "it has {} bytes, and {referrer} says {}",
                    metadata.len(),
                    descriptor.size
                );
                // A blob whose bytes have been found to be the right ones is not what is wrong.
                match self.options.quick {
                    true => Damage::Blob { digest, reason },
                    false => Damage::Document { digest, reason },
                }
            }
            Err(_) => Damage::Missing { digest, referrer: referrer.to_owned() },
        };
        self.find(damage);
        false
    }

    fn refuse(&mut self, digest: &Digest, error: &StoreError) {
        self.find(Damage::Document { digest: digest.clone(), reason: reason(error) });
    }

    fn find(&mut self, damage: Damage) {
        let images = vec![self.name.clone()];
        self.report.findings.push(Finding { images, ..Finding::new(damage) });
    }
}

fn read_index(store: &Store, descriptor: &Descriptor) -> Result<Raw<Index>, StoreError> {
    let bytes = store.document(descriptor, MANIFEST_BYTES_MAX)?;
    Ok(Raw::parse_as("index", &descriptor.media_type, bytes)?)
}
