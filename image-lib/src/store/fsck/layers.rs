//! The unpacked layers: does each have its note, and are its files those of its blob? To see that, the
//! layers of an image are unpacked a second time, into a store that lives no longer than the look.

use std::collections::BTreeSet;
use std::path::Path;

use super::trees::first_difference;
use super::{Checked, Damage, Finding, FsckOptions, Report, reason};
use crate::identity::{ChainId, DiffId, Digest};
use crate::store::layers::{TREE, dependent_name, independent_name};
use crate::store::{Layer, Silent, Staged, StagedBlob, Store, StoreError};

impl Store {
    pub(super) fn check_layers(
        &self,
        options: FsckOptions,
        images: &[Checked],
        report: &mut Report,
    ) -> Result<(), StoreError> {
        let in_use = self.protected()?;
        let mut look = Look { store: self, options, report, in_use, pending: BTreeSet::new() };
        look.at_notes()?;
        if options.quick || !self.can_unpack() {
            return Ok(());
        }
        let damaged = look.report.damaged();
        let mut stacks = BTreeSet::new();
        for image in images {
            let is_whole = |layer: &Layer| !damaged.contains(&layer.descriptor.digest);
            let stack: Vec<&DiffId> = image.layers.iter().map(|layer| &layer.diff_id).collect();
            // Whether the diff ids are right is looked at once for each stack, unpacked or not.
            if stacks.insert(stack) && image.layers.iter().all(is_whole) {
                look.at_files(image)?;
            }
        }
        Ok(())
    }
}

/// What is known while the layers are looked at.
struct Look<'a> {
    store: &'a Store,
    options: FsckOptions,
    report: &'a mut Report,
    /// Layers that a living process uses must stay, damaged or not.
    in_use: Vec<Digest>,
    /// The layers whose files have not been looked at.
    pending: BTreeSet<String>,
}

impl Look<'_> {
    fn at_notes(&mut self) -> Result<(), StoreError> {
        for (folder, note) in self.store.all_layers()? {
            self.report.layers += 1;
            let name = name_of(&folder);
            let reason = match &note {
                None => Some("it has no note, so that nobody can find it".to_owned()),
                Some(_) if !folder.join(TREE).is_dir() => Some("it has no files".to_owned()),
                Some(note) if !is_named_so(&name, &note.diff_id) => {
                    Some(format!("its note is that of {}", note.diff_id))
                }
                Some(_) => None,
            };
            match reason {
                Some(reason) => self.found(&folder, reason, note.as_ref().map(|n| &n.diff_id))?,
                None => drop(self.pending.insert(name)),
            }
        }
        Ok(())
    }

    fn at_files(&mut self, image: &Checked) -> Result<(), StoreError> {
        let scratch = self.store.scratch()?;
        let again = Store::open(&scratch.path().join("again"))?;
        let again = again.with_limits(*self.store.limits());
        let place = |layer: &Layer| {
            let digest = layer.descriptor.digest.clone();
            let path = self.store.blob_file(&digest);
            (digest, StagedBlob::File(path))
        };
        let staged: Staged = image.layers.iter().map(place).collect();
        let trees = match again.unpack_staged(&image.layers, &staged, &Silent) {
            Ok(trees) => trees,
            Err(error) => {
                self.is_no_image(image, &error);
                return Ok(());
            }
        };
        let mut chain: Option<ChainId> = None;
        for (layer, tree) in image.layers.iter().zip(trees) {
            let next = match &chain {
                Some(below) => below.push(&layer.diff_id),
                None => ChainId::new(layer.diff_id.digest().clone()),
            };
            for name in [independent_name(&layer.diff_id), dependent_name(&next)] {
                if self.pending.remove(&name) {
                    let folder = self.store.path().join("layers").join(&name);
                    if let Some(difference) = first_difference(&tree, &folder.join(TREE))? {
                        self.found(&folder, difference, Some(&layer.diff_id))?;
                    }
                }
            }
            chain = Some(next);
        }
        Ok(())
    }

    /// The blobs have the right digests, so that what they hold is wrong.
    fn is_no_image(&mut self, image: &Checked, error: &StoreError) {
        let text = reason(error);
        let is_named = |layer: &&Layer| text.contains(layer.descriptor.digest.hex());
        let Some(layer) = image.layers.iter().find(is_named).or(image.layers.first()) else {
            return;
        };
        let damage = Damage::Document { digest: layer.descriptor.digest.clone(), reason: text };
        let images = vec![image.name.clone()];
        self.report.findings.push(Finding { images, ..Finding::new(damage) });
    }

    fn found(
        &mut self,
        folder: &Path,
        reason: String,
        diff_id: Option<&DiffId>,
    ) -> Result<(), StoreError> {
        let is_used = diff_id.is_some_and(|id| self.in_use.contains(id.digest()));
        let repaired = self.options.repair && !is_used;
        if repaired {
            self.store.discard_layer(folder)?;
        }
        let damage = Damage::Layer { folder: name_of(folder), reason };
        self.report.findings.push(Finding { repaired, ..Finding::new(damage) });
        Ok(())
    }
}

fn name_of(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Also in the form of another user: its files are compared by whoever can make such a form.
fn is_named_so(name: &str, diff_id: &DiffId) -> bool {
    name.split('.').next() == Some(diff_id.digest().hex()) || name.starts_with("chain-")
}
