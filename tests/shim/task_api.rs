//! The task API call by call: the test stands where containerd does.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use keel_tests::message::{Message, receive_frame, send_frame};
use keel_tests::{ShimUnderTest, eventually, requires, shim_is_peer};
use serde_json::json;

const NOT_FOUND: u64 = 5;

fn id(id: &str) -> Message {
    Message::new().bytes(1, id)
}

fn sh(script: &str) -> serde_json::Value {
    json!(["sh", "-c", script])
}

fn fifo(path: &Path) -> String {
    let made = Command::new("mkfifo").arg(path).status().expect("mkfifo");
    assert!(made.success());
    path.display().to_string()
}

/// Both versions' service names are answered on one socket.
fn services() -> &'static [&'static str] {
    if shim_is_peer() {
        &["containerd.task.v2.Task"]
    } else {
        &["containerd.task.v2.Task", "containerd.task.v3.Task"]
    }
}

/// SHIM-API-01: a container's life through the calls, by both versions of the API, with what each answers.
#[test]
fn a_life_in_calls() {
    for service in services() {
        let shim = ShimUnderTest::start("c1", |_| ());
        let mut client = shim.client().with_service(service);
        let created = client.call("Create", shim.creation("c1")).expect("created");
        let pid = created.number(1);
        assert!(Path::new(&format!("/proc/{pid}")).exists(), "the process is there");
        let state = client.call("State", id("c1")).expect("a state");
        assert_eq!((state.number(3), state.number(4)), (pid, 1), "created");
        assert_eq!(client.call("Start", id("c1")).expect("started").number(1), pid);
        assert_eq!(client.call("State", id("c1")).expect("a state").number(4), 2, "running");
        let connected = client.call("Connect", id("c1")).expect("connected");
        assert_eq!(connected.number(2), pid);
        let listed = client.call("Pids", id("c1")).expect("a list");
        assert_eq!(listed.message(1).number(1), pid);
        client.call("Pause", id("c1")).expect("paused");
        assert_eq!(client.call("State", id("c1")).expect("a state").number(4), 4, "paused");
        client.call("Resume", id("c1")).expect("resumed");
        let stats = client.call("Stats", id("c1")).expect("stats").message(1);
        assert!(stats.text(1).ends_with("io.containerd.cgroups.v1.Metrics"), "{}", stats.text(1));
        assert_eq!(stats.message(2).message(2).number(1), 1, "pids.current");
        client.call("Kill", id("c1").number(3, 15).number(4, 0)).expect("signalled");
        client.call("Kill", id("c1").number(3, 9)).expect("killed");
        let waited = client.call("Wait", id("c1")).expect("its end");
        assert_eq!(waited.number(1), 137);
        assert!(waited.message(2).number(1) > 1_700_000_000, "a time");
        let deleted = client.call("Delete", id("c1")).expect("deleted");
        assert_eq!((deleted.number(1), deleted.number(2)), (pid, 137));
        let gone = client.call("State", id("c1")).expect_err("gone");
        assert_eq!(gone.code, NOT_FOUND);
    }
}

/// SHIM-API-02: events come in order, each once, with ids, pids, status and time.
#[test]
fn events_are_ordered() {
    let shim = ShimUnderTest::start("c1", |config| config["process"]["args"] = sh("exit 5"));
    let pid = shim.up("c1");
    shim.call("Wait", id("c1")).expect("its end");
    shim.call("Delete", id("c1")).expect("deleted");
    let events = shim.events_until("the deletion", |it| it.topic == "/tasks/delete");
    let topics: Vec<&str> = events.iter().map(|it| it.topic.as_str()).collect();
    assert_eq!(topics, ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]);
    let pid = pid as u64;
    assert_eq!(events[0].fields.number(6), pid);
    assert_eq!(events[1].fields.number(2), pid);
    let exit = &events[2].fields;
    assert_eq!((exit.text(1), exit.text(2)), ("c1".to_owned(), "c1".to_owned()));
    assert_eq!((exit.number(3), exit.number(4)), (pid, 5));
    assert!(exit.message(5).number(1) > 1_700_000_000);
    assert_eq!((events[3].fields.number(2), events[3].fields.number(3)), (pid, 5));
}

/// SHIM-API-03: processes beside the first: announced, begun, listed with their ids, ended, deleted.
#[test]
fn adds_processes() {
    let shim = ShimUnderTest::start("c1", |_| ());
    shim.up("c1");
    let process = json!({"cwd": "/", "args": ["sh", "-c", "sleep 100000 & wait"], "env": ["PATH=/bin"],
        "user": {"uid": 0, "gid": 0}});
    let spec = Message::any(
        "types.containerd.io/opencontainers/runtime-spec/1/Process",
        process.to_string(),
    );
    let exec = id("c1").bytes(2, "e1");
    shim.call("Exec", exec.clone().message(7, spec.clone())).expect("announced");
    let taken = shim.call("Exec", exec.clone().message(7, spec)).expect_err("taken");
    assert!(taken.code == 6 || shim_is_peer(), "{taken:?}");
    let pid = shim.call("Start", exec.clone()).expect("begun").number(1);
    let listed = shim.call("Pids", id("c1")).expect("a list");
    let of_exec = listed
        .all(1)
        .into_iter()
        .map(keel_tests::message::Fields::parse)
        .find(|it| it.number(1) == pid);
    let details = of_exec.expect("listed").message(2).message(2);
    assert_eq!(details.text(1), "e1");
    shim.call("Kill", exec.clone().number(3, 9)).expect("killed");
    assert_eq!(shim.call("Wait", exec.clone()).expect("its end").number(1), 137);
    assert_eq!(shim.call("State", exec.clone()).expect("a state").number(4), 3, "stopped");
    assert_eq!(shim.call("Delete", exec.clone()).expect("deleted").number(2), 137);
    assert_eq!(shim.call("State", exec).expect_err("gone").code, NOT_FOUND);
    let events = shim.events_until("its end", |it| it.topic == "/tasks/exit");
    let topics: Vec<&str> = events.iter().map(|it| it.topic.as_str()).collect();
    assert_eq!(topics[2..], ["/tasks/exec-added", "/tasks/exec-started", "/tasks/exit"]);
}

/// SHIM-IO-01: without a terminal the container's streams are the client's FIFOs themselves; a client that is late
/// misses nothing, and the end of the process is the end of the stream.
#[test]
fn hands_fifos_over() {
    let shim =
        ShimUnderTest::start("c1", |config| config["process"]["args"] = sh("cat; echo err >&2"));
    let path = |name: &str| shim.folder().join(name);
    let (stdin, stdout, stderr) = (fifo(&path("in")), fifo(&path("out")), fifo(&path("err")));
    let late = !shim_is_peer();
    let open = |path: &str| {
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).expect("a reader")
    };
    // The peer waits in Create until somebody reads.
    let early = (!late).then(|| (open(&stdout), open(&stderr)));
    let creation = shim.creation("c1").bytes(5, &stdin).bytes(6, &stdout).bytes(7, &stderr);
    let pid = shim.call("Create", creation).expect("created").number(1);
    shim.call("Start", id("c1")).expect("started");
    if late {
        for (number, name) in [(0, &stdin), (1, &stdout), (2, &stderr)] {
            let target = fs::read_link(format!("/proc/{pid}/fd/{number}")).expect("a descriptor");
            assert_eq!(target.display().to_string(), *name);
        }
    }
    drop(early);
    let reader = File::open(&stdout).expect("a reader");
    let mut writer = OpenOptions::new().write(true).open(&stdin).expect("a writer");
    writer.write_all(b"through").expect("written");
    drop(writer);
    let _ = shim.call("CloseIO", id("c1").number(3, 1));
    let mut text = String::new();
    let mut reader = reader;
    reader.read_to_string(&mut text).expect("to its end");
    assert_eq!(text, "through");
    shim.call("Wait", id("c1")).expect("its end");
}

/// SHIM-IO-02: FIFOs that nobody reads hold nobody up: the container runs, and is killed and deleted.
#[test]
fn nobody_reads() {
    if !requires(!shim_is_peer(), "the peer's Create waits for a reader for ever") {
        return;
    }
    let shim = ShimUnderTest::start("c1", |config| config["process"]["args"] = sh("yes"));
    let out = fifo(&shim.folder().join("out"));
    shim.call("Create", shim.creation("c1").bytes(6, &out)).expect("created");
    shim.call("Start", id("c1")).expect("started");
    assert_eq!(shim.call("State", id("c1")).expect("a state").number(4), 2, "running");
    shim.call("Kill", id("c1").number(3, 9)).expect("killed");
    shim.call("Wait", id("c1")).expect("its end");
    shim.call("Delete", id("c1")).expect("deleted");
}

/// SHIM-IO-03: `file://` appends both streams to a file, which is made with its folders.
#[test]
fn writes_to_a_file() {
    let shim = ShimUnderTest::start("c1", |config| {
        config["process"]["args"] = sh("echo out; echo err >&2")
    });
    let file = shim.folder().join("logs/c1");
    let uri = format!("file://{}", file.display());
    shim.call("Create", shim.creation("c1").bytes(6, &uri).bytes(7, &uri)).expect("created");
    shim.call("Start", id("c1")).expect("started");
    shim.call("Wait", id("c1")).expect("its end");
    eventually("the lines", || {
        let text = fs::read_to_string(&file).ok()?;
        // Two threads of the peer's write in either order, and on a busy machine one over the other.
        let some = text == "out\n" || text == "err\n" || text == "err\nout\n";
        (text == "out\nerr\n" || (shim_is_peer() && some)).then_some(())
    });
}

/// SHIM-IO-04: `binary://` starts a logger with its words, the container's names and three descriptors.
#[test]
fn starts_a_logger() {
    let shim = ShimUnderTest::start("c1", |config| {
        config["process"]["args"] = sh("echo out; echo err >&2")
    });
    let logger = script(
        &shim.folder().join("logger"),
        "cd \"${0%/*}\"; echo \"$1 $2 $CONTAINER_ID $CONTAINER_NAMESPACE\" >words; exec 5>&-; cat <&3 >out & cat <&4 >err; wait",
    );
    let uri = format!("binary://{logger}?key=value");
    shim.call("Create", shim.creation("c1").bytes(6, &uri).bytes(7, &uri)).expect("created");
    shim.call("Start", id("c1")).expect("started");
    shim.call("Wait", id("c1")).expect("its end");
    let is = |name: &str, text: &str| {
        let path = shim.folder().join(name);
        eventually(name, || (fs::read_to_string(&path).ok()? == text).then_some(()));
    };
    is("out", "out\n");
    is("err", "err\n");
    is("words", &format!("key value c1 {}\n", shim.namespace()));
}

/// SHIM-IO-05: a terminal: what is typed goes in, what is printed comes out, its size is set, its end is told.
#[test]
fn stands_at_a_terminal() {
    let shim = ShimUnderTest::start("c1", |config| {
        config["process"]["terminal"] = true.into();
        config["process"]["args"] = sh("read line; echo got $line; stty size");
    });
    let (stdin, stdout) = (fifo(&shim.folder().join("in")), fifo(&shim.folder().join("out")));
    let reader = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&stdout)
        .expect("a reader");
    let creation = shim.creation("c1").number(4, 1).bytes(5, &stdin).bytes(6, &stdout);
    shim.call("Create", creation).expect("created");
    shim.call("ResizePty", id("c1").number(3, 91).number(4, 17)).expect("resized");
    shim.call("Start", id("c1")).expect("started");
    let mut writer = OpenOptions::new().write(true).open(&stdin).expect("a writer");
    writer.write_all(b"hello\n").expect("typed");
    let mut reader = File::open(&stdout).map(|it| (it, reader)).expect("a reader").0;
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("to its end");
    assert_eq!(text, "hello\r\ngot hello\r\n17 91\r\n");
    assert_eq!(shim.call("Wait", id("c1")).expect("its end").number(1), 0);
}

/// SHIM-IO-08: whether a process beside the first has a terminal is what the call says, whatever its specification has.
#[test]
fn the_call_decides_on_a_terminal() {
    let shim = ShimUnderTest::start("c1", |_| ());
    shim.up("c1");
    for (called, written) in [(true, false), (false, true)] {
        let name = format!("terminal-{called}");
        let stdout = fifo(&shim.folder().join(&name));
        let process = json!({"cwd": "/", "args": sh("test -t 1"), "env": ["PATH=/bin"], "terminal": written,
            "user": {"uid": 0, "gid": 0}});
        let spec = Message::any(
            "types.containerd.io/opencontainers/runtime-spec/1/Process",
            process.to_string(),
        );
        let _reader = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&stdout)
            .expect("a reader");
        let exec = id("c1").bytes(2, &name);
        let streams = if called { exec.clone().bytes(5, &stdout) } else { exec.clone() };
        let words = streams.number(3, called.into()).message(7, spec);
        shim.call("Exec", words).expect("announced");
        shim.call("Start", exec.clone()).expect("begun");
        let status = shim.call("Wait", exec).expect("its end").number(1);
        assert_eq!(status == 0, called, "{name}: {status}");
    }
}

/// SHIM-BOOT-01: `start` prints the address alone, notes it in the bundle, and its process listens there.
#[test]
fn start_prints_an_address() {
    let shim = ShimUnderTest::start("c1", |_| ());
    let noted = fs::read_to_string(shim.bundle_of("c1").join("address")).expect("address");
    assert_eq!(noted, format!("unix://{}", shim.socket().display()));
    assert!(shim.socket().as_os_str().len() < 108);
    shim.up("c1");
    assert!(Path::new(&format!("/proc/{}", shim.pid())).exists());
}

/// SHIM-BOOT-02: parameters on standard input are answered with version 3 in JSON; others' are refused.
#[test]
fn start_takes_parameters() {
    if !requires(!shim_is_peer(), "containerd 1.6 knows no parameters") {
        return;
    }
    let shim = ShimUnderTest::not_started();
    shim.bundle("c1", |_| ());
    let parameters =
        Message::new().bytes(1, "c1").bytes(2, shim.namespace()).number(3, 8).bytes(4, "2.3.0");
    let answer = shim.call_start("c1", &parameters.0).succeeds().json();
    assert_eq!((&answer["version"], &answer["protocol"]), (&json!(3), &json!("ttrpc")));
    let shim = shim.at(answer["address"].as_str().expect("an address"));
    let mut client = shim.client().with_service("containerd.task.v3.Task");
    client.call("Create", shim.creation("c1")).expect("created");
    shim.call_start("c1", b"\x0b\x0b").exits(1).says(&["standard input"]);
}

/// SHIM-POD-01: containers of one sandbox share a shim, which goes after the last one.
#[test]
fn a_pod_has_one_shim() {
    let name = "io.kubernetes.cri.sandbox-id";
    let shim = ShimUnderTest::start("pod", |config| config["annotations"] = json!({name: "pod"}));
    shim.bundle("c2", |config| config["annotations"] = json!({name: "pod"}));
    let second = shim.call_start("c2", b"").succeeds().stdout;
    assert_eq!(second, format!("unix://{}", shim.socket().display()));
    shim.up("pod");
    shim.up("c2");
    let pids = ["pod", "c2"].map(|it| shim.call("Connect", id(it)).expect("connected").number(1));
    assert_eq!(pids[0], pids[1]);
    shim.call("Kill", id("c2").number(3, 9)).expect("killed");
    shim.call("Wait", id("c2")).expect("its end");
    shim.call("Delete", id("c2")).expect("deleted");
    shim.call("Shutdown", id("c2")).expect("not yet");
    assert_eq!(shim.call("State", id("pod")).expect("it goes on").number(4), 2);
}

/// SHIM-OPT-01: BinaryName names another runtime, Root its state, and both are remembered for `delete`.
#[test]
fn another_runtime_is_named() {
    let shim = ShimUnderTest::start("c1", |_| ());
    let options = Message::new().bytes(6, "/usr/bin/runc");
    shim.call("Create", shim.creation_with("c1", options)).expect("created");
    let state = shim.folder().join("state").join(shim.namespace()).join("c1/state.json");
    let text = fs::read_to_string(state).expect("runc's state");
    assert!(text.contains("\"init_process_pid\""), "{text}");
    shim.call("Start", id("c1")).expect("started");
    let pid = shim.pid();
    Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill");
    eventually("the shim is gone", || {
        (!Path::new(&format!("/proc/{pid}/ns")).exists()).then_some(())
    });
    let (status, deleted) = shim.call_delete("c1");
    assert_eq!((status, deleted.number(2)), (0, 137));
    assert!(!shim.folder().join("state").join(shim.namespace()).join("c1").exists());
    let (status, _) = shim.call_delete("c1");
    assert_eq!(status, 0, "once more is no error");
    let _ = fs::remove_file(shim.socket());
}

/// SHIM-BAD-01: what is unknown is not found, what is done twice is refused, and signals that are none are told.
#[test]
fn unknown_and_twice() {
    let shim = ShimUnderTest::start("c1", |_| ());
    for method in [
        "State",
        "Start",
        "Delete",
        "Wait",
        "Pids",
        "Pause",
        "Resume",
        "Stats",
        "Connect",
        "CloseIO",
        "ResizePty",
    ] {
        if shim_is_peer() && method == "Connect" {
            continue;
        }
        let error = shim.call(method, id("nobody")).expect_err(method);
        assert_eq!(error.code, NOT_FOUND, "{method}: {error:?}");
    }
    shim.up("c1");
    assert_eq!(
        shim.call("State", id("c1").bytes(2, "nobody")).expect_err("no exec").code,
        NOT_FOUND
    );
    assert!(shim.call("Start", id("c1")).is_err());
    assert!(shim.call("Delete", id("c1")).is_err(), "it runs");
    if !shim_is_peer() {
        assert_eq!(shim.call("Create", shim.creation("c1")).expect_err("there").code, 6);
        assert_eq!(shim.call("Kill", id("c1").number(3, 900)).expect_err("no signal").code, 3);
        assert_eq!(shim.call("Exec", id("c1").bytes(2, "../x")).expect_err("no id").code, 3);
    }
    shim.call("Kill", id("c1").number(3, 9)).expect("killed");
    shim.call("Wait", id("c1")).expect("its end");
    assert_eq!(shim.call("Kill", id("c1").number(3, 9)).expect_err("ended").code, NOT_FOUND);
    shim.call("Delete", id("c1")).expect("deleted");
    assert_eq!(shim.call("Delete", id("c1")).expect_err("twice").code, NOT_FOUND);
}

/// SHIM-BAD-02: requests that are none are answered with a code; the shim serves on.
#[test]
fn malformed_requests() {
    if !requires(!shim_is_peer(), "the peer does not outlive it") {
        return;
    }
    let shim = ShimUnderTest::start("c1", |_| ());
    let mut client = shim.client();
    assert_eq!(client.call("NoSuch", id("c1")).expect_err("no method").code, 12);
    let mut other = shim.client().with_service("no.such.Service");
    assert_eq!(other.call("State", id("c1")).expect_err("no service").code, 12);
    assert_eq!(client.call("State", Message(vec![0x0a, 0x7f])).expect_err("cut short").code, 3);
    assert_eq!(client.call("Create", id("../../x")).expect_err("no id").code, 3);
    let mut long = shim.client();
    let message = vec![0; 5 << 20];
    send_frame(long.stream(), 1, 1, &message).expect("sent");
    let (stream, _, answer) = receive_frame(long.stream()).expect("an answer");
    let status = keel_tests::message::Fields::parse(&answer).message(1).number(1);
    assert_eq!((stream, status), (1, 8));
    assert_eq!(client.call("State", id("c1")).expect_err("none yet").code, NOT_FOUND);
}

/// SHIM-BAD-03: a runtime that hangs is ended at the caller's deadline, and what it began is undone.
#[test]
fn a_runtime_that_hangs() {
    if !requires(
        !shim_is_peer(),
        "the peer ends a runtime with its caller only where containerd asks it to",
    ) {
        return;
    }
    let shim = ShimUnderTest::start("c1", |_| ());
    let runtime = script(
        &shim.folder().join("runtime"),
        "echo \"$*\" >>\"${0%/*}/asked\"; case \"$*\" in *' create '*) exec sleep 100000;; esac",
    );
    let options = Message::new().bytes(6, &runtime);
    let mut client = shim.client();
    let error = client
        .call_within("Create", shim.creation_with("c1", options), 1500)
        .expect_err("too late");
    assert_eq!(error.code, 4, "{error:?}");
    let asked = fs::read_to_string(shim.folder().join("asked")).expect("asked");
    assert!(asked.lines().last().is_some_and(|it| it.contains(" delete --force c1")), "{asked}");
    assert_eq!(client.call("State", id("c1")).expect_err("none").code, NOT_FOUND);
    client.call("Create", shim.creation("c1")).expect("the id is free");
}

/// SHIM-BAD-04: a runtime that is missing, crashes, or prints garbage is told, and nothing is stuck.
#[test]
fn a_runtime_that_fails() {
    if !requires(!shim_is_peer(), "the peer does not outlive it") {
        return;
    }
    let shim = ShimUnderTest::start("c1", |_| ());
    let create = |runtime: &str| {
        let options = Message::new().bytes(6, runtime);
        shim.call("Create", shim.creation_with("c1", options)).expect_err("no container").message
    };
    assert!(create("/no/such/runtime").contains("/no/such/runtime"));
    let runtime = |name: &str, text: &str| script(&shim.folder().join(name), text);
    let crashing = runtime("crashing", "case \"$*\" in *' create '*) kill -SEGV $$;; esac");
    let error = create(&crashing);
    assert!(error.contains("signal"), "{error}");
    let silent = runtime("silent", "exit 0");
    let error = create(&silent);
    assert!(error.contains("init.pid"), "{error}");
    let logging = runtime(
        "logging",
        "while [ $# -gt 0 ]; do [ \"$1\" = --log ] && log=$2; shift; done; \
         echo '{\"level\":\"error\",\"msg\":\"its own words\",\"time\":\"2026-01-01T00:00:00Z\"}' >>$log; exit 1",
    );
    let error = create(&logging);
    assert!(error.contains("its own words"), "{error}");
    shim.up("c1");
}

/// SHIM-IDLE-01: a shim whose container sleeps is one thread and uses no processor.
#[test]
fn idles_without_a_tick() {
    if !requires(!shim_is_peer(), "the peer has a thread for each of its waits") {
        return;
    }
    let shim = ShimUnderTest::start("c1", |_| ());
    shim.up("c1");
    let pid = shim.pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    assert!(status.contains("Threads:\t1\n"), "{status}");
    let switches = || -> u64 {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|it| it.trim().parse().ok()).expect("a number")
    };
    shim.events_until("the start", |it| it.topic == "/tasks/start");
    // The answer of the last event may still be on its way.
    let mut before = switches();
    eventually("nothing wakes it", || {
        let now = switches();
        let same = now == before;
        before = now;
        same.then_some(())
    });
    let quiet = Command::new("sleep").arg("1").status().expect("a second");
    assert!(quiet.success());
    assert!(switches() <= before + 1, "it woke up {} times", switches() - before);
}

/// An executable script; its path.
fn script(path: &Path, text: &str) -> String {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).expect("a script");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("chmod");
    path.display().to_string()
}
