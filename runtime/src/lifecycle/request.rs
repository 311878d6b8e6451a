//! What create, run and restore are asked for, and the config that it names.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::error::RuntimeError;
use crate::config::error::{ConfigError, ConfigErrors, Kind};
use crate::config::load::{Document, load};
use crate::config::spec::Spec;
use crate::container::id::ContainerId;

/// What create and run are asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The new container's id.
    pub id: ContainerId,
    /// Where the states of containers are.
    pub root: PathBuf,
    /// The bundle.
    pub bundle: PathBuf,
    /// The config, where it is not the bundle's `config.json`.
    pub config: Option<PathBuf>,
    /// The file to write the pid to.
    pub pid_file: Option<PathBuf>,
    /// The socket that is sent a pidfd of the container process.
    pub pidfd_socket: Option<PathBuf>,
    /// Enter the root by chroot(2).
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// How many sockets from 3 on were handed to this program to be listened at (sd_listen_fds(3)): the
    /// container's program inherits them.
    pub listen_fds: u32,
    /// How many descriptors after them the program inherits.
    pub preserve_fds: u32,
    /// The socket of the manager that waits for the program to be ready (sd_notify(3)).
    pub notify_socket: Option<OsString>,
    /// Whether cgroups that may not be written to are tolerated; `None` decides by privilege.
    pub rootless: Option<bool>,
    /// The cgroups are systemd's to make.
    pub systemd_cgroup: bool,
}

impl Request {
    /// A container from a bundle, and nothing beyond what its config says.
    #[must_use]
    pub fn new(id: ContainerId, root: impl Into<PathBuf>, bundle: impl Into<PathBuf>) -> Self {
        Self {
            id,
            root: root.into(),
            bundle: bundle.into(),
            config: None,
            pid_file: None,
            pidfd_socket: None,
            no_pivot: false,
            no_new_keyring: false,
            listen_fds: 0,
            preserve_fds: 0,
            notify_socket: None,
            rootless: None,
            systemd_cgroup: false,
        }
    }
}

/// A config as it was read: the file and its meaning.
#[derive(Debug)]
pub struct Loaded {
    pub(super) document: Document,
    /// The meaning.
    pub spec: Spec,
    pub(super) warnings: Vec<String>,
}

/// Reads and checks the config of a request.
///
/// # Errors
/// [`RuntimeError::Load`] or [`RuntimeError::Config`], with all findings.
pub fn load_config(bundle: &Path, config: Option<&Path>) -> Result<Loaded, RuntimeError> {
    let path = config.map_or_else(|| bundle.join("config.json"), Path::to_owned);
    let document = load(&path)?;
    let checked = Spec::from_json(document.json()?)?;
    let spec = checked.value;
    let missing = match &spec.process {
        None => Some("process"),
        Some(process) if process.args.is_empty() => Some("process.args"),
        Some(_) => None,
    };
    if let Some(field) = missing {
        let detail = "there is nothing to run".to_owned();
        let error = ConfigError { field: field.to_owned(), kind: Kind::Missing, detail };
        return Err(ConfigErrors(vec![error]).into());
    }
    Ok(Loaded { document, spec, warnings: checked.warnings })
}
