//! What becomes of a build: an image in the store, files in a directory, a tar.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::attest::{self, Material, Predicate};
use super::error::{BuildError, StepError};
use super::execute::Executor;
use super::form::{Form, docker_layer};
use super::options::BuildOptions;
use super::progress::{Progress, Report, Reporter};
use super::shared_cache::KeptStep;
use super::solve::solve;
use crate::copy::{CopyError, Destination, Selection, Source, copy};
use crate::export::export_with;
use crate::flatten::{Ownership, copy_out};
use crate::fsroot::Root;
use crate::identity::ImageId;
use crate::reference::Reference;
use crate::snapshot::Overlay;
use crate::spec::{Descriptor, ImageConfig, Index, Manifest, Platform, media_type};
use crate::store::{Layer, Silent, Store, StoreError};

/// What a build came to: an image whose layers are in the store and which is not itself there yet.
#[derive(Debug, Clone)]
pub struct Built {
    /// The configuration.
    pub config: ImageConfig,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
    /// Of each layer, whether it was built and is not of a base image.
    pub own_layers: Vec<bool>,
    /// How many steps it took, those from the cache included.
    pub steps: usize,
    /// How many of them came from the cache.
    pub cached: usize,
    /// What was taken from elsewhere.
    pub materials: Vec<Material>,
    /// The instructions.
    pub dockerfile: DockerfileText,
    /// What the steps came to, if that was asked for.
    pub kept_steps: Vec<KeptStep>,
}

/// A Dockerfile as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DockerfileText {
    /// What messages call it.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// An image that was built and put into the store.
#[derive(Debug, Clone)]
pub struct BuildOutcome {
    /// The image.
    pub image_id: ImageId,
    /// How many steps it took, those from the cache included.
    pub steps: usize,
    /// How many of them came from the cache.
    pub cached: usize,
}

/// Builds an image and puts it into the store under its names.
///
/// # Errors
/// See [`BuildError`]. Nothing is left behind but cached results of steps that succeeded.
pub fn build_image(
    store: &Store,
    options: &BuildOptions,
    executor: &dyn Executor,
    progress: &mut dyn Progress,
) -> Result<BuildOutcome, BuildError> {
    // Layers that no image names yet must outlive a garbage collection by somebody else.
    let _hold = store.hold().map_err(BuildError::Store)?;
    let reporter = Reporter::new(progress);
    let built = solve(store, options, executor, &reporter)?;
    let step = reporter.begin("exporting to image");
    let predicates = built.predicates(store, options);
    let predicates = predicates.map_err(|source| BuildError::Output {
        target: "attestations".into(),
        source: Box::new(source),
    })?;
    let form = Form { annotations: options.annotations.clone(), ..Form::default() };
    let written =
        built.write(store, &form, &options.tags, &predicates).map_err(BuildError::Store)?;
    let images = std::slice::from_ref(&written);
    let root = root(store, images, &form).map_err(BuildError::Store)?;
    name(store, &root, &options.tags).map_err(BuildError::Store)?;
    reporter.note(step, &format!("writing image {}", written.id));
    for tag in &options.tags {
        reporter.note(step, &format!("naming to {tag}"));
    }
    reporter.done(step);
    Ok(BuildOutcome { image_id: written.id, steps: built.steps, cached: built.cached })
}

/// An image whose documents are in the store, without a name.
#[derive(Debug, Clone)]
pub struct Written {
    /// Its id.
    pub id: ImageId,
    /// Its manifest.
    pub descriptor: Descriptor,
    /// What it runs on.
    pub platform: Platform,
    /// The manifest of its attestations, as it stands in an index.
    pub attestation: Option<Descriptor>,
}

impl Built {
    /// Puts configuration and manifest into the store, and what is said of them; the image gets no name.
    /// `names` are those it will have.
    ///
    /// # Errors
    /// A layer is gone; the disk's.
    pub fn write(
        &self,
        store: &Store,
        form: &Form,
        names: &[Reference],
        predicates: &[Predicate],
    ) -> Result<Written, StoreError> {
        let built = self.in_form(store, form)?;
        for layer in &built.layers {
            if !store.has_blob(&layer.descriptor.digest, layer.descriptor.size) {
                return Err(StoreError::NoSuchBlob { digest: layer.descriptor.digest.clone() });
            }
        }
        let mut config = self.config.clone();
        config.rootfs.diff_ids = built.layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let bytes = serde_json::to_vec(&config).map_err(StoreError::Encode)?;
        let (config_type, manifest_type) = if form.is_docker {
            (media_type::DOCKER_CONFIG, media_type::DOCKER_MANIFEST)
        } else {
            (media_type::OCI_CONFIG, media_type::OCI_MANIFEST)
        };
        let document = store.put_bytes(config_type, &bytes)?;
        let id = ImageId::new(document.digest.clone());
        let mut layers: Vec<_> = built.layers.into_iter().map(|layer| layer.descriptor).collect();
        if form.is_docker {
            for layer in &mut layers {
                let refused = || StoreError::MediaType {
                    digest: layer.digest.clone(),
                    media_type: layer.media_type.clone(),
                };
                layer.media_type = docker_layer(&layer.media_type).ok_or_else(refused)?.to_owned();
            }
        }
        let mut manifest = Manifest::new(document, layers);
        manifest.media_type = Some(manifest_type.to_owned());
        manifest.annotations.extend(form.annotations.manifest.clone());
        let bytes = serde_json::to_vec(&manifest).map_err(StoreError::Encode)?;
        let descriptor = store.put_bytes(manifest_type, &bytes)?;
        let platform = config.platform();
        let attestation = match predicates {
            [] => None,
            some => Some(attest::write(store, some, names, &descriptor, &platform)?),
        };
        Ok(Written { id, descriptor, platform, attestation })
    }

    /// Copies the files of the image into the directory `target`, as the user that calls, and beside them
    /// what is said of them; files that are there stay unless they are in the way.
    ///
    /// # Errors
    /// A layer cannot be unpacked; a file cannot be written.
    pub fn write_directory(
        &self,
        store: &Store,
        predicates: &[Predicate],
        target: &Path,
    ) -> Result<(), StepError> {
        let lowers = store.unpack(&self.layers, &Silent)?;
        std::fs::create_dir_all(target)
            .map_err(|error| crate::fsroot::FsError::new("create directory", target, error))?;
        if !lowers.is_empty() {
            let tree: Root = Overlay::open(&lowers)?;
            copy_out(&tree, Path::new(""), target, Ownership::Own)?;
        }
        for (name, statement) in statements(&lowers, predicates)? {
            let path = target.join(name);
            std::fs::write(&path, statement)
                .map_err(|error| crate::fsroot::FsError::new("write", &path, error))?;
        }
        Ok(())
    }

    /// Writes the files of the image as one tar, and behind them what is said of them; returns the stream.
    ///
    /// # Errors
    /// A layer cannot be unpacked; the stream's.
    pub fn write_tar<W: Write>(
        &self,
        store: &Store,
        predicates: &[Predicate],
        stream: W,
    ) -> Result<W, StepError> {
        let lowers = store.unpack(&self.layers, &Silent)?;
        let time = self.config.created.unwrap_or_default();
        let files = statements(&lowers, predicates)?;
        Ok(export_with(&lowers, &files, time, stream)?)
    }
}

/// The files that are written beside others: what is said of each of those.
fn statements(
    lowers: &[PathBuf],
    predicates: &[Predicate],
) -> Result<Vec<(&'static str, Vec<u8>)>, StepError> {
    if predicates.is_empty() {
        return Ok(Vec::new());
    }
    let mut subjects = Vec::new();
    if !lowers.is_empty() {
        subjects = attest::of_files(&Overlay::open(lowers)?)?;
    }
    let file = |predicate: &Predicate| Ok((predicate.file, predicate.about(&subjects)?));
    predicates.iter().map(file).collect()
}

/// Copies an image that is in the store, perhaps without a name, to another place under names.
///
/// # Errors
/// A blob is gone; the place's.
pub fn copy_to(
    store: &Store,
    root: &Descriptor,
    names: &[Reference],
    destination: &mut dyn Destination,
) -> Result<(), CopyError> {
    let mut source = Nameless { store, root, names };
    copy(&mut source, destination, &Selection::All, &Silent).map(drop)
}

/// An image of the store by its descriptor.
struct Nameless<'a> {
    store: &'a Store,
    root: &'a Descriptor,
    names: &'a [Reference],
}

impl Source for Nameless<'_> {
    fn root(&mut self) -> Result<Descriptor, CopyError> {
        Ok(self.root.clone())
    }

    fn references(&self) -> Vec<Reference> {
        self.names.to_vec()
    }

    fn open(&self, blob: &Descriptor) -> Result<Option<Box<dyn Read + '_>>, CopyError> {
        match self.store.open_blob(blob) {
            Ok(reader) => Ok(Some(Box::new(reader))),
            Err(StoreError::NoSuchBlob { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// What the images are together: the manifest of a single one, or an index of several, or of one with its
/// attestations.
///
/// # Errors
/// The disk's.
pub fn root(store: &Store, images: &[Written], form: &Form) -> Result<Descriptor, StoreError> {
    match images {
        [Written { descriptor, attestation: None, .. }] => Ok(descriptor.clone()),
        images => write_index(store, images, form),
    }
}

/// Puts images for several platforms together, and behind them what is said of them; returns the index's
/// descriptor.
///
/// # Errors
/// The disk's.
pub fn write_index(
    store: &Store,
    images: &[Written],
    form: &Form,
) -> Result<Descriptor, StoreError> {
    let entry = |image: &Written| Descriptor {
        platform: Some(image.platform.clone()),
        annotations: form.annotations.manifest_descriptor.clone(),
        ..image.descriptor.clone()
    };
    let attestations = images.iter().filter_map(|image| image.attestation.clone());
    let mut index = Index::new(images.iter().map(entry).chain(attestations).collect());
    let kind =
        if form.is_docker { media_type::DOCKER_MANIFEST_LIST } else { media_type::OCI_INDEX };
    index.media_type = Some(kind.to_owned());
    index.annotations.extend(form.annotations.index.clone());
    let bytes = serde_json::to_vec(&index).map_err(StoreError::Encode)?;
    store.put_bytes(kind, &bytes)
}

/// Gives names to a manifest or an index. Where it has exactly these, nothing is written.
///
/// # Errors
/// The disk's.
pub fn name(store: &Store, descriptor: &Descriptor, names: &[Reference]) -> Result<(), StoreError> {
    let records = store.records()?;
    let has = |name: Option<&Reference>| {
        records.iter().any(|record| {
            record.descriptor.digest == descriptor.digest
                && (name.is_none() || record.reference.as_ref() == name)
        })
    };
    let is_known = if names.is_empty() { has(None) } else { names.iter().all(|n| has(Some(n))) };
    if is_known { Ok(()) } else { store.put_record(descriptor, names) }
}
