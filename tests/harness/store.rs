//! A store of keel-image in a folder of its own.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use crate::{Outcome, Scratch, output_within, program};

/// One image store and the commands on it.
#[derive(Debug)]
pub struct ImageStore {
    scratch: Scratch,
}

impl ImageStore {
    /// An empty store.
    pub fn new() -> Self {
        let scratch = Scratch::new();
        std::fs::create_dir(scratch.join("io")).expect("a folder for streams");
        Self { scratch }
    }

    /// The store's folder, given to every command as `--store`.
    pub fn path(&self) -> PathBuf {
        self.scratch.join("store")
    }

    /// A path beside the store.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// A unique name, for containers of this test.
    pub fn name(&self) -> &str {
        self.scratch.name()
    }

    /// A command of keel-image on this store, not yet started.
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(program("keel-image"));
        command.arg("--store").arg(self.path()).args(args).current_dir(&*self.scratch);
        command
    }

    /// Runs a command of keel-image.
    pub fn call<S: AsRef<OsStr>>(&self, args: &[S]) -> Outcome {
        self.finish(self.command(args))
    }

    /// Runs any prepared command in this test's folder.
    pub fn finish(&self, command: Command) -> Outcome {
        output_within(command, &self.scratch.join("io"), None)
    }
}

impl Default for ImageStore {
    fn default() -> Self {
        Self::new()
    }
}
