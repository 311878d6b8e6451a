//! A containerd of a test's own: its root, state and socket are in the test's folder, and the machine's, if there
//! is one, knows nothing of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Child, Outcome, Scratch, eventually, output_within, path_with_binaries};

/// A running containerd, which unpacks images with overlayfs and finds the shims of this build.
#[derive(Debug)]
pub struct Containerd {
    child: Option<Child>,
    scratch: Scratch,
    /// In a network namespace of its own, for the pods' networks.
    apart: bool,
}

impl Containerd {
    /// Starts it.
    #[track_caller]
    pub fn start() -> Self {
        // The second would make a folder in /opt.
        let text = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\", \
                    \"io.containerd.internal.v1.opt\"]\n";
        Self::begun(false, |_| text.to_owned())
    }

    /// Starts it with CRI and this configuration, in a network namespace of its own.
    #[track_caller]
    pub fn with_pods(config: impl FnOnce(&Path) -> String) -> Self {
        Self::begun(true, config)
    }

    #[track_caller]
    fn begun(apart: bool, config: impl FnOnce(&Path) -> String) -> Self {
        let scratch = Scratch::new();
        fs::create_dir(scratch.join("io")).expect("a folder for streams");
        fs::write(scratch.join("config.toml"), config(&scratch)).expect("a file");
        let mut containerd = Self { child: None, scratch, apart };
        containerd.begin();
        containerd
    }

    /// (1, 6) or (2, 1).
    ///
    /// # Panics
    /// There is no containerd.
    pub fn version(&self) -> (u32, u32) {
        let output = Command::new("containerd").arg("--version").output().expect("containerd");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let numbers = |word: &str| {
            let mut parts = word.split('.').map(|part| part.parse().ok());
            Some((parts.next()??, parts.next()??))
        };
        let version = said.split_whitespace().find_map(numbers);
        version.unwrap_or_else(|| panic!("no version in {said:?}"))
    }

    #[track_caller]
    fn begin(&mut self) {
        let folder = &self.scratch;
        let log = fs::OpenOptions::new().append(true).create(true).open(folder.join("log"));
        let log = log.expect("a log");
        let mut command = Command::new(if self.apart { "unshare" } else { "containerd" });
        if self.apart {
            let script = "ip link set lo up && exec containerd \"$@\"";
            command.args(["--net", "sh", "-c", script, "sh"]);
        }
        command.arg("--config").arg(folder.join("config.toml")).env("PATH", path_with_binaries());
        command.arg("--root").arg(folder.join("root")).arg("--state").arg(folder.join("state"));
        command.arg("--address").arg(self.address()).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a descriptor")).stderr(log);
        self.child = Some(Child::start(command));
        eventually("containerd answers", || {
            let answer = self.command(&["version"]).output().ok()?;
            answer.status.success().then_some(())
        });
    }

    /// Ends it by SIGKILL and starts it again, while its containers run.
    pub fn restart(&mut self) {
        self.restart_after(|| ());
    }

    /// The same, with something that happens while there is none.
    pub fn restart_after(&mut self, meanwhile: impl FnOnce()) {
        self.child = None;
        meanwhile();
        self.begin();
    }

    /// Its pid.
    ///
    /// # Panics
    /// It does not run.
    pub fn pid(&self) -> i32 {
        self.child.as_ref().expect("it runs").pid()
    }

    /// The folder that all of it is in.
    pub fn folder(&self) -> &Path {
        &self.scratch
    }

    /// What it and its shims logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.join("log")).unwrap_or_default()
    }

    /// A command of ctr, not yet started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(self.address()).args(args).env("PATH", path_with_binaries());
        command
    }

    /// Runs a command of ctr, with an input if there is one.
    pub fn ctr(&self, args: &[&str], input: Option<&str>) -> Outcome {
        output_within(self.command(args), &self.scratch.join("io"), input)
    }

    /// Where the files of `image` are seen, read-only, as long as this containerd lives.
    #[track_caller]
    pub fn tree(&self, image: &str) -> PathBuf {
        let target = self.scratch.join(image.replace(['/', ':', '@'], "_"));
        fs::create_dir_all(&target).expect("a folder");
        self.ctr(&["images", "mount", image, &target.to_string_lossy()], None).succeeds();
        target
    }

    fn address(&self) -> PathBuf {
        self.scratch.join("containerd.sock")
    }
}
