//! A containerd of our own: what it costs counts as its client's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use keel_tests::eventually;

/// A containerd of our own.
pub(crate) struct Containerd {
    child: Child,
    pub(crate) address: PathBuf,
}

impl Containerd {
    /// One with its folders below `scratch`.
    pub(crate) fn start(scratch: &Path) -> Option<Self> {
        let address = scratch.join("containerd.sock");
        let config = scratch.join("containerd.toml");
        let text = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
        fs::write(&config, text).expect("a file");
        let mut command = Command::new("containerd");
        command.arg("-c").arg(&config).arg("--root").arg(scratch.join("containerd"));
        command.arg("--state").arg(scratch.join("containerd-state")).arg("-a").arg(&address);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        eventually("containerd listens", || address.exists().then_some(()));
        Some(Self { child, address })
    }

    /// The processor time that it has needed.
    pub(crate) fn cpu(&self) -> Duration {
        let stat =
            fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        // After the name: user and system time are the twelfth and thirteenth, in hundredths; then those of
        // children that it has waited for, such as programs that inflate.
        let ticks = fields.skip(11).take(4).filter_map(|field| field.parse::<u64>().ok());
        Duration::from_millis(ticks.sum::<u64>() * 10)
    }

    /// A command of `ctr` for it.
    pub(crate) fn ctr(address: &Path, words: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        command.arg("-a").arg(address).args(words);
        command
    }

    /// Forgets an image and all that belongs to it: one that is there would not be unpacked again.
    pub(crate) fn forget(address: &Path, name: &str) {
        let mut command = Self::ctr(address, &["images", "rm", "--sync", name]);
        let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }

    /// The most memory that it has had.
    pub(crate) fn rss_kib(&self) -> i64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
