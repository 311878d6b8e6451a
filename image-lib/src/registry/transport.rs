//! What happened to a connection, by what the libraries below say of it.

use std::io;

use super::url::Url;

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

    /// What one can do about it, if that is known.
    pub(super) fn hint(&self, url: &Url) -> Option<String> {
        let host = url.authority();
        match self.kind {
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
}
