//! A store of keel-image in a folder of its own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Moved, OrdinaryUser, Outcome, Runtime, Scratch, fixture, output_within, program};

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

    /// A store with the image `busybox:1`, and beside it the folder `context` with this Dockerfile.
    #[track_caller]
    pub fn with_dockerfile(dockerfile: &str) -> Self {
        let store = Self::new();
        store.import(&fixture("busybox.tar"), "busybox:1").succeeds();
        std::fs::create_dir(store.beside("context")).expect("a folder");
        std::fs::write(store.beside("context/Dockerfile"), dockerfile).expect("a file");
        store
    }

    /// Builds that folder with these flags.
    #[track_caller]
    pub fn build(&self, flags: &[&str]) -> Outcome {
        self.call(&[&["build"], flags, &["context"]].concat())
    }

    /// The store's folder, given to every command as `--root`.
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
        command.arg("--root").arg(self.path()).args(args).current_dir(&*self.scratch);
        command
    }

    /// A command of keel-image that an ordinary user gives, on a store in `home`, which is made and the user's.
    pub fn command_of<S: AsRef<OsStr>>(&self, user: &OrdinaryUser, args: &[S]) -> Command {
        let home = self.beside("home");
        if !home.exists() {
            std::fs::create_dir(&home).expect("a folder");
            user.owns(&home);
        }
        let mut command = user.runs(&program("keel-image"));
        command.arg("--root").arg(home.join("store")).args(args).current_dir(&*self.scratch);
        command.env("HOME", home);
        command
    }

    /// Runs a command of keel-image.
    pub fn call<S: AsRef<OsStr>>(&self, args: &[S]) -> Outcome {
        self.finish(self.command(args))
    }

    /// Runs a command of keel-image that must succeed; how many bytes it read and wrote.
    #[track_caller]
    pub fn moved<S: AsRef<OsStr>>(&self, args: &[S]) -> Moved {
        let mut command = self.command(args);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Moved::by(command)
    }

    /// Runs any program in this test's folder; it must succeed.
    #[track_caller]
    pub fn tool<S: AsRef<OsStr>>(&self, program: &str, args: &[S]) -> Outcome {
        let mut command = Command::new(program);
        command.args(args).current_dir(&*self.scratch);
        self.finish(command).succeeds()
    }

    /// Imports a root file system archive under a name.
    #[track_caller]
    pub fn import(&self, archive: &Path, name: &str) -> Outcome {
        self.call(&["import", text(archive), name])
    }

    /// Makes the bundle of an image and runs it once with a runtime; what it printed.
    ///
    /// The bundle is used for one run only and is deleted with its mount by the scratch folder.
    #[track_caller]
    pub fn run_on(&self, runtime: &str, image: &str, args: &[&str]) -> Outcome {
        let bundle = self.bundle(image, args);
        let id = bundle.file_name().expect("a name").to_string_lossy().into_owned();
        let mut command = Runtime::named(runtime).command();
        command.arg("--root").arg(self.beside("state")).arg("run").arg("-b").arg(&bundle).arg(id);
        self.finish(command)
    }

    /// A fresh bundle of an image, beside the store, with a command in place of the image's unless it is empty.
    #[track_caller]
    pub fn bundle(&self, image: &str, args: &[&str]) -> PathBuf {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = self.beside(&format!("{}-b{number}", self.name()));
        let mut words = vec!["bundle", image, text(&path)];
        words.extend_from_slice(args);
        self.call(&words).succeeds();
        path
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

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are text")
}
