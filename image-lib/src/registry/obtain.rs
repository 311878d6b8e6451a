//! An image by its name, from the store or from a registry: what `docker run` and `FROM` need.

use std::str::FromStr;

use super::{Client, PullOptions, Pulled, RegistryError};
use crate::identity::Digest;
use crate::reference::{Reference, ReferenceError};
use crate::spec::{Platform, Preferences};
use crate::store::{Image, Progress, Store, StoreError};

/// When an image is fetched although, or because, the store has it or not: docker's `--pull`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PullPolicy {
    /// Always; what has not changed is not fetched again.
    Always,
    /// If the store does not have it, or not for the platform, or not whole.
    #[default]
    Missing,
    /// Never.
    Never,
}

impl FromStr for PullPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "always" => Ok(Self::Always),
            "missing" => Ok(Self::Missing),
            "never" => Ok(Self::Never),
            _ => Err(format!("{text:?} is none of always, missing and never")),
        }
    }
}

/// What is wanted, beside the name.
#[derive(Debug, Clone, Default)]
pub struct ObtainOptions {
    /// When it is fetched.
    pub policy: PullPolicy,
    /// The platform. Without one it is this machine's; an image that is in the store is taken then
    /// whatever it is for.
    pub platform: Option<Platform>,
}

/// An image that is in the store now.
#[derive(Debug, Clone)]
pub struct Obtained {
    /// The image.
    pub image: Image,
    /// How it was pulled, if it was.
    pub pulled: Option<Pulled>,
}

/// Why an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ObtainError {
    /// It is not in the store, and its name is none that a registry knows: an id.
    #[error("No such image: {name}")]
    Name {
        /// The name.
        name: String,
        /// Why no registry knows it.
        #[source]
        source: ReferenceError,
    },
    /// It is for another platform.
    #[error("{name} is an image for {available}, not for {platform}")]
    Platform {
        /// The name.
        name: String,
        /// The platform that is wanted.
        platform: String,
        /// The platform of the image that is there.
        available: String,
    },
    /// The store cannot be used, or does not have it and nothing may be fetched.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be fetched.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl ObtainError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Registry(error) => error.hint(),
            _ => None,
        }
    }
}

/// The image that `name` means: an id, `name[:tag]` or `name@digest`. Unless the store is enough, it is
/// pulled by the client that `client` makes, which is not called otherwise; so nothing about registries is
/// read for an image that is there. Whoever goes on to use the image holds a [`crate::store::Hold`].
///
/// # Errors
/// It is neither here nor there, or may not be fetched; the store's and the registry's.
pub fn obtain(
    store: &Store,
    name: &str,
    options: &ObtainOptions,
    client: impl FnOnce() -> Result<Client, RegistryError>,
    progress: &dyn Progress,
) -> Result<Obtained, ObtainError> {
    match options.policy {
        PullPolicy::Always => {}
        PullPolicy::Never => {
            let image = for_platform(store, store.resolve(name)?, name, options)?;
            return Ok(Obtained { image, pulled: None });
        }
        PullPolicy::Missing => {
            if let Some(image) = usable(store, name, options)? {
                return Ok(Obtained { image, pulled: None });
            }
        }
    }
    // A digest would be the tag of a repository called sha256.
    if name.parse::<Digest>().is_ok() {
        return Err(StoreError::NoSuchImage { name: name.to_owned() }.into());
    }
    let reference = name.parse::<Reference>();
    let reference =
        reference.map_err(|source| ObtainError::Name { name: name.to_owned(), source })?;
    let pull = PullOptions { platform: options.platform.clone() };
    let pulled = client()?.pull(store, &reference.or_latest(), &pull, progress)?;
    let image = for_platform(store, store.resolve(&pulled.id.to_string())?, name, options)?;
    Ok(Obtained { image, pulled: Some(pulled) })
}

/// What the store has by a name, if it can be used: for the platform, and whole.
fn usable(store: &Store, name: &str, options: &ObtainOptions) -> Result<Option<Image>, StoreError> {
    let image = match store.find(name) {
        // What a repair has taken away is fetched again.
        Err(StoreError::NoSuchBlob { .. } | StoreError::Mismatch(_)) => return Ok(None),
        found => found?,
    };
    let image = image.and_then(|image| for_platform(store, image, name, options).ok());
    let Some(image) = image else { return Ok(None) };
    let is_whole = image.layers().iter().all(|layer| store.layer_is_present(layer))
        || store.is_unpacked(image.layers())?;
    Ok(Some(image).filter(|_| is_whole))
}

/// The image of the same entry of the index for the platform that is wanted.
fn for_platform(
    store: &Store,
    image: Image,
    name: &str,
    options: &ObtainOptions,
) -> Result<Image, ObtainError> {
    let Some(wanted) = &options.platform else { return Ok(image) };
    let preferences = Preferences::of(wanted);
    let image = store.read_for(image.root(), &preferences).unwrap_or(image);
    // A manifest that is alone is taken for any platform there.
    let available = image.config().value().platform();
    if preferences.rank(&available).is_some() {
        return Ok(image);
    }
    let (name, platform) = (name.to_owned(), wanted.to_string());
    Err(ObtainError::Platform { name, platform, available: available.to_string() })
}
