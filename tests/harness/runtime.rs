//! The runtime under test: which program, and what must stand before it on this machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program;

/// Hides the version 2 mount, then becomes the command: crun starts no container where controllers stand on
/// both versions. The mount namespace still receives the host's mounts, as the host's own would.
const WITHOUT_UNIFIED: &str = "umount /sys/fs/cgroup/unified && exec \"$0\" \"$@\"";

/// A program with runc's command line.
#[derive(Debug, Clone)]
pub struct Runtime {
    name: String,
    path: PathBuf,
}

impl Runtime {
    /// The runtime that `RUNTIME` names; keel when it is unset.
    pub fn under_test() -> Self {
        Self::named(&std::env::var("RUNTIME").unwrap_or_else(|_| "keel".to_owned()))
    }

    /// A runtime by name (`keel`, `runc`, `crun`) or path.
    pub fn named(name: &str) -> Self {
        let path = match name {
            "keel" => program("keel"),
            other if other.contains('/') => {
                std::path::absolute(other).expect("a working directory")
            }
            other => find_in_path(other),
        };
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        Self { name: name.unwrap_or_default(), path }
    }

    /// Whether its file name is the given one.
    pub fn is(&self, name: &str) -> bool {
        self.name == name
    }

    /// The file name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The program's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A command that starts it, within a private mount namespace where it needs one.
    pub fn command(&self) -> Command {
        if !self.is("crun") || !hybrid_cgroups() {
            return Command::new(&self.path);
        }
        let mut command = Command::new("unshare");
        command.args(["-m", "--propagation", "slave", "sh", "-c", WITHOUT_UNIFIED]);
        command.arg::<OsString>(self.path.clone().into());
        command
    }
}

/// Whether cgroup version 2 is mounted beside version 1.
fn hybrid_cgroups() -> bool {
    Path::new("/sys/fs/cgroup/unified/cgroup.controllers").exists()
}

fn find_in_path(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed: `tests/setup` installs it"))
}
