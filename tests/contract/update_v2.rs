//! `update` where cgroup version 2 is alone: other files, other figures, the same flags.

use keel_tests::{Container, cgroup_value, requires, version_2};
use serde_json::json;

const MIB: i64 = 1 << 20;

#[track_caller]
fn holds(pid: i32, file: &str, value: &str) {
    assert_eq!(cgroup_value(pid, "unified", file), value, "{file}");
}

/// CLI-UPDATE-20: on version 2 each flag reaches its file, swap as what exceeds the memory, and what is not
/// named stays.
#[test]
fn sets_each_flag() {
    if !version_2() {
        return;
    }
    let (container, pid) = Container::up_with(json!({"pids": {"limit": 20},
        "memory": {"limit": 32 * MIB, "swap": 64 * MIB, "reservation": 24 * MIB}}));
    for (flags, file, value) in [
        (&["--memory", "50M"][..], "memory.max", "52428800"),
        (&["--memory-reservation", "33554432"], "memory.low", "33554432"),
        // The packaged runc takes no swap without the memory.
        (&["--memory", "50M", "--memory-swap", "96468992"], "memory.swap.max", "44040192"),
        (&["--pids-limit", "10"], "pids.max", "10"),
        (&["--cpuset-cpus", "0"], "cpuset.cpus", "0"),
        (&["--cpuset-mems", "0"], "cpuset.mems", "0"),
        (&["--pids-limit", "-1"], "pids.max", "max"),
    ] {
        container.update(flags).succeeds();
        holds(pid, file, value);
    }
    holds(pid, "memory.max", "52428800");
    container.update(&["--memory", "-1", "--memory-swap", "-1"]).succeeds();
    holds(pid, "memory.max", "max");
    holds(pid, "memory.swap.max", "max");
    holds(pid, "memory.low", "33554432");
}

/// CLI-UPDATE-21: on version 2 quota and period, which are one file, change one without the other; burst
/// changes in either direction.
#[test]
fn changes_each_half_of_the_quota() {
    if !version_2() {
        return;
    }
    let (container, pid) =
        Container::up_with(json!({"cpu": {"quota": 500_000, "period": 1_000_000}}));
    let newer = "the packaged runc forgets the half that is not named";
    if !requires(container.runtime().is("keel"), newer) {
        return;
    }
    for (flags, value) in [
        (&["--cpu-period", "900000"][..], "500000 900000"),
        (&["--cpu-quota", "600000"], "600000 900000"),
        (&["--cpu-quota", "3000", "--cpu-period", "10000"], "3000 10000"),
        (&["--pids-limit", "9"], "3000 10000"),
        (&["--cpu-period", "20000"], "3000 20000"),
        (&["--cpu-quota", "-1"], "max 20000"),
    ] {
        container.update(flags).succeeds();
        holds(pid, "cpu.max", value);
    }
    for (quota, burst) in [("50000", "40000"), ("10000", "5000"), ("90000", "90000")] {
        container.update(&["--cpu-quota", quota, "--cpu-burst", burst]).succeeds();
        holds(pid, "cpu.max.burst", burst);
        holds(pid, "cpu.max", &format!("{quota} 20000"));
    }
}

/// CLI-UPDATE-22: on version 2 an idle container is one by its flag alone, and gets its weight with the next
/// shares.
#[test]
fn makes_a_container_idle() {
    if !version_2() {
        return;
    }
    let (container, pid) = Container::up_with(json!({"cpu": {"shares": 512}}));
    if !requires(container.runtime().is("keel"), "the packaged runc has no --cpu-idle") {
        return;
    }
    container.update(&["--cpu-idle", "1"]).succeeds();
    holds(pid, "cpu.idle", "1");
    container.update(&["--cpu-idle", "0", "--cpu-share", "1024"]).succeeds();
    holds(pid, "cpu.idle", "0");
    holds(pid, "cpu.weight", "100");
}

/// CLI-UPDATE-23: `unified` names files of version 2; a file that there is not is an error with its name, and
/// changes nothing.
#[test]
fn sets_files_by_name() {
    if !version_2() {
        return;
    }
    let (container, pid) = Container::up_with(json!({"memory": {"limit": 64 * MIB}}));
    let limits = json!({"unified": {"memory.high": "52428800", "pids.max": "17"}});
    container.update_with(&limits).succeeds();
    holds(pid, "memory.high", "52428800");
    holds(pid, "pids.max", "17");
    let none = json!({"unified": {"memory.nosuch": "1", "pids.max": "18"}});
    container.update_with(&none).fails_naming(&["memory.nosuch"]);
    if requires(container.runtime().is("keel"), "runc writes them in any order") {
        holds(pid, "pids.max", "17");
    }
    holds(pid, "memory.max", "67108864");
}

/// CLI-UPDATE-24: on version 2, too, what was written before a refusal is set back.
#[test]
fn sets_back_what_a_refusal_left() {
    if !version_2() {
        return;
    }
    let (container, pid) =
        Container::up_with(json!({"memory": {"limit": 64 * MIB}, "pids": {"limit": 5}}));
    if !requires(container.runtime().is("keel"), "runc sets back what the config names only") {
        return;
    }
    let files = [
        "memory.max",
        "memory.swap.max",
        "cpu.max",
        "cpu.weight",
        "cpuset.cpus.effective",
        "pids.max",
    ];
    let held = || files.map(|file| cgroup_value(pid, "unified", file));
    let before = held();
    // More tasks than the kernel counts.
    let too_many = json!({"memory": {"limit": 48 * MIB, "swap": 50 * MIB},
        "cpu": {"cpus": "0", "quota": 5000, "shares": 2}, "pids": {"limit": 1_000_000_000_000_i64}});
    container.update_with(&too_many).exits(1);
    assert_eq!(held(), before);
    container.update(&["--pids-limit", "6"]).succeeds();
    holds(pid, "pids.max", "6");
}

/// CLI-UPDATE-25: with `checkBeforeUpdate` a limit below what is in use is refused, where version 2 would
/// kill for it.
#[test]
fn checks_what_is_in_use() {
    if !version_2() {
        return;
    }
    let (container, pid) = Container::up_with(json!({"memory": {"limit": 64 * MIB}}));
    if !requires(container.runtime().is("keel"), "checkBeforeUpdate, which newer runc has") {
        return;
    }
    let limits = json!({"memory": {"limit": 4096, "checkBeforeUpdate": true}});
    container.update_with(&limits).fails_naming(&["4096", "usage"]);
    holds(pid, "memory.max", "67108864");
    assert_eq!(container.state()["status"], "running");
}

/// CLI-UPDATE-26: on version 2 the rules on devices stay as they are.
#[test]
fn never_touches_devices() {
    if !version_2() {
        return;
    }
    let container = Container::sleeping(|config| {
        config["linux"]["resources"] = json!({"devices": [{"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rw"}]});
        config["linux"]["devices"] = json!([{"path": "/dev/kmsg2", "type": "c", "major": 1, "minor": 11},
            {"path": "/dev/mem2", "type": "c", "major": 1, "minor": 1}]);
    });
    container.up();
    let devices = || {
        container.exec(&["/bin/probe", "open-write", "/dev/kmsg2", "/dev/mem2"]).succeeds().json()
    };
    let before = devices();
    assert_eq!((&before["/dev/kmsg2"], &before["/dev/mem2"]), (&json!(0), &json!(1)));
    let open = json!({"devices": [{"allow": true, "access": "rwm"}], "pids": {"limit": 9}});
    container.update_with(&open).succeeds();
    container.update(&["--pids-limit", "8"]).succeeds();
    assert_eq!(devices(), before);
}
