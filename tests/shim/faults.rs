//! What is wrong is told with a code and words, and nothing is ever stuck: bytes that are no calls, runtimes that hang or
//! print garbage, disks that are full, clients that go or come late.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use keel_tests::message::{Fields, Message, receive_frame, send_frame};
use keel_tests::{ShimUnderTest, eventually, program, requires, shim_is_peer};
use serde_json::json;

const NOT_FOUND: u64 = 5;

fn id(id: &str) -> Message {
    Message::new().bytes(1, id)
}

fn fifo(path: &Path) -> String {
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo").success());
    path.display().to_string()
}

/// The runtime, but for one of its commands, of which a shell does something else.
fn runtime_but(shim: &ShimUnderTest, verb: &str, instead: &str) -> String {
    let path = shim.folder().join(format!("runtime-{verb}"));
    let keel = program("keel").display().to_string();
    let text =
        format!("#!/bin/sh\ncase \" $* \" in *' {verb} '*) {instead};; esac\nexec {keel} \"$@\"\n");
    fs::write(&path, text).expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
    path.display().to_string()
}

fn up_with(shim: &ShimUnderTest, runtime: &str) {
    let options = Message::new().bytes(6, runtime);
    shim.call("Create", shim.creation_with("c1", options)).expect("created");
    shim.call("Start", id("c1")).expect("started");
}

fn not_on_the_peer() -> bool {
    requires(!shim_is_peer(), "the peer is stuck, or ends")
}

/// SHIM-BAD-05: frames of another kind, even streams, bytes that are no frames, and a client that goes in the middle of
/// one: the shim serves the others on.
#[test]
fn frames_that_are_none() {
    if !not_on_the_peer() {
        return;
    }
    let shim = ShimUnderTest::start("c1", |_| ());
    for (stream, kind) in [(1, 2), (1, 3), (1, 77), (2, 1)] {
        let mut client = shim.client();
        send_frame(client.stream(), stream, kind, &[]).expect("sent");
        let (answered, _, answer) = receive_frame(client.stream()).expect("an answer");
        let status = Fields::parse(&answer).message(1).number(1);
        assert_eq!((answered, status), (stream, 3), "kind {kind}");
    }
    let mut gone = Vec::new();
    for bytes in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 64], &[0, 0, 1, 0, 0, 0, 0, 1, 1, 0, 7], &[0]]
    {
        let mut client = shim.client();
        client.stream().write_all(bytes).expect("sent");
        gone.push(client);
    }
    drop(gone);
    // A request that is random bytes, of every length up to some.
    let mut client = shim.client();
    for length in 1..200_usize {
        let bytes: Vec<u8> = (0..length).map(|at| (at * 167 + length * 31) as u8).collect();
        send_frame(client.stream(), 1, 1, &bytes).expect("sent");
        let (_, kind, answer) = receive_frame(client.stream()).expect("an answer");
        assert_eq!(kind, 2);
        assert_ne!(Fields::parse(&answer).message(1).number(1), 0, "{bytes:?}");
    }
    shim.up("c1");
}

/// SHIM-BAD-06: a runtime whose list of processes is no list, whose signals and deletions fail or hang, is told, and the
/// task can be ended and deleted afterwards.
#[test]
fn a_runtime_that_fails_later() {
    if !not_on_the_peer() {
        return;
    }
    let shim = ShimUnderTest::start("c1", |_| ());
    up_with(&shim, &runtime_but(&shim, "ps", "echo '{not a list'; exit 0"));
    let error = shim.call("Pids", id("c1")).expect_err("no list");
    assert!(error.code == 2 && error.message.contains("no list of ids"), "{error:?}");
    let ends = |shim: &ShimUnderTest| {
        shim.call("Kill", id("c1").number(3, 9)).expect("killed");
        shim.call("Wait", id("c1")).expect("its end");
        shim.call("Delete", id("c1")).expect("deleted");
    };
    ends(&shim);
    up_with(&shim, &runtime_but(&shim, "ps", "while :; do echo 1111111111; done"));
    let error = shim.client().call_within("Pids", id("c1"), 5000).expect_err("without end");
    assert!([2, 4].contains(&error.code), "{error:?}");
    ends(&shim);
    up_with(&shim, &runtime_but(&shim, "pause", "exec sleep 100000"));
    let error = shim.client().call_within("Pause", id("c1"), 500).expect_err("it hangs");
    assert_eq!(error.code, 4, "{error:?}");
    assert_eq!(shim.call("State", id("c1")).expect("a state").number(4), 2);
    ends(&shim);
    // Hangs only once: the mark says that it has.
    let once = "[ -e \"$0.mark\" ] || { : >\"$0.mark\"; exec sleep 100000; }";
    up_with(&shim, &runtime_but(&shim, "delete", once));
    shim.call("Kill", id("c1").number(3, 9)).expect("killed");
    shim.call("Wait", id("c1")).expect("its end");
    let error = shim.client().call_within("Delete", id("c1"), 500).expect_err("it hangs");
    assert_eq!(error.code, 4, "{error:?}");
    shim.call("Delete", id("c1")).expect("deleted");
    assert_eq!(shim.call("Delete", id("c1")).expect_err("twice").code, NOT_FOUND);
}

/// SHIM-BAD-07: a process that the runtime cannot begin in a container is told, has ended for those who wait, and is
/// deleted; the container runs on.
#[test]
fn a_process_that_cannot_begin() {
    let shim = ShimUnderTest::start("c1", |_| ());
    shim.up("c1");
    let kind = "types.containerd.io/opencontainers/runtime-spec/1/Process";
    let process =
        json!({"cwd": "/", "args": ["/no/such"], "env": [], "user": {"uid": 0, "gid": 0}});
    for (name, text) in [("e1", process.to_string()), ("e2", "{\"args\": 7".to_owned())] {
        let exec = id("c1").bytes(2, name);
        // The peer reads the text when it is announced.
        let announced = shim.call("Exec", exec.clone().message(7, Message::any(kind, text)));
        if announced.is_err() && shim_is_peer() {
            continue;
        }
        announced.expect("announced");
        let error = shim.call("Start", exec.clone()).expect_err("it cannot begin");
        assert!(!error.message.is_empty());
        shim.call("Wait", exec.clone()).expect("it has ended");
        shim.call("Delete", exec).expect("deleted");
    }
    assert_eq!(shim.call("State", id("c1")).expect("a state").number(4), 2);
}

/// SHIM-BAD-08: on a full disk a creation is refused as such, leaves nothing, and can be asked for again.
#[test]
fn a_full_disk() {
    if !not_on_the_peer() {
        return;
    }
    let shim = ShimUnderTest::start("c1", |_| ());
    let bundle = shim.bundle_of("c1");
    let config = fs::read(bundle.join("config.json")).expect("a configuration");
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
        .arg(&bundle)
        .status()
        .expect("mount");
    assert!(mount.success());
    fs::write(bundle.join("config.json"), config).expect("a configuration");
    let mut filling = File::create(bundle.join("filling")).expect("a file");
    while filling.write_all(&[0; 4096]).is_ok() {}
    drop(filling);
    let error = shim.call("Create", shim.creation("c1")).expect_err("no room");
    let state = shim.call("State", id("c1")).expect_err("none");
    fs::remove_file(bundle.join("filling")).expect("a file");
    let again = shim.call("Create", shim.creation("c1"));
    let _ = shim.call("Delete", id("c1"));
    assert!(Command::new("umount").arg("-l").arg(&bundle).status().expect("umount").success());
    assert!(error.code == 8 && error.message.contains("No space left"), "{error:?}");
    assert_eq!(state.code, NOT_FOUND);
    again.expect("there is room");
}

/// SHIM-IO-06: who comes to a terminal's output after its end finds what was printed, and then the end.
#[test]
fn late_at_a_terminal() {
    if !not_on_the_peer() {
        return;
    }
    let shim = ShimUnderTest::start("c1", |config| {
        config["process"]["terminal"] = true.into();
        config["process"]["args"] = json!(["sh", "-c", "echo printed"]);
    });
    let out = fifo(&shim.folder().join("out"));
    shim.call("Create", shim.creation("c1").number(4, 1).bytes(6, &out)).expect("created");
    shim.call("Start", id("c1")).expect("started");
    shim.call("Wait", id("c1")).expect("its end");
    let mut text = String::new();
    File::open(&out).expect("a reader").read_to_string(&mut text).expect("to its end");
    assert_eq!(text, "printed\r\n");
}

/// SHIM-IO-07: an output that the container closes ends for its readers while the container runs on, for one that comes
/// late too; and one that closes nothing but a copy of it ends nothing.
#[test]
fn closed_early() {
    if !not_on_the_peer() {
        return;
    }
    let shim = ShimUnderTest::start("c1", |config| {
        let script = "echo once >/dev/stdout; echo twice; exec >/dev/null; exec sleep 100000";
        config["process"]["args"] = json!(["sh", "-c", script]);
    });
    let (out, err) = (fifo(&shim.folder().join("out")), fifo(&shim.folder().join("err")));
    let quick = |path: &str| {
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).expect("a reader")
    };
    shim.call("Create", shim.creation("c1").bytes(6, &out).bytes(7, &err)).expect("created");
    let pid = shim.call("Start", id("c1")).expect("started").number(1);
    eventually("the output is closed", || {
        let target = fs::read_link(format!("/proc/{pid}/fd/1")).ok()?;
        target.ends_with("null").then_some(())
    });
    let mut text = String::new();
    File::open(&out).expect("a reader").read_to_string(&mut text).expect("to its end");
    assert_eq!(text, "once\ntwice\n");
    let mut other = quick(&err);
    let nothing = other.read(&mut [0; 8]).map_err(|error| error.kind());
    assert_eq!(nothing, Err(std::io::ErrorKind::WouldBlock), "standard error goes on");
    assert_eq!(shim.call("State", id("c1")).expect("a state").number(4), 2);
}
