//! `NOTIFY_SOCKET`: the readiness of a program in a container reaches the manager of services.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use keel_tests::{Child, Container, eventually, requires};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::json;

/// What a manager of services listens at.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    /// The packaged runc is older than barriers.
    expects_barrier: bool,
}

impl Manager {
    fn of(container: &Container) -> Self {
        let path = container.path("manager");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        Self { socket, path, expects_barrier: !container.runtime().is("runc") }
    }

    fn tells(&self, mut command: Command) -> Command {
        command.env("NOTIFY_SOCKET", &self.path);
        command
    }

    fn receive(&self) -> (String, Vec<OwnedFd>) {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        let timeout = Timespec { tv_sec: 60, tv_nsec: 0 };
        assert_eq!(poll(&mut fds, Some(&timeout)).expect("poll"), 1, "the manager is told nothing");
        let mut payload = [0_u8; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut payload)];
        let message = recvmsg(&self.socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)
            .expect("a message");
        let rights = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let rights = rights.flatten().collect();
        (String::from_utf8_lossy(&payload[..message.bytes]).into_owned(), rights)
    }

    /// Readiness, the pid to watch, and a barrier, which is lifted by closing what came with it.
    fn hears_readiness(&self) -> String {
        assert_eq!(self.receive().0, "READY=1\n");
        let (pid, _) = self.receive();
        if self.expects_barrier {
            let (barrier, fds) = self.receive();
            assert_eq!((barrier.as_str(), fds.len()), ("BARRIER=1", 1));
        }
        pid
    }

    fn hears_nothing(&self) -> bool {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).expect("poll") == 0
    }
}

/// A program that tells that it is ready, and then sleeps.
fn ready_program(container: &Container) {
    container.change(|config| {
        config["process"]["args"] =
            json!(["/bin/probe", "notify", "READY=1\nSTATUS=up", "sleep", "100000"]);
    });
}

/// CLI-NOTIFY-01: the program finds the socket at its place, in a folder that it cannot change.
#[test]
fn shows_a_socket() {
    // runc 1.1.5 returns from a foreground run only when it was told of readiness.
    let container = Container::new(|config| {
        config["process"]["args"] =
            json!(["sh", "-c", "/bin/probe notify READY=1; /bin/probe report"]);
    });
    let manager = Manager::of(&container);
    let seen = std::thread::scope(|scope| {
        scope.spawn(|| manager.hears_readiness());
        let run = manager.tells(container.command(&["run", container.id()]));
        container.finish(run).succeeds().json()
    });
    assert_eq!(seen["env"]["NOTIFY_SOCKET"], "/run/notify/notify.sock");
    let mounts = seen["mounts"].as_array().expect("mounts");
    let folder = mounts.iter().find(|mount| mount["destination"] == "/run/notify");
    let options = folder.expect("a mount at /run/notify")["options"].to_string();
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(options.contains(option), "{option}: {options}");
    }
}

/// CLI-NOTIFY-02: `start` returns when the program is ready; the manager is told so, with the pid to watch, and
/// has until it lifts the barrier.
#[test]
fn start_waits_for_readiness() {
    let container = Container::new(|_| ());
    ready_program(&container);
    let manager = Manager::of(&container);
    container.finish(manager.tells(container.command(&["create", container.id()]))).succeeds();
    let pid = container.pid();
    let mut start = manager.tells(container.command(&["start", container.id()]));
    start.stdout(Stdio::null()).stderr(Stdio::null());
    let start = Child::start(start);
    assert_eq!(manager.hears_readiness(), format!("MAINPID={pid}\n"));
    eventually("start returns", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", start.pid())).ok()?;
        stat.rsplit_once(')')?.1.trim_start().starts_with('Z').then_some(())
    });
    assert_eq!(container.state()["status"], "running");
}

/// CLI-NOTIFY-03: so does `run` in the background.
#[test]
fn a_detached_run_waits_for_readiness() {
    let container = Container::new(|_| ());
    ready_program(&container);
    let manager = Manager::of(&container);
    let mut run = manager.tells(container.command(&["run", "--detach", container.id()]));
    run.stdout(Stdio::null()).stderr(Stdio::null());
    let _run = Child::start(run);
    let told = manager.hears_readiness();
    assert_eq!(told, format!("MAINPID={}\n", container.pid()));
}

/// CLI-NOTIFY-04: `run` in the foreground stays the process that the manager watches.
#[test]
fn a_run_in_the_foreground_is_watched_itself() {
    let container = Container::new(|_| ());
    ready_program(&container);
    let manager = Manager::of(&container);
    let mut run = manager.tells(container.command(&["run", container.id()]));
    run.stdout(Stdio::null()).stderr(Stdio::null());
    let run = Child::start(run);
    assert_eq!(manager.hears_readiness(), format!("MAINPID={}\n", run.pid()));
    container.kill("KILL").succeeds();
    eventually("the container is gone", || container.left().is_empty().then_some(()));
}

/// CLI-NOTIFY-05: a program that ends without a word does not keep the command.
#[test]
fn a_silent_program_keeps_nobody() {
    let container = Container::new(|config| config["process"]["args"] = json!(["true"]));
    let manager = Manager::of(&container);
    container.finish(manager.tells(container.command(&["create", container.id()]))).succeeds();
    container.finish(manager.tells(container.command(&["start", container.id()]))).succeeds();
    assert!(manager.hears_nothing());
    container.delete(&["--force"]).succeeds();
    if !requires(container.runtime().is("keel"), "a detached run of runc 1.1.5 waits for ever") {
        return;
    }
    let words = ["run", "--detach", container.id()];
    container.finish(manager.tells(container.command(&words))).succeeds();
    assert!(manager.hears_nothing());
}

/// CLI-NOTIFY-06: `start` says so where the container was created without the socket, and does not start it.
#[test]
fn start_needs_the_folder_of_create() {
    let container = Container::sleeping(|_| ());
    let manager = Manager::of(&container);
    container.create().succeeds();
    let outcome = container.finish(manager.tells(container.command(&["start", container.id()])));
    outcome.exits(1);
    assert_eq!(container.state()["status"], "created");
}

/// CLI-NOTIFY-07: a user of the container who is not root reaches the socket, in a user namespace too.
#[test]
fn every_user_reaches_the_socket() {
    let container = Container::new(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    ready_program(&container);
    let manager = Manager::of(&container);
    let mut run = manager.tells(container.command(&["run", "--detach", container.id()]));
    run.stdout(Stdio::null()).stderr(Stdio::null());
    let _run = Child::start(run);
    manager.hears_readiness();
}

/// CLI-NOTIFY-08: readiness that is not on the first line of a message is heard, too.
#[test]
fn finds_readiness_among_other_lines() {
    let container = Container::new(|_| ());
    if !requires(container.runtime().is("keel"), "runc 1.1.5 looks at the start of a message only")
    {
        return;
    }
    container.change(|config| {
        config["process"]["args"] =
            json!(["/bin/probe", "notify", "STATUS=up\nREADY=1", "sleep", "100000"]);
    });
    let manager = Manager::of(&container);
    let mut run = manager.tells(container.command(&["run", "--detach", container.id()]));
    run.stdout(Stdio::null()).stderr(Stdio::null());
    let _run = Child::start(run);
    manager.hears_readiness();
}
