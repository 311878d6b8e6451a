//! References to images: `[domain/]path[:tag][@digest]` in the grammar that Docker's tools share
//! (the `reference` package of the distribution project, as the reference page `image.md` §1.1
//! lists its rules). Pure: no registry is asked.

use std::fmt;
use std::str::FromStr;

use crate::identity::{Digest, DigestError};

/// The domain of a name that bears none.
const DEFAULT_DOMAIN: &str = "docker.io";
/// An older name of the default domain.
const LEGACY_DEFAULT_DOMAIN: &str = "index.docker.io";
/// The first path component of names on the default domain that have only one.
const OFFICIAL_PREFIX: &str = "library/";
/// The most bytes of domain and path together.
const NAME_BYTES_MAX: usize = 255;
/// The most bytes of a tag.
const TAG_BYTES_MAX: usize = 128;

/// Why a text is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing stands before the tag or digest.
    #[error("invalid reference format: the name is empty")]
    Empty,
    /// The repository has an upper-case letter.
    #[error("invalid reference format: repository name ({name}) must be lowercase")]
    Uppercase {
        /// The refused name.
        name: String,
    },
    /// The domain is not one.
    #[error("invalid reference format: {domain:?} is not a domain")]
    Domain {
        /// The refused domain.
        domain: String,
    },
    /// A path component is not one.
    #[error("invalid reference format: {component:?} in {text:?} is not a path component")]
    Component {
        /// The refused component.
        component: String,
        /// The whole text.
        text: String,
    },
    /// The tag is not one.
    #[error("invalid reference format: {tag:?} is not a tag")]
    Tag {
        /// The refused tag.
        tag: String,
    },
    /// The digest is not one.
    #[error("invalid reference format")]
    Digest(#[source] DigestError),
    /// Domain and path are too long together.
    #[error("invalid reference format: the name is longer than {NAME_BYTES_MAX} bytes")]
    Long,
    /// The name could be taken for an image id.
    #[error("invalid repository name ({name}), cannot specify 64-byte hexadecimal strings")]
    Id {
        /// The refused name.
        name: String,
    },
}

/// A normalised reference: a domain, a path, and a tag or a digest or both or neither.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The registry's domain, with its port if one is given.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository's path at the registry.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, if one is given.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one is given. It decides what is meant; a tag beside it only names.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Domain and path: `docker.io/library/busybox`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The name as people write it: `busybox`. It is shortened only where it then means the same: a
    /// path on the default domain may begin with what looks like a domain, or be one long id.
    #[must_use]
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.name();
        }
        let short = match self.path.strip_prefix(OFFICIAL_PREFIX) {
            Some(short) if !short.contains('/') => short,
            _ => &self.path,
        };
        let same = |read: Self| read.domain == self.domain && read.path == self.path;
        if short.parse().is_ok_and(same) { short.to_owned() } else { self.name() }
    }

    /// The whole reference as people write it: `busybox:latest`.
    #[must_use]
    pub fn familiar(&self) -> String {
        format!("{}{}", self.familiar_name(), self.suffix())
    }

    /// The same reference with the tag `latest` if it has neither tag nor digest.
    #[must_use]
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }

    /// The same name with `tag` in place of tag and digest.
    ///
    /// # Errors
    /// `tag` is not one.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        check_tag(tag)?;
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    fn suffix(&self) -> String {
        let tag = self.tag.as_ref().map(|t| format!(":{t}")).unwrap_or_default();
        let digest = self.digest.as_ref().map(|d| format!("@{d}")).unwrap_or_default();
        format!("{tag}{digest}")
    }
}

impl fmt::Display for Reference {
    /// The full form: `docker.io/library/busybox:latest`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.domain, self.path, self.suffix())
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ReferenceError::Id { name: text.to_owned() });
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                (rest, Some(digest.parse::<Digest>().map_err(ReferenceError::Digest)?))
            }
            None => (text, None),
        };
        let (domain, remote) = split_domain(rest);
        // What stands after the last colon is a tag unless a slash follows it.
        let (path, tag) = match remote.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (remote, None),
        };
        if path.is_empty() {
            return Err(ReferenceError::Empty);
        }
        check_domain(domain)?;
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(ReferenceError::Uppercase { name: path.to_owned() });
        }
        for component in path.split('/') {
            if !is_path_component(component) {
                let component = component.to_owned();
                return Err(ReferenceError::Component { component, text: text.to_owned() });
            }
        }
        if let Some(tag) = tag {
            check_tag(tag)?;
        }
        let official = domain == DEFAULT_DOMAIN && !path.contains('/');
        let path = format!("{}{path}", if official { OFFICIAL_PREFIX } else { "" });
        if domain.len() + 1 + path.len() > NAME_BYTES_MAX {
            return Err(ReferenceError::Long);
        }
        Ok(Self { domain: domain.to_owned(), path, tag: tag.map(str::to_owned), digest })
    }
}

/// The first segment is a domain only if it cannot be a path component: it is `localhost` or it
/// has a dot, a colon or an upper-case letter.
fn split_domain(text: &str) -> (&str, &str) {
    let Some((first, rest)) = text.split_once('/') else { return (DEFAULT_DOMAIN, text) };
    let is_domain = first == "localhost"
        || first.contains(['.', ':'])
        || first.bytes().any(|b| b.is_ascii_uppercase());
    match (is_domain, first) {
        (false, _) => (DEFAULT_DOMAIN, text),
        (true, LEGACY_DEFAULT_DOMAIN) => (DEFAULT_DOMAIN, rest),
        (true, _) => (first, rest),
    }
}

fn check_domain(domain: &str) -> Result<(), ReferenceError> {
    let refused = || ReferenceError::Domain { domain: domain.to_owned() };
    let (host, port) = match domain.strip_prefix('[').and_then(|d| d.split_once(']')) {
        Some((address, after)) => {
            // Neither a zone id nor an embedded IPv4 address is part of the grammar.
            let plain =
                !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
            if !plain {
                return Err(refused());
            }
            ("", after.strip_prefix(':').or_else(|| after.is_empty().then_some("0")))
        }
        None => match domain.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (domain, Some("0")),
        },
    };
    let port_fits = port.is_some_and(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let host_fits = domain.starts_with('[') || host.split('.').all(label);
    if port_fits && host_fits { Ok(()) } else { Err(refused()) }
}

/// `[a-z0-9]+` joined by one dot, one or two underscores, or any run of hyphens.
fn is_path_component(component: &str) -> bool {
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    if !bytes.first().is_some_and(alphanumeric) || !bytes.last().is_some_and(alphanumeric) {
        return false;
    }
    bytes
        .split(alphanumeric)
        .all(|run| matches!(run, b"" | b"." | b"_" | b"__") || run.iter().all(|b| *b == b'-'))
}

fn check_tag(tag: &str) -> Result<(), ReferenceError> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let fits = tag.len() <= TAG_BYTES_MAX
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-');
    if fits { Ok(()) } else { Err(ReferenceError::Tag { tag: tag.to_owned() }) }
}

/// Could `text` be an image id or the beginning of one: an optional `sha256:` and hex digits?
#[must_use]
pub fn id_prefix(text: &str) -> Option<&str> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let digits = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (digits && !hex.is_empty() && hex.len() <= 64).then_some(hex)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn normalizes_and_prints_familiarly() {
        for (text, full, familiar) in [
            ("busybox", "docker.io/library/busybox", "busybox"),
            ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
            ("docker.io/busybox", "docker.io/library/busybox", "busybox"),
            ("index.docker.io/a/b", "docker.io/a/b", "a/b"),
            ("localhost", "docker.io/library/localhost", "localhost"),
            ("example.com", "docker.io/library/example.com", "example.com"),
            ("localhost/a", "localhost/a", "localhost/a"),
            ("Upper/a", "Upper/a", "Upper/a"),
            ("localhost:5000/a/b:t", "localhost:5000/a/b:t", "localhost:5000/a/b:t"),
            ("[::1]:5000/a", "[::1]:5000/a", "[::1]:5000/a"),
            ("a__b/c---d/e.f", "docker.io/a__b/c---d/e.f", "a__b/c---d/e.f"),
            ("docker.io/library/a/b", "docker.io/library/a/b", "library/a/b"),
            ("docker.io/b.io/c", "docker.io/b.io/c", "docker.io/b.io/c"),
            ("docker.io/library/busybox", "docker.io/library/busybox", "busybox"),
            ("index.docker.io/library/x", "docker.io/library/x", "x"),
            ("index.docker.io/x", "docker.io/library/x", "x"),
            ("a:5000", "docker.io/library/a:5000", "a:5000"),
            ("a:5000/b", "a:5000/b", "a:5000/b"),
            ("a.b/c", "a.b/c", "a.b/c"),
            ("10.0.0.1:5000/c", "10.0.0.1:5000/c", "10.0.0.1:5000/c"),
            ("[2001:db8::1]/a", "[2001:db8::1]/a", "[2001:db8::1]/a"),
            ("[2001:DB8::1]:443/a:t", "[2001:DB8::1]:443/a:t", "[2001:DB8::1]:443/a:t"),
            ("a/b-----c", "docker.io/a/b-----c", "a/b-----c"),
            ("a_b", "docker.io/library/a_b", "a_b"),
            ("a:T-0._x", "docker.io/library/a:T-0._x", "a:T-0._x"),
            ("xn--n3h.com/a", "xn--n3h.com/a", "xn--n3h.com/a"),
            ("docker.io/localhost/c:t", "docker.io/localhost/c:t", "docker.io/localhost/c:t"),
            (
                "docker.io/index.docker.io/c",
                "docker.io/index.docker.io/c",
                "docker.io/index.docker.io/c",
            ),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), full);
            assert_eq!(reference.familiar(), familiar);
            assert_eq!(familiar.parse::<Reference>().unwrap(), reference);
        }
        let both: Reference = format!("a:t@{DIGEST}").parse().unwrap();
        assert_eq!((both.tag(), both.digest().unwrap().to_string().as_str()), (Some("t"), DIGEST));
        assert_eq!("a".parse::<Reference>().unwrap().or_latest().tag(), Some("latest"));
        let like_an_id = format!("docker.io/library/{}", &DIGEST[7..]);
        assert_eq!(like_an_id.parse::<Reference>().unwrap().familiar(), like_an_id);
    }

    #[test]
    fn refuses_what_the_grammar_refuses() {
        for text in [
            "",
            ":tag",
            "a:",
            "A",
            "a/B",
            "a..b",
            "a.-b",
            "a___b",
            "-a",
            "a-",
            "a//b",
            "/a",
            "a/",
            "a:-t",
            "a@sha256:12",
            "[fe80::1%eth0]/a",
            "[::ffff:1.2.3.4]/a",
            "ex_ample.com/a",
            "[]/a",
            "[::1/a",
            "[::1]x/a",
            "[::1]:/a",
            "[::1]:x/a",
            "[::1]",
            "-a.com/b",
            "a-.com/b",
            "a..com/b",
            "a.com./b",
            ".com/b",
            "a.com:/b",
            "a.com/",
            "a.com/b_",
            "a.com/_b",
            "a.com/b._c",
            "a.com/b_-c",
            "a:t:u",
            "a:t/u:v w",
            "a:.t",
            "a@",
            "a@sha256",
            "@sha256:00",
            "a@md5:d41d8cd98f00b204e9800998ecf8427e",
            &format!("a@{}0", DIGEST),
            &format!("a@{}", DIGEST.to_uppercase()),
            &format!("a@{DIGEST}:t"),
            "\u{e4}/b",
            "a\n",
            "a.b:x/c",
            "a b",
            &DIGEST[7..],
            &format!("a:{}", "t".repeat(129)),
            "a/".repeat(130).trim_end_matches('/'),
            "https://a.com/b",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_name_has_255_bytes_at_most() {
        let fits = format!("a.b/{}", "c".repeat(251));
        assert_eq!(fits.parse::<Reference>().unwrap().name().len(), 255);
        assert_eq!(format!("{fits}c").parse::<Reference>(), Err(ReferenceError::Long));
        // What is completed counts.
        let bare = "c".repeat(255 - "docker.io/library/".len());
        assert_eq!(bare.parse::<Reference>().unwrap().name().len(), 255);
        assert_eq!(format!("{bare}c").parse::<Reference>(), Err(ReferenceError::Long));
        // Tag and digest do not.
        assert!(format!("{fits}:{}@{DIGEST}", "t".repeat(128)).parse::<Reference>().is_ok());
    }

    #[test]
    fn sixty_four_digits_are_an_id() {
        let id = &DIGEST[7..];
        assert!(matches!(id.parse::<Reference>(), Err(ReferenceError::Id { .. })));
        for name in [format!("{id}0"), id[1..].to_owned(), format!("a/{id}"), format!("{id}:t")] {
            assert!(name.parse::<Reference>().is_ok(), "{name}");
        }
        for (text, prefix) in [
            (id, Some(id)),
            (DIGEST, Some(id)),
            ("abc", Some("abc")),
            ("sha256:abc", Some("abc")),
            ("", None),
            ("sha256:", None),
            ("xyz", None),
            ("ABC", None),
        ] {
            assert_eq!(id_prefix(text), prefix, "{text}");
        }
    }

    #[test]
    fn digests_are_of_two_kinds() {
        let sha512 = format!("sha512:{}", "ab".repeat(64));
        let reference: Reference = format!("a@{sha512}").parse().unwrap();
        assert_eq!(reference.to_string(), format!("docker.io/library/a@{sha512}"));
        assert!(format!("a@sha512:{}", "ab".repeat(32)).parse::<Reference>().is_err());
        let error = format!("a@blake3:{}", "ab".repeat(32)).parse::<Reference>().unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("unsupported digest algorithm"), "{cause}");
    }
}
