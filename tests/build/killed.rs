//! Builds that are killed or asked to end while a command runs: what is left of them, and for how long.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};

use keel_tests::{ImageStore, Runtime, eventually, program};

const TEXT: &str = "FROM busybox:1\nRUN --mount=type=secret,id=s,env=TOKEN --mount=type=cache,target=/c sleep 100000\n";

const OTHER: &str = "FROM busybox:1\nLABEL a=b\n";

/// A network namespace that stands for a host, so that networks of other builds are none of the test's.
struct Host(String);

impl Host {
    fn new(store: &ImageStore) -> Self {
        store.tool("ip", &["netns", "add", store.name()]);
        Self(store.name().to_owned())
    }

    fn command(&self, store: &ImageStore, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.0)).arg(program("keel-image"));
        command.arg("--root").arg(store.path()).args(words).current_dir(store.beside(""));
        command
    }

    /// The namespaces of commands.
    fn networks(&self) -> Vec<String> {
        let host = fs::metadata(format!("/run/netns/{}", self.0)).expect("a namespace").ino();
        let names = fs::read_dir("/run/netns").expect("namespaces").flatten();
        let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(&format!("keel-build-{host}-"))).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.0]).status();
    }
}

/// A build whose command sleeps.
struct Sleeping<'a> {
    host: &'a Host,
    build: Child,
    /// The name that cgroups and states of its containers begin with.
    name: String,
}

impl<'a> Sleeping<'a> {
    fn begin(store: &ImageStore, host: &'a Host, runtime: &str) -> Self {
        let mut command = host.command(store, &["build", "--secret", "id=s,env=PATH", "--runtime"]);
        command.arg(Runtime::named(runtime).path()).arg("context");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let build = command.spawn().expect("a build");
        let name = format!("keel-build-{}-", build.id());
        eventually("the command sleeps", || {
            let sleeps = |pid: &String| {
                let words = fs::read(format!("/proc/{pid}/cmdline"));
                words.is_ok_and(|words| words.starts_with(b"sleep\0"))
            };
            processes(&name).iter().any(sleeps).then_some(())
        });
        assert_eq!(host.networks().len(), 1, "the command has no network");
        Self { host, build, name }
    }

    /// What there is of it on this machine.
    fn left(&self, store: &ImageStore) -> Vec<String> {
        let mut left: Vec<String> =
            processes(&self.name).iter().map(|pid| format!("process {pid}")).collect();
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            for group in fs::read_dir(hierarchy.path()).into_iter().flatten().flatten() {
                if group.file_name().to_string_lossy().starts_with(&self.name) {
                    left.push(group.path().display().to_string());
                }
            }
        }
        let mounts = fs::read_to_string("/proc/self/mounts").expect("the mount table");
        let folder = store.path().display().to_string();
        left.extend(mounts.lines().filter(|line| line.contains(&folder)).map(str::to_owned));
        let folders = fs::read_dir(store.path().join("tmp")).expect("a folder").flatten();
        left.extend(folders.map(|entry| entry.path().display().to_string()));
        left.extend(self.host.networks());
        left
    }
}

impl Drop for Sleeping<'_> {
    fn drop(&mut self) {
        // Where the test failed it still runs. It cleans up after itself.
        if self.build.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = Command::new("kill").arg(self.build.id().to_string()).status();
            let _ = self.build.wait();
        }
    }
}

/// Processes in cgroups whose name begins so.
fn processes(name: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("processes").flatten();
    let pids = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let is_in = |pid: &String| {
        fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| text.contains(name))
    };
    pids.filter(|pid| pid.parse::<u32>().is_ok()).filter(is_in).collect()
}

/// DF-KILL-01: of a build that was killed, the next build and the next `builder prune` end the command and remove its
/// cgroup, mounts, network and folders, whichever runtime ran it.
#[test]
fn a_killed_build_is_cleared_away_by_the_next() {
    for (runtime, next) in [
        ("keel", &["builder", "prune", "-f"][..]),
        ("runc", &["build", "-f", "Other", "context"][..]),
    ] {
        let store = ImageStore::with_dockerfile(TEXT);
        fs::write(store.beside("Other"), OTHER).expect("a file");
        let host = Host::new(&store);
        let mut sleeping = Sleeping::begin(&store, &host, runtime);
        sleeping.build.kill().expect("a signal");
        sleeping.build.wait().expect("its end");
        let before = sleeping.left(&store);
        assert!(before.iter().any(|line| line.starts_with("process")), "{runtime}: {before:?}");
        store.finish(host.command(&store, next)).succeeds();
        assert_eq!(sleeping.left(&store), Vec::<String>::new(), "{runtime}");
    }
}

/// DF-KILL-02: what runs of another build is left alone.
#[test]
fn a_living_build_is_left_alone() {
    let store = ImageStore::with_dockerfile(TEXT);
    let host = Host::new(&store);
    let mut sleeping = Sleeping::begin(&store, &host, "keel");
    fs::write(store.beside("Other"), OTHER).expect("a file");
    store.finish(host.command(&store, &["build", "-f", "Other", "context"])).succeeds();
    assert!(sleeping.build.try_wait().expect("a child").is_none(), "it has ended");
    assert!(!processes(&sleeping.name).is_empty(), "its command has ended");
    end(&store, &mut sleeping, "INT");
}

/// DF-KILL-03: a build that SIGINT, SIGTERM or SIGHUP ends leaves nothing when it has ended, and fails.
#[test]
fn a_build_that_is_asked_to_end_leaves_nothing() {
    for signal in ["INT", "TERM", "HUP"] {
        let store = ImageStore::with_dockerfile(TEXT);
        let host = Host::new(&store);
        let mut sleeping = Sleeping::begin(&store, &host, "keel");
        end(&store, &mut sleeping, signal);
    }
}

#[track_caller]
fn end(store: &ImageStore, sleeping: &mut Sleeping<'_>, signal: &str) {
    store.tool("kill", &["-s", signal, &sleeping.build.id().to_string()]);
    let status = sleeping.build.wait().expect("its end");
    assert_eq!(status.code(), Some(1), "{signal}");
    assert_eq!(sleeping.left(store), Vec::<String>::new(), "{signal}");
}
