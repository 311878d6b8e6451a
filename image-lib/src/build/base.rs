//! The images that stages start from and copy from: those of the store, of a layout, or fetched from
//! their registry. Each is found once in a build, so that all its stages see the same one.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::attest::Material;
use super::dockerfile::word::did_you_mean;
use super::error::StepError;
use super::solve::Build;
use crate::copy::{Content, CopyError, Destination, LayoutSource, Selection, copy};
use crate::reference::Reference;
use crate::registry::{ObtainError, ObtainOptions, PullPolicy, RegistryError, obtain};
use crate::spec::{Descriptor, Platform, Preferences};
use crate::store::{Image, Silent, Store, StoreError};

/// What stands before the path of a layout in the name of an image.
pub(super) const LAYOUT_SCHEME: &str = "oci-layout://";

/// The images that a build has found so far.
#[derive(Default)]
pub(super) struct Images(Mutex<BTreeMap<(String, Platform), Image>>);

impl Images {
    /// What was taken, with the digests of the manifests.
    pub(super) fn materials(&self) -> Vec<Material> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let material = |((name, platform), image): (&(String, Platform), &Image)| {
            Material::image(name, &image.descriptor().digest, platform)
        };
        known.iter().map(material).collect()
    }
}

impl Build<'_> {
    /// The image called `name` for `platform`.
    pub(super) fn image(&self, name: &str, platform: &Platform) -> Result<Image, StepError> {
        let key = (name.to_owned(), platform.clone());
        let mut known = self.images.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(image) = known.get(&key) {
            return Ok(image.clone());
        }
        let image = match name.strip_prefix(LAYOUT_SCHEME) {
            Some(place) => self.image_of_layout(place, platform)?,
            None => self.image_by_name(name, platform)?,
        };
        known.insert(key, image.clone());
        Ok(image)
    }

    fn image_by_name(&self, name: &str, platform: &Platform) -> Result<Image, StepError> {
        let policy = match (&self.options.registry, self.options.pull) {
            (None, _) => PullPolicy::Never,
            // A dry run asks nobody.
            (Some(_), _) if self.options.dry_run => PullPolicy::Never,
            (Some(_), true) => PullPolicy::Always,
            (Some(_), false) => PullPolicy::Missing,
        };
        let wanted = Some(platform).filter(|platform| **platform != Platform::host());
        let options = ObtainOptions { policy, platform: wanted.cloned() };
        let fetching = Cell::new(None);
        let client = || {
            fetching.set(Some(self.reporter.begin(&format!("[internal] pull {name}"))));
            self.options.registry.clone().ok_or(RegistryError::Cancelled)
        };
        let obtained = obtain(self.store, name, &options, client, &Silent);
        let obtained = obtained.map_err(|error| self.unobtained(name, error));
        if let Some(step) = fetching.get() {
            match &obtained {
                Ok(_) => self.reporter.done(step),
                Err(error) => self.fail_step(step, error),
            }
        }
        Ok(obtained?.image)
    }

    fn unobtained(&self, name: &str, error: ObtainError) -> StepError {
        let stages = self.dockerfile.stages.iter();
        let names = stages.filter_map(|stage| stage.from.name.as_deref());
        let near = did_you_mean(name, names).map(str::to_owned);
        if !matches!(
            error,
            ObtainError::Name { .. } | ObtainError::Store(StoreError::NoSuchImage { .. })
        ) {
            return StepError::Obtain { name: name.to_owned(), near, source: Box::new(error) };
        }
        StepError::NoSuchImage { name: name.to_owned(), near }
    }

    /// An image of a layout, whose blobs are copied into the store. It gets no name there: what the
    /// build makes of it keeps them.
    fn image_of_layout(&self, place: &str, platform: &Platform) -> Result<Image, StepError> {
        let failed =
            |source| StepError::Layout { place: place.to_owned(), source: Box::new(source) };
        let (path, name) = split_layout(place);
        let mut source = LayoutSource::new(Path::new(path), name);
        let selection = Selection::For(Preferences::of(platform));
        let root = copy(&mut source, &mut Blobs(self.store), &selection, &Silent);
        Ok(self.store.read(&root.map_err(failed)?)?)
    }
}

/// `DIR[:TAG]` or `DIR[@DIGEST]`.
pub(super) fn split_layout(place: &str) -> (&str, Option<&str>) {
    if let Some((path, digest)) = place.split_once('@') {
        return (path, Some(digest));
    }
    match place.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') && !path.is_empty() => (path, Some(tag)),
        _ => (place, None),
    }
}

/// A store that takes blobs and no names.
struct Blobs<'s>(&'s Store);

impl Destination for Blobs<'_> {
    fn has(&self, blob: &Descriptor) -> Result<bool, CopyError> {
        Ok(self.0.keep_blob(&blob.digest, blob.size))
    }

    fn put(&self, blob: &Descriptor, content: &Content<'_>) -> Result<(), CopyError> {
        let mut ingest = self.0.ingest(blob.digest.algorithm())?;
        std::io::copy(&mut *content()?, &mut ingest)
            .map_err(|error| CopyError::reading(&blob.digest, error))?;
        self.0.commit_ingest(ingest, Some(blob))?;
        Ok(())
    }

    fn finish(&mut self, _: &Descriptor, _: &[Reference]) -> Result<(), CopyError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::split_layout;

    #[test]
    fn reads_places_of_layouts() {
        assert_eq!(split_layout("/a/b"), ("/a/b", None));
        assert_eq!(split_layout("/a/b:1"), ("/a/b", Some("1")));
        assert_eq!(split_layout("/a:x/b"), ("/a:x/b", None));
        assert_eq!(split_layout("/a/b@sha256:0"), ("/a/b", Some("sha256:0")));
    }
}
