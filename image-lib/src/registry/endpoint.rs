//! Where a repository is to be had: its registry, and what stands in for it.

use super::{Options, RegistryError};
use crate::reference::Reference;

/// The domain under which docker's own images are known, and the host that has them.
const DOCKER_IO: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// One place that has a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Host and port.
    pub(super) authority: String,
    /// Under this name credentials are looked for.
    pub(super) registry: String,
    /// What the repository is called there.
    pub(super) repository: String,
    /// Need its certificate not be verified, and may it do without TLS?
    pub(super) is_insecure: bool,
    /// Is it another than the one that the name says?
    pub(super) is_mirror: bool,
}

impl Endpoint {
    /// All places of the repository of `reference`, in the order in which they are asked.
    pub(super) fn all(_: &Options, reference: &Reference) -> Result<Vec<Self>, RegistryError> {
        Ok(vec![Self::of(reference.domain(), reference.path())])
    }

    /// The registry with this domain.
    pub(super) fn of(domain: &str, path: &str) -> Self {
        let authority = if domain == DOCKER_IO.0 { DOCKER_IO.1 } else { domain };
        Self {
            authority: authority.to_owned(),
            registry: domain.to_owned(),
            repository: path.to_owned(),
            is_insecure: false,
            is_mirror: false,
        }
    }
}
