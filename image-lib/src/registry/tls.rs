//! Whom to trust: the system's authorities, and what the `certs.d` folders of docker's and containers'
//! tools add for one host: `*.crt` are authorities, `NAME.cert` with `NAME.key` what this client shows.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig};

use super::RegistryError;

/// The most bytes of a file of certificates; the system's has some 250 thousand.
const PEM_BYTES_MAX: u64 = 8 << 20;
/// The system's authorities: the first of these that exists.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What is added for one host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct HostTls {
    /// Files with authorities, in PEM.
    pub authorities: Vec<PathBuf>,
    /// A certificate of this client and its key, in PEM.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Is any certificate taken?
    pub is_unverified: bool,
}

impl HostTls {
    /// Adds what a `certs.d` folder of a host has; nothing if there is none.
    ///
    /// # Errors
    /// The folder cannot be read, or has a certificate without its key.
    pub fn add_folder(&mut self, host: &str, folder: &Path) -> Result<(), RegistryError> {
        let failed = |path: &Path, reason: String| RegistryError::Certificate {
            host: host.to_owned(),
            path: path.to_owned(),
            reason,
        };
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(|error| failed(folder, error.to_string()))?,
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => self.authorities.push(path),
                Some("cert") => {
                    let key = path.with_extension("key");
                    if !key.is_file() {
                        return Err(failed(&path, format!("its key {key:?} is missing")));
                    }
                    self.client = Some((path, key));
                }
                Some("key") if !path.with_extension("cert").is_file() => {
                    let reason = "its certificate, which ends in .cert, is missing".to_owned();
                    return Err(failed(&path, reason));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The authorities of the system, read once, and only if they are needed.
#[derive(Debug, Default)]
pub(super) struct Trust {
    system: OnceLock<Arc<Vec<Certificate<'static>>>>,
    provider: OnceLock<Arc<CryptoProvider>>,
}

impl Trust {
    /// How TLS is spoken with `host`.
    pub(super) fn config(&self, host: &str, tls: &HostTls) -> Result<TlsConfig, RegistryError> {
        let provider =
            self.provider.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider()));
        let system = self.system.get_or_init(|| Arc::new(system_authorities()));
        let mut roots = Arc::clone(system);
        if !tls.authorities.is_empty() {
            let mut all = Vec::clone(system);
            for path in &tls.authorities {
                all.extend(certificates(host, path)?);
            }
            roots = Arc::new(all);
        }
        let client = match &tls.client {
            Some((certificate, key)) => Some(client(host, certificate, key, provider)?),
            None => None,
        };
        Ok(TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::clone(provider))
            .root_certs(RootCerts::Specific(roots))
            .client_cert(client)
            .disable_verification(tls.is_unverified)
            .build())
    }
}

fn read(host: &str, path: &Path) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = Vec::new();
    let read =
        fs::File::open(path).and_then(|file| file.take(PEM_BYTES_MAX).read_to_end(&mut bytes));
    read.map_err(|error| RegistryError::Certificate {
        host: host.to_owned(),
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(bytes)
}

fn certificates(host: &str, path: &Path) -> Result<Vec<Certificate<'static>>, RegistryError> {
    let found = parse(&read(host, path)?);
    if found.is_empty() {
        let (host, path) = (host.to_owned(), path.to_owned());
        let reason = "it has no certificate in PEM".to_owned();
        return Err(RegistryError::Certificate { host, path, reason });
    }
    Ok(found)
}

fn parse(pem: &[u8]) -> Vec<Certificate<'static>> {
    let items = ureq::tls::parse_pem(pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    items.collect()
}

fn client(
    host: &str,
    certificate: &Path,
    key: &Path,
    provider: &Arc<CryptoProvider>,
) -> Result<ClientCert, RegistryError> {
    let failed = |path: &Path, reason: String| RegistryError::Certificate {
        host: host.to_owned(),
        path: path.to_owned(),
        reason,
    };
    let chain = certificates(host, certificate)?;
    let pem = read(host, key)?;
    let private = PrivateKey::from_pem(&pem).map_err(|error| failed(key, error.to_string()))?;
    // The client would not survive a pair that does not fit.
    let der = chain.iter().map(|c| rustls::pki_types::CertificateDer::from(c.der().to_vec()));
    let secret = rustls::pki_types::PrivateKeyDer::try_from(private.der().to_vec())
        .map_err(|reason| failed(key, reason.to_owned()))?;
    rustls::sign::CertifiedKey::from_der(der.collect(), secret, provider)
        .map_err(|error| failed(key, format!("it does not belong to {certificate:?}: {error}")))?;
    Ok(ClientCert::new_with_certs(&chain, private))
}

/// What `SSL_CERT_FILE` and `SSL_CERT_DIR` name, otherwise the usual places. What cannot be read or
/// parsed is left out: one bad file among hundreds must not stop everything.
fn system_authorities() -> Vec<Certificate<'static>> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let file = variable("SSL_CERT_FILE").map(PathBuf::from);
    let folders = variable("SSL_CERT_DIR");
    let is_chosen = file.is_some() || folders.is_some();
    let mut found = Vec::new();
    let files = file.map_or_else(
        || BUNDLES.iter().map(PathBuf::from).filter(|_| !is_chosen).collect(),
        |file| vec![file],
    );
    for path in files {
        found.extend(read("", &path).map(|pem| parse(&pem)).unwrap_or_default());
        if !found.is_empty() {
            break;
        }
    }
    let folders: Vec<PathBuf> = match folders {
        Some(list) => std::env::split_paths(&list).collect(),
        None if found.is_empty() && !is_chosen => vec![PathBuf::from("/etc/ssl/certs")],
        None => Vec::new(),
    };
    for folder in folders {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            found.extend(read("", &entry.path()).map(|pem| parse(&pem)).unwrap_or_default());
        }
    }
    found
}
