//! `update`: other limits for a container that is there.

use keel_tests::{Container, cgroup_value, controller_folder, requires, version_1};
use serde_json::json;

const MIB: i64 = 1 << 20;

fn keel_alone(container: &Container, reason: &str) -> bool {
    requires(container.runtime().is("keel"), reason)
}

/// CLI-UPDATE-01: each flag reaches its file, and what is not named stays.
#[test]
fn sets_each_flag() {
    if !version_1("memory") || !version_1("cpu") || !version_1("pids") || !version_1("cpuset") {
        return;
    }
    let (container, pid) = Container::up_with(json!({"pids": {"limit": 20},
        "memory": {"limit": 64 * MIB, "swap": 128 * MIB}}));
    let is = |controller: &str, file: &str, value: &str| {
        assert_eq!(cgroup_value(pid, controller, file), value, "{file}");
    };
    for (flags, controller, file, value) in [
        (["--memory", "50M"], "memory", "memory.limit_in_bytes", "52428800"),
        (["--memory-reservation", "33554432"], "memory", "memory.soft_limit_in_bytes", "33554432"),
        (["--memory-swap", "0.25g"], "memory", "memory.memsw.limit_in_bytes", "268435456"),
        (["--cpu-share", "300"], "cpu", "cpu.shares", "300"),
        (["--cpu-quota", "400000"], "cpu", "cpu.cfs_quota_us", "400000"),
        (["--cpu-period", "900000"], "cpu", "cpu.cfs_period_us", "900000"),
        (["--pids-limit", "10"], "pids", "pids.max", "10"),
        (["--cpuset-cpus", "0"], "cpuset", "cpuset.cpus", "0"),
        (["--cpuset-mems", "0"], "cpuset", "cpuset.mems", "0"),
        (["--pids-limit", "-1"], "pids", "pids.max", "max"),
        (["--cpu-quota", "-1"], "cpu", "cpu.cfs_quota_us", "-1"),
    ] {
        container.update(&flags).succeeds();
        is(controller, file, value);
    }
    is("memory", "memory.limit_in_bytes", "52428800");
    is("cpu", "cpu.cfs_period_us", "900000");
    is("cpu", "cpu.shares", "300");
}

/// CLI-UPDATE-02: `--resources` takes a file, or `-` for standard input; all other flags are ignored then.
#[test]
fn takes_a_file_and_standard_input() {
    if !version_1("memory") || !version_1("pids") {
        return;
    }
    let (container, pid) = Container::up_with(json!({}));
    container.update_with(&json!({"memory": {"limit": 40 * MIB}, "pids": {"limit": 7}})).succeeds();
    assert_eq!(cgroup_value(pid, "memory", "memory.limit_in_bytes"), (40 * MIB).to_string());
    assert_eq!(cgroup_value(pid, "pids", "pids.max"), "7");
    let path = container.path("limits.json");
    std::fs::write(&path, json!({"pids": {"limit": 8}}).to_string()).expect("a file");
    container.update(&["-r", "limits.json", "--memory", "50M"]).succeeds();
    assert_eq!(cgroup_value(pid, "pids", "pids.max"), "8");
    assert_eq!(cgroup_value(pid, "memory", "memory.limit_in_bytes"), (40 * MIB).to_string());
    container.update(&["-r", "nosuch.json"]).fails_naming(&["no such file or directory"]);
}

/// CLI-UPDATE-03: memory and swap can be raised and lowered together, in whichever order the kernel takes them.
#[test]
fn raises_and_lowers_memory_with_swap() {
    if !version_1("memory") {
        return;
    }
    let (container, pid) =
        Container::up_with(json!({"memory": {"limit": 32 * MIB, "swap": 32 * MIB}}));
    for (memory, swap) in [(256, 512), (16, 16), (64, 64), (32, 96)] {
        let (memory, swap) = ((memory * MIB).to_string(), (swap * MIB).to_string());
        container.update(&["--memory", &memory, "--memory-swap", &swap]).succeeds();
        assert_eq!(cgroup_value(pid, "memory", "memory.limit_in_bytes"), memory);
        assert_eq!(cgroup_value(pid, "memory", "memory.memsw.limit_in_bytes"), swap);
    }
}

/// CLI-UPDATE-04: no limit on memory, without a word on swap, is none on both.
#[test]
fn unlimited_memory_is_unlimited_swap() {
    if !version_1("memory") {
        return;
    }
    const NONE: &str = "9223372036854771712";
    let (container, pid) =
        Container::up_with(json!({"memory": {"limit": 32 * MIB, "swap": 32 * MIB}}));
    container.update(&["--memory", "-1"]).succeeds();
    assert_eq!(cgroup_value(pid, "memory", "memory.limit_in_bytes"), NONE);
    assert_eq!(cgroup_value(pid, "memory", "memory.memsw.limit_in_bytes"), NONE);
}

/// CLI-UPDATE-05: quota, period and burst change one without the other and in either direction.
#[test]
fn changes_quota_and_period_alone() {
    if !version_1("cpu") {
        return;
    }
    let (container, pid) =
        Container::up_with(json!({"cpu": {"quota": 500_000, "period": 1_000_000}}));
    let now = || {
        let value = |file: &str| cgroup_value(pid, "cpu", file);
        (value("cpu.cfs_quota_us"), value("cpu.cfs_period_us"))
    };
    let both = |quota: &str, period: &str| (quota.to_owned(), period.to_owned());
    container.update(&["--cpu-period", "900000"]).succeeds();
    assert_eq!(now(), both("500000", "900000"));
    container.update(&["--cpu-quota", "600000"]).succeeds();
    assert_eq!(now(), both("600000", "900000"));
    container.update(&["--cpu-quota", "3000", "--cpu-period", "10000"]).succeeds();
    assert_eq!(now(), both("3000", "10000"));
    container.update(&["--pids-limit", "9"]).succeeds();
    container.update(&["--cpu-share", "100"]).succeeds();
    container.update(&["--cpu-period", "20000"]).succeeds();
    assert_eq!(now(), both("3000", "20000"), "what is not named was forgotten");
    let newer = "the packaged runc has no burst";
    if !controller_folder(pid, "cpu").expect("cpu").join("cpu.cfs_burst_us").exists()
        || !keel_alone(&container, newer)
    {
        return;
    }
    for (quota, burst) in [("50000", "40000"), ("10000", "5000"), ("90000", "90000")] {
        container.update(&["--cpu-quota", quota, "--cpu-burst", burst]).succeeds();
        assert_eq!(cgroup_value(pid, "cpu", "cpu.cfs_burst_us"), burst);
    }
}

/// CLI-UPDATE-06: an idle container is one by its flag alone, and is given its shares with the next ones.
#[test]
fn makes_a_container_idle() {
    if !version_1("cpu") {
        return;
    }
    let (container, pid) = Container::up_with(json!({"cpu": {"shares": 512}}));
    if !keel_alone(&container, "the packaged runc has no --cpu-idle") {
        return;
    }
    container.update(&["--cpu-idle", "1"]).succeeds();
    assert_eq!(cgroup_value(pid, "cpu", "cpu.idle"), "1");
    container.update(&["--cpu-idle", "0", "--cpu-share", "200"]).succeeds();
    assert_eq!(cgroup_value(pid, "cpu", "cpu.idle"), "0");
    assert_eq!(cgroup_value(pid, "cpu", "cpu.shares"), "200");
}

/// CLI-UPDATE-07: rules on devices are never touched, whatever the resources say of them.
#[test]
fn never_touches_devices() {
    if !version_1("devices") || !version_1("pids") {
        return;
    }
    let (container, pid) =
        Container::up_with(json!({"devices": [{"allow": false, "access": "rwm"}]}));
    let allow = controller_folder(pid, "devices").expect("devices").join("devices.allow");
    std::fs::write(allow, "c 195:0 rw").expect("another program adds a device");
    let before = cgroup_value(pid, "devices", "devices.list");
    assert!(before.contains("c 195:0 rw"), "{before}");
    let open = json!({"devices": [{"allow": true, "access": "rwm"}], "pids": {"limit": 9}});
    container.update_with(&open).succeeds();
    container.update(&["--pids-limit", "8"]).succeeds();
    assert_eq!(cgroup_value(pid, "devices", "devices.list"), before);
}

/// CLI-UPDATE-08: when one limit is refused, those before it are set back, and later updates build on what holds.
#[test]
fn sets_back_what_a_refusal_left() {
    if !version_1("memory") || !version_1("cpuset") || !version_1("pids") {
        return;
    }
    let (container, pid) =
        Container::up_with(json!({"memory": {"limit": 64 * MIB}, "pids": {"limit": 5}}));
    let before = |file: &str, controller: &str| cgroup_value(pid, controller, file);
    let held = [
        before("memory.limit_in_bytes", "memory"),
        before("pids.max", "pids"),
        before("cpuset.cpus", "cpuset"),
    ];
    // More tasks than the kernel counts: refused, after memory and cpuset were written.
    let too_many = json!({"memory": {"limit": 48 * MIB}, "cpu": {"cpus": "0", "mems": "0"},
        "pids": {"limit": 1_000_000_000_000_i64}});
    container.update_with(&too_many).exits(1);
    let now = [
        before("memory.limit_in_bytes", "memory"),
        before("pids.max", "pids"),
        before("cpuset.cpus", "cpuset"),
    ];
    if keel_alone(&container, "the packaged runc sets back what the config names only") {
        assert_eq!(now, held);
    }
    container.update(&["--pids-limit", "6"]).succeeds();
    assert_eq!(before("pids.max", "pids"), "6");
    assert_eq!(container.state()["status"], "running");
}

/// CLI-UPDATE-09: a memory limit below what is in use is refused with both figures.
#[test]
fn tells_what_is_in_use() {
    if !version_1("memory") {
        return;
    }
    let (container, pid) = Container::up_with(json!({}));
    container
        .update(&["--memory", "4096"])
        .fails_naming(&["unable to set memory limit to 4096 (current usage: ", "peak usage: "]);
    assert_eq!(cgroup_value(pid, "memory", "memory.limit_in_bytes"), "9223372036854771712");
}

/// CLI-UPDATE-10: a created and a paused container can be updated, a stopped one not.
#[test]
fn depends_on_the_state() {
    if !version_1("pids") {
        return;
    }
    let container = Container::new(|config| config["process"]["args"] = json!(["cat"]));
    container.create().succeeds();
    let pid = container.pid();
    container.update(&["--pids-limit", "31"]).succeeds();
    assert_eq!(cgroup_value(pid, "pids", "pids.max"), "31");
    container.call(&["pause", container.id()]).succeeds();
    container.update(&["--pids-limit", "32"]).succeeds();
    assert_eq!(cgroup_value(pid, "pids", "pids.max"), "32");
    assert_eq!(container.state()["status"], "paused");
    container.call(&["resume", container.id()]).succeeds();
    container.start().succeeds();
    container.becomes("stopped");
    container.update(&["--pids-limit", "33"]).fails_naming(&["container not running"]);
    container
        .call(&["update", "--pids-limit", "1", "nosuchcontainer"])
        .fails_naming(&["does not exist"]);
}

/// CLI-UPDATE-11: values that are none are refused in runc's words.
#[test]
fn refuses_malformed_values() {
    let container = Container::sleeping(|_| ());
    container.up();
    for (flags, words) in [
        (["--memory", "abc"], "invalid value for memory: invalid size: 'abc'"),
        (["--memory-swap", "1x"], "invalid value for memory-swap: invalid size: '1x'"),
        (["--cpu-share", "x"], "invalid value for cpu-share: strconv.ParseUint: parsing"),
        (["--cpu-quota", "1.5"], "invalid value for cpu-quota: strconv.ParseInt: parsing"),
        (["--pids-limit", "x"], "flag -pids-limit: parse error"),
        (["--blkio-weight", ""], "flag -blkio-weight: parse error"),
    ] {
        let refused = container.update(&flags).exits(1);
        let said = refused.stdout.clone() + &refused.stderr.replace("\\\"", "\"");
        assert!(said.contains(words), "{words}\n{}", refused.report());
    }
    container.update_with(&json!({"memory": {"limit": "x"}})).exits(1);
    container.update_with(&json!([])).exits(1);
    let command = container.command(&["update", "-r", "-", container.id()]);
    container.finish_with_input(command, "xx").exits(1);
}

/// CLI-UPDATE-12: schemas of Intel RDT are refused where the host has none, kernel memory is passed over with a warning.
#[test]
fn refuses_schemas_and_passes_over_kernel_memory() {
    let container = Container::sleeping(|_| ());
    container.up();
    if requires(!std::path::Path::new("/sys/fs/resctrl/info").exists(), "a host without resctrl") {
        container
            .update(&["--l3-cache-schema", "L3:0=f"])
            .fails_naming(&["Intel RDT/CAT: l3 cache schema is not enabled"]);
        container
            .update(&["--mem-bw-schema", "MB:0=20"])
            .fails_naming(&["Intel RDT/MBA: memory bandwidth schema is not enabled"]);
    }
    container
        .update(&["--kernel-memory", "50M", "--kernel-memory-tcp", "1M"])
        .succeeds()
        .says(&["level=warning"]);
}

/// CLI-UPDATE-13: the rate of a device replaces the one it had, and the others stay.
#[test]
fn replaces_the_rate_of_a_device() {
    if !version_1("blkio") {
        return;
    }
    let Some([first, second]) = disks() else { return };
    let rate =
        |device: (u32, u32), rate: u64| json!({"major": device.0, "minor": device.1, "rate": rate});
    let (container, pid) = Container::up_with(json!({"blockIO": {
        "throttleReadBpsDevice": [rate(first, 1_000_000), rate(second, 2_000_000)]}}));
    if !requires(container.runtime().is("keel"), "runc 1.1.5 keeps the rate that a device had") {
        return;
    }
    container
        .update_with(&json!({"blockIO": {"throttleReadBpsDevice": [rate(first, 3_000_000)],
        "throttleWriteIOPSDevice": [rate(second, 40)]}}))
        .succeeds();
    let lines = |file: &str| -> Vec<String> {
        let mut lines: Vec<_> =
            cgroup_value(pid, "blkio", file).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let line = |device: (u32, u32), rate: u64| format!("{}:{} {rate}", device.0, device.1);
    let mut expected = vec![line(first, 3_000_000), line(second, 2_000_000)];
    expected.sort();
    assert_eq!(lines("blkio.throttle.read_bps_device"), expected);
    assert_eq!(lines("blkio.throttle.write_iops_device"), [line(second, 40)]);
}

/// The numbers of two block devices of the host.
fn disks() -> Option<[(u32, u32); 2]> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        let text = std::fs::read_to_string(entry.path().join("dev")).unwrap_or_default();
        if let Some((major, minor)) = text.trim().split_once(':') {
            found.push((major.parse().ok()?, minor.parse().ok()?));
        }
    }
    found.sort_unstable();
    let two = <[(u32, u32); 2]>::try_from(found.get(..2).unwrap_or_default()).ok();
    requires(two.is_some(), "two block devices").then_some(two).flatten()
}

/// CLI-UPDATE-14: settings of cgroup version 2 by name are an error where version 2 lacks the controller.
#[test]
fn refuses_unified_on_version_1() {
    if !version_1("memory") {
        return;
    }
    let (container, _) = Container::up_with(json!({}));
    if keel_alone(&container, "the packaged runc passes over them") {
        if !keel_alone(&container, "the packaged runc passes over devices") {
            return;
        }
        container
            .update_with(&json!({"unified": {"memory.high": "100000"}}))
            .fails_naming(&["linux.resources.unified.memory.high"]);
    }
}

/// CLI-UPDATE-27: what is refused of a flag is told of the flag, and what is refused of a file of the file.
#[test]
fn blames_the_flag_or_the_file() {
    let container = Container::sleeping(|_| ());
    if !version_1("cpuset") || !version_1("cpu") {
        return;
    }
    container.up();
    let keel = container.runtime().is("keel");
    let refused = |flag: &str, value: &str| {
        let outcome = container.call(&["update", flag, value, container.id()]).exits(1);
        let outcome = outcome.says(&[value]);
        assert!(!keel || outcome.stderr.contains(&format!("\"{flag}: ")), "{}", outcome.report());
    };
    refused("--cpuset-cpus", "nosuch");
    refused("--cpuset-cpus", "4095");
    refused("--cpu-period", "1");
    let file = container.path("limits.json");
    std::fs::write(&file, r#"{"memory": {"limit": "much"}}"#).expect("a file");
    let file = file.to_str().expect("a path");
    let outcome = container.call(&["update", "-r", file, container.id()]).exits(1);
    let outcome = outcome.says(&["memory.limit"]);
    assert!(!keel || outcome.stderr.contains("limits.json: memory.limit"), "{}", outcome.report());
}
