//! A containerd with one image in it, and whether its shims leave anything behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::{Containerd, ImageStore, Outcome, fixture, leftovers, shim_is_peer, within_a_while};

/// The image that is in it.
pub const IMAGE: &str = "docker.io/library/busybox:latest";

/// A containerd with an image, and the containers that a test runs of it.
#[derive(Debug)]
pub struct ContainerdOfShims {
    containerd: Containerd,
}

impl ContainerdOfShims {
    /// Starts it and loads the image, which keel-image saved.
    pub fn start() -> Self {
        let containerd = Self { containerd: Containerd::start() };
        let store = ImageStore::new();
        store.import(&fixture("busybox.tar"), IMAGE).succeeds();
        let saved = store.beside("saved.tar");
        let saved = saved.to_str().expect("text");
        store.call(&["save", "-o", saved, IMAGE]).succeeds();
        containerd.ctr(&["images", "import", saved]).succeeds();
        containerd
    }

    /// Ends it by SIGKILL and starts it again, while its containers run.
    pub fn restart(&mut self) {
        self.containerd.restart();
    }

    /// The same, with something that happens while there is none.
    pub fn restart_after(&mut self, meanwhile: impl FnOnce()) {
        self.containerd.restart_after(meanwhile);
    }

    /// What is left on the host of containers whose ids have this in them: cgroups, processes, bundles, sockets.
    pub fn left_of(&self, ids: &str, sockets: &[PathBuf]) -> Vec<String> {
        let cgroups = leftovers::cgroups_named(ids).into_iter();
        let cgroups = cgroups.map(|it| format!("cgroup {}", it.display()));
        let processes = leftovers::processes_of(ids).into_iter().map(|it| format!("process {it}"));
        let bundles = bundles(&self.bundle("")).into_iter().filter(|it| it.contains(ids));
        let sockets = sockets.iter().filter(|it| it.exists());
        let sockets = sockets.map(|it| format!("socket {}", it.display()));
        cgroups.chain(processes).chain(bundles).chain(sockets).collect()
    }

    /// A path in the test's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.containerd.folder().join(name)
    }

    /// The bundle of a container.
    pub fn bundle(&self, id: &str) -> PathBuf {
        self.path("state/io.containerd.runtime.v2.task/default").join(id)
    }

    /// The name of the runtime whose shim is under test.
    pub fn runtime(&self) -> &'static str {
        if shim_is_peer() { "io.containerd.runc.v2" } else { "io.containerd.keel.v2" }
    }

    /// A command of ctr, not yet started.
    pub fn command(&self, args: &[&str]) -> Command {
        self.containerd.command(args)
    }

    /// Runs a command of ctr.
    pub fn ctr(&self, args: &[&str]) -> Outcome {
        self.ctr_with(args, None)
    }

    /// Runs a command of ctr with an input.
    pub fn ctr_with(&self, args: &[&str], input: Option<&str>) -> Outcome {
        self.containerd.ctr(args, input)
    }

    /// `ctr run` of the image with flags, an id and a command.
    pub fn run(&self, flags: &[&str], id: &str, words: &[&str]) -> Outcome {
        // ctr's own choice is a folder in /run that it leaves behind.
        let streams = self.path("fifo").display().to_string();
        let mut args = vec!["run", "--runtime", self.runtime(), "--fifo-dir", &streams];
        args.extend(flags);
        args.extend([IMAGE, id]);
        args.extend(words);
        self.ctr(&args)
    }

    /// The pid of a container's own process.
    #[track_caller]
    pub fn pid_of(&self, id: &str) -> i32 {
        let text = fs::read_to_string(self.bundle(id).join("init.pid")).expect("a pid");
        text.trim().parse().expect("a number")
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
        self.containerd.log()
    }

    /// The pids of the shims, by their command lines.
    pub fn shims(&self) -> Vec<i32> {
        let of_a_shim = |pid: &i32| {
            let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words.contains("containerd-shim-") && words.contains("-namespace")
        };
        let name = self.containerd.folder().file_name().unwrap_or_default().to_string_lossy();
        leftovers::processes_of(&name).into_iter().filter(of_a_shim).collect()
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
        let state = self.bundle("");
        let left = || -> Vec<String> {
            let mounts = leftovers::mounts_below(self.containerd.folder());
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
    }
}

fn bundles(state: &Path) -> Vec<String> {
    let entries = fs::read_dir(state).into_iter().flatten().flatten();
    entries.map(|it| format!("bundle {}", it.path().display())).collect()
}
