//! A containerd of a test's own: its root, state and socket are in the test's folder, and the machine's, if there
//! is one, knows nothing of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Child, Outcome, Scratch, eventually, output_within};

/// A running containerd, which unpacks images with overlayfs.
#[derive(Debug)]
pub struct Containerd {
    _child: Child,
    scratch: Scratch,
}

impl Containerd {
    /// Starts it.
    #[track_caller]
    pub fn start() -> Self {
        let scratch = Scratch::new();
        fs::create_dir(scratch.join("io")).expect("a folder for streams");
        let config = scratch.join("config.toml");
        // The second would make a folder in /opt.
        let text = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\", \
                    \"io.containerd.internal.v1.opt\"]\n";
        fs::write(&config, text).expect("a file");
        let log = fs::File::create(scratch.join("log")).expect("a file");
        let mut command = Command::new("containerd");
        command.arg("--config").arg(&config).arg("--root").arg(scratch.join("root"));
        command.arg("--state").arg(scratch.join("state")).arg("--address").arg(address(&scratch));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let containerd = Self { _child: Child::start(command), scratch };
        eventually("containerd answers", || {
            let answer = containerd.command(&["version"]).output().ok()?;
            answer.status.success().then_some(())
        });
        containerd
    }

    /// Runs a command of ctr; it must succeed.
    #[track_caller]
    pub fn ctr(&self, args: &[&str]) -> Outcome {
        output_within(self.command(args), &self.scratch.join("io"), None).succeeds()
    }

    /// Where the files of `image` are seen, read-only, as long as this containerd lives.
    #[track_caller]
    pub fn tree(&self, image: &str) -> PathBuf {
        let target = self.scratch.join(image.replace(['/', ':', '@'], "_"));
        fs::create_dir_all(&target).expect("a folder");
        self.ctr(&["images", "mount", image, &target.to_string_lossy()]);
        target
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(address(&self.scratch)).args(args);
        command
    }
}

fn address(scratch: &Path) -> PathBuf {
    scratch.join("containerd.sock")
}
