//! Why a registry cannot be used. An error names registry, image, request and answer, what the
//! registry itself said, and what one can do about it; and no secret.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

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

/// An answer that is not the wanted one.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// What was asked for: an image, a blob of it, a token.
    pub subject: String,
    /// The registry.
    pub registry: String,
    /// The request's method.
    pub method: String,
    /// The request's URL.
    pub url: Url,
    /// The status of the answer.
    pub status: u16,
    /// What the registry says itself: codes such as `MANIFEST_UNKNOWN`, and words.
    pub reasons: Vec<(String, String)>,
    /// How long it asks to be left alone.
    pub retry_after: Option<Duration>,
    /// What it says about a limited rate.
    pub rate: Option<String>,
    /// Were credentials sent along?
    pub had_credentials: bool,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, method, url, status, .. } = self;
        write!(f, "{subject}: {method} {url:?}: {status}{}", reason_of(*status))?;
        for (code, message) in &self.reasons {
            match (code.is_empty(), message.is_empty()) {
                (false, false) => write!(f, ": {message} ({code})")?,
                (false, true) => write!(f, ": {code}")?,
                _ => write!(f, ": {message}")?,
            }
        }
        if let Some(rate) = &self.rate {
            write!(f, "; {rate}")?;
        }
        if let Some(wait) = self.retry_after {
            write!(f, "; to be tried again in {} s", wait.as_secs())?;
        }
        Ok(())
    }
}

fn reason_of(status: u16) -> String {
    let reason = ureq::http::StatusCode::from_u16(status).ok();
    let reason = reason.and_then(|status| status.canonical_reason());
    reason.map(|reason| format!(" {reason}")).unwrap_or_default()
}

/// What happened to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportKind {
    /// The host's name leads nowhere.
    Name,
    /// No connection came about.
    Connect,
    /// The other side was silent for too long.
    Silent,
    /// The connection ended early.
    Ended,
    /// The other side speaks no TLS.
    NotTls,
    /// The other side's certificate is of an authority that is not trusted.
    Untrusted,
    /// The other side's certificate is another's, or not valid now.
    Certificate,
    /// TLS failed otherwise.
    Tls,
    /// The proxy refused.
    Proxy,
    /// The answer is no HTTP.
    Protocol,
}

/// A connection failed.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct TransportError {
    kind: TransportKind,
    text: String,
}

impl TransportError {
    /// What happened.
    #[must_use]
    pub fn kind(&self) -> TransportKind {
        self.kind
    }

    pub(super) fn new(kind: TransportKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// May it go better the next time?
    pub(super) fn is_transient(&self) -> bool {
        matches!(self.kind, TransportKind::Silent | TransportKind::Ended | TransportKind::Protocol)
    }

    pub(super) fn of_io(error: &io::Error) -> Self {
        use io::ErrorKind;
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
            return Self::of_tls(tls);
        }
        if let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
            return Self::of_http(inner);
        }
        let kind = match error.kind() {
            ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::AddrNotAvailable => TransportKind::Connect,
            ErrorKind::TimedOut | ErrorKind::WouldBlock => TransportKind::Silent,
            ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected
            | ErrorKind::UnexpectedEof => TransportKind::Ended,
            // The C library's lookup has no kind of its own.
            _ if error.to_string().starts_with("failed to lookup") => TransportKind::Name,
            _ => TransportKind::Protocol,
        };
        Self::new(kind, error.to_string())
    }

    pub(super) fn of_http(error: &ureq::Error) -> Self {
        match error {
            ureq::Error::Io(error) => Self::of_io(error),
            ureq::Error::Rustls(error) => Self::of_tls(error),
            ureq::Error::Timeout(timeout) => {
                use ureq::Timeout;
                let kind = match timeout {
                    Timeout::Resolve => TransportKind::Name,
                    Timeout::Connect => TransportKind::Connect,
                    _ => TransportKind::Silent,
                };
                Self::new(kind, format!("timed out: {timeout}"))
            }
            ureq::Error::HostNotFound => Self::new(TransportKind::Name, "host not found"),
            ureq::Error::ConnectionFailed => Self::new(TransportKind::Connect, "cannot connect"),
            ureq::Error::ConnectProxyFailed(text) => {
                Self::new(TransportKind::Proxy, format!("the proxy refused: {text}"))
            }
            other => Self::new(TransportKind::Protocol, other.to_string()),
        }
    }

    fn of_tls(error: &rustls::Error) -> Self {
        use rustls::{CertificateError, Error};
        let kind = match error {
            Error::InvalidMessage(_) => TransportKind::NotTls,
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => TransportKind::Untrusted,
            Error::InvalidCertificate(_) => TransportKind::Certificate,
            _ => TransportKind::Tls,
        };
        let text = match kind {
            TransportKind::NotTls => "the server answered in plain http to TLS".to_owned(),
            TransportKind::Untrusted => {
                "x509: the certificate is signed by an unknown authority".to_owned()
            }
            _ => error.to_string(),
        };
        Self::new(kind, text)
    }
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
            Self::Transport { url, failure, .. } => transport_hint(url, failure.kind),
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

fn transport_hint(url: &Url, kind: TransportKind) -> Option<String> {
    let host = url.authority();
    match kind {
        TransportKind::NotTls => {
            Some(format!("if {host} is meant to be used without TLS, say so with --plain-http"))
        }
        TransportKind::Untrusted => Some(format!(
            "put the authority's certificate into /etc/containers/certs.d/{host}/ca.crt (or \
             /etc/docker/certs.d/{host}/ca.crt), or name its folder with --cert-dir"
        )),
        TransportKind::Connect | TransportKind::Name => Some(format!(
            "is {host} right, and can it be reached from here? HTTPS_PROXY and NO_PROXY say how"
        )),
        _ => None,
    }
}

impl Refusal {
    fn deletion_hint(&self) -> Option<String> {
        // The last part of the path is a tag or a digest.
        let path = self.url.target().split('?').next().unwrap_or_default();
        let is_tag = !path.rsplit('/').next().unwrap_or_default().contains(':');
        let hint = match is_tag {
            true => {
                "registries that delete no tags may delete manifests: --manifest deletes the tag's, and \
                 with it all other tags of it"
            }
            false if self.status == 400 => return None,
            false => {
                "the registry does not permit to delete (docker-registry does with \
                 storage.delete.enabled)"
            }
        };
        Some(hint.to_owned())
    }

    fn hint(&self) -> Option<String> {
        let login = format!("keel-image login {}", self.registry);
        match self.status {
            400 | 405 | 501 if self.method == "DELETE" => self.deletion_hint(),
            401 if self.had_credentials => {
                Some(format!("the credentials were refused; renew them with: {login}"))
            }
            401 => Some(format!("log in with: {login}")),
            403 if self.had_credentials => {
                Some("the user that is logged in may not do this".to_owned())
            }
            403 => Some(format!("it may help to log in with: {login}")),
            413 => Some("send it in smaller pieces with --chunk-size".to_owned()),
            404 if !self.had_credentials => Some(format!("if it is private, log in with: {login}")),
            429 if !self.had_credentials => {
                Some(format!("users who log in often have a higher limit: {login}"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tells_request_answer_and_way_out() {
        let refusal = Refusal {
            subject: "r.io/app:1".to_owned(),
            registry: "r.io".to_owned(),
            method: "GET".to_owned(),
            url: Url::parse("https://r.io/v2/app/manifests/1?sig=secret").unwrap(),
            status: 429,
            reasons: vec![("TOOMANYREQUESTS".to_owned(), "slow down".to_owned())],
            retry_after: Some(Duration::from_secs(30)),
            rate: Some("0 of 100 requests are left for 6 h".to_owned()),
            had_credentials: false,
        };
        let error = RegistryError::Answer(Box::new(refusal));
        assert_eq!(
            error.to_string(),
            "r.io/app:1: GET https://r.io/v2/app/manifests/1?…: 429 Too Many Requests: slow down \
             (TOOMANYREQUESTS); 0 of 100 requests are left for 6 h; to be tried again in 30 s"
        );
        assert!(error.is_transient());
        assert!(error.hint().unwrap().contains("login r.io"));
    }
}
