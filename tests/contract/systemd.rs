//! `--systemd-cgroup`: the cgroup is a unit that systemd makes.

use std::fs;
use std::process::{Command, Stdio};

use keel_tests::{
    Child, Container, Outcome, cgroup_value, criu_folder, eventually, requires, systemd,
    unit_property,
};
use serde_json::{Value, json};

/// A container that waits in the scope `keel-tests-NAME.scope` of the slice of the system.
fn in_a_scope(delta: impl FnOnce(&mut Value)) -> Container {
    let container = Container::sleeping(|_| ());
    let path = json!(format!("system.slice:kt:{}", container.id()));
    container.change(|config| {
        config["linux"]["cgroupsPath"] = path;
        delta(config);
    });
    container
}

fn unit(container: &Container) -> String {
    format!("kt-{}.scope", container.id())
}

fn run(container: &Container) -> Outcome {
    container.call(&["--systemd-cgroup", "run", "--detach", container.id()])
}

#[track_caller]
fn up(container: &Container) -> i32 {
    run(container).succeeds();
    container.pid()
}

fn cgroup_of(pid: i32) -> String {
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("a cgroup");
    table.trim().trim_start_matches("0::").to_owned()
}

/// RT-SYSTEMD-01: the program is in the scope that `cgroupsPath` names, and so is what `exec` starts.
#[test]
fn puts_the_program_into_its_scope() {
    if !systemd() {
        return;
    }
    let container = in_a_scope(|_| ());
    let pid = up(&container);
    assert_eq!(cgroup_of(pid), format!("/system.slice/{}", unit(&container)));
    assert_eq!(unit_property(&unit(&container), "ActiveState"), "active");
    assert_eq!(unit_property(&unit(&container), "Delegate"), "yes");
    assert_eq!(unit_property(&unit(&container), "DefaultDependencies"), "no");
    container.call(&["exec", "--detach", container.id(), "sleep", "100001"]).succeeds();
    assert_eq!(cgroup_value(pid, "unified", "cgroup.procs").lines().count(), 2);
}

/// RT-SYSTEMD-02: limits are told to systemd and written to the files.
#[test]
fn tells_the_limits() {
    if !systemd() {
        return;
    }
    let container = in_a_scope(|config| {
        config["linux"]["resources"] = json!({
            "memory": {"limit": 67_108_864, "swap": 100_663_296, "reservation": 33_554_432},
            "cpu": {"shares": 1024, "quota": 33_333, "period": 100_000, "cpus": "0"},
            "pids": {"limit": 21}});
    });
    let pid = up(&container);
    let told = |name| unit_property(&unit(&container), name);
    let file = |name| cgroup_value(pid, "unified", name);
    assert_eq!((told("MemoryMax"), file("memory.max")), ("67108864".into(), "67108864".into()));
    assert_eq!((told("MemoryLow"), file("memory.low")), ("33554432".into(), "33554432".into()));
    assert_eq!(told("MemorySwapMax"), "33554432");
    assert_eq!((told("TasksMax"), file("pids.max")), ("21".into(), "21".into()));
    assert_eq!(told("CPUWeight"), file("cpu.weight"));
    assert_eq!(told("AllowedCPUs"), "0");
    // systemd keeps hundredths of a second, the kernel microseconds.
    assert_eq!(told("CPUQuotaPerSecUSec"), "340ms");
    assert_eq!(file("cpu.max"), "33333 100000");
}

/// RT-SYSTEMD-03: an empty slice is the default one, `-` the root, and dashes nest.
#[test]
fn places_slices() {
    if !systemd() {
        return;
    }
    for (slice, above) in
        [("", "/system.slice"), ("-", ""), ("kt-a-b.slice", "/kt.slice/kt-a.slice/kt-a-b.slice")]
    {
        let container = in_a_scope(|_| ());
        let path = json!(format!("{slice}:kt:{}", container.id()));
        container.change(|config| config["linux"]["cgroupsPath"] = path);
        if slice == "-"
            && !requires(!container.runtime().is("runc"), "runc 1.1 makes no scope in the root")
        {
            continue;
        }
        let pid = up(&container);
        assert_eq!(cgroup_of(pid), format!("{above}/{}", unit(&container)), "{slice:?}");
    }
    let _ = Command::new("systemctl").args(["stop", "kt.slice"]).status();
}

/// RT-SYSTEMD-04: annotations `org.systemd.property.NAME` are properties of the unit; seconds are told in
/// microseconds.
#[test]
fn takes_properties_from_annotations() {
    if !systemd() {
        return;
    }
    let container = in_a_scope(|config| {
        config["annotations"] = json!({
            "org.systemd.property.TimeoutStopSec": "uint64 7",
            "org.systemd.property.CollectMode": "'inactive-or-failed'",
            "org.systemd.property.Description": "'a test'"});
    });
    up(&container);
    assert_eq!(unit_property(&unit(&container), "TimeoutStopUSec"), "7s");
    assert_eq!(unit_property(&unit(&container), "CollectMode"), "inactive-or-failed");
    assert_eq!(unit_property(&unit(&container), "Description"), "a test");
}

/// RT-SYSTEMD-05: a property that is none is an error, with its name, the unit and systemd's words.
#[test]
fn names_a_refused_property() {
    if !systemd() {
        return;
    }
    let container = in_a_scope(|config| {
        config["annotations"] = json!({"org.systemd.property.NoSuchOne": "true"})
    });
    let outcome = run(&container).fails_naming(&["NoSuchOne"]);
    if container.runtime().is("keel") {
        outcome.says(&[&unit(&container), "StartTransientUnit", "org.freedesktop.DBus.Error."]);
    }
    container.change(|config| {
        config["annotations"] = json!({"org.systemd.property.CollectMode": "'open"});
    });
    run(&container).fails_naming(&["CollectMode"]);
    container.assert_nothing_left();
}

/// RT-SYSTEMD-06: a unit that is in use is refused, and its container is not touched.
#[test]
fn refuses_a_unit_in_use() {
    if !systemd() {
        return;
    }
    let container = in_a_scope(|_| ());
    let pid = up(&container);
    if !requires(!container.runtime().is("runc"), "an error that names the unit") {
        return;
    }
    let other = container.path("other");
    let again = |id: &str| {
        let mut command = container.runtime().command();
        command.arg("--root").arg(&other).args(["--systemd-cgroup", "run", "--detach", "--bundle"]);
        command.arg(container.bundle()).arg(id);
        container.finish(command)
    };
    again("second").fails_naming(&[&unit(&container)]);
    again(container.id()).fails_naming(&[&unit(&container)]);
    assert_eq!(container.pid(), pid);
    assert_eq!(container.state()["status"], "running");
    assert_eq!(unit_property(&unit(&container), "ActiveState"), "active");
}

/// RT-SYSTEMD-07: after `delete` systemd does not know the unit any more.
#[test]
fn delete_stops_the_unit() {
    if !systemd() {
        return;
    }
    let container = in_a_scope(|_| ());
    up(&container);
    container.delete(&["--force"]).succeeds();
    assert_eq!(unit_property(&unit(&container), "LoadState"), "not-found");
    container.assert_nothing_left();
}

/// RT-SYSTEMD-08: a `cgroupsPath` of another form, and names that systemd has not, are refused.
#[test]
fn refuses_other_paths() {
    if !systemd() {
        return;
    }
    let container = in_a_scope(|_| ());
    for path in ["/a/b", "a:b", "a:b:c", "a--b.slice:b:c", "../x.slice:b:c"] {
        container.change(|config| config["linux"]["cgroupsPath"] = json!(path));
        run(&container).exits(1);
    }
    container.change(|config| config["linux"]["cgroupsPath"] = json!("/a/b"));
    run(&container).fails_naming(&["slice:prefix:name"]);
    container.assert_nothing_left();
}

/// RT-SYSTEMD-09: a container that cannot be made leaves no unit, and the error is its own.
#[test]
fn leaves_no_unit_after_a_failure() {
    if !systemd() {
        return;
    }
    let container = in_a_scope(|config| {
        let mounts = config["mounts"].as_array_mut().expect("an array");
        mounts.push(json!({"destination": "/x", "type": "nosuchfs", "source": "none"}));
    });
    run(&container).fails_naming(&["/x"]);
    assert_eq!(unit_property(&unit(&container), "ActiveState"), "inactive");
    container.assert_nothing_left();
}

/// RT-SYSTEMD-10: a runtime that is killed while it creates leaves a record by which `delete --force` stops
/// the unit.
#[test]
fn a_cut_off_creation_can_be_deleted() {
    if !systemd() {
        return;
    }
    let container = in_a_scope(|config| {
        config["hooks"] =
            json!({"createRuntime": [{"path": "/usr/bin/sleep", "args": ["sleep", "100002"]}]});
    });
    if !requires(container.runtime().is("keel"), "a record that is written before the unit is made")
    {
        return;
    }
    let mut command = container.command(&["--systemd-cgroup", "create", container.id()]);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let child = Child::start(command);
    eventually("the unit is there", || {
        (unit_property(&unit(&container), "ActiveState") == "active").then_some(())
    });
    drop(child);
    container.delete(&["--force"]).succeeds();
    assert_eq!(unit_property(&unit(&container), "ActiveState"), "inactive");
    assert!(
        !container.left().iter().any(|line| line.starts_with("cgroup")),
        "{:?}",
        container.left()
    );
}

/// RT-SYSTEMD-11: `--cgroup-manager systemd`, as crun spells it, is the same.
#[test]
fn takes_cruns_flag() {
    if !systemd() {
        return;
    }
    let container = in_a_scope(|_| ());
    if !requires(!container.runtime().is("runc"), "runc has another flag") {
        return;
    }
    container.call(&["--cgroup-manager", "systemd", "run", "--detach", container.id()]).succeeds();
    assert_eq!(unit_property(&unit(&container), "ActiveState"), "active");
}

/// RT-SYSTEMD-12: what was set holds after systemd was told to read its configuration again: limits, and
/// the rules on devices.
#[test]
fn outlives_a_reload() {
    if !systemd() {
        return;
    }
    let container = in_a_scope(|config| {
        config["linux"]["resources"] = json!({
            "memory": {"limit": 67_108_864}, "cpu": {"shares": 512},
            "devices": [{"allow": false, "access": "rwm"},
                {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rw"}]});
        config["linux"]["devices"] = json!([{"path": "/dev/kmsg2", "type": "c", "major": 1, "minor": 11},
                   {"path": "/dev/mem2", "type": "c", "major": 1, "minor": 1}]);
    });
    let pid = up(&container);
    let limits = || ["memory.max", "cpu.weight"].map(|file| cgroup_value(pid, "unified", file));
    let devices = || {
        container.exec(&["/bin/probe", "open-write", "/dev/kmsg2", "/dev/mem2"]).succeeds().json()
    };
    let before = (limits(), devices());
    assert_eq!((&before.1["/dev/kmsg2"], &before.1["/dev/mem2"]), (&json!(0), &json!(1)));
    assert!(Command::new("systemctl").arg("daemon-reload").status().expect("systemctl").success());
    assert_eq!((limits(), devices()), before);
}

/// RT-SYSTEMD-13: `TasksMax` of 0 and `idle` are told in the words that systemd has for them.
#[test]
fn tells_zero_and_idle() {
    if !systemd() {
        return;
    }
    let container = in_a_scope(|config| {
        config["linux"]["resources"] =
            json!({"cpu": {"idle": 1, "shares": 512}, "pids": {"limit": -1}});
    });
    if !requires(!container.runtime().is("runc"), "idle, which newer runc tells") {
        return;
    }
    let pid = up(&container);
    // systemd has a word for a weight of 0.
    assert_eq!(unit_property(&unit(&container), "CPUWeight"), "idle");
    assert_eq!(cgroup_value(pid, "unified", "cpu.idle"), "1");
    assert_eq!(unit_property(&unit(&container), "TasksMax"), "infinity");
    assert_eq!(cgroup_value(pid, "unified", "pids.max"), "max");
}

/// RT-SYSTEMD-14: a name that ends in `.slice` is a slice.
#[test]
fn makes_a_slice() {
    if !systemd() {
        return;
    }
    let container = in_a_scope(|_| ());
    if !requires(
        !container.runtime().is("runc"),
        "runc 1.1 gives a slice properties that slices have not",
    ) {
        return;
    }
    let name = format!("kt-{}.slice", container.id().replace('-', "_"));
    let path = json!(format!("kt.slice:kt:{name}"));
    container.change(|config| config["linux"]["cgroupsPath"] = path);
    let pid = up(&container);
    assert_eq!(cgroup_of(pid), format!("/kt.slice/{name}"));
    assert_eq!(unit_property(&name, "ActiveState"), "active");
    container.delete(&["--force"]).succeeds();
    assert_eq!(unit_property(&name, "ActiveState"), "inactive");
}

/// RT-SYSTEMD-15: `update` tells the new limits to systemd, which keeps them.
#[test]
fn update_tells_the_limits() {
    if !systemd() {
        return;
    }
    let container = in_a_scope(|config| {
        config["linux"]["resources"] =
            json!({"memory": {"limit": 67_108_864}, "pids": {"limit": 21}});
    });
    let pid = up(&container);
    let words =
        ["update", "--memory", "134217728", "--cpu-quota", "12345", "--cpu-period", "100000"];
    let mut words = words.to_vec();
    words.push(container.id());
    container.call(&words).succeeds();
    let file = |name| cgroup_value(pid, "unified", name);
    assert_eq!(unit_property(&unit(&container), "MemoryMax"), "134217728");
    assert_eq!(file("memory.max"), "134217728");
    assert_eq!(unit_property(&unit(&container), "TasksMax"), "21");
    assert_eq!(unit_property(&unit(&container), "CPUQuotaPerSecUSec"), "130ms");
    assert_eq!(file("cpu.max"), "12345 100000");
}

/// RT-SYSTEMD-16: neither a reload nor a property that somebody sets gives or takes a device, one that systemd
/// has never heard of either.
#[test]
fn keeps_its_devices() {
    if !systemd() {
        return;
    }
    let container = in_a_scope(|config| {
        config["linux"]["resources"] = json!({"devices": [{"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rw"},
            {"allow": true, "type": "c", "major": 250, "minor": 77, "access": "rw"}]});
        config["linux"]["devices"] = json!([{"path": "/dev/kmsg2", "type": "c", "major": 1, "minor": 11},
            {"path": "/dev/mem2", "type": "c", "major": 1, "minor": 1},
            {"path": "/dev/odd", "type": "c", "major": 250, "minor": 77}]);
    });
    if !requires(container.runtime().is("keel"), "runc's systemd takes what is not below /dev/char")
    {
        return;
    }
    up(&container);
    let words = ["/bin/probe", "open-write", "/dev/kmsg2", "/dev/mem2", "/dev/odd"];
    let devices = || container.exec(&words).succeeds().json();
    let before = devices();
    // Nobody drives the last one, which the kernel says only to those who may open it.
    let answers = ["/dev/kmsg2", "/dev/mem2", "/dev/odd"].map(|path| before[path].clone());
    assert_eq!(answers, [json!(0), json!(libc::EPERM), json!(libc::ENXIO)]);
    let name = unit(&container);
    for words in [
        &["daemon-reload"][..],
        &["set-property", "--runtime", &name, "MemoryHigh=100M", "CPUWeight=200"],
        &["daemon-reload"],
    ] {
        let status = Command::new("systemctl").args(words).status().expect("systemctl");
        assert!(status.success(), "{words:?}");
        assert_eq!(devices(), before, "after {words:?}");
    }
    assert_eq!(unit_property(&name, "DevicePolicy"), "auto");
}

/// RT-SYSTEMD-17: a restored container is in its scope, with its limits, as a new one would be; a restore that
/// fails leaves no unit.
#[test]
fn restores_into_its_scope() {
    if !systemd() {
        return;
    }
    let container = in_a_scope(|config| {
        config["linux"]["resources"] = json!({"memory": {"limit": 67_108_864}});
    });
    let with_criu = |words: &[&str]| {
        let mut command = container.command(words);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", criu_folder().display()));
        command
    };
    let in_silence = |words: &[&str]| {
        let mut command = with_criu(words);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the runtime starts");
        eventually("the command ends", || child.try_wait().expect("a child")).success()
    };
    assert!(in_silence(&["--systemd-cgroup", "run", "--detach", container.id()]));
    container.finish(with_criu(&["checkpoint", container.id()])).succeeds();
    assert_eq!(unit_property(&unit(&container), "ActiveState"), "inactive");
    assert!(in_silence(&["--systemd-cgroup", "restore", "--detach", container.id()]));
    let pid = container.pid();
    assert_eq!(cgroup_of(pid), format!("/system.slice/{}", unit(&container)));
    assert_eq!(unit_property(&unit(&container), "ActiveState"), "active");
    assert_eq!(unit_property(&unit(&container), "MemoryMax"), "67108864");
    assert_eq!(cgroup_value(pid, "unified", "memory.max"), "67108864");
    container.exec(&["true"]).succeeds();
    container.delete(&["--force"]).succeeds();
    assert_eq!(unit_property(&unit(&container), "LoadState"), "not-found");
    fs::remove_file(container.path("checkpoint/inventory.img")).expect("an image");
    assert!(!in_silence(&["--systemd-cgroup", "restore", "--detach", container.id()]));
    assert_eq!(unit_property(&unit(&container), "LoadState"), "not-found");
    container.assert_nothing_left();
}
