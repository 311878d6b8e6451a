//! All places in which the credentials of this user may be, in the order in which they are asked.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::file::Source;
use super::program::Helper;
use super::{AuthError, AuthFile, Credential};

/// Where credentials are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// Was it asked for by name, so that its absence is worth an error to those who read it?
    pub is_named: bool,
}

/// The credentials of a user.
#[derive(Debug, Default)]
pub struct Keyring {
    places: Vec<Place>,
    /// Credentials that were given for a registry by hand; they go before all others.
    given: BTreeMap<String, Credential>,
    /// What was found, so that a helper is asked once.
    found: Mutex<HashMap<(String, String), Option<Credential>>>,
}

impl Keyring {
    /// No credentials at all.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// Only those of one file.
    #[must_use]
    pub fn of_file(path: &Path) -> Self {
        Self::of_places(vec![Place { path: path.to_owned(), is_named: true }])
    }

    /// Those of `places`, in their order.
    #[must_use]
    pub fn of_places(places: Vec<Place>) -> Self {
        Self { places, ..Self::default() }
    }

    /// The places that docker's and containers' tools use: `$REGISTRY_AUTH_FILE` alone if it is set; else
    /// `$DOCKER_CONFIG/config.json`, `$XDG_RUNTIME_DIR/containers/auth.json`,
    /// `$XDG_CONFIG_HOME/containers/auth.json`, `~/.docker/config.json`, `~/.dockercfg`.
    #[must_use]
    pub fn of_environment() -> Self {
        Self::of_places(places(&|name| std::env::var_os(name)))
    }

    /// The same with a credential for `registry` that goes before all others.
    #[must_use]
    pub fn with(mut self, registry: &str, credential: Credential) -> Self {
        self.given.insert(registry.to_owned(), credential);
        self
    }

    /// The credential for a repository, of the first place that has one.
    ///
    /// # Errors
    /// A file cannot be read; a helper fails.
    pub fn find(&self, registry: &str, repository: &str) -> Result<Option<Credential>, AuthError> {
        if let Some(credential) = self.given.get(registry) {
            return Ok(Some(credential.clone()));
        }
        // Whoever asks at the same time waits: the answer is the same.
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (registry.to_owned(), repository.to_owned());
        if let Some(known) = found.get(&key) {
            return Ok(known.clone());
        }
        let credential = self.look_up(registry, repository)?;
        found.insert(key, credential.clone());
        Ok(credential)
    }

    fn look_up(&self, registry: &str, repository: &str) -> Result<Option<Credential>, AuthError> {
        for place in &self.places {
            let Some(file) = AuthFile::open(&place.path)? else { continue };
            for source in file.sources(registry, repository) {
                let credential = match source {
                    Source::Entry(credential) => Some(credential),
                    Source::Helper { name, key } => Helper::new(&name)?.get(&key)?,
                };
                if credential.is_some() {
                    return Ok(credential);
                }
            }
        }
        Ok(None)
    }

    /// The headers that docker's configuration wants to be sent.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn http_headers(&self) -> Result<BTreeMap<String, String>, AuthError> {
        for place in &self.places {
            if let Some(file) = AuthFile::open(&place.path)? {
                let headers = file.http_headers();
                if !headers.is_empty() {
                    return Ok(headers);
                }
            }
        }
        Ok(BTreeMap::new())
    }
}

/// The number by which the user is known outside of the user namespace that this process may be in: the
/// files are where tools that enter none have put them.
fn user() -> u32 {
    let own = rustix::process::getuid().as_raw();
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    outside(&map, own).unwrap_or(own)
}

/// What the user `own` is outside, by the kernel's table of ranges: first id inside, first outside, count.
fn outside(map: &str, own: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u32>);
        let (inside, outside) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        let count = numbers.next()?.ok()?;
        let at = own.checked_sub(inside).filter(|at| *at < count)?;
        outside.checked_add(at)
    })
}

/// The files, by the variables of the environment.
fn places(variable: &dyn Fn(&str) -> Option<OsString>) -> Vec<Place> {
    let path = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = path("REGISTRY_AUTH_FILE") {
        return vec![Place { path, is_named: true }];
    }
    let home = path("HOME");
    let runtime = path("XDG_RUNTIME_DIR")
        .unwrap_or_else(|| PathBuf::from(format!("/run/containers/{}", user())));
    let runtime = match runtime.starts_with("/run/containers") {
        true => runtime.join("auth.json"),
        false => runtime.join("containers/auth.json"),
    };
    let config = path("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
    let docker = path("DOCKER_CONFIG").or_else(|| Some(home.as_ref()?.join(".docker")));
    let docker = docker.map(|folder| folder.join("config.json"));
    let containers = [Some(runtime), config.map(|folder| folder.join("containers/auth.json"))];
    let old = home.map(|home| home.join(".dockercfg"));
    let mut order: Vec<Option<PathBuf>> = containers.into();
    // Whoever sets the variable means that file.
    let at = if path("DOCKER_CONFIG").is_some() { 0 } else { order.len() };
    order.insert(at, docker);
    order.push(old);
    order.into_iter().flatten().map(|path| Place { path, is_named: false }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(variables: &[(&str, &str)]) -> Vec<String> {
        let find = |name: &str| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value))
        };
        places(&find).into_iter().map(|p| p.path.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_user_is_who_it_is_outside() {
        for (map, own, expected) in [
            ("         0          0 4294967295\n", 1000, Some(1000)),
            ("         0       1000          1\n", 0, Some(1000)),
            ("0 1000 1\n1 100000 65536\n", 0, Some(1000)),
            ("0 1000 1\n1 100000 65536\n", 5, Some(100_004)),
            ("0 1000 1\n", 1, None),
            ("", 0, None),
            ("x y z\n5 4294967295 10\n", 6, None),
        ] {
            assert_eq!(outside(map, own), expected, "{map:?} {own}");
        }
    }

    #[test]
    fn asks_in_the_order_of_the_tools() {
        assert_eq!(
            paths(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/run/user/1")]),
            [
                "/run/user/1/containers/auth.json",
                "/h/.config/containers/auth.json",
                "/h/.docker/config.json",
                "/h/.dockercfg"
            ]
        );
        let named = paths(&[("HOME", "/h"), ("DOCKER_CONFIG", "/d"), ("XDG_RUNTIME_DIR", "/r")]);
        assert_eq!(named[0], "/d/config.json");
        assert_eq!(paths(&[("HOME", "/h"), ("REGISTRY_AUTH_FILE", "/a")]), ["/a"]);
    }
}
