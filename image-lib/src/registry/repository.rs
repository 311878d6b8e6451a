//! A repository at a registry: where it is to be had, and how something of it is asked for. What it has are
//! manifests (`manifests`), blobs (`parts`, `reader`, `upload`) and lists (`listing`, `referrers`).

use ureq::http::Method;

use super::RegistryError;
use super::client::{Client, Request, Target, Whole};
use super::endpoint::Endpoint;
use super::host::{Payload, Response};
use super::scope::Scopes;
use crate::identity::Digest;
use crate::reference::Reference;

/// A repository at a registry. Clones share the client.
#[derive(Debug, Clone)]
pub struct Repository {
    client: Client,
    name: String,
    familiar: String,
    endpoints: Vec<Endpoint>,
}

/// Which manifest of a repository is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The one that has this tag now.
    Tag(String),
    /// The one whose bytes have this digest.
    Digest(Digest),
}

impl Selector {
    /// What `reference` selects: its digest, else its tag, else `latest`.
    #[must_use]
    pub fn of(reference: &Reference) -> Self {
        match (reference.digest(), reference.tag()) {
            (Some(digest), _) => Self::Digest(digest.clone()),
            (None, tag) => Self::Tag(tag.unwrap_or("latest").to_owned()),
        }
    }

    pub(super) fn asked(&self) -> Asked {
        match self {
            Self::Tag(_) => Asked::Tag,
            Self::Digest(_) => Asked::Digest,
        }
    }

    pub(super) fn word(&self) -> String {
        match self {
            Self::Tag(tag) => tag.clone(),
            Self::Digest(digest) => digest.to_string(),
        }
    }
}

/// What a place is asked for; not every one is trusted to say what a tag means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Tag,
    Digest,
}

impl Repository {
    pub(super) fn new(client: Client, reference: &Reference, endpoints: Vec<Endpoint>) -> Self {
        let (name, familiar) = (reference.name(), reference.familiar_name());
        Self { client, name, familiar, endpoints }
    }

    /// Domain and path.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The client through which it is reached.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What errors say was asked for.
    pub(super) fn subject(&self, selector: &Selector) -> String {
        match selector {
            Selector::Tag(tag) => format!("{}:{tag}", self.familiar),
            Selector::Digest(digest) => format!("{}@{digest}", self.familiar),
        }
    }

    pub(super) fn too_many(&self, digest: &Digest, limit: usize) -> RegistryError {
        let subject = self.subject(&Selector::Digest(digest.clone()));
        RegistryError::Documents { subject, limit }
    }

    /// Asks one endpoint after the other. The registry itself is the last, and its error is the one
    /// that is told.
    pub(super) fn anywhere<T>(
        &self,
        what: Asked,
        ask: impl Fn(&Endpoint) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let mut failures = Vec::new();
        let serves = |endpoint: &&Endpoint| match what {
            Asked::Tag => endpoint.has_tags,
            Asked::Digest => endpoint.has_digests,
        };
        for endpoint in self.endpoints.iter().filter(serves) {
            match ask(endpoint) {
                Err(error @ RegistryError::Cancelled) => return Err(error),
                Err(error) => failures.push(error),
                done => return done,
            }
        }
        let Some(last) = failures.pop() else {
            return Err(RegistryError::Name { name: self.name.clone() });
        };
        if failures.is_empty() {
            return Err(last);
        }
        let mirrors: Vec<String> = failures.iter().map(ToString::to_string).collect();
        Err(RegistryError::Everywhere { mirrors: mirrors.join("; "), source: Box::new(last) })
    }

    /// A request that reads something of the repository at one of its endpoints.
    pub(super) fn reading<'r>(
        endpoint: &'r Endpoint,
        method: Method,
        target: Target<'r>,
        subject: &'r str,
    ) -> Request<'r> {
        Request {
            method,
            target,
            headers: Vec::new(),
            own_headers: endpoint.own_headers(),
            payload: Payload::None,
            scopes: Scopes::pull(&endpoint.repository),
            repository: &endpoint.repository,
            subject,
            accepted: &[],
        }
    }

    /// Makes a request at an endpoint.
    pub(super) fn ask(
        &self,
        endpoint: &Endpoint,
        request: &Request<'_>,
    ) -> Result<Response, RegistryError> {
        let client = &self.client.0;
        client.send(&*client.host(endpoint)?, request)
    }

    /// Asks an endpoint for something small and reads all of it.
    pub(super) fn ask_whole(
        &self,
        endpoint: &Endpoint,
        request: &Request<'_>,
        limit: u64,
    ) -> Result<Whole, RegistryError> {
        let client = &self.client.0;
        client.whole(&*client.host(endpoint)?, request, limit)
    }

    /// The registry itself: what is written is not written to a mirror.
    pub(super) fn origin(&self) -> Result<&Endpoint, RegistryError> {
        let origin = self.endpoints.iter().find(|endpoint| !endpoint.is_mirror);
        origin.ok_or_else(|| RegistryError::Name { name: self.name.clone() })
    }
}
