//! One container of one test: bundle, commands, and a clean-up that is itself an assertion.

use std::ffi::OsStr;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    OrdinaryUser, Outcome, Runtime, Scratch, eventually, fill_rootfs, leftovers, output_within,
    within_a_while,
};

/// The configuration that every test changes: what `runc spec` writes, without a terminal, with the probe as
/// the process.
pub fn base_config() -> Value {
    serde_json::from_str(include_str!("base.json")).expect("base.json is JSON")
}

/// A bundle with its runtime and a state folder of its own.
///
/// Dropping it deletes the container by force and fails the test when anything is left on the host.
#[derive(Debug)]
pub struct Container {
    runtime: Runtime,
    scratch: Scratch,
    user: Option<OrdinaryUser>,
}

impl Container {
    /// A container of the runtime under test; `delta` changes the base configuration.
    pub fn new(delta: impl FnOnce(&mut Value)) -> Self {
        Self::of(Runtime::under_test(), delta)
    }

    /// A container of a named runtime.
    pub fn of(runtime: Runtime, delta: impl FnOnce(&mut Value)) -> Self {
        let mut config = base_config();
        let scratch = Scratch::new();
        config["linux"]["cgroupsPath"] = Value::String(format!("/{}", scratch.name()));
        delta(&mut config);
        fill_rootfs(&{
            let rootfs = scratch.join("rootfs");
            fs::create_dir_all(&rootfs).expect("a rootfs");
            rootfs
        });
        for folder in ["io", "state"] {
            fs::create_dir(scratch.join(folder)).expect("a folder of the test");
        }
        let container = Self { runtime, scratch, user: None };
        container.write_config(&config);
        container
    }

    /// A container of an ordinary user: every command is that user's, the bundle is what the runtime's
    /// `spec --rootless` writes for it, with the probe as the process.
    pub fn rootless(delta: impl FnOnce(&mut Value)) -> Self {
        let user = OrdinaryUser::of_the_machine();
        let mut container = Self::new(|_| ());
        for folder in [container.bundle().to_owned(), container.state_root()] {
            user.owns(&folder);
        }
        user.owns_folders(&container.rootfs());
        container.user = Some(user);
        fs::remove_file(container.path("config.json")).expect("the base configuration goes");
        container.call(&["spec", "--rootless"]).succeeds();
        container.change(|config| {
            config["process"]["terminal"] = false.into();
            config["process"]["args"] = serde_json::json!(["/bin/probe", "report"]);
            delta(config);
        });
        container
    }

    /// The user whose container it is.
    ///
    /// # Panics
    /// It is root's.
    pub fn user(&self) -> &OrdinaryUser {
        self.user.as_ref().expect("a container of an ordinary user")
    }

    /// A container that waits until it is killed.
    pub fn sleeping(delta: impl FnOnce(&mut Value)) -> Self {
        Self::new(|config| {
            config["process"]["args"] = serde_json::json!(["sleep", "100000"]);
            delta(config);
        })
    }

    /// A container with these `linux.resources`, whose program sleeps; the process.
    #[track_caller]
    pub fn up_with(resources: Value) -> (Self, i32) {
        let container = Self::sleeping(|config| config["linux"]["resources"] = resources);
        let pid = container.up();
        (container, pid)
    }

    /// Writes another config.json.
    pub fn write_config(&self, config: &Value) {
        let text = serde_json::to_string_pretty(config).expect("JSON");
        fs::write(self.bundle().join("config.json"), text).expect("config.json");
    }

    /// Changes the written config.json, for what is known only once the bundle is there.
    pub fn change(&self, delta: impl FnOnce(&mut Value)) {
        let text = fs::read_to_string(self.path("config.json")).expect("config.json");
        let mut config = serde_json::from_str(&text).expect("config.json is JSON");
        delta(&mut config);
        self.write_config(&config);
    }

    /// The id, which is unique on the machine.
    pub fn id(&self) -> &str {
        self.scratch.name()
    }

    /// The bundle's folder.
    pub fn bundle(&self) -> &Path {
        &self.scratch
    }

    /// A path in the bundle's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// The root file system's folder.
    pub fn rootfs(&self) -> PathBuf {
        self.path("rootfs")
    }

    /// The runtime's state folder, given to every command as `--root`.
    pub fn state_root(&self) -> PathBuf {
        self.path("state")
    }

    /// The runtime that runs it.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// A command of the runtime with `--root`, not yet started.
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = match &self.user {
            Some(user) => user.command(&self.runtime),
            None => self.runtime.command(),
        };
        command.arg("--root").arg(self.state_root()).args(args).current_dir(self.bundle());
        command
    }

    /// Runs a command of the runtime.
    pub fn call<S: AsRef<OsStr>>(&self, args: &[S]) -> Outcome {
        self.finish(self.command(args))
    }

    /// Runs a prepared command.
    pub fn finish(&self, command: Command) -> Outcome {
        output_within(command, &self.path("io"), None)
    }

    /// Runs a prepared command with standard input.
    pub fn finish_with_input(&self, command: Command, input: &str) -> Outcome {
        output_within(command, &self.path("io"), Some(input))
    }

    /// `run` in the foreground.
    pub fn run(&self) -> Outcome {
        self.call(&["run", self.id()])
    }

    /// `run` in the foreground; the probe's report.
    #[track_caller]
    pub fn observe(&self) -> Value {
        self.run().succeeds().json()
    }

    /// `exec` with these flags; the probe's report.
    #[track_caller]
    pub fn exec_report(&self, flags: &[&str]) -> Value {
        let probe = [self.id(), "/bin/probe", "report"];
        self.call(&[&["exec"], flags, &probe].concat()).succeeds().json()
    }

    /// `create`.
    pub fn create(&self) -> Outcome {
        self.call(&["create", self.id()])
    }

    /// `start`.
    pub fn start(&self) -> Outcome {
        self.call(&["start", self.id()])
    }

    /// `create` and `start`, both successful; the pid of the container's process.
    #[track_caller]
    pub fn up(&self) -> i32 {
        self.create().succeeds();
        self.start().succeeds();
        self.pid()
    }

    /// `update` with these flags.
    pub fn update(&self, flags: &[&str]) -> Outcome {
        self.call(&[&["update"], flags, &[self.id()]].concat())
    }

    /// `update` with resources as JSON on standard input.
    pub fn update_with(&self, resources: &Value) -> Outcome {
        let command = self.command(&["update", "--resources", "-", self.id()]);
        self.finish_with_input(command, &resources.to_string())
    }

    /// `create`, `start`, and the program came to its end by itself.
    #[track_caller]
    pub fn up_and_over(&self) {
        self.create().succeeds();
        self.start().succeeds();
        self.becomes("stopped");
    }

    /// `state` as JSON.
    #[track_caller]
    pub fn state(&self) -> Value {
        self.call(&["state", self.id()]).succeeds().json()
    }

    /// The pid that `state` gives.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        let pid = self.state()["pid"].as_i64().expect("state has a pid");
        i32::try_from(pid).expect("a pid fits")
    }

    /// Waits until `state` gives the status.
    #[track_caller]
    pub fn becomes(&self, status: &str) {
        eventually(&format!("{} is {status}", self.id()), || {
            (self.state()["status"] == status).then_some(())
        });
    }

    /// `exec` in the foreground.
    pub fn exec(&self, args: &[&str]) -> Outcome {
        let mut all = vec!["exec", self.id()];
        all.extend_from_slice(args);
        self.call(&all)
    }

    /// `kill`.
    pub fn kill(&self, signal: &str) -> Outcome {
        self.call(&["kill", self.id(), signal])
    }

    /// `delete`, with flags before the id.
    pub fn delete(&self, flags: &[&str]) -> Outcome {
        let mut all = vec!["delete"];
        all.extend_from_slice(flags);
        all.push(self.id());
        self.call(&all)
    }

    /// Fails when anything of the container is on the host.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        let left = self.left();
        assert!(left.is_empty(), "{} left behind: {left:#?}", self.runtime.name());
    }

    /// One line for each thing of the container that is on the host.
    pub fn left(&self) -> Vec<String> {
        leftovers::named(self.id(), self.bundle(), &self.state_root().join(self.id()))
    }

    /// Takes away what a runtime left, so that one failure does not spoil other tests.
    fn sweep(&self) {
        for pid in leftovers::processes_of(self.id()) {
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        for cgroup in leftovers::cgroups_named(self.id()).iter().rev() {
            let freezer = cgroup.join("freezer.state");
            if freezer.exists() {
                let _ = fs::write(freezer, "THAWED");
            }
            // What was killed takes a moment to leave its cgroups.
            let gone = || fs::remove_dir(cgroup).is_ok() || !cgroup.exists();
            if !within_a_while(gone) {
                eprintln!("{} could not be removed", cgroup.display());
            }
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let mut said = String::new();
        if self.state_root().join(self.id()).exists() {
            // A second panic while the first one unwinds would abort the whole test program.
            match catch_unwind(AssertUnwindSafe(|| self.delete(&["--force"]))) {
                Ok(outcome) if outcome.status != 0 => said = outcome.report(),
                Ok(_) => {}
                Err(_) => eprintln!("{}: delete --force did not end", self.id()),
            }
        }
        let left = self.left();
        if left.is_empty() {
            return;
        }
        self.sweep();
        let message =
            format!("{} left behind after delete --force: {left:#?}\n{said}", self.runtime.name());
        if std::thread::panicking() {
            eprintln!("{message}");
        } else {
            panic!("{message}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// HOUSE-16: whatever a test leaves is told, and is gone all the same: processes, and the cgroups that
    /// they take a moment to leave.
    #[test]
    fn what_is_left_is_told_and_taken_away() {
        let container = Container::sleeping(|config| {
            config["process"]["args"] = serde_json::json!([
                "sh",
                "-c",
                "for i in 1 2 3 4 5 6 7 8; do (while :; do :; done) & done; wait"
            ]);
        });
        container.up();
        let (id, bundle) = (container.id().to_owned(), container.bundle().to_owned());
        let state = container.state_root().join(&id);
        fs::remove_dir_all(&state).expect("the runtime's record is lost");
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(container)));
        let told = dropped.expect_err("a leak that nobody is told of");
        let told = told.downcast_ref::<String>().expect("words");
        assert!(told.contains("cgroup /sys/fs/cgroup") && told.contains("process "), "{told}");
        assert_eq!(leftovers::named(&id, &bundle, &state), Vec::<String>::new());
    }
}
