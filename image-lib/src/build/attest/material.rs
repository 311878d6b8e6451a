//! What a build took from elsewhere: images, files by their URLs, repositories.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::base::LAYOUT_SCHEME;
use crate::identity::Digest;
use crate::reference::Reference;
use crate::spec::Platform;

/// One thing that was taken, with what it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Material {
    /// Where it was: a package URL of an image, a URL. There is no user and no password in it.
    pub uri: String,
    /// Its digests by algorithm; a commit is a `sha1`.
    pub digest: BTreeMap<String, String>,
}

impl Material {
    /// An image that the Dockerfile or a named context calls `name`.
    pub(in super::super) fn image(name: &str, digest: &Digest, platform: &Platform) -> Self {
        let uri = match name.strip_prefix(LAYOUT_SCHEME) {
            // Where the layout is on this machine says nothing to others.
            Some(_) => {
                let platform = escaped(&platform.to_string());
                format!("pkg:oci/layout@{}?platform={platform}", escaped(&digest.to_string()))
            }
            None => name.parse::<Reference>().map_or_else(
                |_| redacted(name),
                |reference| package_url(&reference.or_latest(), Some(platform)),
            ),
        };
        Self { uri, digest: of(digest.algorithm().name(), digest.hex()) }
    }

    /// The file at a URL.
    pub(in super::super) fn file(url: &str, digest: &Digest) -> Self {
        Self { uri: redacted(url), digest: of(digest.algorithm().name(), digest.hex()) }
    }

    /// A commit of a repository.
    pub(in super::super) fn commit(url: &str, commit: &str) -> Self {
        let algorithm = if commit.len() == 64 { "sha256" } else { "sha1" };
        Self { uri: redacted(url), digest: of(algorithm, commit) }
    }
}

fn of(algorithm: &str, hex: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(algorithm.to_owned(), hex.to_owned())])
}

/// The package URL of an image, as BuildKit writes it: `pkg:docker/NAME@TAG?platform=OS%2FARCH`.
pub(super) fn package_url(name: &Reference, platform: Option<&Platform>) -> String {
    let mut text = format!("pkg:docker/{}", name.familiar_name().replace(':', "%3A"));
    if let Some(tag) = name.tag() {
        text.push('@');
        text.push_str(tag);
    }
    let digest = name.digest().map(|digest| format!("digest={}", escaped(&digest.to_string())));
    let platform = platform.map(|platform| format!("platform={}", escaped(&platform.to_string())));
    let qualifiers: Vec<String> = digest.into_iter().chain(platform).collect();
    if !qualifiers.is_empty() {
        text.push('?');
        text.push_str(&qualifiers.join("&"));
    }
    text
}

/// Percent-encoding, of all but what every part of a URL may have.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// A URL without the user and the password that it may have.
#[must_use]
pub fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let Some((user, host)) = authority.rsplit_once('@') else { return url.to_owned() };
    match user.split_once(':') {
        // Behind ssh it is the account that everybody uses.
        None if scheme.ends_with("ssh") => url.to_owned(),
        Some((user, _)) if scheme.ends_with("ssh") => format!("{scheme}://{user}@{host}{path}"),
        _ => format!("{scheme}://{host}{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Material, package_url, redacted};
    use crate::identity::Digest;
    use crate::spec::Platform;

    #[test]
    fn writes_package_urls() {
        let platform: Platform = "linux/arm64".parse().unwrap();
        for (name, url) in [
            ("busybox:1", "pkg:docker/busybox@1?platform=linux%2Farm64"),
            ("localhost:5000/a/b:x", "pkg:docker/localhost%3A5000/a/b@x?platform=linux%2Farm64"),
        ] {
            assert_eq!(package_url(&name.parse().unwrap(), Some(&platform)), url);
        }
        let digest = Digest::of(b"");
        let of_layout = Material::image("oci-layout:///a/secret/place:1", &digest, &platform);
        assert!(!of_layout.uri.contains("place"), "{of_layout:?}");
        assert_eq!(of_layout.digest["sha256"], digest.hex());
    }

    #[test]
    fn leaves_passwords_out() {
        for (url, clean) in [
            ("https://u:p@h/a?b#c", "https://h/a?b#c"),
            ("https://token@h/a", "https://h/a"),
            ("ssh://git@h/a", "ssh://git@h/a"),
            ("ssh://git:p@h/a", "ssh://git@h/a"),
            ("git@h:a/b", "git@h:a/b"),
            ("https://h/a@b", "https://h/a@b"),
        ] {
            assert_eq!(redacted(url), clean);
        }
    }
}
