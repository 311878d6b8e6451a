//! The few URLs that registries are made of: absolute ones of the schemes http and https, and what
//! `Location` and `Link` headers say relative to them. Pure.

use std::fmt;
use std::net::IpAddr;

/// The most bytes of a URL; signed ones of object stores have some two thousand.
const URL_BYTES_MAX: usize = 32 << 10;

/// A scheme of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// The word before `://`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// An absolute URL.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    scheme: Scheme,
    /// Host and port as written, in lower case.
    authority: Box<str>,
    /// Path and query, beginning with a slash.
    target: Box<str>,
}

impl Url {
    /// Reads an absolute URL. One with a user's name is refused: whoever follows a server's words
    /// brings no credentials that the server chose.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        Self::new(scheme, authority, target)
    }

    /// A URL of its parts: `authority` is host and port, `target` path and query.
    #[must_use]
    pub fn new(scheme: Scheme, authority: &str, target: &str) -> Option<Self> {
        let target = target.split('#').next().unwrap_or_default();
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let plain = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'<' && b != b'>';
        let fits = target.len() + authority.len() <= URL_BYTES_MAX
            && target.bytes().all(plain)
            && is_authority(authority);
        fits.then(|| Self {
            scheme,
            authority: authority.to_ascii_lowercase().into(),
            target: target.into(),
        })
    }

    /// What `reference` means in an answer of this URL (RFC 3986 §5.2).
    #[must_use]
    pub fn resolve(&self, reference: &str) -> Option<Self> {
        if reference.contains("://") {
            return Self::parse(reference);
        }
        if let Some(rest) = reference.strip_prefix("//") {
            return Self::parse(&format!("{}://{rest}", self.scheme.name()));
        }
        let path = self.target.split('?').next().unwrap_or_default();
        let target = match reference.chars().next() {
            None | Some('#') => self.target.to_string(),
            Some('/') => without_dots(reference),
            Some('?') => format!("{path}{reference}"),
            Some(_) => {
                let folder = &path[..=path.rfind('/').unwrap_or(0)];
                without_dots(&format!("{folder}{reference}"))
            }
        };
        Self::new(self.scheme, &self.authority, &target)
    }

    /// The scheme.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Host and port as written.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Path and query.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The host without port and brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        host_of(&self.authority)
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        port_of(&self.authority).unwrap_or_else(|| self.scheme.default_port())
    }

    /// Do both belong to the same server: the same scheme, host and port?
    #[must_use]
    pub fn is_same_origin(&self, other: &Self) -> bool {
        self.scheme == other.scheme && self.host() == other.host() && self.port() == other.port()
    }

    /// The same URL with `name=value` added to its query.
    #[must_use]
    pub fn with_query(&self, name: &str, value: &str) -> Self {
        let separator = if self.target.contains('?') { '&' } else { '?' };
        let target = format!("{}{separator}{name}={}", self.target, encode(value));
        Self { target: target.into(), ..self.clone() }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.name(), self.authority, self.target)
    }
}

/// Without the query: those of object stores are as good as a password.
impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, query) = match self.target.split_once('?') {
            Some((path, _)) => (path, "?…"),
            None => (&*self.target, ""),
        };
        write!(f, "{}://{}{path}{query}", self.scheme.name(), self.authority)
    }
}

/// The host of `host[:port]`, without brackets.
#[must_use]
pub(super) fn host_of(authority: &str) -> &str {
    if let Some((address, _)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    authority.split(':').next().unwrap_or_default()
}

fn port_of(authority: &str) -> Option<u16> {
    authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok())
}

/// Is the host of `authority` this machine, whatever a name server says?
#[must_use]
pub(super) fn is_loopback(authority: &str) -> bool {
    let host = host_of(authority);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => ("v6", port),
            _ => return false,
        },
        None => match text.find(':') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        },
    };
    let host_fits = !host.is_empty()
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    let port_fits = port.is_empty()
        || port.strip_prefix(':').is_some_and(|port| {
            port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0)
        });
    host_fits && port_fits
}

/// Takes `.` and `..` out of a path (RFC 3986 §5.2.4); the query stays.
fn without_dots(target: &str) -> String {
    let (path, query) = match target.find('?') {
        Some(at) => target.split_at(at),
        None => (target, ""),
    };
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.trim_start_matches('/').split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            other => kept.push(other),
        }
    }
    format!("/{}{query}", kept.join("/"))
}

/// Percent-encodes what a value of a query or a form may not hold as it is.
#[must_use]
pub(super) fn encode(value: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        // The colon and slash of scopes are legal in a query, and expected bare by some servers.
        if byte.is_ascii_alphanumeric() || b"-._~:/,".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // A string takes all that is written to it.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn resolves_locations() {
        let base = Url::parse("https://Example.com:5000/v2/a/blobs/uploads/?x=1").unwrap();
        for (reference, expected) in [
            ("https://other/y?z=1#f", "https://other/y?z=1"),
            ("//other/y", "https://other/y"),
            ("/v2/b?c", "https://example.com:5000/v2/b?c"),
            ("uuid?state=s", "https://example.com:5000/v2/a/blobs/uploads/uuid?state=s"),
            ("../b/./c/..", "https://example.com:5000/v2/a/blobs/b/"),
            ("../../../../../../etc", "https://example.com:5000/etc"),
            ("?y", "https://example.com:5000/v2/a/blobs/uploads/?y"),
            ("", "https://example.com:5000/v2/a/blobs/uploads/?x=1"),
        ] {
            assert_eq!(base.resolve(reference).unwrap().to_string(), expected, "{reference}");
        }
        for reference in [
            "ftp://x/",
            "https://user:pw@x/",
            "https:///x",
            "/a b",
            "/a\r\nb",
            "https://x:0/",
            "https://x:99999/",
        ] {
            assert_eq!(base.resolve(reference).map(|u| u.to_string()), None, "{reference}");
        }
    }

    #[test]
    fn knows_origins() {
        let url = |text| Url::parse(text).unwrap();
        assert!(url("https://a/x").is_same_origin(&url("https://A:443/y")));
        assert!(!url("https://a/x").is_same_origin(&url("http://a/x")));
        assert!(!url("https://a/x").is_same_origin(&url("https://a:444/x")));
        assert!(!url("https://a/x").is_same_origin(&url("https://b/x")));
        assert_eq!(url("http://[::1]:5000/").host(), "::1");
        for (authority, expected) in [
            ("localhost:5000", true),
            ("127.9.0.1", true),
            ("[::1]:80", true),
            ("localhost.example.com", false),
            ("128.0.0.1", false),
            ("127.0.0.1.example.com", false),
        ] {
            assert_eq!(is_loopback(authority), expected, "{authority}");
        }
    }

    #[test]
    fn hides_queries_from_logs() {
        let url = Url::parse("https://s3/x?X-Amz-Signature=secret").unwrap();
        assert_eq!(format!("{url:?}"), "https://s3/x?…");
        assert_eq!(
            url.with_query("a", "b c&d").to_string(),
            "https://s3/x?X-Amz-Signature=secret&a=b%20c%26d"
        );
    }
}
