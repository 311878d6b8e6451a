//! Debian's containerd with folders and a socket of its own, with one image in it, ended with the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    Child, ImageStore, Outcome, Scratch, eventually, fixture, leftovers, output_within,
    path_with_binaries, shim_is_peer, within_a_while,
};

/// The image that is in it.
pub const IMAGE: &str = "docker.io/library/busybox:latest";

/// A running containerd.
#[derive(Debug)]
pub struct ContainerdOfShims {
    scratch: Scratch,
    child: Option<Child>,
}

impl ContainerdOfShims {
    /// Starts it and loads the image, which keel-image saved.
    pub fn start() -> Self {
        let scratch = Scratch::new();
        fs::create_dir(scratch.join("io")).expect("a folder");
        let path = |name: &str| scratch.join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = \"{}\"\nstate = \"{}\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = \"{}\"\n",
            path("root"),
            path("state"),
            path("c.sock"),
        );
        fs::write(scratch.join("config.toml"), config).expect("a configuration");
        let mut containerd = Self { scratch, child: None };
        containerd.begin();
        let store = ImageStore::new();
        store.import(&fixture("busybox.tar"), IMAGE).succeeds();
        let saved = store.beside("saved.tar");
        let saved = saved.to_str().expect("text");
        store.call(&["save", "-o", saved, IMAGE]).succeeds();
        containerd.ctr(&["images", "import", saved]).succeeds();
        containerd
    }

    fn begin(&mut self) {
        let log = fs::OpenOptions::new().append(true).create(true).open(self.scratch.join("log"));
        let log = log.expect("a log");
        let mut command = Command::new("containerd");
        command.arg("-c").arg(self.scratch.join("config.toml")).env("PATH", path_with_binaries());
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
        self.child = Some(Child::start(command));
        eventually("containerd answers", || {
            let outcome = self.ctr(&["version"]);
            (outcome.status == 0).then_some(())
        });
    }

    /// Ends it by SIGKILL and starts it again, while its containers run.
    pub fn restart(&mut self) {
        self.child = None;
        self.begin();
    }

    /// A path in the test's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// The bundle of a container.
    pub fn bundle(&self, id: &str) -> PathBuf {
        self.scratch.join("state/io.containerd.runtime.v2.task/default").join(id)
    }

    /// The name of the runtime whose shim is under test.
    pub fn runtime(&self) -> &'static str {
        if shim_is_peer() { "io.containerd.runc.v2" } else { "io.containerd.keel.v2" }
    }

    /// A command of ctr, not yet started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(self.scratch.join("c.sock")).args(args);
        command.env("PATH", path_with_binaries());
        command
    }

    /// Runs a command of ctr.
    pub fn ctr(&self, args: &[&str]) -> Outcome {
        self.ctr_with(args, None)
    }

    /// Runs a command of ctr with an input.
    pub fn ctr_with(&self, args: &[&str], input: Option<&str>) -> Outcome {
        output_within(self.command(args), &self.scratch.join("io"), input)
    }

    /// `ctr run` of the image with flags, an id and a command.
    pub fn run(&self, flags: &[&str], id: &str, words: &[&str]) -> Outcome {
        let mut args = vec!["run", "--runtime", self.runtime()];
        args.extend(flags);
        args.extend([IMAGE, id]);
        args.extend(words);
        self.ctr(&args)
    }

    /// The status of a task as `ctr task ls` has it; empty when there is none.
    pub fn status(&self, id: &str) -> String {
        let list = self.ctr(&["task", "ls"]).succeeds().stdout;
        let line = list.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut found = line.filter(|words| words.first() == Some(&id));
        found.next().and_then(|words| words.get(2).map(|it| (*it).to_owned())).unwrap_or_default()
    }

    /// What containerd and its shims logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.join("log")).unwrap_or_default()
    }

    /// The pids of the shims, by their command lines.
    pub fn shims(&self) -> Vec<i32> {
        let of_a_shim = |pid: &i32| {
            let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words.contains("containerd-shim-") && words.contains("-namespace")
        };
        leftovers::processes_of(self.scratch.name()).into_iter().filter(of_a_shim).collect()
    }

    fn clean_up(&self) {
        let list = self.ctr(&["containers", "ls", "-q"]).stdout;
        for id in list.lines() {
            let _ = self.ctr(&["task", "resume", id]);
            let _ = self.ctr(&["task", "kill", "-a", "-s", "KILL", id]);
            let _ = self.ctr(&["task", "delete", "-f", id]);
            let _ = self.ctr(&["containers", "rm", id]);
        }
    }
}

impl Drop for ContainerdOfShims {
    fn drop(&mut self) {
        self.clean_up();
        let state = self.scratch.join("state/io.containerd.runtime.v2.task/default");
        let left = || -> Vec<String> {
            let mounts = leftovers::mounts_below(&self.scratch);
            let mounts = mounts.iter().map(|it| format!("mount {}", it.display()));
            let shims = self.shims();
            let shims = shims.iter().map(|it| format!("shim {it}"));
            let bundles = bundles(&state);
            mounts.chain(shims).chain(bundles).collect()
        };
        if !within_a_while(|| {
            self.clean_up();
            left().is_empty()
        }) {
            let left = left();
            for pid in self.shims() {
                if let Some(pid) = Pid::from_raw(pid) {
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
            if !std::thread::panicking() {
                panic!("left on the host: {left:#?}");
            }
        }
        self.child = None;
    }
}

fn bundles(state: &Path) -> Vec<String> {
    let entries = fs::read_dir(state).into_iter().flatten().flatten();
    entries.map(|it| format!("bundle {}", it.path().display())).collect()
}
