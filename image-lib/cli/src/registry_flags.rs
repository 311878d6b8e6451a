//! The flags of all commands that speak to a registry.
//!
//! [`RegistryFlags`] say how registries are reached, [`AccessFlags`] also as whom, and [`SideFlags`] what is
//! otherwise at either end of a copy.

use std::path::PathBuf;
use std::time::Duration;

use keel_image::auth::{Credential, Keyring};
use keel_image::reference::Reference;
use keel_image::registry::{Client, Options, RetryPolicy};

use crate::failure::Failure;
use crate::login;

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
    #[arg(long, alias = "retry-times", value_name = "N")]
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
}

/// The flags of commands that speak to one registry.
#[derive(Debug, clap::Args)]
pub(crate) struct AccessFlags {
    #[command(flatten)]
    registry: RegistryFlags,
    /// The user, in place of all that is kept; without a password it is asked for
    #[arg(long, value_name = "USER[:PASSWORD]", conflicts_with = "no_creds")]
    creds: Option<String>,
    /// Use no credentials
    #[arg(long)]
    no_creds: bool,
}

impl AccessFlags {
    /// What the flags and the environment say, for the registry with this domain.
    pub(crate) fn options(&self, domain: &str) -> Result<Options, Failure> {
        with_user(self.registry.options()?, domain, self.creds.as_deref(), self.no_creds)
    }

    /// A client that does so.
    pub(crate) fn client(&self, domain: &str) -> Result<Client, Failure> {
        Ok(Client::new(self.options(domain)?)?)
    }
}

/// What is otherwise at either end of a copy.
#[derive(Debug, clap::Args)]
pub(crate) struct SideFlags {
    #[command(flatten)]
    registry: RegistryFlags,
    /// The user at the source; without a password it is asked for
    #[arg(long, value_name = "USER[:PASSWORD]", conflicts_with = "src_no_creds")]
    src_creds: Option<String>,
    /// The user at the destination
    #[arg(long, value_name = "USER[:PASSWORD]", conflicts_with = "dest_no_creds")]
    dest_creds: Option<String>,
    /// Use no credentials at the source
    #[arg(long)]
    src_no_creds: bool,
    /// Use no credentials at the destination
    #[arg(long)]
    dest_no_creds: bool,
    /// Read the credentials for the source in this file
    #[arg(long, value_name = "FILE")]
    src_authfile: Option<PathBuf>,
    /// Read the credentials for the destination in this file
    #[arg(long, value_name = "FILE")]
    dest_authfile: Option<PathBuf>,
    /// A folder with certificates for the source
    #[arg(long, value_name = "DIR")]
    src_cert_dir: Option<PathBuf>,
    /// A folder with certificates for the destination
    #[arg(long, value_name = "DIR")]
    dest_cert_dir: Option<PathBuf>,
    /// Verify the source's certificates
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    src_tls_verify: Option<bool>,
    /// Verify the destination's certificates
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    dest_tls_verify: Option<bool>,
    /// Use the source without TLS
    #[arg(long)]
    src_plain_http: bool,
    /// Use the destination without TLS
    #[arg(long)]
    dest_plain_http: bool,
}

impl SideFlags {
    /// A client for the registry that an image comes from.
    pub(crate) fn source(&self, reference: &Reference) -> Result<Client, Failure> {
        let options = self.side(
            self.src_authfile.as_ref(),
            self.src_cert_dir.as_ref(),
            self.src_tls_verify,
            self.src_plain_http,
        )?;
        let user = self.src_creds.as_deref();
        Ok(Client::new(with_user(options, reference.domain(), user, self.src_no_creds)?)?)
    }

    /// A client for the registry that an image goes to.
    pub(crate) fn destination(&self, reference: &Reference) -> Result<Client, Failure> {
        let options = self.side(
            self.dest_authfile.as_ref(),
            self.dest_cert_dir.as_ref(),
            self.dest_tls_verify,
            self.dest_plain_http,
        )?;
        let user = self.dest_creds.as_deref();
        Ok(Client::new(with_user(options, reference.domain(), user, self.dest_no_creds)?)?)
    }

    /// The flags for both, with those of one side over them.
    fn side(
        &self,
        authfile: Option<&PathBuf>,
        cert_dir: Option<&PathBuf>,
        tls_verify: Option<bool>,
        plain_http: bool,
    ) -> Result<Options, Failure> {
        let mut options = self.registry.options()?;
        if let Some(path) = authfile {
            options.keyring = Keyring::of_file(path);
        }
        if cert_dir.is_some() {
            options.cert_dir = cert_dir.cloned();
        }
        options.verify = tls_verify.unwrap_or(options.verify);
        options.plain_http |= plain_http;
        Ok(options)
    }
}

/// The options with a user for a registry, or with nobody.
fn with_user(
    mut options: Options,
    domain: &str,
    user: Option<&str>,
    nobody: bool,
) -> Result<Options, Failure> {
    if nobody {
        options.keyring = Keyring::empty();
    }
    if let Some(user) = user {
        let (name, password) = match user.split_once(':') {
            Some((name, password)) => (name.to_owned(), password.to_owned()),
            None => (user.to_owned(), login::ask_password(user)?),
        };
        options.keyring = options.keyring.with(domain, Credential::password(name, password));
    }
    Ok(options)
}
