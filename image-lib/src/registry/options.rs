//! How registries are reached.

use std::path::PathBuf;
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
        Self {
            keyring: Keyring::of_environment(),
            certs_d: own.chain(system).collect(),
            proxies: ProxyRules::of_environment(),
            ..Self::default()
        }
    }
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
            proxies: ProxyRules::default(),
            retry: RetryPolicy::default(),
            connect_timeout: Duration::from_secs(30),
            silence_timeout: Duration::from_mins(1),
            parallel: 4,
            cancellation: Cancellation::default(),
        }
    }
}
