//! The sandbox service, without containerd: the test begins the shim with parameters as containerd 2.3 does, so that a
//! pod's containers are created without a `start` of their own.

use std::fs;
use std::path::Path;

use keel_tests::message::Message;
use keel_tests::{ShimUnderTest, eventually, requires, shim_is_peer};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const POD: &str = "pod";

fn id(name: &str) -> Message {
    Message::new().bytes(1, name)
}

/// A shim for the sandbox; `None` where the peer's is under test.
fn shim_for_a_sandbox(options: Message) -> Option<ShimUnderTest> {
    if !requires(!shim_is_peer(), "the shim of containerd 1.6 makes no sandboxes") {
        return None;
    }
    let shim = ShimUnderTest::not_started();
    shim.bundle_of_sandbox(POD);
    Some(begun(shim, options))
}

fn begun(shim: ShimUnderTest, options: Message) -> ShimUnderTest {
    let options = options.bytes(7, shim.folder().join("state").display().to_string());
    let any = Message::any("containerd.runc.v1.Options", options.0);
    let extension = Message::new().message(1, any);
    let parameters = id(POD).bytes(2, shim.namespace()).message(8, extension);
    let answer = shim.call_start(POD, &parameters.0).succeeds().json();
    assert_eq!(answer["version"], 3);
    shim.at(answer["address"].as_str().expect("an address"))
}

fn creation(shim: &ShimUnderTest, pod: Message) -> Message {
    let bundle = shim.bundle_of(POD).display().to_string();
    id(POD).bytes(2, bundle).message(4, Message::any("runtime.v1.PodSandboxConfig", pod.0))
}

/// A pod whose network is the host's.
fn pod_config() -> Message {
    let namespaces = Message::new().number(1, 2);
    let linux = Message::new().message(2, Message::new().message(1, namespaces));
    Message::new().bytes(2, "podhost").message(8, linux)
}

/// `CreateSandbox` and `StartSandbox`; the pid.
fn up(shim: &ShimUnderTest) -> i32 {
    shim.sandbox("CreateSandbox", creation(shim, pod_config())).expect("created");
    shim.sandbox("StartSandbox", id(POD)).expect("started").number(1) as i32
}

/// The bundle of a container that joins the sandbox.
fn member(shim: &ShimUnderTest, name: &str, pid: i32) {
    shim.bundle(name, |config| {
        config.as_object_mut().expect("an object").remove("hostname");
        config["annotations"] = json!({"io.kubernetes.cri.sandbox-id": POD});
        let joined = |kind: &str, file: &str| json!({"type": kind, "path": format!("/proc/{pid}/ns/{file}")});
        config["linux"]["namespaces"] = json!([{"type": "mount"}, joined("pid", "pid"), joined("ipc", "ipc")]);
    });
}

fn gone(shim: &ShimUnderTest) {
    eventually("the shim has gone", || (!shim.socket().exists()).then_some(()));
}

/// SHIM-SBX-01: a sandbox's life through the calls, with what each answers; no event and no task tells of it.
#[test]
fn a_sandbox_lives_its_life() {
    let Some(shim) = shim_for_a_sandbox(Message::new()) else { return };
    shim.sandbox("CreateSandbox", creation(&shim, pod_config())).expect("created");
    let state = |shim: &ShimUnderTest| shim.sandbox("SandboxStatus", id(POD)).expect("a status");
    assert_eq!(state(&shim).text(3), "SANDBOX_NOTREADY");
    let started = shim.sandbox("StartSandbox", id(POD)).expect("started");
    let pid = started.number(1);
    let spec: Value =
        serde_json::from_slice(started.message(3).all(2)[0]).expect("a configuration");
    assert_eq!(spec["process"]["args"][1], "pause");
    assert!(started.message(2).number(1) > 1_700_000_000, "when it was made");
    assert_eq!((state(&shim).text(3).as_str(), state(&shim).number(2)), ("SANDBOX_READY", pid));
    shim.sandbox("PingSandbox", id(POD)).expect("it is there");
    let platform = shim.sandbox("Platform", id(POD)).expect("a platform").message(1);
    assert_eq!((platform.text(1).as_str(), platform.text(2).is_empty()), ("linux", false));
    let metrics = shim.sandbox("SandboxMetrics", id(POD)).expect("metrics").message(1);
    assert_eq!(metrics.text(2), POD);
    assert!(metrics.message(3).text(1).starts_with("io.containerd.cgroups."), "{metrics:?}");
    let mut waiting = shim.client().with_service(keel_tests::SANDBOXES);
    let wait = waiting.send("WaitSandbox", id(POD), 0);
    shim.call("State", id(POD)).expect_err("it is no task");
    shim.call("Kill", id(POD).number(3, 9)).expect_err("it is no task");
    let connected = shim.call("Connect", id(POD)).expect("containerd asks so after a restart");
    assert_eq!(connected.number(2), pid);
    shim.call("Shutdown", id(POD)).expect("not yet");
    shim.sandbox("StopSandbox", id(POD).number(2, 10)).expect("stopped");
    assert_eq!(waiting.answer(wait).expect("its end").number(1), 137);
    assert_eq!(state(&shim).text(3), "SANDBOX_NOTREADY");
    assert!(state(&shim).message(6).number(1) > 1_700_000_000, "when it ended");
    shim.sandbox("StopSandbox", id(POD)).expect("twice is no error");
    shim.sandbox("ShutdownSandbox", id(POD)).expect("shut down");
    gone(&shim);
    assert_eq!(shim.events(), []);
    assert_eq!(fs::read_dir(shim.bundle_of(POD).join("rootfs")).expect("a folder").count(), 0);
}

/// SHIM-SBX-02: a pod's containers are created by the sandbox's shim without a `start`, share its files and memory, and
/// have to go before it.
#[test]
fn containers_join_a_sandbox() {
    let Some(shim) = shim_for_a_sandbox(Message::new()) else { return };
    let pid = up(&shim);
    for name in ["one", "two"] {
        member(&shim, name, pid);
        shim.up(name);
    }
    let pids = ["one", "two"].map(|it| shim.call("State", id(it)).expect("a state").number(3));
    let root = |at: usize, path: &str| format!("/proc/{}/root/{path}", pids[at]);
    fs::write(root(0, "dev/shm/seen"), "by both").expect("a file");
    assert_eq!(fs::read_to_string(root(1, "dev/shm/seen")).expect("a file"), "by both");
    assert_eq!(fs::read_to_string(root(1, "etc/hostname")).expect("a file"), "podhost\n");
    shim.call("Kill", id("one").number(3, 9)).expect("killed");
    let refused = shim.sandbox("ShutdownSandbox", id(POD)).expect_err("it has containers");
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (9, "sandbox pod: it has containers: one, two")
    );
    // The pod's pid namespace ends with its first process.
    shim.sandbox("StopSandbox", id(POD)).expect("stopped");
    for name in ["one", "two"] {
        assert_eq!(shim.call("Wait", id(name)).expect("its end").number(1), 137);
        shim.call("Delete", id(name)).expect("deleted");
    }
    shim.sandbox("ShutdownSandbox", id(POD)).expect("shut down");
    gone(&shim);
}

/// SHIM-SBX-03: a configuration that the client has put into the bundle is the sandbox's.
#[test]
fn a_given_configuration_is_the_sandboxs() {
    if !requires(!shim_is_peer(), "the shim of containerd 1.6 makes no sandboxes") {
        return;
    }
    let shim = ShimUnderTest::not_started();
    shim.bundle(POD, |config| config["process"]["args"] = json!(["sleep", "4711"]));
    let shim = begun(shim, Message::new());
    let bundle = shim.bundle_of(POD).display().to_string();
    shim.sandbox("CreateSandbox", id(POD).bytes(2, bundle)).expect("created");
    let pid = shim.sandbox("StartSandbox", id(POD)).expect("started").number(1);
    let words = || fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("a process");
    eventually("the client's program runs", || words().contains("4711").then_some(()));
    shim.sandbox("ShutdownSandbox", id(POD)).expect("shut down, while it runs");
    gone(&shim);
}

/// SHIM-SBX-04: what is unknown, done twice, out of order or malformed is told with its code; the shim serves on.
#[test]
fn a_sandbox_refuses_nonsense() {
    let Some(shim) = shim_for_a_sandbox(Message::new()) else { return };
    let code = |method: &str, message: Message| shim.sandbox(method, message).map_err(|it| it.code);
    for method in ["StartSandbox", "StopSandbox", "WaitSandbox", "SandboxStatus", "PingSandbox"] {
        assert_eq!(code(method, id("nobody")), Err(5), "{method}");
    }
    assert_eq!(code("NoSuchMethod", id("nobody")), Err(5));
    let malformed = Message(b"\x10\x01".to_vec());
    assert_eq!(code("CreateSandbox", creation(&shim, malformed)), Err(3));
    assert_eq!(code("CreateSandbox", id(POD).bytes(2, "relative")), Err(3));
    assert_eq!(code("CreateSandbox", id("../pod").bytes(2, "/tmp")), Err(3));
    assert_eq!(code("CreateSandbox", Message(b"\x0a\xff".to_vec())), Err(3));
    up(&shim);
    assert_eq!(code("CreateSandbox", creation(&shim, pod_config())), Err(6));
    assert_eq!(code("StartSandbox", id(POD)), Err(9));
    assert_eq!(code("NoSuchMethod", id(POD)), Err(12));
    let taken = shim.creation(POD);
    assert_eq!(shim.call("Create", taken).map_err(|it| it.code), Err(6));
    let exec = id(POD).bytes(2, "e").message(7, Message::any("", b"{}"));
    assert_eq!(shim.call("Exec", exec).map_err(|it| it.code), Err(5));
    shim.sandbox("PingSandbox", id(POD)).expect("it serves on");
}

/// SHIM-SBX-05: a creation that fails leaves nothing, and the shim goes when it is asked to.
#[test]
fn a_sandbox_that_cannot_be_made() {
    let Some(shim) = shim_for_a_sandbox(Message::new().bytes(6, "/bin/false")) else { return };
    let error = shim.sandbox("CreateSandbox", creation(&shim, pod_config())).expect_err("refused");
    assert!(error.message.contains("create"), "{error:?}");
    assert!(!shim.bundle_of(POD).join("config.json").exists());
    assert_eq!(fs::read_dir(shim.bundle_of(POD).join("rootfs")).expect("a folder").count(), 0);
    shim.sandbox("ShutdownSandbox", id(POD)).expect("it goes");
    gone(&shim);
}

/// SHIM-SBX-06: when the shim was killed, `delete` of the sandbox cleans up after it and after all its containers.
#[test]
fn a_killed_shim_leaves_no_pod() {
    let Some(shim) = shim_for_a_sandbox(Message::new()) else { return };
    let pid = up(&shim);
    member(&shim, "one", pid);
    let one = shim.up("one");
    let server = shim.call("Connect", id(POD)).expect("connected").number(1) as i32;
    kill_process(Pid::from_raw(server).expect("a pid"), Signal::KILL).expect("a signal");
    // While it is still a process, it serves.
    eventually("it is gone", || {
        (!Path::new(&format!("/proc/{server}/exe")).exists()).then_some(())
    });
    let (status, answer) = shim.call_delete(POD);
    assert_eq!((status, answer.number(2)), (0, 137));
    for pid in [pid, one] {
        eventually("the process ends", || {
            (!Path::new(&format!("/proc/{pid}/exe")).exists()).then_some(())
        });
    }
    assert_eq!(fs::read_dir(shim.bundle_of(POD).join("rootfs")).expect("a folder").count(), 0);
    assert!(!shim.socket().exists());
}
