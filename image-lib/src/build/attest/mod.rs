//! Attestations: what is said about an image beside it, as BuildKit lays it down. Each is an in-toto
//! statement about the image's manifest; those of one image are the layers of a manifest of their own, which
//! stands in the index behind the images and names, in annotations, the one that it is about.
//!
//! ```text
//! index ─┬─▶ manifest of the image                       linux/amd64
//!        └─▶ manifest of the attestations                unknown/unknown
//!                └─ layers: application/vnd.in-toto+json, in-toto.io/predicate-type
//! ```
//!
//! Nothing here depends on the clock or on chance: the same build has the same attestations.

mod material;
pub mod packages;
pub mod provenance;
mod sbom;
pub mod scan;

use std::io::{self, Read};

use serde_json::{Value, json};

pub use material::{Material, redacted};

use super::error::StepError;
use super::options::BuildOptions;
use super::output::Built;
use crate::fsroot::{FileKind, FsError, Root};
use crate::identity::{Algorithm, Digest, Hasher};
use crate::reference::Reference;
use crate::snapshot::Overlay;
use crate::spec::{Descriptor, ImageConfig, Manifest, Platform, media_type};
use crate::store::{Silent, Store, StoreError};

/// The layers of an attestation manifest.
const IN_TOTO: &str = "application/vnd.in-toto+json";
/// The annotation of such a layer: what kind of statement it is.
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";
/// The annotations of an attestation manifest in an index.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
/// BuildKit's word for an image without a name.
const NAMELESS: &str = "_";

/// Which attestations a build makes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attestations {
    /// How it was built.
    pub provenance: Option<provenance::Wanted>,
    /// What packages it has.
    pub has_sbom: bool,
}

impl Attestations {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.provenance.is_none() && !self.has_sbom
    }
}

/// What a statement says, without what it is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Predicate {
    /// The name of its file, where files are written and no image.
    pub file: &'static str,
    /// What kind it is: a URI.
    pub kind: &'static str,
    /// What it says.
    pub content: Value,
}

impl Predicate {
    /// The statement about `subjects`, as JSON.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn about(&self, subjects: &[Value]) -> Result<Vec<u8>, StoreError> {
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": subjects,
            "predicateType": self.kind,
            "predicate": self.content,
        });
        serde_json::to_vec(&statement).map_err(StoreError::Encode)
    }
}

impl Built {
    /// What the build says about its result.
    ///
    /// # Errors
    /// The files cannot be read.
    pub fn predicates(
        &self,
        store: &Store,
        options: &BuildOptions,
    ) -> Result<Vec<Predicate>, StepError> {
        let mut predicates = Vec::new();
        if let Some(wanted) = &options.attestations.provenance {
            predicates.push(provenance::predicate(wanted, options, self));
        }
        if options.attestations.has_sbom {
            let lowers = store.unpack(&self.layers, &Silent)?;
            let found = match &lowers[..] {
                [] => scan::Found::default(),
                lowers => scan::scan(&Overlay::open(lowers)?)?,
            };
            predicates.push(sbom::predicate(&found, self.config.created.unwrap_or_default()));
        }
        Ok(predicates)
    }
}

/// The subjects of an image: each of its names with the digest of its manifest.
fn of_image(names: &[Reference], image: &Descriptor, platform: &Platform) -> Vec<Value> {
    let subject = |name: String| json!({ "name": name, "digest": { image.digest.algorithm().name(): image.digest.hex() } });
    if names.is_empty() {
        return vec![subject(NAMELESS.to_owned())];
    }
    names.iter().map(|name| subject(material::package_url(name, Some(platform)))).collect()
}

/// The subjects of files: each regular one with its digest, in the order of a walk.
///
/// # Errors
/// A file cannot be read.
pub fn of_files(tree: &Root) -> Result<Vec<Value>, FsError> {
    let mut subjects = Vec::new();
    for entry in tree.walk(std::path::Path::new(""))? {
        let entry = entry?;
        if entry.metadata.kind != FileKind::File || entry.metadata.is_whiteout() {
            continue;
        }
        let file = entry.parent.open_file(&entry.name)?;
        let digest = digest_of(file).map_err(|error| FsError::new("read", &entry.path, error))?;
        let name = entry.path.to_string_lossy();
        subjects.push(json!({ "name": name, "digest": { "sha256": digest.hex() } }));
    }
    Ok(subjects)
}

fn digest_of(mut file: impl Read) -> io::Result<Digest> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// Puts statements about `image` into the store; returns what stands for them in an index.
///
/// # Errors
/// The disk's.
pub fn write(
    store: &Store,
    predicates: &[Predicate],
    names: &[Reference],
    image: &Descriptor,
    platform: &Platform,
) -> Result<Descriptor, StoreError> {
    let subjects = of_image(names, image, platform);
    let mut layers = Vec::new();
    for predicate in predicates {
        let mut layer = store.put_bytes(IN_TOTO, &predicate.about(&subjects)?)?;
        layer.annotations.insert(PREDICATE_TYPE.to_owned(), predicate.kind.to_owned());
        layers.push(layer);
    }
    let unknown = Platform {
        os: "unknown".to_owned(),
        architecture: "unknown".to_owned(),
        ..Platform::default()
    };
    // Registries of every age take a manifest with the configuration of an image.
    let mut config = ImageConfig::new(&unknown);
    config.rootfs.diff_ids =
        layers.iter().map(|layer| crate::identity::DiffId::new(layer.digest.clone())).collect();
    let config = serde_json::to_vec(&config).map_err(StoreError::Encode)?;
    let config = store.put_bytes(media_type::OCI_CONFIG, &config)?;
    let manifest =
        serde_json::to_vec(&Manifest::new(config, layers)).map_err(StoreError::Encode)?;
    let mut descriptor = store.put_bytes(media_type::OCI_MANIFEST, &manifest)?;
    descriptor.platform = Some(unknown);
    let notes = [
        (REFERENCE_DIGEST, image.digest.to_string()),
        (REFERENCE_TYPE, "attestation-manifest".to_owned()),
    ];
    descriptor.annotations.extend(notes.map(|(name, value)| (name.to_owned(), value)));
    Ok(descriptor)
}
