//! A user without privileges, with ids of its own to give to containers, whom `tests/setup` makes.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::Runtime;

const NAME: &str = "keel-tests";

/// The user.
#[derive(Debug, Clone)]
pub struct OrdinaryUser {
    /// Its user id.
    pub uid: u32,
    /// Its group id.
    pub gid: u32,
    /// The first of the 65536 user ids that it may map.
    pub first_subuid: u32,
    /// The first of the 65536 group ids that it may map.
    pub first_subgid: u32,
}

impl OrdinaryUser {
    /// Looks the user up.
    ///
    /// # Panics
    /// `tests/setup` was not run.
    pub fn of_the_machine() -> Self {
        let field = |file: &str, index: usize| -> u32 {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.split(':').next() == Some(NAME));
            let field = line.and_then(|line| line.split(':').nth(index)?.parse().ok());
            field.unwrap_or_else(|| panic!("{NAME} is not in {file}: run tests/setup"))
        };
        Self {
            uid: field("/etc/passwd", 2),
            gid: field("/etc/passwd", 3),
            first_subuid: field("/etc/subuid", 1),
            first_subgid: field("/etc/subgid", 1),
        }
    }

    /// Mappings that make the user root and give it as many other ids as it may have.
    pub fn map_all(&self, config: &mut Value) {
        let map = |own: u32, first: u32| {
            json!([
                {"containerID": 0, "hostID": own, "size": 1},
                {"containerID": 1, "hostID": first, "size": 65536},
            ])
        };
        config["linux"]["uidMappings"] = map(self.uid, self.first_subuid);
        config["linux"]["gidMappings"] = map(self.gid, self.first_subgid);
    }

    /// A command that the user gives, without root's groups, capabilities and environment.
    pub fn runs(&self, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &self.uid.to_string(), "--regid", &self.gid.to_string()]);
        command.args(["--clear-groups", "--inh-caps=-all"]).arg(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("XDG_") {
                command.env_remove(name);
            }
        }
        command.env("USER", NAME).env("HOME", "/nonexistent");
        command
    }

    /// The runtime, called by the user.
    pub fn command(&self, runtime: &Runtime) -> Command {
        self.runs(runtime.path())
    }

    /// Gives the user a file or folder.
    pub fn owns(&self, path: &Path) {
        chown(path, Some(self.uid), Some(self.gid)).expect("chown");
    }

    /// Gives the user a folder and those below it. Files stay: they are links to others' files.
    pub fn owns_folders(&self, path: &Path) {
        self.owns(path);
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.owns_folders(&entry.path());
            }
        }
    }
}
