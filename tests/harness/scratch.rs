//! A folder of its own for each test, removed at its end, and never through a mount.

use std::fs;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A temporary folder that every user may enter, so that a mapped root of a container can reach it.
///
/// `KEEL_TESTS_KEEP=1` leaves it on disk to be looked at.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    name: String,
}

impl Scratch {
    /// Makes the folder. Its name is unique on the machine while the test process lives, and of a fixed width,
    /// so that no name stands in another one.
    pub fn new() -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("keel-tests-{}-{number:04}", std::process::id());
        let path = std::env::temp_dir().join(&name);
        // A test process that was killed may have had the same pid.
        remove(&path);
        fs::create_dir_all(&path).expect("a temporary folder can be made");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
        Self { path, name }
    }

    /// The folder's unique name, which serves as container id and cgroup name too.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Scratch {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::env::var_os("KEEL_TESTS_KEEP").is_some() {
            return;
        }
        remove(&self.path);
    }
}

/// Unmounts what is mounted below, then removes the folder; a mount that stays keeps the folder.
fn remove(path: &Path) {
    if !path.exists() {
        return;
    }
    for mount in crate::leftovers::mounts_below(path).iter().rev() {
        let _ = Command::new("umount").arg("-l").arg(mount).status();
    }
    if crate::leftovers::mounts_below(path).is_empty() {
        let _ = fs::remove_dir_all(path);
    }
}
