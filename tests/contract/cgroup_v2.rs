//! `linux.cgroupsPath` and `linux.resources` where cgroup version 2 is alone.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use keel_tests::{
    Child, Container, cgroup_value, controller_folder, eventually, requires, version_2,
};
use serde_json::{Value, json};

fn folder(pid: i32) -> PathBuf {
    controller_folder(pid, "unified").expect("a cgroup")
}

fn value(pid: i32, file: &str) -> String {
    cgroup_value(pid, "unified", file)
}

/// RT-CGROUP2-01: memory limit, reservation and swap reach the kernel; swap is what exceeds the limit.
#[test]
fn sets_memory() {
    if !version_2() {
        return;
    }
    let (_container, pid) = Container::up_with(json!({"memory": {
        "limit": 67_108_864, "reservation": 33_554_432, "swap": 134_217_728}}));
    assert_eq!(value(pid, "memory.max"), "67108864");
    assert_eq!(value(pid, "memory.low"), "33554432");
    assert_eq!(value(pid, "memory.swap.max"), "67108864");
    let (_container, pid) = Container::up_with(json!({"memory": {"limit": -1}}));
    assert_eq!(
        (value(pid, "memory.max"), value(pid, "memory.swap.max")),
        ("max".into(), "max".into())
    );
}

/// RT-CGROUP2-02: a program that takes more memory than its limit is killed.
#[test]
fn a_memory_limit_holds() {
    if !version_2() {
        return;
    }
    let container = Container::new(|config| {
        config["linux"]["resources"] = json!({"memory": {"limit": 16_777_216, "swap": 16_777_216}});
        config["process"]["args"] = json!(["/bin/probe", "hog", "64"]);
    });
    let outcome = container.run().exits(137);
    assert!(!outcome.stdout.contains("took"), "{}", outcome.report());
}

/// RT-CGROUP2-03: shares become a weight around 100; quota, period and burst reach the kernel.
#[test]
fn sets_cpu() {
    if !version_2() {
        return;
    }
    let (container, pid) =
        Container::up_with(json!({"cpu": {"shares": 1024, "quota": 50_000, "period": 200_000}}));
    assert_eq!(value(pid, "cpu.max"), "50000 200000");
    // runc 1.1 has the older, linear scale, where this is 39.
    if requires(!container.runtime().is("runc"), "the scale of newer runc") {
        assert_eq!(value(pid, "cpu.weight"), "100");
    }
}

/// RT-CGROUP2-04: burst and idle reach the kernel; an idle cgroup takes no weight, and is none the worse.
#[test]
fn sets_burst_and_idle() {
    if !version_2() {
        return;
    }
    let container = Container::sleeping(|config| {
        config["linux"]["resources"] = json!({"cpu": {"quota": 50_000, "period": 100_000, "burst": 20_000, "idle": 1, "shares": 512}});
    });
    if !requires(!container.runtime().is("runc"), "burst and idle, which newer runc has") {
        return;
    }
    let pid = container.up();
    assert_eq!(value(pid, "cpu.max.burst"), "20000");
    assert_eq!(value(pid, "cpu.idle"), "1");
}

/// RT-CGROUP2-05: cpuset cpus and mems reach the kernel, and the program is bound to them.
#[test]
fn sets_cpuset() {
    if !version_2() {
        return;
    }
    let (_container, pid) = Container::up_with(json!({"cpu": {"cpus": "0", "mems": "0"}}));
    assert_eq!((value(pid, "cpuset.cpus"), value(pid, "cpuset.mems")), ("0".into(), "0".into()));
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");
}

/// RT-CGROUP2-06: the pids limit reaches the kernel and holds; -1 is no limit.
#[test]
fn a_pids_limit_holds() {
    if !version_2() {
        return;
    }
    let container = Container::new(|config| {
        config["linux"]["resources"] = json!({"pids": {"limit": 10}});
        config["process"]["args"] = json!(["/bin/probe", "forks", "50"]);
    });
    let seen = container.run().succeeds().json();
    assert_eq!((&seen["errno"], &seen["made"]), (&json!(11), &json!(9)), "EAGAIN, and ten in all");
    let (_container, pid) = Container::up_with(json!({"pids": {"limit": -1}}));
    assert_eq!(value(pid, "pids.max"), "max");
}

/// RT-CGROUP2-07: weights and throttles of block devices reach the kernel.
#[test]
fn sets_block_io() {
    if !version_2() {
        return;
    }
    let device = fs::read_dir("/sys/block").expect("block devices").flatten().find_map(|entry| {
        let is_disk = entry.path().join("device").exists();
        is_disk.then(|| fs::read_to_string(entry.path().join("dev")).ok()).flatten()
    });
    if !requires(device.is_some(), "a disk") {
        return;
    }
    let device = device.unwrap_or_default();
    let (major, minor) = device.trim().split_once(':').expect("a device number");
    let number = |text: &str| text.parse::<u32>().expect("a number");
    let at = |rate: u64| json!([{"major": number(major), "minor": number(minor), "rate": rate}]);
    let (_container, pid) = Container::up_with(json!({"blockIO": {"weight": 500,
        "throttleReadBpsDevice": at(1_048_576), "throttleWriteIOPSDevice": at(77)}}));
    let limits = value(pid, "io.max");
    let wanted = format!("{} rbps=1048576 wbps=max riops=max wiops=77", device.trim());
    assert_eq!(limits, wanted);
    let weight =
        ["io.bfq.weight", "io.weight"].map(|file| fs::read_to_string(folder(pid).join(file)));
    assert!(
        weight
            .iter()
            .flatten()
            .any(|text| ["default 500", "500", "default 4950"].contains(&text.trim())),
        "{weight:?}"
    );
}

/// RT-CGROUP2-08: huge pages are limited, in use and reserved.
#[test]
fn sets_huge_pages() {
    if !version_2() {
        return;
    }
    let there = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    if !requires(there.contains("hugetlb"), "the hugetlb controller") {
        return;
    }
    let (_container, pid) =
        Container::up_with(json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4_194_304}]}));
    assert_eq!(value(pid, "hugetlb.2MB.max"), "4194304");
    assert_eq!(value(pid, "hugetlb.2MB.rsvd.max"), "4194304");
}

/// RT-CGROUP2-09: `unified` writes any file of the cgroup, last; one whose controller is missing is refused.
#[test]
fn writes_unified() {
    if !version_2() {
        return;
    }
    let (_container, pid) = Container::up_with(json!({"memory": {"limit": 67_108_864},
        "unified": {"memory.high": "33554432", "memory.max": "50331648", "cgroup.max.depth": "7"}}));
    assert_eq!(value(pid, "memory.high"), "33554432");
    assert_eq!(value(pid, "memory.max"), "50331648");
    assert_eq!(value(pid, "cgroup.max.depth"), "7");
    let container = Container::sleeping(|config| {
        config["linux"]["resources"]["unified"] = json!({"nosuch.max": "1"});
    });
    container.create().fails_naming(&["nosuch"]);
    container.assert_nothing_left();
}

/// RT-CGROUP2-10: the rules on devices hold for opening and for making them.
#[test]
fn a_devices_list_holds() {
    if !version_2() {
        return;
    }
    let container = Container::new(|config| {
        config["linux"]["devices"] = json!([
            {"path": "/dev/kmsg2", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666},
            {"path": "/dev/mem2", "type": "c", "major": 1, "minor": 1, "fileMode": 0o666}]);
        config["linux"]["resources"]["devices"] = json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "w"}]);
        config["process"]["args"] = json!([
            "/bin/probe",
            "open-write",
            "/dev/null",
            "/dev/zero",
            "/dev/kmsg2",
            "/dev/mem2"
        ]);
    });
    let seen = container.run().succeeds().json();
    assert_eq!((&seen["/dev/null"], &seen["/dev/zero"]), (&json!(0), &json!(0)));
    assert_eq!((&seen["/dev/kmsg2"], &seen["/dev/mem2"]), (&json!(0), &json!(1)), "EPERM");
    for (rules, errno) in [
        // Any node may be made unless a rule says that none may be: making is not opening.
        (json!([{"allow": false, "access": "rwm"}]), 0),
        (
            json!([{"allow": true, "access": "rwm"}, {"allow": false, "type": "b", "major": 7, "minor": 0, "access": "m"}]),
            1,
        ),
    ] {
        container.change(|config| {
            config["linux"]["resources"]["devices"] = rules.clone();
            config["process"]["capabilities"]["bounding"] = json!(["CAP_MKNOD"]);
            config["process"]["capabilities"]["effective"] = json!(["CAP_MKNOD"]);
            config["process"]["capabilities"]["permitted"] = json!(["CAP_MKNOD"]);
            config["root"]["readonly"] = json!(false);
            config["process"]["args"] = json!(["/bin/probe", "mknod", "/tmp/node", "b", "7", "0"]);
        });
        if errno == 1
            && !requires(
                !container.runtime().is("runc"),
                "a rule on making, after which runc allows all",
            )
        {
            continue;
        }
        let _ = fs::remove_file(container.rootfs().join("tmp/node"));
        assert_eq!(container.run().succeeds().json()["errno"], errno, "{rules}");
    }
}

/// RT-CGROUP2-11: controllers are enabled from the root down, in parents that the runtime makes too.
#[test]
fn enables_controllers_in_parents() {
    if !version_2() {
        return;
    }
    let container = Container::sleeping(|config| {
        config["linux"]["resources"] =
            json!({"pids": {"limit": 9}, "memory": {"limit": 67_108_864}});
    });
    let outer = PathBuf::from(format!("/sys/fs/cgroup/{}-outer", container.id()));
    let path = json!(format!("/{}-outer/middle/inner", container.id()));
    container.change(|config| config["linux"]["cgroupsPath"] = path);
    let pid = container.up();
    assert_eq!(value(pid, "pids.max"), "9");
    for parent in [outer.clone(), outer.join("middle")] {
        let enabled = fs::read_to_string(parent.join("cgroup.subtree_control")).expect("a parent");
        assert!(enabled.contains("pids") && enabled.contains("memory"), "{enabled}");
    }
    container.delete(&["--force"]).succeeds();
    let _ = fs::remove_dir(outer.join("middle"));
    let _ = fs::remove_dir(outer);
}

fn shows_cgroups(config: &mut Value, options: &[&str]) {
    let mut all = vec!["nosuid", "noexec", "nodev"];
    all.extend(options);
    let mounts = config["mounts"].as_array_mut().expect("an array");
    mounts.retain(|mount| mount["type"] != "cgroup");
    mounts.push(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": all}));
    let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
    namespaces.push(json!({"type": "cgroup"}));
}

/// RT-CGROUP2-12: a mount of type `cgroup` is a cgroup2 file system with the container's cgroup as its root,
/// read-only when asked for.
#[test]
fn shows_its_own_cgroup() {
    if !version_2() {
        return;
    }
    for options in [&["ro"][..], &[]] {
        let container = Container::new(|config| {
            shows_cgroups(config, options);
            config["linux"]["resources"] = json!({"pids": {"limit": 33}});
            config["process"]["args"] = json!([
                "sh",
                "-c",
                "cat /proc/self/cgroup /sys/fs/cgroup/pids.max; grep ' /sys/fs/cgroup ' /proc/self/mounts; \
                 mkdir /sys/fs/cgroup/below && echo written"
            ]);
        });
        let outcome = container.run();
        assert!(outcome.stdout.starts_with("0::/\n33\n"), "{}", outcome.report());
        assert!(outcome.stdout.contains(" /sys/fs/cgroup cgroup2 "), "{}", outcome.report());
        assert_eq!(outcome.stdout.contains("written"), options.is_empty(), "{}", outcome.report());
    }
}

/// RT-CGROUP2-13: where the container may write to its own cgroup, the files that can be delegated belong to
/// its user, and no others.
#[test]
fn delegates_its_cgroup() {
    use std::os::unix::fs::MetadataExt as _;
    if !version_2() {
        return;
    }
    for (options, owner) in [(&[][..], 100_000), (&["ro"], 0)] {
        let container = Container::sleeping(|config| {
            shows_cgroups(config, options);
            let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
            namespaces.push(json!({"type": "user"}));
            for key in ["uidMappings", "gidMappings"] {
                config["linux"][key] =
                    json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
            }
        });
        if !requires(!container.runtime().is("runc"), "runc 1.1 delegates scopes only") {
            return;
        }
        let chowned =
            Command::new("chown").args(["-R", "100000:100000"]).arg(container.rootfs()).status();
        assert!(chowned.expect("chown").success());
        let pid = container.up();
        let owner_of = |name: &str| fs::metadata(folder(pid).join(name)).expect(name).uid();
        let owners = ["", "cgroup.procs", "cgroup.subtree_control", "memory.max"].map(owner_of);
        assert_eq!(owners, [owner, owner, owner, 0], "{options:?}");
        let made =
            container.exec(&["sh", "-c", "mkdir /sys/fs/cgroup/sub && rmdir /sys/fs/cgroup/sub"]);
        assert_eq!(made.status == 0, options.is_empty(), "{}", made.report());
    }
}

/// RT-CGROUP2-14: a frozen container is paused, and SIGKILL ends it all the same.
#[test]
fn a_frozen_container_can_be_killed() {
    if !version_2() {
        return;
    }
    let (container, pid) = Container::up_with(json!({}));
    fs::write(folder(pid).join("cgroup.freeze"), "1").expect("frozen");
    container.becomes("paused");
    container.kill("KILL").succeeds();
    container.becomes("stopped");
}

/// RT-CGROUP2-15: `exec --cgroup` starts a process in a cgroup below the container's.
#[test]
fn exec_enters_a_cgroup_below() {
    if !version_2() {
        return;
    }
    let (container, pid) = Container::up_with(json!({}));
    fs::create_dir(folder(pid).join("below")).expect("a cgroup");
    for path in ["below", "/below"] {
        let words = ["exec", "--cgroup", path, container.id(), "cat", "/proc/self/cgroup"];
        let outcome = container.call(&words).succeeds();
        assert!(outcome.stdout.trim().ends_with("/below"), "{}", outcome.report());
    }
    container.call(&["exec", "--cgroup", "nosuch", container.id(), "true"]).exits(255);
    // Those below go with the container.
    container.delete(&["--force"]).succeeds();
    container.assert_nothing_left();
}

/// RT-CGROUP2-16: a cgroup that has processes is refused, and so is a frozen one.
#[test]
fn refuses_a_cgroup_in_use() {
    if !version_2() {
        return;
    }
    let container = Container::sleeping(|_| ());
    let folder = PathBuf::from(format!("/sys/fs/cgroup/{}", container.id()));
    fs::create_dir(&folder).expect("a cgroup");
    let mut command = Command::new("sleep");
    command.arg("1000");
    let stranger = Child::start(command);
    fs::write(folder.join("cgroup.procs"), stranger.pid().to_string()).expect("moved");
    if requires(!container.runtime().is("runc"), "runc 1.1 only warns of processes") {
        container.create().fails_naming(&["not empty"]);
    }
    drop(stranger);
    fs::write(folder.join("cgroup.freeze"), "1").expect("frozen");
    container.create().fails_naming(&["frozen"]);
    fs::write(folder.join("cgroup.freeze"), "0").expect("thawed");
    container.create().succeeds();
}

/// RT-CGROUP2-17: all processes are killed with the last word, those in cgroups below too.
#[test]
fn kills_those_below() {
    if !version_2() {
        return;
    }
    let container = Container::sleeping(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
        namespaces.retain(|namespace| namespace["type"] != "pid");
    });
    if !requires(!container.runtime().is("runc"), "runc 1.1 leaves those in cgroups below") {
        return;
    }
    let pid = container.up();
    fs::create_dir(folder(pid).join("below")).expect("a cgroup");
    let words = ["exec", "--detach", "--cgroup", "below", container.id(), "sleep", "100003"];
    container.call(&words).succeeds();
    let below = folder(pid).join("below/cgroup.procs");
    assert_eq!(fs::read_to_string(&below).expect("procs").lines().count(), 1);
    container.delete(&["--force"]).succeeds();
    eventually("nothing is left", || container.left().is_empty().then_some(()));
}

/// RT-CGROUP2-18: the runtime's own part fits into a memory limit of 256 KiB.
#[test]
fn starts_within_256_kib() {
    if !version_2() {
        return;
    }
    let container = Container::new(|config| config["process"]["args"] = json!(["true"]));
    if !requires(!container.runtime().is("runc"), "runc needs several MiB to start") {
        return;
    }
    container.run().succeeds();
    container.change(|config| {
        config["linux"]["resources"]["memory"] = json!({"limit": 262_144, "swap": 262_144});
    });
    container.run().succeeds();
}

/// RT-CGROUP2-19: exec follows the first process where the container's own cgroup takes no processes any
/// more, because controllers were delegated from there.
#[test]
fn exec_follows_the_first_process() {
    if !version_2() {
        return;
    }
    let (container, pid) = Container::up_with(json!({}));
    let own = folder(pid);
    let inner = own.join("inner");
    fs::create_dir(&inner).expect("a cgroup below");
    fs::write(inner.join("cgroup.procs"), pid.to_string()).expect("the first process moves");
    fs::write(own.join("cgroup.subtree_control"), "+memory").expect("a controller is delegated");
    let seen = container.exec(&["cat", "/proc/self/cgroup"]).succeeds().stdout;
    assert!(seen.trim().ends_with("/inner"), "{seen}");
}
