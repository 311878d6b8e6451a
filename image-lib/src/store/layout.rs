//! Where things are in a store.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::At;
use super::{StoreError, scratch};
use crate::identity::Digest;
use crate::layer::Limits;

const LAYOUT: &[u8] = b"{\"imageLayoutVersion\":\"1.0.0\"}";

/// A store of images on disk. It may be opened any number of times, by any number of processes.
#[derive(Debug, Clone)]
pub struct Store {
    path: PathBuf,
    limits: Limits,
}

impl Store {
    /// Opens the store at `path`, which is made if it does not exist, and removes what dead
    /// processes have left in it. An image layout that another tool has made is a store too.
    ///
    /// # Errors
    /// The folder cannot be used, or is something else.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        // Traversable for all, since a container's user must reach its root; what is inside is not.
        make_directory(path, 0o711)?;
        let path = fs::canonicalize(path).at("open", path)?;
        for (name, mode) in [
            // Layers hold files that only root may read.
            ("blobs", 0o700),
            ("blobs/sha256", 0o755),
            // Set-user-id programs of images must not be reachable.
            ("layers", 0o700),
            ("retained", 0o700),
            ("partial", 0o700),
            // Whoever can open a file can lock it, and so stop all others.
            ("locks", 0o700),
            ("tmp", 0o711),
        ] {
            make_directory(&path.join(name), mode)?;
        }
        let store = Self { path, limits: Limits::default() };
        store.check_layout()?;
        scratch::remove_abandoned(&store)?;
        Ok(store)
    }

    /// Where the store of this user is: `$KEEL_IMAGE_ROOT`, otherwise `/var/lib/keel` for root and
    /// `$XDG_DATA_HOME/keel` or `~/.local/share/keel` for others.
    #[must_use]
    pub fn default_root() -> PathBuf {
        let variable = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        if let Some(root) = variable("KEEL_IMAGE_ROOT") {
            return root;
        }
        if rustix::process::geteuid().is_root() {
            return PathBuf::from("/var/lib/keel");
        }
        let data = variable("XDG_DATA_HOME");
        let data = data.or_else(|| variable("HOME").map(|home| home.join(".local/share")));
        data.unwrap_or_else(|| PathBuf::from(".")).join("keel")
    }

    /// The same store with other bounds for the layers that it takes.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The store's folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder of the store for what a build remembers: it may be removed at any time, and garbage
    /// collection leaves it alone. It is not made here.
    #[must_use]
    pub fn cache_directory(&self) -> PathBuf {
        self.path.join("cache")
    }

    /// Can this process make the devices and attributes that unpacked layers need?
    pub(crate) fn can_unpack(&self) -> bool {
        rustix::process::geteuid().is_root()
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.path.join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    fn check_layout(&self) -> Result<(), StoreError> {
        let path = self.path.join("oci-layout");
        match fs::read(&path) {
            Ok(bytes) => {
                let value: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
                let version = value.as_ref().and_then(|v| v.get("imageLayoutVersion"));
                match version.and_then(serde_json::Value::as_str) {
                    Some("1.0.0") => Ok(()),
                    _ => Err(StoreError::Layout { path }),
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.replace_file("oci-layout", LAYOUT)
            }
            Err(error) => Err(error).at("read", &path),
        }
    }

    /// Makes sure that the names of all blobs outlive a power cut, before something refers to them.
    pub(super) fn sync_blob_names(&self) -> Result<(), StoreError> {
        for algorithm in ["sha256", "sha512"] {
            let path = self.path.join("blobs").join(algorithm);
            if let Ok(folder) = fs::File::open(&path) {
                folder.sync_all().at("write", &path)?;
            }
        }
        Ok(())
    }

    /// Gives the file `name` of the store new content: all of it or none, also after a power cut.
    pub(super) fn replace_file(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path.join(name);
        // What a killed process leaves is removed with its directory.
        let scratch = self.scratch()?;
        let temporary = scratch.path().join("new");
        let written = (|| {
            let mut options = fs::OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o644).open(&temporary)?;
            file.write_all(bytes)?;
            file.sync_data()?;
            fs::rename(&temporary, &path)?;
            fs::File::open(path.parent().unwrap_or(&self.path))?.sync_all()
        })();
        written.at("write", &path)
    }
}

pub(super) fn make_directory(path: &Path, mode: u32) -> Result<(), StoreError> {
    fs::DirBuilder::new().recursive(true).mode(mode).create(path).at("create", path)
}
