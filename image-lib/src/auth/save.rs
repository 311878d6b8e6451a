//! What `login` and `logout` do to a file of credentials: all else in it stays, nobody else can read
//! it, and it changes as a whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::FlockOperation;
use serde_json::{Map, Value, json};

use super::file::{DOCKER_IO_KEY, keys_of, server_of};
use super::program::Helper;
use super::{AuthError, AuthFile, Credential};

/// Where a credential has been put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// Into the file, where everybody who can read it can read the password.
    InFile(PathBuf),
    /// Into the keeping of a credential helper.
    ByHelper(String),
}

impl AuthFile {
    /// The file that `login` writes: `$REGISTRY_AUTH_FILE`, else docker's.
    ///
    /// # Errors
    /// Nothing says where the user's home is.
    pub fn default_path() -> Result<PathBuf, AuthError> {
        let path = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        path("REGISTRY_AUTH_FILE")
            .or_else(|| path("DOCKER_CONFIG").map(|folder| folder.join("config.json")))
            .or_else(|| path("HOME").map(|home| home.join(".docker/config.json")))
            .ok_or(AuthError::NoPlace)
    }

    /// Keeps `credential` for `registry` in the file at `path`, or with the helper that the file
    /// names.
    ///
    /// # Errors
    /// The file cannot be read or written; the helper fails.
    pub fn login(path: &Path, registry: &str, credential: &Credential) -> Result<Kept, AuthError> {
        let (username, secret) = match credential {
            Credential::Password { username, password } => (username.as_str(), password.reveal()),
            Credential::IdentityToken(token) => ("<token>", token.reveal()),
            Credential::RegistryToken(token) => ("", token.reveal()),
        };
        let mut kept = Kept::InFile(path.to_owned());
        update(path, |file| {
            let helper = file.helper_of(registry).map(str::to_owned);
            let entry = match (&helper, credential) {
                (Some(name), _) => {
                    let helper = Helper::new(name)?;
                    helper.store(&server_of(registry), username, secret)?;
                    kept = Kept::ByHelper(name.clone());
                    // Says that somebody has logged in, as docker does.
                    json!({})
                }
                (None, Credential::Password { .. }) => {
                    json!({ "auth": STANDARD.encode(format!("{username}:{secret}")) })
                }
                (None, Credential::IdentityToken(_)) => json!({ "identitytoken": secret }),
                (None, Credential::RegistryToken(_)) => json!({ "registrytoken": secret }),
            };
            let auths = auths(file, path)?;
            let key = keys_of(auths, registry).into_iter().next();
            let key = key.unwrap_or_else(|| match registry {
                "docker.io" => DOCKER_IO_KEY.to_owned(),
                other => other.to_owned(),
            });
            auths.insert(key, entry);
            Ok(())
        })?;
        Ok(kept)
    }

    /// Forgets what the file at `path` and its helper keep for `registry`; false if they kept
    /// nothing.
    ///
    /// # Errors
    /// As [`AuthFile::login`].
    pub fn logout(path: &Path, registry: &str) -> Result<bool, AuthError> {
        let mut found = false;
        if Self::open(path)?.is_none() {
            return Ok(false);
        }
        update(path, |file| {
            if let Some(name) = file.helper_of(registry) {
                found |= Helper::new(name)?.erase(&server_of(registry))?;
            }
            let auths = auths(file, path)?;
            for key in keys_of(auths, registry) {
                auths.remove(&key);
                found = true;
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Forgets all registries of the file at `path`; returns their names.
    ///
    /// # Errors
    /// As [`AuthFile::logout`].
    pub fn logout_all(path: &Path) -> Result<Vec<String>, AuthError> {
        let Some(file) = Self::open(path)? else { return Ok(Vec::new()) };
        let names: Vec<String> = file.registries().into_iter().map(str::to_owned).collect();
        for name in &names {
            Self::logout(path, name)?;
        }
        Ok(names)
    }
}

fn auths<'a>(file: &'a mut AuthFile, path: &Path) -> Result<&'a mut Map<String, Value>, AuthError> {
    let auths = file.document.entry("auths").or_insert_with(|| json!({}));
    auths.as_object_mut().ok_or_else(|| AuthError::Form {
        path: path.to_owned(),
        reason: "\"auths\" is no object".to_owned(),
    })
}

/// Changes the file under a lock; the folder is what is locked, because the file is replaced.
fn update(
    path: &Path,
    change: impl FnOnce(&mut AuthFile) -> Result<(), AuthError>,
) -> Result<(), AuthError> {
    // Whoever keeps the file elsewhere has a link here, which stays one.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let failed = |operation| {
        move |source: io::Error| AuthError::Io { operation, path: path.clone(), source }
    };
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("create"))?;
    let lock = File::open(folder).map_err(failed("open"))?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive)
        .map_err(|errno| failed("lock")(errno.into()))?;
    let mut file = AuthFile::open(path)?.unwrap_or_default();
    let before = file.document.clone();
    change(&mut file)?;
    if file.document == before && path.exists() {
        return Ok(());
    }
    let mut text =
        serde_json::to_vec_pretty(&file.document).map_err(|error| failed("write")(error.into()))?;
    text.push(b'\n');
    replace(folder, path, &text).map_err(failed("write"))
}

fn replace(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Only one process writes at a time, so the name is free or was left by a dead one.
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".keel-new");
    let temporary = folder.join(name);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = (|| {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        // Not there any more if the rename succeeded.
        let _ = fs::remove_file(&temporary);
    }
    written
}
