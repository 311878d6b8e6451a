//! `registries.conf`, version 2, of containers' tools: what a name leads to, which mirrors stand in for it,
//! what is blocked. Pure.

use serde::Deserialize;

/// The file, as far as it says where images are. What else is in it is somebody else's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RegistriesConf {
    registry: Vec<Entry>,
}

/// What is said about all names with a prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Entry {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    mirror: Vec<Mirror>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Mirror {
    location: String,
    insecure: bool,
    pull_from_mirror: Option<PullFromMirror>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PullFromMirror {
    All,
    DigestOnly,
    TagOnly,
}

/// One place that has what a name means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Host, port and path: `mirror:5000/library/busybox`.
    pub name: String,
    /// Need its certificate not be verified?
    pub is_insecure: bool,
    /// Is it asked for tags?
    pub has_tags: bool,
    /// Is it asked for digests?
    pub has_digests: bool,
}

/// What is said about a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// It is not to be used.
    Blocked,
    /// Places in the order in which they are asked; the last is the registry itself.
    Places(Vec<Place>),
}

impl RegistriesConf {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// It is no TOML, or its properties are of other types.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut file: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        for entry in &mut file.registry {
            if entry.prefix.is_empty() {
                entry.prefix.clone_from(&entry.location);
            }
            if entry.prefix.is_empty() {
                return Err("a [[registry]] has neither prefix nor location".to_owned());
            }
            if entry.mirror.iter().any(|mirror| mirror.location.is_empty()) {
                return Err(format!("a mirror of {:?} has no location", entry.prefix));
            }
        }
        Ok(file)
    }

    /// Lays another file over this one: what it says about a prefix stands in place of what was said.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.registry.retain(|own| other.registry.iter().all(|new| new.prefix != own.prefix));
        self.registry.extend(other.registry);
        self
    }

    /// What is said about `name`: domain and path; nothing if no prefix fits. The longest prefix
    /// decides.
    #[must_use]
    pub fn meaning(&self, name: &str) -> Option<Meaning> {
        let fitting = self.registry.iter().filter_map(|entry| {
            let length = matching(&entry.prefix, name)?;
            Some((length, !entry.prefix.starts_with("*."), entry))
        });
        let (length, _, entry) = fitting.max_by_key(|(length, exact, _)| (*length, *exact))?;
        if entry.blocked {
            return Some(Meaning::Blocked);
        }
        let moved = |location: &str| match location {
            "" => name.to_owned(),
            location => format!("{location}{}", &name[length..]),
        };
        let mirrors = entry.mirror.iter().map(|mirror| {
            let pull = mirror.pull_from_mirror.unwrap_or(if entry.mirror_by_digest_only {
                PullFromMirror::DigestOnly
            } else {
                PullFromMirror::All
            });
            Place {
                name: moved(&mirror.location),
                is_insecure: mirror.insecure,
                has_tags: pull != PullFromMirror::DigestOnly,
                has_digests: pull != PullFromMirror::TagOnly,
            }
        });
        let itself = Place {
            name: moved(&entry.location),
            is_insecure: entry.insecure,
            has_tags: true,
            has_digests: true,
        };
        Some(Meaning::Places(mirrors.chain([itself]).collect()))
    }
}

/// How much of `name` the prefix stands for; nothing if it does not fit. `*.example.com` stands for any
/// host below it.
fn matching(prefix: &str, name: &str) -> Option<usize> {
    if let Some(domain) = prefix.strip_prefix('*').filter(|domain| domain.starts_with('.')) {
        let host = name.split('/').next().unwrap_or_default();
        let plain = host.split(':').next().unwrap_or_default();
        let fits = plain.ends_with(domain) || host.ends_with(domain);
        return fits.then_some(host.len());
    }
    let rest = name.strip_prefix(prefix)?;
    let is_end =
        rest.is_empty() || rest.starts_with('/') || rest.starts_with(':') && !prefix.contains('/');
    is_end.then_some(prefix.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn places(file: &RegistriesConf, name: &str) -> Vec<String> {
        match file.meaning(name) {
            Some(Meaning::Places(places)) => places.into_iter().map(|place| place.name).collect(),
            other => vec![format!("{other:?}")],
        }
    }

    const FILE: &str = r#"
        unqualified-search-registries = ["docker.io"]
        [[registry]]
        prefix = "docker.io"
        location = "registry-1.docker.io"
        [[registry.mirror]]
        location = "mirror:5000/hub"
        insecure = true
        pull-from-mirror = "digest-only"
        [[registry]]
        prefix = "docker.io/library/secret"
        blocked = true
        [[registry]]
        prefix = "*.example.com"
        location = "proxy.local"
        [[registry]]
        location = "plain.io/team"
        insecure = true
    "#;

    #[test]
    fn the_longest_prefix_decides() {
        let file = RegistriesConf::parse(FILE).unwrap();
        let hub = ["mirror:5000/hub/library/busybox", "registry-1.docker.io/library/busybox"];
        assert_eq!(places(&file, "docker.io/library/busybox"), hub);
        assert_eq!(file.meaning("docker.io/library/secret"), Some(Meaning::Blocked));
        assert_eq!(places(&file, "docker.io/library/secrets").len(), 2);
        assert_eq!(places(&file, "a.b.example.com/x"), ["proxy.local/x"]);
        assert_eq!(file.meaning("example.com/x"), None);
        assert_eq!(places(&file, "plain.io/team/x"), ["plain.io/team/x"]);
        assert_eq!(file.meaning("plain.io/teams"), None);
        let Some(Meaning::Places(hub)) = file.meaning("docker.io/a/b") else { panic!() };
        assert!(hub[0].is_insecure && !hub[0].has_tags && hub[0].has_digests);
        assert!(!hub[1].is_insecure && hub[1].has_tags && hub[1].has_digests);
    }

    #[test]
    fn later_files_replace_prefixes() {
        let over = RegistriesConf::parse("[[registry]]\nprefix = \"docker.io\"\nblocked = true");
        let file = RegistriesConf::parse(FILE).unwrap().with(over.unwrap());
        assert_eq!(file.meaning("docker.io/a/b"), Some(Meaning::Blocked));
        assert_eq!(places(&file, "x.example.com/a"), ["proxy.local/a"]);
    }

    #[test]
    fn refuses_what_says_nothing() {
        for text in
            ["[[registry]]", "x", "[[registry]]\nlocation='a'\n[[registry.mirror]]", "registry = 1"]
        {
            assert!(RegistriesConf::parse(text).is_err(), "{text}");
        }
        assert_eq!(
            RegistriesConf::parse("[registries.search]\nregistries = []"),
            Ok(RegistriesConf::default())
        );
    }
}
