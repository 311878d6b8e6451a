//! Why a registry cannot be used. An error names registry, image, request and answer, what the
//! registry itself said, and what one can do about it; and no secret.

use std::io;
use std::path::PathBuf;

use super::refusal::Refusal;
use super::transport::TransportError;
use super::url::Url;
use crate::auth::AuthError;
use crate::blob::Mismatch;
use crate::identity::Digest;
use crate::store::StoreError;

/// A registry cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry answered, but not with what was asked for.
    #[error("{0}")]
    Answer(Box<Refusal>),
    /// No whole answer came.
    #[error("{subject}: {method} {url:?}")]
    Transport {
        /// What was asked for.
        subject: String,
        /// The request's method.
        method: String,
        /// The request's URL.
        url: Url,
        /// What went wrong on the way.
        #[source]
        failure: TransportError,
    },
    /// The registry is one that the configuration forbids.
    #[error("{registry}: blocked by {file:?}")]
    Blocked {
        /// The registry or repository.
        registry: String,
        /// Where that is written.
        file: PathBuf,
    },
    /// A name cannot be that of a registry.
    #[error("{name:?} is no host name of a registry")]
    Name {
        /// The refused name.
        name: String,
    },
    /// Credentials would have gone over the network in the clear.
    #[error("{registry}: credentials are not sent to {url:?}, which is not protected by TLS")]
    Clear {
        /// The registry.
        registry: String,
        /// Where they would have gone.
        url: Url,
    },
    /// A server led elsewhere in a way that is not followed.
    #[error("{subject}: {url:?} leads to {location:?}, which is not followed: {reason}")]
    Redirect {
        /// What was asked for.
        subject: String,
        /// The request's URL.
        url: Url,
        /// Where it led, without its query.
        location: String,
        /// Why not.
        reason: &'static str,
    },
    /// The registry wants to be convinced in a way that is not known.
    #[error("{registry}: asks for authentication by {schemes}, which is not known")]
    Scheme {
        /// The registry.
        registry: String,
        /// What it asks for.
        schemes: String,
    },
    /// The token server's answer has no token in it.
    #[error("{registry}: the token server {url:?} sent no token: {reason}")]
    Token {
        /// The registry.
        registry: String,
        /// The token server.
        url: Url,
        /// What was wrong.
        reason: String,
    },
    /// An answer is larger than any real one.
    #[error("{subject}: the answer of {url:?} has more than the {limit} bytes that it may have")]
    Large {
        /// What was asked for.
        subject: String,
        /// The request's URL.
        url: Url,
        /// The limit.
        limit: u64,
    },
    /// A manifest says to be another kind of document than the server does (CVE-2021-41190).
    #[error("{subject}: manifest {digest} is sent as {header:?} but says that it is {document:?}")]
    MediaType {
        /// What was asked for.
        subject: String,
        /// The document.
        digest: Digest,
        /// The server's word.
        header: String,
        /// The document's.
        document: String,
    },
    /// A manifest is of a kind that is no image.
    #[error("{subject}: {digest} is of the kind {media_type:?}, which is no image")]
    Kind {
        /// What was asked for.
        subject: String,
        /// The document.
        digest: Digest,
        /// Its media type.
        media_type: String,
    },
    /// A manifest of Docker's first kind.
    #[error("{subject}: image is Docker schema 1, re-push with a tool newer than 2017")]
    Schema1 {
        /// What was asked for.
        subject: String,
    },
    /// An index has nothing for the platform.
    #[error("{subject}: no image for the platform {wanted}; there are {available}")]
    Platform {
        /// What was asked for.
        subject: String,
        /// The platform.
        wanted: String,
        /// Those that there are.
        available: String,
    },
    /// So many documents lead to an image, or so many pages to the end of a list, that nobody can have
    /// meant it.
    #[error("{subject}: more than {limit} documents would have to be fetched")]
    Documents {
        /// What was asked for.
        subject: String,
        /// The limit.
        limit: usize,
    },
    /// Others change a list again and again while it is to be changed here.
    #[error("{subject}: others have changed it in each of {rounds} attempts to change it")]
    Contended {
        /// The list.
        subject: String,
        /// How often it was tried.
        rounds: usize,
    },
    /// Bytes are not those that were asked for.
    #[error("{subject}")]
    Mismatch {
        /// What was asked for.
        subject: String,
        /// What they are.
        #[source]
        mismatch: Mismatch,
    },
    /// A connection ended again and again before the bytes were complete.
    #[error("{subject}: blob {digest}: only {have} of {size} bytes came, in {attempts} attempts")]
    Incomplete {
        /// What was asked for.
        subject: String,
        /// The blob.
        digest: Digest,
        /// The bytes that came.
        have: u64,
        /// The bytes that there should be.
        size: u64,
        /// How often it was tried.
        attempts: u32,
        /// What ended the last attempt.
        #[source]
        failure: Option<TransportError>,
    },
    /// TLS cannot be set up as the files say.
    #[error("{host}: {path:?}: {reason}")]
    Certificate {
        /// The host that they are for.
        host: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A proxy of the environment cannot be used.
    #[error("{variable}: {reason}")]
    Proxy {
        /// The variable that names it.
        variable: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that says how registries are reached cannot be used.
    #[error("{path:?}: {reason}")]
    Configuration {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Neither the registry nor any of its mirrors answered as it should.
    #[error("{source}; mirrors failed before: {mirrors}")]
    Everywhere {
        /// What the mirrors said.
        mirrors: String,
        /// What the registry said.
        #[source]
        source: Box<Self>,
    },
    /// A blob that was to be sent cannot be read.
    #[error("{subject}: cannot read blob {digest}")]
    Content {
        /// What was to be sent.
        subject: String,
        /// The blob.
        digest: Digest,
        /// Why not; a damaged blob is a [`Mismatch`] inside.
        #[source]
        source: io::Error,
    },
    /// The answer is none that the specification knows here.
    #[error("{subject}: {method} {url:?}: the answer {status} is none that can be gone on with")]
    Unexpected {
        /// What was to be done.
        subject: String,
        /// The request's method.
        method: String,
        /// The request's URL.
        url: Url,
        /// The answer's status.
        status: u16,
    },
    /// Credentials could not be had.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// What was fetched could not be kept.
    #[error("{subject}")]
    Store {
        /// What was asked for.
        subject: String,
        /// The store's reason.
        #[source]
        source: Box<StoreError>,
    },
    /// The work was not wanted any more.
    #[error("cancelled")]
    Cancelled,
}

impl RegistryError {
    /// May the same request succeed a little later?
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Answer(refusal) => {
                matches!(refusal.status, 408 | 429 | 500 | 502 | 503 | 504)
            }
            Self::Transport { failure, .. } => failure.is_transient(),
            _ => false,
        }
    }

    /// Is the thing that was asked for not there?
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Answer(refusal) if refusal.status == 404)
    }

    /// The refusal of a server, if it is one.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Answer(refusal) => Some(refusal),
            Self::Everywhere { source, .. } => source.refusal(),
            _ => None,
        }
    }

    /// What one can do about it, if that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Answer(refusal) => refusal.hint(),
            Self::Everywhere { source, .. } => source.hint(),
            Self::Transport { url, failure, .. } => failure.hint(url),
            Self::Clear { .. } => {
                Some("use a registry with TLS, or allow it with --plain-http".to_owned())
            }
            Self::Mismatch { .. } => Some(
                "the registry or something on the way to it sends other bytes than it should"
                    .to_owned(),
            ),
            Self::Platform { .. } => Some("choose one with --platform".to_owned()),
            _ => None,
        }
    }
}
