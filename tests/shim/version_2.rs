//! The shim where cgroup version 2 is alone: its counts have another form there, and want of memory another sign.

use std::fs;
use std::path::Path;

use keel_tests::message::Message;
use keel_tests::{ShimUnderTest, version_2};
use serde_json::json;

fn id(id: &str) -> Message {
    Message::new().bytes(1, id)
}

fn counted(shim: &ShimUnderTest, file: &str) -> String {
    let path = Path::new("/sys/fs/cgroup").join(shim.namespace()).join("c1").join(file);
    fs::read_to_string(path).expect(file).trim().to_owned()
}

/// SHIM-RES-05: on version 2, `Update` sets limits and `Stats` has what the files of the cgroup say, in that version's form.
#[test]
fn counts_on_version_2() {
    if !version_2() {
        return;
    }
    let shim = ShimUnderTest::start("c1", |config| {
        let script = "i=0; while [ $i -lt 10000 ]; do i=$((i+1)); done; exec sleep 100000";
        config["process"]["args"] = json!(["sh", "-c", script]);
        config["linux"]["resources"]["pids"] = json!({"limit": 33});
    });
    shim.up("c1");
    let limits = json!({"memory": {"limit": 67_108_864}});
    let kind = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
    let update = id("c1").message(2, Message::any(kind, limits.to_string()));
    shim.call("Update", update).expect("updated");
    assert_eq!(counted(&shim, "memory.max"), "67108864");
    let stats = shim.call("Stats", id("c1")).expect("stats").message(1);
    assert_eq!(stats.text(1), "io.containerd.cgroups.v2.Metrics");
    let metrics = stats.message(2);
    let (pids, cpu, memory) = (metrics.message(1), metrics.message(2), metrics.message(4));
    assert_eq!((pids.number(1), pids.number(2)), (1, 33), "pids");
    let usage = counted(&shim, "cpu.stat");
    let usage: u64 =
        usage.split_whitespace().nth(1).expect("usage_usec").parse().expect("a number");
    assert!((1..=usage).contains(&cpu.number(1)), "{} of {usage}", cpu.number(1));
    let now: u64 = counted(&shim, "memory.current").parse().expect("a number");
    assert_eq!(memory.number(33), 67_108_864, "limit");
    assert!(memory.number(32) > 0 && memory.number(32).abs_diff(now) < 8 << 20, "{memory:?} {now}");
    assert!(memory.number(1) > 0, "anonymous memory");
}

/// SHIM-RES-06: on version 2, want of memory is told when it ends a process, and the container runs on; at its own end it is
/// told before that.
#[test]
fn tells_of_want_of_memory_on_version_2() {
    if !version_2() {
        return;
    }
    let shim = ShimUnderTest::start("c1", |config| {
        let script =
            "(a=x; while :; do a=$a$a; done); read line < /tmp/go; a=x; while :; do a=$a$a; done";
        config["process"]["args"] = json!(["sh", "-c", format!("mkfifo /tmp/go; {script}")]);
        config["linux"]["resources"]["memory"] = json!({"limit": 16_777_216, "swap": 16_777_216});
        let tmp = json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"});
        config["mounts"].as_array_mut().expect("an array").push(tmp);
    });
    let pid = shim.up("c1");
    shim.events_until("want of memory", |it| it.topic == "/tasks/oom");
    assert_eq!(shim.call("State", id("c1")).expect("a state").number(4), 2, "it runs on");
    fs::write(format!("/proc/{pid}/root/tmp/go"), "now\n").expect("a word");
    assert_eq!(shim.call("Wait", id("c1")).expect("its end").number(1), 137);
    let events = shim.events_until("the end", |it| it.topic == "/tasks/exit");
    let topics: Vec<&str> = events.iter().map(|it| it.topic.as_str()).collect();
    let told = topics.iter().filter(|it| **it == "/tasks/oom").count();
    assert_eq!((told, topics.last()), (2, Some(&"/tasks/exit")), "{topics:?}");
}
