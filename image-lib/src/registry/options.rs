//! How registries are reached.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{ProxyRules, RetryPolicy};
use crate::auth::Keyring;
use crate::cancel::Cancellation;

/// How a [`super::Client`] reaches registries.
#[derive(Debug)]
pub struct Options {
    /// May a registry be used without TLS? This machine's own may always.
    pub plain_http: bool,
    /// Are certificates verified?
    pub verify: bool,
    /// The credentials.
    pub keyring: Keyring,
    /// The folders that have one folder for each host, with its certificates.
    pub certs_d: Vec<PathBuf>,
    /// A folder with certificates for every host.
    pub cert_dir: Option<PathBuf>,
    /// Files and folders in the form of containers' `registries.conf`, later ones over earlier ones.
    pub registries_conf: Vec<PathBuf>,
    /// Folders in the form of containerd's `certs.d`, which have a folder with a `hosts.toml` for a
    /// registry.
    pub hosts_d: Vec<PathBuf>,
    /// The proxies.
    pub proxies: ProxyRules,
    /// How often a request is sent again.
    pub retry: RetryPolicy,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long the other side may be silent.
    pub silence_timeout: Duration,
    /// How many blobs are fetched from one host at the same time.
    pub parallel: usize,
    /// Ends all work of the client.
    pub cancellation: Cancellation,
}

impl Options {
    /// What this process's environment and the machine's files say.
    #[must_use]
    pub fn of_environment() -> Self {
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        let own = home.iter().flat_map(|home| {
            [home.join(".config/containers/certs.d"), home.join(".config/docker/certs.d")]
        });
        let system = ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
        let config = home.as_ref().map(|home| home.join(".config"));
        let hosts_d = config.iter().map(|config| config.join("containerd/certs.d"));
        let hosts_d =
            hosts_d.chain(["/etc/containerd/certs.d", "/etc/docker/certs.d"].map(Into::into));
        Self {
            keyring: Keyring::of_environment(),
            certs_d: own.chain(system).collect(),
            registries_conf: registries_conf(config.as_deref()),
            hosts_d: hosts_d.collect(),
            proxies: ProxyRules::of_environment(),
            ..Self::default()
        }
    }
}

/// `$CONTAINERS_REGISTRIES_CONF` alone if it is set; otherwise the user's file or the system's, and the
/// folders of both.
fn registries_conf(config: Option<&Path>) -> Vec<PathBuf> {
    let named = std::env::var_os("CONTAINERS_REGISTRIES_CONF").filter(|path| !path.is_empty());
    if let Some(path) = named {
        return vec![PathBuf::from(path)];
    }
    let system = PathBuf::from("/etc/containers/registries.conf");
    let own = config.map(|config| config.join("containers/registries.conf"));
    let file = own.filter(|path| path.exists()).unwrap_or_else(|| system.clone());
    let mut files = vec![file, system.with_extension("conf.d")];
    files.extend(config.map(|config| config.join("containers/registries.conf.d")));
    files
}

impl Default for Options {
    /// No credentials, no proxies, the system's authorities alone.
    fn default() -> Self {
        Self {
            plain_http: false,
            verify: true,
            keyring: Keyring::empty(),
            certs_d: Vec::new(),
            cert_dir: None,
            registries_conf: Vec::new(),
            hosts_d: Vec::new(),
            proxies: ProxyRules::default(),
            retry: RetryPolicy::default(),
            connect_timeout: Duration::from_secs(30),
            silence_timeout: Duration::from_mins(1),
            parallel: 4,
            cancellation: Cancellation::default(),
        }
    }
}
