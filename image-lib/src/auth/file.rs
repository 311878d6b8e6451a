//! The JSON of `~/.docker/config.json` and of containers' `auth.json`: which entry is meant for a
//! repository. Pure but for reading the file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde_json::{Map, Value};

use super::{AuthError, Credential, Secret};

/// The most bytes of such a file: thousands of registries.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Under this key docker's tools keep what is meant for docker.io.
pub(super) const DOCKER_IO_KEY: &str = "https://index.docker.io/v1/";
/// The name under which docker.io is looked for.
const DOCKER_IO: &str = "docker.io";

/// A file of credentials, with all that else is in it.
#[derive(Clone, Default)]
pub struct AuthFile {
    pub(super) document: Map<String, Value>,
}

/// Where a file says that a credential is to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// A helper has it under the key.
    Helper { name: String, key: String },
    /// It stands in the file itself.
    Entry(Credential),
}

impl std::fmt::Debug for AuthFile {
    /// The registries alone: entries are secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthFile").field("registries", &self.registries()).finish_non_exhaustive()
    }
}

impl AuthFile {
    /// Reads a file; nothing if it does not exist.
    ///
    /// # Errors
    /// It cannot be read or is no JSON object.
    pub fn open(path: &Path) -> Result<Option<Self>, AuthError> {
        let failed = |source| AuthError::Io { operation: "read", path: path.to_owned(), source };
        let file = match File::open(path) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            other => other.map_err(failed)?,
        };
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
        let parsed = Self::parse(&bytes);
        parsed.map(Some).map_err(|reason| AuthError::Form { path: path.to_owned(), reason })
    }

    /// Reads the bytes of a file. An empty one has no entries.
    ///
    /// # Errors
    /// Says the place of the mistake, and nothing that stands there.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(format!("it has more than {FILE_BYTES_MAX} bytes"));
        }
        if bytes.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(document)) => {
                // The oldest form, ~/.dockercfg, is the list itself.
                let is_old = !document.contains_key("auths")
                    && !document.is_empty()
                    && document.values().all(|v| v.get("auth").is_some_and(Value::is_string));
                if is_old {
                    let auths = ("auths".to_owned(), Value::Object(document));
                    return Ok(Self { document: Map::from_iter([auths]) });
                }
                Ok(Self { document })
            }
            Ok(_) => Err("it is no JSON object".to_owned()),
            // The error's own words may quote the text.
            Err(error) => {
                Err(format!("no JSON at line {} column {}", error.line(), error.column()))
            }
        }
    }

    /// The registries and repositories that have an entry.
    #[must_use]
    pub fn registries(&self) -> Vec<&str> {
        self.object("auths").into_iter().flat_map(Map::keys).map(String::as_str).collect()
    }

    /// Headers that the user wants to be sent with every request to a registry.
    #[must_use]
    pub fn http_headers(&self) -> BTreeMap<String, String> {
        let headers = self.object("HttpHeaders").into_iter().flatten();
        headers.filter_map(|(name, v)| Some((name.clone(), v.as_str()?.to_owned()))).collect()
    }

    /// Does the file say where credentials for a repository are to be had?
    #[must_use]
    pub fn has_credential(&self, registry: &str, repository: &str) -> bool {
        !self.sources(registry, repository).is_empty()
    }

    fn object(&self, name: &str) -> Option<&Map<String, Value>> {
        self.document.get(name).and_then(Value::as_object)
    }

    /// The helper that keeps the credentials of a registry, if one does.
    pub(super) fn helper_of(&self, registry: &str) -> Option<&str> {
        let helpers = self.object("credHelpers");
        let own = helpers.and_then(|h| best(h, &candidates(registry, ""))).and_then(Value::as_str);
        own.or_else(|| self.document.get("credsStore").and_then(Value::as_str))
            .filter(|name| !name.is_empty())
    }

    /// Where credentials for the repository are to be had by this file, the most specific first.
    pub(super) fn sources(&self, registry: &str, repository: &str) -> Vec<Source> {
        let mut sources = Vec::new();
        let keys = candidates(registry, repository);
        if let Some(helpers) = self.object("credHelpers") {
            for key in &keys {
                if let Some(name) = named(helpers, key).and_then(Value::as_str) {
                    sources.push(Source::Helper { name: name.to_owned(), key: server_of(key) });
                }
            }
        }
        if let Some(name) = self.document.get("credsStore").and_then(Value::as_str)
            && !name.is_empty()
        {
            let key = server_of(keys.last().map_or(registry, String::as_str));
            sources.push(Source::Helper { name: name.to_owned(), key });
        }
        let entries = self.object("auths");
        let entries =
            entries.into_iter().flat_map(|entries| keys.iter().map(|k| named(entries, k)));
        sources.extend(entries.flatten().filter_map(credential).map(Source::Entry));
        sources
    }
}

/// The keys under which credentials for a repository may stand, the most specific first:
/// `host/a/b`, `host/a`, `host`.
fn candidates(registry: &str, repository: &str) -> Vec<String> {
    let registry = normal(registry);
    let mut keys = Vec::new();
    let mut path = repository;
    while !path.is_empty() {
        keys.push(format!("{registry}/{path}"));
        path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    keys.push(registry);
    keys
}

/// A key without what docker's tools have put around it over the years.
fn normal(key: &str) -> String {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    let (host, path) = match key.find('/') {
        Some(at) => key.split_at(at),
        None => (key, ""),
    };
    let host = host.to_ascii_lowercase();
    let host = match host.as_str() {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_IO,
        other => other,
    };
    format!("{host}{path}")
}

/// What a helper calls a registry.
pub(super) fn server_of(key: &str) -> String {
    if key == DOCKER_IO { DOCKER_IO_KEY.to_owned() } else { key.to_owned() }
}

/// The value whose key means `wanted`; one that says exactly that goes before others.
fn named<'a>(object: &'a Map<String, Value>, wanted: &str) -> Option<&'a Value> {
    object
        .get(wanted)
        .or_else(|| object.iter().find(|(key, _)| normal(key) == wanted).map(|(_, value)| value))
}

fn best<'a>(object: &'a Map<String, Value>, keys: &[String]) -> Option<&'a Value> {
    keys.iter().find_map(|key| named(object, key))
}

/// The keys of `object` that mean exactly the registry or repository `wanted`.
pub(super) fn keys_of(object: &Map<String, Value>, wanted: &str) -> Vec<String> {
    let wanted = normal(wanted);
    object.keys().filter(|key| normal(key) == wanted).cloned().collect()
}

/// What an entry of `auths` holds. An entry without content only says that a helper has it.
fn credential(entry: &Value) -> Option<Credential> {
    let text = |name| entry.get(name).and_then(Value::as_str).filter(|t: &&str| !t.is_empty());
    if let Some(token) = text("registrytoken") {
        return Some(Credential::RegistryToken(Secret::new(token)));
    }
    if let Some(token) = text("identitytoken") {
        return Some(Credential::IdentityToken(Secret::new(token)));
    }
    if let Some(auth) = text("auth") {
        let auth = auth.trim();
        let decoded = STANDARD.decode(auth).or_else(|_| STANDARD_NO_PAD.decode(auth)).ok()?;
        let decoded = String::from_utf8(decoded).ok()?;
        let (username, password) = decoded.split_once(':')?;
        // Some writers end the password with a zero byte.
        let password = password.trim_end_matches('\0');
        return Some(Credential::of_pair(username.to_owned(), password.to_owned()));
    }
    Some(Credential::password(text("username")?, text("password")?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(text: &str) -> AuthFile {
        AuthFile::parse(text.as_bytes()).unwrap()
    }

    fn user(file: &AuthFile, registry: &str, repository: &str) -> Option<String> {
        match file.sources(registry, repository).into_iter().next()? {
            Source::Entry(Credential::Password { username, .. }) => Some(username),
            other => Some(format!("{other:?}")),
        }
    }

    #[test]
    fn finds_the_most_specific_entry() {
        // a:x, b:x, c:x, d:x
        let file = file(
            r#"{"auths": {
                "r.io": {"auth": "YTp4"}, "r.io/team": {"auth": "Yjp4"}, "r.io/team/app": {"auth": "Yzp4"},
                "https://index.docker.io/v1/": {"auth": "ZDp4"}, "https://Old.io/v2/": {"username": "e", "password": "x"},
                "port.io:5000": {"auth": "ZDp4"}, "empty.io": {}
            }}"#,
        );
        for (registry, repository, expected) in [
            ("r.io", "team/app", Some("c")),
            ("r.io", "team/app/sub", Some("c")),
            ("r.io", "team/other", Some("b")),
            ("r.io", "teamwork", Some("a")),
            ("docker.io", "library/busybox", Some("d")),
            ("old.io", "x", Some("e")),
            ("port.io:5000", "x", Some("d")),
            ("port.io", "x", None),
            ("empty.io", "x", None),
            ("evil-r.io", "team/app", None),
        ] {
            assert_eq!(
                user(&file, registry, repository).as_deref(),
                expected,
                "{registry}/{repository}"
            );
        }
    }

    #[test]
    fn knows_tokens_helpers_and_the_oldest_form() {
        let tokens = file(
            r#"{"auths": {"a": {"auth": "YTp4", "identitytoken": "t"}, "b": {"registrytoken": "t"}}}"#,
        );
        assert!(matches!(
            &tokens.sources("a", "x")[0],
            Source::Entry(Credential::IdentityToken(_))
        ));
        assert!(matches!(
            &tokens.sources("b", "x")[0],
            Source::Entry(Credential::RegistryToken(_))
        ));
        let helpers = file(
            r#"{"credsStore": "all", "credHelpers": {"r.io": "own"}, "HttpHeaders": {"X-A": "b"}}"#,
        );
        let key = |name: &str, key: &str| Source::Helper { name: name.into(), key: key.into() };
        assert_eq!(helpers.sources("r.io", "x")[0], key("own", "r.io"));
        assert_eq!(helpers.sources("docker.io", "library/x"), [key("all", DOCKER_IO_KEY)]);
        assert_eq!(helpers.http_headers()["X-A"], "b");
        assert_eq!(user(&file(r#"{"r.io": {"auth": "YTp4"}}"#), "r.io", "x").as_deref(), Some("a"));
    }

    #[test]
    fn quotes_nothing_of_a_damaged_file() {
        let message = AuthFile::parse(br#"{"auths": {"a": {"auth": "c2VjcmV0" "#).unwrap_err();
        assert!(!message.contains("c2Vj"), "{message}");
        assert!(AuthFile::parse(b"[]").is_err());
        assert!(AuthFile::parse(b"").unwrap().registries().is_empty());
        let shown = format!("{:?}", file(r#"{"auths": {"a": {"auth": "c2VjcmV0"}}}"#));
        assert!(shown.contains("\"a\"") && !shown.contains("c2Vj"), "{shown}");
    }
}
