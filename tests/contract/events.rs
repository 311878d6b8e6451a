//! `events`: what a container uses, and when it runs out of memory.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use keel_tests::{Container, controller_folder, eventually, requires};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

fn has_events(container: &Container) -> bool {
    requires(!container.runtime().is("crun"), "crun has no events command")
}

fn members(value: &Value) -> Vec<&str> {
    value.as_object().map(|map| map.keys().map(String::as_str).collect()).unwrap_or_default()
}

/// A stream of events of a container that is up.
struct Stream {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Stream {
    fn of(container: &Container, interval: &str) -> Self {
        let words = ["events", "--interval", interval, container.id()];
        let runtime = container.command(&words);
        // A job in the background of a shell has SIGINT ignored, and hands that on.
        let mut command = Command::new("env");
        command.arg("--default-signal=INT").arg(runtime.get_program()).args(runtime.get_args());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("events starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self { child, lines }
    }

    /// The next event; `None` at the end of the stream.
    fn next(&mut self) -> Option<Value> {
        let line = self.lines.next()?.expect("a line");
        Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CLI-EVENTS-01: `--stats` prints one object with runc's members, and the figures are the kernel's.
#[test]
fn prints_one_sample() {
    let container = Container::sleeping(|config| {
        config["linux"]["resources"] = json!({"pids": {"limit": 17}});
    });
    if !has_events(&container) {
        return;
    }
    container.up();
    let printed = container.call(&["events", "--stats", container.id()]).succeeds();
    assert!(printed.stdout.ends_with("}\n") && printed.stdout.lines().count() == 1);
    let event = printed.json();
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(container.id())));
    let data = &event["data"];
    let all =
        ["blkio", "cpu", "cpuset", "hugetlb", "intel_rdt", "memory", "network_interfaces", "pids"];
    assert_eq!(members(data), all);
    assert_eq!(data["pids"], json!({"current": 1, "limit": 17}));
    assert_eq!(data["network_interfaces"], Value::Null);
    assert!(data["cpu"]["usage"]["total"].as_u64().is_some_and(|total| total > 0), "{data}");
    assert!(data["memory"]["usage"]["usage"].as_u64().is_some_and(|usage| usage > 0), "{data}");
    assert!(data["memory"]["raw"].as_object().is_some_and(|raw| raw.len() > 10), "{data}");
    // A setting of version 1.
    let cpuset = controller_folder(container.pid(), "cpuset").expect("a cpuset");
    let balances = cpuset.join("cpuset.sched_load_balance").exists();
    assert_eq!(data["cpuset"]["sched_load_balance"], i32::from(balances));
}

/// Whether there are only zeros in an object.
fn is_nothing(value: &Value) -> bool {
    value.as_object().is_some_and(|map| map.values().all(|member| *member == 0))
}

/// CLI-EVENTS-02: keel and runc print the same members of a container, and the sections in the same order.
#[test]
fn has_the_members_of_runc() {
    let container = Container::sleeping(|_| ());
    if !has_events(&container) {
        return;
    }
    let printed = |container: &Container| {
        container.up();
        container.call(&["events", "--stats", container.id()]).succeeds()
    };
    let own = printed(&container);
    let peer = Container::of(keel_tests::Runtime::named("runc"), |config| {
        config["process"]["args"] = json!(["sleep", "100000"]);
    });
    let theirs = printed(&peer);
    let sections = ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt"];
    for text in [&own.stdout, &theirs.stdout] {
        let places = sections.map(|name| text.find(&format!("\"{name}\":{{")));
        assert!(places.is_sorted() && places[0].is_some(), "{text}");
    }
    let (own, theirs) = (&own.json()["data"], &theirs.json()["data"]);
    // Newer runc counts pressure, and leaves out what is nothing but zeros; whose files were read before has
    // no cache.
    let fixed = |value: &Value, section: &str| -> Vec<String> {
        let mut names: Vec<_> = members(&value[section]).into_iter().map(str::to_owned).collect();
        names.retain(|name| !["psi", "throttling", "kernelTCP", "cache"].contains(&name.as_str()));
        names.retain(|name| !is_nothing(&value[section][name.as_str()]));
        names
    };
    for section in ["cpu", "cpuset", "memory", "pids"] {
        assert_eq!(fixed(own, section), fixed(theirs, section), "{section}");
    }
    assert_eq!(members(&own["memory"]["raw"]), members(&theirs["memory"]["raw"]));
    assert_eq!(members(&own["cpu"]["usage"]), members(&theirs["cpu"]["usage"]));
}

/// CLI-EVENTS-03: samples come after each interval, whose units are Go's, until the cgroup is gone.
#[test]
fn streams_until_the_end() {
    for interval in ["100ms", "0.05s", "0m0.2s"] {
        let container = Container::sleeping(|_| ());
        if !has_events(&container) {
            return;
        }
        container.up();
        let mut stream = Stream::of(&container, interval);
        for _ in 0..3 {
            assert_eq!(stream.next().expect("a sample")["type"], "stats");
        }
        container.delete(&["--force"]).succeeds();
        while let Some(event) = stream.next() {
            assert_eq!(event["type"], "stats");
        }
        let ended = eventually("events ends", || stream.child.try_wait().expect("its state"));
        assert!(ended.success(), "{ended}");
    }
}

/// CLI-EVENTS-04: each time that memory runs out is told.
#[test]
fn tells_of_memory_that_ran_out() {
    let script = "echo ready; read line; /bin/probe hog 64; read line";
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["sh", "-c", script]);
        config["linux"]["resources"] = json!({"memory": {"limit": 16_777_216, "swap": 16_777_216}});
    });
    if !has_events(&container) {
        return;
    }
    let fifo = container.path("input");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .expect("a fifo");
    // Both ends, so that neither side waits for the other and the program sees no end.
    let input = std::fs::OpenOptions::new().read(true).write(true).open(&fifo).expect("both ends");
    let mut command = container.command(&["run", "-d", container.id()]);
    let output = std::fs::File::create(container.path("output")).expect("a file");
    command.stdin(input.try_clone().expect("a copy")).stdout(output);
    assert!(command.status().expect("run").success());
    let mut stream = Stream::of(&container, "10m");
    let pid = container.pid();
    // Registered when the descriptor of the counter is there.
    let watcher = format!("/proc/{}/fd", stream.child.id());
    eventually("the watch is set", || {
        let mut links = std::fs::read_dir(&watcher).ok()?.flatten();
        links
            .any(|link| {
                std::fs::read_link(link.path()).is_ok_and(|to| {
                    let to = to.to_string_lossy();
                    to.contains("eventfd") && !to.contains("eventpoll")
                        || to.contains("memory.events")
                })
            })
            .then_some(())
    });
    assert!(controller_folder(pid, "memory").is_some());
    std::io::Write::write_all(&mut &input, b"\n").expect("a line");
    eventually("the limit was hit", || {
        let folder = controller_folder(pid, "memory")?;
        let files = ["memory.oom_control", "memory.events"].map(|name| folder.join(name));
        let text = files.iter().find_map(|file| std::fs::read_to_string(file).ok())?;
        text.lines().any(|line| line.starts_with("oom_kill ") && line != "oom_kill 0").then_some(())
    });
    let event = stream.next().expect("an event");
    assert_eq!(event, json!({"type": "oom", "id": container.id()}));
}

/// CLI-EVENTS-05: a stopped container, an interval that is none and an unknown container are errors.
#[test]
fn refuses_what_it_cannot_watch() {
    let container = Container::new(|config| config["process"]["args"] = json!(["true"]));
    if !has_events(&container) {
        return;
    }
    container.create().succeeds();
    let words = |interval| vec!["events", "--interval", interval, container.id()];
    container.call(&words("0s")).fails_naming(&["duration interval must be greater than 0"]);
    container.call(&words("-3s")).fails_naming(&["duration interval must be greater than 0"]);
    let once = ["events", "--stats", "--interval", "0", container.id()];
    container.call(&once).fails_naming(&["duration interval must be greater than 0"]);
    let refused = container.call(&words("5")).exits(1);
    assert!(refused.stdout.contains("flag -interval: parse error"), "{}", refused.report());
    container.start().succeeds();
    container.becomes("stopped");
    let stopped = format!("container with id {} is not running", container.id());
    container.call(&["events", container.id()]).fails_naming(&[&stopped]);
    container.call(&["events", "--stats", container.id()]).fails_naming(&[&stopped]);
    container.call(&["events", "nosuchcontainer"]).fails_naming(&["does not exist"]);
}

/// CLI-EVENTS-06: a signal ends the stream between two lines.
#[test]
fn ends_by_a_signal() {
    let container = Container::sleeping(|_| ());
    if !has_events(&container) {
        return;
    }
    container.up();
    for signal in [Signal::TERM, Signal::INT] {
        let mut stream = Stream::of(&container, "20ms");
        assert!(stream.next().is_some());
        kill_process(Pid::from_child(&stream.child), signal).expect("a signal");
        while stream.next().is_some() {}
        eventually("events ends", || stream.child.try_wait().expect("its state"));
    }
    assert_eq!(container.state()["status"], "running");
}

/// CLI-EVENTS-07: a stream that nobody reads any more ends.
#[test]
fn ends_without_a_reader() {
    let container = Container::sleeping(|_| ());
    if !has_events(&container) {
        return;
    }
    container.up();
    let mut child = container
        .command(&["events", "--interval", "20ms", container.id()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("events starts");
    drop(child.stdout.take());
    eventually("events ends", || child.try_wait().expect("its state"));
}
