//! The rootfs that a step works on: the layers so far with a fresh upper directory on top. What
//! the step changes ends in the upper directory, and that becomes the layer.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::error::StepError;
use crate::fsroot::{FsError, Root};
use crate::snapshot::{Mount, Overlay};
use crate::spec::Timestamp;
use crate::store::{CommitOptions, Layer, Scratch, Silent, Store};

/// A rootfs in the making. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Workspace {
    // Dropped in this order: nothing may be open when the mount goes, and nothing mounted when the
    // directories go.
    root: Root,
    mount: Option<Mount>,
    memory: Option<Mount>,
    scratch: Scratch,
    lowers: Vec<PathBuf>,
}

impl Workspace {
    /// A rootfs of `layers`. Without layers it is the upper directory alone: overlayfs needs
    /// something to lie over.
    ///
    /// # Errors
    /// A layer cannot be unpacked, or the overlay cannot be mounted.
    pub fn new(store: &Store, layers: &[Layer]) -> Result<Self, StepError> {
        let lowers = store.unpack(layers, &Silent)?;
        let scratch = store.scratch()?;
        for name in ["upper", "work", "rootfs"] {
            make_directory(&scratch.path().join(name))?;
        }
        let (root, mount) = open(&scratch, &lowers)?;
        Ok(Self { root, mount, memory: None, scratch, lowers })
    }

    /// The rootfs.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// A second handle on the rootfs.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn try_root(&self) -> Result<Root, StepError> {
        Ok(Root::open(&self.rootfs())?)
    }

    /// Where the rootfs is on the host.
    #[must_use]
    pub fn rootfs(&self) -> PathBuf {
        match self.mount {
            Some(_) => self.scratch.path().join("rootfs"),
            None => self.scratch.path().join("upper"),
        }
    }

    /// Where the changes are.
    #[must_use]
    pub fn upper(&self) -> PathBuf {
        self.scratch.path().join("upper")
    }

    /// The directory that holds everything.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// Where the runtime's bundle and state are to be: in memory, where there is some, because the variables in
    /// them may be secret.
    #[must_use]
    pub fn bundle(&self) -> &Path {
        self.memory.as_ref().map_or(self.scratch.path(), Mount::target)
    }

    /// Gives the workspace memory of at most `bytes_max` bytes, which no disk ever sees, until
    /// [`Workspace::forget`] or its own end.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub fn remember(&mut self, bytes_max: u64) -> Result<(), StepError> {
        let directory = self.directory("memory")?;
        self.memory = Some(Mount::memory(&directory, bytes_max)?);
        Ok(())
    }

    /// Gives the memory back with all that is in it.
    pub fn forget(&mut self) {
        self.memory = None;
    }

    /// A further directory that goes away with the workspace.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn directory(&self, name: &str) -> Result<PathBuf, StepError> {
        let path = self.scratch.path().join(name);
        make_directory(&path)?;
        Ok(path)
    }

    /// The same rootfs with one more layer between those so far and the upper directory: files
    /// that the step sees and that never end in its layer.
    ///
    /// # Errors
    /// The overlay cannot be mounted.
    pub fn with_lower(mut self, lower: PathBuf) -> Result<Self, StepError> {
        self.lowers.push(lower);
        let Self { root, mount, memory, scratch, lowers } = self;
        drop(root);
        if let Some(mount) = mount {
            mount.unmount()?;
        }
        let (root, mount) = open(&scratch, &lowers)?;
        Ok(Self { root, mount, memory, scratch, lowers })
    }

    /// Makes the changes a layer; `None` if there are none. With `epoch` no time in it is later.
    ///
    /// # Errors
    /// The layer cannot be written.
    pub fn commit(
        self,
        store: &Store,
        epoch: Option<Timestamp>,
    ) -> Result<Option<Layer>, StepError> {
        let Self { root, mount, memory, scratch, .. } = self;
        drop(memory);
        drop(root);
        if let Some(mount) = mount {
            mount.unmount()?;
        }
        let options = CommitOptions { epoch, ..CommitOptions::default() };
        Ok(store.commit_upper(&scratch.path().join("upper"), &options)?)
    }
}

fn open(scratch: &Scratch, lowers: &[PathBuf]) -> Result<(Root, Option<Mount>), StepError> {
    let upper = scratch.path().join("upper");
    if lowers.is_empty() {
        return Ok((Root::open(&upper)?, None));
    }
    let (work, target) = (scratch.path().join("work"), scratch.path().join("rootfs"));
    let overlay = Overlay { lowers, upper: Some((&upper, &work)) };
    let mount = overlay.mount(&target)?;
    Ok((Root::open(&target)?, Some(mount)))
}

/// The mode is set apart from the creation, so that the caller's umask does not show in images.
fn make_directory(path: &Path) -> Result<(), StepError> {
    let failed = |error| FsError::new("create directory", path, error);
    std::fs::create_dir(path).map_err(failed)?;
    let permissions = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path, permissions).map_err(failed)?;
    Ok(())
}
