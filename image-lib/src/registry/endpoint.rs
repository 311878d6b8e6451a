//! Where a repository is to be had: its registry, and what stands in for it by the files of this machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::{HeaderName, HeaderValue};

use super::hosts_toml::{self, Server};
use super::registries_conf::{Meaning, Place, RegistriesConf};
use super::tls::HostTls;
use super::url::{Scheme, Url, is_loopback};
use super::{Options, RegistryError};
use crate::reference::Reference;

/// The domain under which docker's own images are known, and the host that has them.
const DOCKER_IO: (&str, &str) = ("docker.io", "registry-1.docker.io");
/// The most bytes of a file of configuration.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// One place that has a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// The scheme, where a file says it.
    pub(super) scheme: Option<Scheme>,
    /// Host and port.
    pub(super) authority: String,
    /// The path of the interface: `/v2`.
    pub(super) path: String,
    /// Under this name credentials are looked for.
    pub(super) registry: String,
    /// What the repository is called there.
    pub(super) repository: String,
    /// The registry that it stands in for, as containerd tells its mirrors.
    pub(super) namespace: Option<String>,
    /// May it do without TLS?
    pub(super) is_insecure: bool,
    /// Is it another than the one that the name says?
    pub(super) is_mirror: bool,
    /// Is it asked for tags?
    pub(super) has_tags: bool,
    /// Is it asked for digests?
    pub(super) has_digests: bool,
    /// What a file says about its certificates.
    pub(super) tls: HostTls,
    /// Headers that a file wants to be sent there.
    pub(super) headers: Vec<(String, String)>,
    /// How long a connection may take to come about, if a file says so.
    pub(super) dial_timeout: Option<Duration>,
}

impl Endpoint {
    /// All places of the repository of `reference`, in the order in which they are asked.
    ///
    /// # Errors
    /// A file cannot be read, or forbids the repository.
    pub(super) fn all(
        options: &Options,
        reference: &Reference,
    ) -> Result<Vec<Self>, RegistryError> {
        let name = reference.name();
        let (file, conf) = registries_conf(options)?;
        match conf.meaning(&name) {
            Some(Meaning::Blocked) => return Err(RegistryError::Blocked { registry: name, file }),
            Some(Meaning::Places(places)) => {
                let last = places.len().saturating_sub(1);
                let endpoints = places.into_iter().enumerate();
                return endpoints.map(|(at, place)| Self::of_place(place, at != last)).collect();
            }
            None => {}
        }
        let own = Self::of(reference.domain(), reference.path());
        for folder in &options.hosts_d {
            if let Some(servers) = hosts(folder, &own)? {
                return Ok(servers);
            }
        }
        Ok(vec![own])
    }

    /// The registry with this domain.
    pub(super) fn of(domain: &str, path: &str) -> Self {
        let authority = if domain == DOCKER_IO.0 { DOCKER_IO.1 } else { domain };
        Self {
            scheme: None,
            authority: authority.to_owned(),
            path: "/v2".to_owned(),
            registry: domain.to_owned(),
            repository: path.to_owned(),
            namespace: None,
            is_insecure: false,
            is_mirror: false,
            has_tags: true,
            has_digests: true,
            tls: HostTls::default(),
            headers: Vec::new(),
            dial_timeout: None,
        }
    }

    fn of_place(place: Place, is_mirror: bool) -> Result<Self, RegistryError> {
        let Some((domain, path)) = place.name.split_once('/') else {
            return Err(RegistryError::Name { name: place.name });
        };
        // Whatever a file calls docker's registry, the credentials for it are those of docker.io.
        let domain = if domain == DOCKER_IO.1 { DOCKER_IO.0 } else { domain };
        Ok(Self {
            is_insecure: place.is_insecure,
            is_mirror,
            has_tags: place.has_tags,
            has_digests: place.has_digests,
            ..Self::of(domain, path)
        })
    }

    fn of_server(server: Server, own: &Self, is_mirror: bool) -> Self {
        let authority = server.url.authority().to_owned();
        let is_own = authority == own.authority;
        let path = server.url.target().split('?').next().unwrap_or_default().trim_end_matches('/');
        let path = if server.has_own_path { path.to_owned() } else { format!("{path}/v2") };
        let registry = if is_own { own.registry.clone() } else { authority.clone() };
        Self {
            scheme: Some(server.url.scheme()),
            path,
            registry,
            // A server that stands in for many registries is told for which one it is asked.
            namespace: (!is_own).then(|| own.registry.clone()),
            is_mirror,
            has_tags: server.may_resolve,
            has_digests: server.may_pull,
            tls: server.tls,
            headers: server.headers,
            dial_timeout: server.dial_timeout,
            authority,
            ..own.clone()
        }
    }

    /// The headers that a file wants to be sent there; those that are none are left out.
    pub(super) fn own_headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let own = self.headers.iter();
        let own = own.filter_map(|(name, value)| {
            Some((name.parse().ok()?, HeaderValue::from_str(value).ok()?))
        });
        own.collect()
    }

    /// The path of something of the repository, with what the server is told beside it.
    pub(super) fn target(&self, rest: &str) -> String {
        let plain = format!("{}/{}/{rest}", self.path, self.repository);
        match &self.namespace {
            None => plain,
            Some(namespace) => {
                let separator = if rest.contains('?') { '&' } else { '?' };
                format!("{plain}{separator}ns={}", super::url::encode(namespace))
            }
        }
    }
}

/// What containerd's file for a registry says, if there is one.
fn hosts(folder: &Path, own: &Endpoint) -> Result<Option<Vec<Endpoint>>, RegistryError> {
    let colonless = own.registry.replacen(':', "_", 1);
    let colonless = if colonless == own.registry { colonless } else { format!("{colonless}_") };
    for name in [own.registry.as_str(), &colonless, "_default"] {
        let folder = folder.join(name);
        let path = folder.join("hosts.toml");
        let Some(text) = read(&path)? else { continue };
        let scheme = if is_loopback(&own.authority) { Scheme::Http } else { Scheme::Https };
        let Some(default) = Url::new(scheme, &own.authority, "/") else { continue };
        let servers = hosts_toml::parse(&text, &folder, &default)
            .map_err(|reason| RegistryError::Configuration { path, reason })?;
        let last = servers.len().saturating_sub(1);
        let endpoints = servers.into_iter().enumerate().map(|(at, server)| {
            let is_default = server.url == default;
            let mut endpoint = Endpoint::of_server(server, own, at != last);
            if is_default {
                // Nothing was said about its scheme.
                endpoint.scheme = None;
            }
            endpoint
        });
        return Ok(Some(endpoints.collect()));
    }
    Ok(None)
}

/// All files of containers' tools, the later ones over the earlier ones; and the last that was read, for
/// errors.
fn registries_conf(options: &Options) -> Result<(PathBuf, RegistriesConf), RegistryError> {
    let mut conf = RegistriesConf::default();
    let mut last = PathBuf::new();
    for path in &options.registries_conf {
        let mut paths = vec![path.clone()];
        if path.is_dir() {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            paths = entries.map(|entry| entry.path()).collect();
            paths.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
            paths.sort();
        }
        for path in paths {
            let Some(text) = read(&path)? else { continue };
            let file = RegistriesConf::parse(&text)
                .map_err(|reason| RegistryError::Configuration { path: path.clone(), reason })?;
            conf = conf.with(file);
            last = path;
        }
    }
    Ok((last, conf))
}

fn read(path: &Path) -> Result<Option<String>, RegistryError> {
    use std::io::Read as _;
    let failed = |error: io::Error| RegistryError::Configuration {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let file = match fs::File::open(path) {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(None);
        }
        other => other.map_err(failed)?,
    };
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}
