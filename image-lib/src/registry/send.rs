//! Sending single blobs to a repository, for whoever puts an image or an artifact together there.

use super::RegistryError;
use super::repository::Repository;
use super::scope::Scopes;
use super::upload::{Arrived, Opener, Upload};
use crate::spec::Descriptor;
use crate::store::Progress;

/// How blobs are sent to a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SendOptions {
    /// A repository of the same registry that may have them: what it has is mounted.
    pub mount_from: Option<String>,
    /// Bytes of the pieces in which blobs are sent; without it each is one piece. A registry may ask for
    /// larger ones.
    pub chunk_bytes: Option<u64>,
}

impl Repository {
    /// Does the registry have the blob in this repository?
    ///
    /// # Errors
    /// The registry cannot be asked.
    pub fn has_blob(
        &self,
        blob: &Descriptor,
        options: &SendOptions,
    ) -> Result<bool, RegistryError> {
        self.sending(blob, options, &crate::store::Silent, |upload| upload.is_needless())
    }

    /// Sees to it that the registry, which was found not to have the blob, gets it. `open` is called when
    /// bytes are needed: not where the blob is mounted, and again where a registry wants to have it anew.
    ///
    /// # Errors
    /// The bytes cannot be read, or are not those of the descriptor; the registry refuses them.
    pub fn put_blob(
        &self,
        blob: &Descriptor,
        options: &SendOptions,
        open: &Opener<'_, '_>,
        progress: &dyn Progress,
    ) -> Result<Arrived, RegistryError> {
        self.sending(blob, options, progress, |upload| upload.run_anyway(open))
    }

    fn sending<T>(
        &self,
        blob: &Descriptor,
        options: &SendOptions,
        progress: &dyn Progress,
        act: impl FnOnce(&Upload<'_>) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let endpoint = self.origin()?;
        let from = options.mount_from.as_deref();
        // One token for all that is asked.
        let scopes = Scopes::push(&endpoint.repository);
        let scopes = from
            .into_iter()
            .fold(scopes, |scopes, from| scopes.and(&format!("repository:{from}"), &["pull"]));
        act(&Upload {
            repository: self,
            endpoint,
            blob,
            from,
            scopes: &scopes,
            chunk: options.chunk_bytes,
            progress,
            is_given_up: &|| false,
        })
    }
}
