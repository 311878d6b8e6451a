//! `linux.cgroupsPath` and `linux.resources`.

use keel_tests::{Container, cgroup_value, controller_folder, requires, version_1};
use serde_json::json;

/// RT-CGROUP-01: the program is in the cgroup that `cgroupsPath` names, below every controller's mount.
#[test]
fn puts_the_program_into_its_cgroup() {
    let (container, pid) = Container::up_with(json!({}));
    let table = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroups");
    let wanted = format!("/{}", container.id());
    for line in table.lines() {
        let path = line.splitn(3, ':').nth(2).expect("a path");
        // Version 2 beside version 1 holds no controller that is asked for; both ways are correct.
        if line.starts_with("0::") && path == "/" {
            continue;
        }
        assert_eq!(path, wanted, "{table}");
    }
}

/// RT-CGROUP-02: the folder is gone after `delete`, whatever the depth of the path.
#[test]
fn removes_the_cgroup() {
    let container = Container::sleeping(|_| ());
    let path = json!(format!("/{}-outer/inner", container.id()));
    container.change(|config| config["linux"]["cgroupsPath"] = path);
    let pid = container.up();
    let folder = controller_folder(pid, "pids").expect("a pids cgroup");
    assert!(folder.ends_with("inner"), "{}", folder.display());
    container.delete(&["--force"]).succeeds();
    assert!(!folder.exists());
    // The outer folder may serve other containers, so no runtime removes it; the test does.
    let outer = format!("{}-outer", container.id());
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").expect("cgroups").flatten();
    let hierarchies = hierarchies.map(|entry| entry.path()).chain(["/sys/fs/cgroup".into()]);
    for hierarchy in hierarchies {
        let _ = std::fs::remove_dir(hierarchy.join(&outer));
    }
}

/// RT-CGROUP-03: memory limit, reservation, swap and swappiness reach the kernel.
#[test]
fn sets_memory() {
    if !version_1("memory") {
        return;
    }
    let (_container, pid) = Container::up_with(json!({"memory": {
        "limit": 67_108_864, "reservation": 33_554_432, "swap": 134_217_728, "swappiness": 20}}));
    assert_eq!(cgroup_value(pid, "memory", "memory.limit_in_bytes"), "67108864");
    assert_eq!(cgroup_value(pid, "memory", "memory.soft_limit_in_bytes"), "33554432");
    assert_eq!(cgroup_value(pid, "memory", "memory.swappiness"), "20");
    if controller_folder(pid, "memory")
        .expect("a folder")
        .join("memory.memsw.limit_in_bytes")
        .exists()
    {
        assert_eq!(cgroup_value(pid, "memory", "memory.memsw.limit_in_bytes"), "134217728");
    }
}

/// RT-CGROUP-04: a program that takes more memory than its limit is killed.
#[test]
fn a_memory_limit_holds() {
    if !version_1("memory") {
        return;
    }
    let container = Container::new(|config| {
        config["linux"]["resources"] = json!({"memory": {"limit": 16_777_216, "swap": 16_777_216}});
        config["process"]["args"] = json!(["/bin/probe", "hog", "64"]);
    });
    let outcome = container.run().exits(137);
    assert!(!outcome.stdout.contains("took"), "{}", outcome.report());
}

/// RT-CGROUP-05: cpu shares, quota and period reach the kernel.
#[test]
fn sets_cpu() {
    if !version_1("cpu") {
        return;
    }
    let (_container, pid) =
        Container::up_with(json!({"cpu": {"shares": 512, "quota": 50_000, "period": 100_000}}));
    assert_eq!(cgroup_value(pid, "cpu", "cpu.shares"), "512");
    assert_eq!(cgroup_value(pid, "cpu", "cpu.cfs_quota_us"), "50000");
    assert_eq!(cgroup_value(pid, "cpu", "cpu.cfs_period_us"), "100000");
}

/// RT-CGROUP-06: cpuset cpus and mems reach the kernel, and the program is bound to them.
#[test]
fn sets_cpuset() {
    if !version_1("cpuset") {
        return;
    }
    let (_container, pid) = Container::up_with(json!({"cpu": {"cpus": "0", "mems": "0"}}));
    assert_eq!(cgroup_value(pid, "cpuset", "cpuset.cpus"), "0");
    assert_eq!(cgroup_value(pid, "cpuset", "cpuset.mems"), "0");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");
}

/// RT-CGROUP-07: without cpuset settings the cpuset is the parent's, not empty.
#[test]
fn inherits_cpuset() {
    if !version_1("cpuset") {
        return;
    }
    let (_container, pid) = Container::up_with(json!({}));
    assert_ne!(cgroup_value(pid, "cpuset", "cpuset.cpus"), "");
    assert_ne!(cgroup_value(pid, "cpuset", "cpuset.mems"), "");
}

/// RT-CGROUP-08: the pids limit reaches the kernel and holds.
#[test]
fn a_pids_limit_holds() {
    if !version_1("pids") {
        return;
    }
    let container = Container::new(|config| {
        config["linux"]["resources"] = json!({"pids": {"limit": 10}});
        config["process"]["args"] = json!(["/bin/probe", "forks", "50"]);
    });
    let seen = container.run().succeeds().json();
    assert_eq!(seen["errno"], 11, "EAGAIN");
    assert_eq!(seen["made"], 9, "ten with the program itself");
}

/// RT-CGROUP-09: a pids limit of -1 is no limit.
#[test]
fn a_pids_limit_can_be_unlimited() {
    if !version_1("pids") {
        return;
    }
    let (_container, pid) = Container::up_with(json!({"pids": {"limit": -1}}));
    assert_eq!(cgroup_value(pid, "pids", "pids.max"), "max");
}

/// RT-CGROUP-10: the devices list holds: all is denied but what every container may use.
#[test]
fn a_devices_list_holds() {
    if !version_1("devices") {
        return;
    }
    let container = Container::new(|config| {
        config["process"]["args"] =
            json!(["/bin/probe", "open-write", "/dev/null", "/dev/zero", "/dev/kmsg2"]);
        config["linux"]["devices"] = json!([{"path": "/dev/kmsg2", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666}]);
    });
    let seen = container.run().succeeds().json();
    assert_eq!(seen["/dev/null"], 0);
    assert_eq!(seen["/dev/zero"], 0);
    assert_eq!(seen["/dev/kmsg2"], 1, "EPERM");
}

/// RT-CGROUP-11: a later rule of the devices list opens what an earlier one closed.
#[test]
fn devices_rules_apply_in_order() {
    if !version_1("devices") {
        return;
    }
    let (_container, pid) = Container::up_with(json!({"devices": [
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 10, "minor": 200, "access": "rw"},
        {"allow": true, "type": "b", "major": 8, "access": "r"}]}));
    let list = cgroup_value(pid, "devices", "devices.list");
    let lines: Vec<&str> = list.lines().collect();
    assert!(lines.iter().any(|line| line.starts_with("c 10:200 rw")), "{list}");
    assert!(lines.contains(&"b 8:* r"), "{list}");
    assert!(lines.contains(&"c 1:3 rwm"), "{list}");
    assert!(!lines.contains(&"a *:* rwm"), "{list}");
}

/// RT-CGROUP-12: a relative `cgroupsPath` is valid.
#[test]
fn accepts_a_relative_path() {
    let container = Container::sleeping(|_| ());
    let path = json!(container.id());
    container.change(|config| config["linux"]["cgroupsPath"] = path);
    let pid = container.up();
    let folder = controller_folder(pid, "pids").expect("a pids cgroup");
    assert!(folder.ends_with(container.id()), "{}", folder.display());
}

/// RT-CGROUP-13: `unified` settings where version 2 does not have the controller are an error.
#[test]
fn refuses_unified_on_version_1() {
    if !version_1("memory") {
        return;
    }
    let container = Container::new(|config| {
        config["linux"]["resources"]["unified"] = json!({"memory.high": "100000"});
    });
    container.run().exits(1);
    container.assert_nothing_left();
}

/// RT-CGROUP-14: zeroes as Docker writes them mean nothing.
#[test]
fn takes_dockers_zeroes() {
    let (_container, _) = Container::up_with(json!({
        "memory": {"disableOOMKiller": false}, "cpu": {"shares": 0}, "blockIO": {"weight": 0}}));
}

/// RT-CGROUP-15: a limit that the kernel refuses is an error that names the file, and nothing is left.
#[test]
fn names_a_refused_value() {
    if !version_1("cpuset") {
        return;
    }
    let container = Container::new(|config| {
        config["linux"]["resources"]["cpu"] = json!({"cpus": "4000"});
    });
    container.run().fails_naming(&["cpuset"]);
    container.assert_nothing_left();
}

/// RT-CGROUP-16: the runtime's own part fits into a memory limit of 256 KiB.
#[test]
fn starts_within_256_kib() {
    if !version_1("memory") {
        return;
    }
    let container = Container::new(|config| config["process"]["args"] = json!(["true"]));
    if !requires(!container.runtime().is("runc"), "runc needs several MiB to start") {
        return;
    }
    // The first run reads the programs from disk, and what is read is charged to whoever reads it first.
    container.run().succeeds();
    container.change(|config| {
        config["linux"]["resources"]["memory"] = json!({"limit": 262_144, "swap": 262_144});
    });
    container.run().succeeds();
}

/// RT-CGROUP-20: where the limit is so low that not even the runtime's part fits, the error names it and says how much
/// is needed, and nothing is left.
#[test]
fn says_how_much_memory_is_needed() {
    if !version_1("memory") {
        return;
    }
    let container = Container::new(|config| config["process"]["args"] = json!(["true"]));
    if !requires(container.runtime().is("keel"), "runc and crun do not say it") {
        return;
    }
    container.run().succeeds();
    // Well below it: what of the kernel's memory is charged differs a little from run to run.
    for limit in [4096, 8192, 16_384] {
        container.change(|config| {
            config["linux"]["resources"]["memory"] = json!({"limit": limit, "swap": limit});
        });
        for command in ["run", "create"] {
            let outcome = container.call(&[command, container.id()]).exits(1);
            let told =
                format!("linux.resources.memory.limit: the limit of {limit} bytes is too low");
            outcome.says(&[&told, "it needs 65536"]);
            container.assert_nothing_left();
        }
    }
}

/// RT-CGROUP-17: a limit on huge pages reaches the kernel, on whichever version the controller is, for what is reserved, too.
#[test]
fn limits_huge_pages() {
    const LIMIT: u64 = 4 << 20;
    let size = std::path::Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB");
    if !requires(size.exists(), "huge pages of 2 MiB") {
        return;
    }
    let container = Container::sleeping(|config| {
        config["linux"]["resources"] =
            json!({"hugepageLimits": [{"pageSize": "2MB", "limit": LIMIT}]});
    });
    if !requires(
        container.runtime().is("keel"),
        "runc and crun do not use version 2 beside version 1",
    ) {
        return;
    }
    let pid = container.up();
    let on_version_1 = std::path::Path::new("/sys/fs/cgroup/hugetlb/cgroup.procs").exists();
    let (controller, word) = match on_version_1 {
        true => ("hugetlb", "limit_in_bytes"),
        false => ("unified", "max"),
    };
    for name in [format!("hugetlb.2MB.{word}"), format!("hugetlb.2MB.rsvd.{word}")] {
        assert_eq!(cgroup_value(pid, controller, &name), LIMIT.to_string(), "{name}");
    }
}

/// RT-CGROUP-18: a container may be told to wait when memory runs out, and to run only when nothing else wants to.
#[test]
fn sets_the_oom_killer_and_idle() {
    if !version_1("memory") || !version_1("cpu") {
        return;
    }
    let (container, pid) = Container::up_with(json!({"cpu": {"idle": 1},
        "memory": {"disableOOMKiller": true, "swappiness": 30, "useHierarchy": true}}));
    let control = cgroup_value(pid, "memory", "memory.oom_control");
    assert!(control.contains("oom_kill_disable 1"), "{control}");
    assert_eq!(cgroup_value(pid, "memory", "memory.swappiness"), "30");
    assert_eq!(cgroup_value(pid, "memory", "memory.use_hierarchy"), "1");
    if requires(container.runtime().is("keel"), "the packaged runc passes over idle") {
        assert_eq!(cgroup_value(pid, "cpu", "cpu.idle"), "1");
    }
}

/// RT-CGROUP-19: rates of block devices reach the kernel.
#[test]
fn sets_rates_of_devices() {
    if !version_1("blkio") {
        return;
    }
    let entries = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let mut numbers =
        entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("dev")).ok());
    let number = numbers.next().unwrap_or_default().trim().to_owned();
    let Some((major, minor)) = number.split_once(':') else {
        let _ = requires(false, "a block device");
        return;
    };
    let (major, minor): (u32, u32) = (major.parse().expect("major"), minor.parse().expect("minor"));
    let rate = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
    let (_container, pid) =
        Container::up_with(json!({"blockIO": {"throttleReadBpsDevice": rate(1_048_576),
        "throttleWriteBpsDevice": rate(2_097_152), "throttleReadIOPSDevice": rate(50),
        "throttleWriteIOPSDevice": rate(60)}}));
    for (file, rate) in [
        ("blkio.throttle.read_bps_device", 1_048_576),
        ("blkio.throttle.write_bps_device", 2_097_152),
        ("blkio.throttle.read_iops_device", 50),
        ("blkio.throttle.write_iops_device", 60),
    ] {
        assert_eq!(cgroup_value(pid, "blkio", file), format!("{number} {rate}"));
    }
}
