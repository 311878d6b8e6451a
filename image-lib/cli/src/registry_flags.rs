//! The flags of all commands that speak to a registry.

use std::path::PathBuf;
use std::time::Duration;

use keel_image::auth::Keyring;
use keel_image::registry::{Client, Options, RetryPolicy};

use crate::failure::Failure;

#[derive(Debug, clap::Args)]
pub(crate) struct RegistryFlags {
    /// Read and write credentials in this file
    #[arg(long, value_name = "FILE")]
    pub(crate) authfile: Option<PathBuf>,
    /// A folder with authorities (*.crt) and a client certificate (*.cert, *.key)
    #[arg(long, value_name = "DIR")]
    cert_dir: Option<PathBuf>,
    /// Use registries without TLS; those on this machine may do without anyway
    #[arg(long)]
    plain_http: bool,
    /// Verify certificates
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1,
          default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    tls_verify: bool,
    /// How often a request is sent again
    #[arg(long, value_name = "N")]
    retry: Option<u32>,
    /// How long to wait before that at first, in seconds
    #[arg(long, value_name = "SECONDS")]
    retry_delay: Option<f64>,
    /// How long a server may be silent, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
    /// How many blobs are fetched at the same time
    #[arg(long, value_name = "N", default_value_t = 4)]
    jobs: usize,
}

impl RegistryFlags {
    /// What the flags and the environment say.
    pub(crate) fn options(&self) -> Result<Options, Failure> {
        let mut options = Options::of_environment();
        if let Some(path) = &self.authfile {
            options.keyring = Keyring::of_file(path);
        }
        options.cert_dir.clone_from(&self.cert_dir);
        options.plain_http = self.plain_http;
        options.verify = self.tls_verify;
        let default = RetryPolicy::default();
        let first = self.retry_delay.map(Duration::try_from_secs_f64).transpose();
        let first = first.map_err(|_| Failure::new("--retry-delay is no number of seconds"))?;
        options.retry = RetryPolicy {
            retries: self.retry.unwrap_or(default.retries),
            first: first.unwrap_or(default.first),
            ..default
        };
        options.silence_timeout = Duration::from_secs(self.timeout.max(1));
        options.parallel = self.jobs.max(1);
        Ok(options)
    }

    /// A client that does as the flags and the environment say.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(self.options()?)?)
    }
}
