//! `linux.namespaces` and the user namespace's mappings.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use keel_tests::{Child, Container, Scratch, eventually, requires};
use serde_json::{Value, json};

const FILES: [(&str, &str); 7] = [
    ("pid", "pid"),
    ("network", "net"),
    ("mount", "mnt"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("cgroup", "cgroup"),
    ("user", "user"),
];

fn host(file: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{file}")).expect("a namespace").display().to_string()
}

fn set(config: &mut Value, kind: &str, path: Option<&str>) {
    let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
    namespaces.retain(|namespace| namespace["type"] != kind);
    namespaces.push(match path {
        None => json!({"type": kind}),
        Some(path) => json!({"type": kind, "path": path}),
    });
}

/// RT-NS-01: each listed namespace is new.
#[test]
fn listed_namespaces_are_new() {
    let container = Container::new(|config| set(config, "cgroup", None));
    let seen = container.observe();
    for (kind, file) in FILES {
        let fresh = seen["namespaces"][file] != host(file).as_str();
        assert_eq!(fresh, kind != "user", "{kind}");
    }
    assert_eq!(seen["pid"], 1);
    assert_eq!(seen["interfaces"], json!(["lo"]));
}

/// RT-NS-02: a namespace that is not listed is the caller's.
#[test]
fn unlisted_namespaces_are_the_callers() {
    for (kind, file) in [("network", "net"), ("ipc", "ipc"), ("pid", "pid")] {
        let container = Container::new(|config| {
            let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
            namespaces.retain(|namespace| namespace["type"] != kind);
            // These file systems belong to the namespaces that are not new here.
            let mounts = config["mounts"].as_array_mut().expect("an array");
            mounts.retain(|mount| mount["type"] != "mqueue" && mount["type"] != "sysfs");
        });
        let seen = container.observe();
        assert_eq!(seen["namespaces"][file], host(file), "{kind}");
    }
}

/// RT-NS-03: a namespace with a path is joined.
#[test]
fn joins_by_path() {
    let (_holder, sleeper) = held(&["--net", "--ipc", "--uts", "--pid", "--cgroup"]);
    let pid = sleeper.0;
    for (kind, file) in
        [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid"), ("cgroup", "cgroup")]
    {
        let path = format!("/proc/{pid}/ns/{file}");
        let wanted = fs::read_link(&path).expect("a namespace").display().to_string();
        assert_ne!(wanted, host(file));
        let container = Container::new(|config| {
            set(config, kind, Some(&path));
            if kind == "uts" {
                config.as_object_mut().expect("an object").remove("hostname");
            }
        });
        assert_eq!(container.observe()["namespaces"][file], wanted, "{kind}");
    }
}

/// A sleeper in namespaces of its own, with the `unshare` that it is below.
fn held(flags: &[&str]) -> (Child, Sleeper) {
    let mut unshare = Command::new("unshare");
    unshare.args(flags).args(["--fork", "sleep", "100000"]);
    let holder = Child::start(unshare);
    let sleeper = Sleeper(first_child(holder.pid()));
    (holder, sleeper)
}

/// The sleeper below `unshare --fork`, once it runs: in a pid namespace of its own the fork comes first.
fn first_child(pid: i32) -> i32 {
    eventually("unshare forks", || {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        let child = children.split_whitespace().next()?.parse().ok()?;
        let name = fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
        (name.trim() == "sleep").then_some(child)
    })
}

/// Ends the sleeper below `unshare --fork` with the test, however that ends.
struct Sleeper(i32);

impl Drop for Sleeper {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.0) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// RT-NS-04: a path to a namespace of another type is an error, and nothing is left.
#[test]
fn refuses_a_path_of_the_wrong_type() {
    let container = Container::new(|config| set(config, "network", Some("/proc/self/ns/uts")));
    let outcome = container.run();
    assert_ne!(outcome.status, 0, "{}", outcome.report());
    container.assert_nothing_left();
}

/// RT-NS-05: a path that does not exist is an error that names it.
#[test]
fn refuses_a_missing_path() {
    let container = Container::new(|config| set(config, "network", Some("/nosuch/netns")));
    container.run().fails_naming(&["/nosuch/netns"]);
    container.assert_nothing_left();
}

/// RT-NS-06: the same type twice is an error.
#[test]
fn refuses_duplicates() {
    let container = Container::new(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
        namespaces.push(json!({"type": "ipc"}));
    });
    container.run().fails_naming(&["ipc"]);
    container.assert_nothing_left();
}

/// RT-NS-07: a network namespace that `ip netns` made, the way podman and CNI hand one over, is joined.
#[test]
fn joins_a_pinned_network_namespace() {
    let own = host("net");
    let folder = Scratch::new();
    let pin = folder.join("net");
    fs::write(&pin, "").expect("a file");
    let status = Command::new("unshare")
        .arg(format!("--net={}", pin.display()))
        .args(["ip", "link", "add", "name", "mark0", "type", "bridge"])
        .status()
        .expect("unshare");
    let marked = status.success();
    let container =
        Container::new(|config| set(config, "network", Some(&pin.display().to_string())));
    let seen = container.observe();
    assert_ne!(seen["namespaces"]["net"], own);
    if marked {
        assert_eq!(seen["interfaces"], json!(["lo", "mark0"]));
    }
}

/// RT-USERNS-01: with a user namespace the mappings hold and the program is root inside.
#[test]
fn maps_users() {
    let container = Container::new(mapped);
    chown_all(&container);
    let seen = container.observe();
    assert_eq!(seen["uid"], json!([0, 0, 0, 0]));
    let words = |key: &str| -> Vec<String> {
        seen[key].as_str().unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(words("uid_map"), ["0", "200000", "65536"]);
    assert_eq!(words("gid_map"), ["0", "300000", "65536"]);
    assert_ne!(seen["namespaces"]["user"], host("user"));
}

/// RT-USERNS-02: with a user namespace the default devices work although they cannot be made there.
#[test]
fn devices_work_in_a_user_namespace() {
    let container = Container::new(|config| {
        mapped(config);
        config["process"]["args"] =
            json!(["sh", "-c", "echo x > /dev/null && head -c 2 /dev/zero | wc -c"]);
    });
    chown_all(&container);
    assert_eq!(container.run().succeeds().stdout, "2\n");
}

/// RT-USERNS-03: exec enters the user namespace too.
#[test]
fn exec_enters_the_user_namespace() {
    let container = Container::sleeping(mapped);
    chown_all(&container);
    let pid = container.up();
    let seen = container.exec(&["/bin/probe", "report"]).succeeds().json();
    let wanted = fs::read_link(format!("/proc/{pid}/ns/user")).expect("a namespace");
    assert_eq!(seen["namespaces"]["user"], wanted.display().to_string());
    assert_eq!(seen["uid"], json!([0, 0, 0, 0]));
}

/// RT-NS-08: the clocks of a new time namespace have the offsets of the configuration.
#[test]
fn sets_time_offsets() {
    let container = Container::new(|config| {
        set(config, "time", None);
        config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1_000_000_000}});
        config["process"]["args"] = json!(["cat", "/proc/uptime"]);
    });
    if !requires(container.runtime().is("keel"), "time namespaces are newer than the packaged runc")
    {
        return;
    }
    let outcome = container.run().succeeds();
    let uptime: f64 =
        outcome.stdout.split(' ').next().and_then(|s| s.parse().ok()).expect("uptime");
    assert!(uptime > 1e9, "{uptime}");
}

/// RT-NS-09: a time namespace is joined with its clocks; offsets are for a new one only.
#[test]
fn joins_a_time_namespace() {
    let mut unshare = Command::new("unshare");
    unshare.args(["--time", "--boottime", "500000000", "--fork", "sleep", "100000"]);
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["cat", "/proc/uptime"]);
    });
    if !requires(container.runtime().is("keel"), "time namespaces are newer than the packaged runc")
    {
        return;
    }
    let holder = Child::start(unshare);
    let sleeper = Sleeper(first_child(holder.pid()));
    let pid = sleeper.0;
    let path = format!("/proc/{pid}/ns/time");
    container.change(|config| set(config, "time", Some(&path)));
    let outcome = container.run().succeeds();
    let uptime: f64 =
        outcome.stdout.split(' ').next().and_then(|s| s.parse().ok()).expect("uptime");
    assert!(uptime > 5e8, "{uptime}");
    for kind in [Some(path.as_str()), None] {
        container.change(|config| {
            config["linux"]["timeOffsets"] = json!({"monotonic": {"secs": 1}});
            match kind {
                Some(path) => set(config, "time", Some(path)),
                None => {
                    let all = config["linux"]["namespaces"].as_array_mut().expect("an array");
                    all.retain(|namespace| namespace["type"] != "time");
                }
            }
        });
        container.create().fails_naming(&["linux.timeOffsets"]);
        container.assert_nothing_left();
    }
}

/// RT-NS-10: all namespaces of another process are joined at once, its user namespace among them.
#[test]
fn joins_all_at_once() {
    let (_holder, sleeper) =
        held(&["--user", "--map-root-user", "--net", "--ipc", "--uts", "--pid", "--cgroup"]);
    let pid = sleeper.0;
    let kinds = ["user", "network", "ipc", "uts", "pid", "cgroup"];
    let container = Container::new(|config| {
        for (kind, file) in FILES.iter().filter(|(kind, _)| kinds.contains(kind)) {
            set(config, kind, Some(&format!("/proc/{pid}/ns/{file}")));
        }
        config.as_object_mut().expect("an object").remove("hostname");
        without_the_group_of_terminals(config);
    });
    if !requires(
        container.runtime().is("keel"),
        "runc 1.1.5 wants mappings of a namespace it joins",
    ) {
        return;
    }
    let seen = container.observe();
    for (kind, file) in FILES.iter().filter(|(kind, _)| kinds.contains(kind)) {
        let wanted = fs::read_link(format!("/proc/{pid}/ns/{file}")).expect("a namespace");
        assert_eq!(seen["namespaces"][file], wanted.display().to_string(), "{kind}");
    }
}

/// RT-NS-11: a path to a namespace of another type, to a file or to a folder is an error, whatever the type.
#[test]
fn refuses_every_path_of_the_wrong_type() {
    for (kind, file) in FILES {
        let other = if file == "uts" { "ipc" } else { "uts" };
        for path in [format!("/proc/self/ns/{other}"), "/etc/passwd".to_owned(), "/etc".to_owned()]
        {
            let container = Container::new(|config| {
                config.as_object_mut().expect("an object").remove("hostname");
                set(config, kind, Some(&path));
            });
            let outcome = container.create();
            assert_ne!(outcome.status, 0, "{kind} {path}: {}", outcome.report());
            container.assert_nothing_left();
        }
    }
}

/// RT-USERNS-05: beside the path of a user namespace may stand the mappings that it has, as containerd writes them.
#[test]
fn joins_with_the_mappings_of_the_namespace() {
    let (_holder, sleeper) = held(&["--user", "--map-root-user"]);
    let path = format!("/proc/{}/ns/user", sleeper.0);
    let container = Container::new(|config| {
        set(config, "user", Some(&path));
        for name in ["uidMappings", "gidMappings"] {
            config["linux"][name] = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
        }
        without_the_group_of_terminals(config);
    });
    let seen = container.observe();
    let wanted = fs::read_link(&path).expect("a namespace");
    assert_eq!(seen["namespaces"]["user"], wanted.display().to_string());
}

/// RT-USERNS-04: mappings without a user namespace, others than those of one that is joined, and a new one without
/// any are errors that name the field.
#[test]
fn refuses_mappings_that_map_nothing() {
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "sleep", "100000"]);
    let holder = Child::start(unshare);
    let joined = format!("/proc/{}/ns/user", holder.pid());
    let refused = |delta: &dyn Fn(&mut Value)| {
        let container = Container::new(delta);
        if requires(container.runtime().is("keel"), "the packaged runc passes over some of it") {
            container.create().fails_naming(&["linux.uidMappings"]);
            container.assert_nothing_left();
        }
    };
    refused(&|config| {
        mapped(config);
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
        namespaces.retain(|namespace| namespace["type"] != "user");
    });
    refused(&|config| {
        mapped(config);
        set(config, "user", Some(&joined));
        without_the_group_of_terminals(config);
    });
    refused(&|config| set(config, "user", None));
}

/// Where the one group that is mapped is root's.
fn without_the_group_of_terminals(config: &mut Value) {
    for mount in config["mounts"].as_array_mut().expect("an array") {
        if let Some(options) = mount["options"].as_array_mut() {
            options.retain(|option| option != "gid=5");
        }
    }
}

fn mapped(config: &mut Value) {
    set(config, "user", None);
    config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 200_000, "size": 65536}]);
    config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 300_000, "size": 65536}]);
}

/// Gives the root file system to the mapped root; the two programs are links that stay the host's.
fn chown_all(container: &Container) {
    let status = Command::new("chown")
        .arg("-h")
        .arg("200000:300000")
        .arg(container.rootfs())
        .args(
            ["dev", "etc", "home", "proc", "root", "run", "sys", "tmp"]
                .map(|n| container.rootfs().join(n)),
        )
        .status()
        .expect("chown");
    assert!(status.success());
}

/// RT-NS-12: a new pid or network namespace belongs to the user namespace that is joined, so that its file
/// systems can be mounted there.
#[test]
fn new_namespaces_belong_to_the_joined_user_namespace() {
    let (_holder, sleeper) = held(&["--user", "--map-root-user"]);
    let path = format!("/proc/{}/ns/user", sleeper.0);
    let container = Container::new(|config| {
        set(config, "user", Some(&path));
        without_the_group_of_terminals(config);
    });
    if !requires(!container.runtime().is("runc"), "the packaged runc wants mappings too") {
        return;
    }
    let seen = container.observe();
    let wanted = fs::read_link(&path).expect("a namespace").display().to_string();
    assert_eq!(seen["namespaces"]["user"], wanted.as_str());
    for (kind, file) in FILES.iter().filter(|(kind, _)| *kind != "user" && *kind != "cgroup") {
        assert_ne!(seen["namespaces"][file], host(file), "{kind}");
    }
    assert_eq!(seen["pid"], 1);
    assert_eq!(seen["interfaces"], json!(["lo"]));
    let mounts = seen["mounts"].as_array().expect("mounts");
    for kind in ["proc", "sysfs", "mqueue"] {
        assert!(mounts.iter().any(|mount| mount["type"] == kind), "{kind}: {mounts:?}");
    }
    // exec joins them all.
    container.change(|config| config["process"]["args"] = json!(["sleep", "100000"]));
    container.up();
    assert_eq!(
        container.exec(&["readlink", "/proc/self/ns/user"]).succeeds().stdout.trim(),
        wanted
    );
    container.delete(&["--force"]).succeeds();
    // A namespace that cannot be joined is told of by its field.
    container.change(|config| set(config, "user", Some("/proc/self/ns/user")));
    let outcome = container.run().fails_naming(&["user"]);
    if container.runtime().is("keel") {
        outcome.says(&["linux.namespaces["]);
    }
    container.assert_nothing_left();
}

/// RT-NS-13: namespaces that the joined user namespace does not own are joined all the same, beside those
/// that it owns.
#[test]
fn joins_namespaces_of_another_owner() {
    let (_holder, owner) = held(&["--user", "--map-root-user", "--uts", "--ipc"]);
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "--pid", "--fork", "sleep", "100000"]);
    let stranger = Child::start(unshare);
    let other = Sleeper(first_child(stranger.pid()));
    let wanted = [
        ("user", "user", owner.0),
        ("uts", "uts", owner.0),
        ("ipc", "ipc", owner.0),
        ("network", "net", other.0),
        ("pid", "pid", other.0),
    ];
    let container = Container::new(|config| {
        for (kind, file, pid) in wanted {
            set(config, kind, Some(&format!("/proc/{pid}/ns/{file}")));
        }
        config.as_object_mut().expect("an object").remove("hostname");
        let mounts = config["mounts"].as_array_mut().expect("an array");
        // Nobody in the user namespace may mount what shows somebody else's network or processes.
        mounts.retain(|mount| mount["type"] != "sysfs" && mount["type"] != "proc");
        mounts.push(json!({"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]}));
        one_group(config);
    });
    if !requires(!container.runtime().is("runc"), "the packaged runc joins in one order only") {
        return;
    }
    let links = |call: &dyn Fn(&[&str]) -> Value| {
        let seen = call(&["/bin/probe", "report"]);
        for (kind, file, pid) in wanted {
            let there = fs::read_link(format!("/proc/{pid}/ns/{file}")).expect("a namespace");
            assert_eq!(seen["namespaces"][file], there.display().to_string(), "{kind}");
        }
        assert_eq!(seen["uid"], json!([0, 0, 0, 0]));
    };
    links(&|_| container.observe());
    container.change(|config| config["process"]["args"] = json!(["sleep", "100000"]));
    container.up();
    links(&|args| container.exec(args).succeeds().json());
}

/// RT-NS-14: what is new belongs to the user namespace that is joined also where the pid namespace is joined.
#[test]
fn new_namespaces_beside_a_joined_pid_namespace_belong_to_the_joined_owner() {
    let (_holder, sleeper) = held(&["--user", "--map-root-user", "--pid"]);
    let container = Container::sleeping(|config| {
        for kind in ["user", "pid"] {
            set(config, kind, Some(&format!("/proc/{}/ns/{kind}", sleeper.0)));
        }
        one_group(config);
    });
    if !requires(!container.runtime().is("runc"), "the packaged runc wants mappings too") {
        return;
    }
    let pid = container.up();
    let user = fs::metadata(format!("/proc/{}/ns/user", sleeper.0)).expect("a namespace");
    for file in ["net", "ipc", "uts", "mnt"] {
        let new = fs::File::open(format!("/proc/{pid}/ns/{file}")).expect("a namespace");
        let owner = keel_tests::sys::owner_of_namespace(&new).expect("its owner");
        assert_eq!(owner.metadata().expect("metadata").ino(), user.ino(), "{file}");
    }
    let joined = fs::read_link(format!("/proc/{}/ns/pid", sleeper.0)).expect("a namespace");
    assert_eq!(fs::read_link(format!("/proc/{pid}/ns/pid")).expect("a namespace"), joined);
}

/// Of a user namespace that maps root alone: no other group can own the terminals.
fn one_group(config: &mut Value) {
    for mount in config["mounts"].as_array_mut().expect("an array") {
        if let Some(options) = mount["options"].as_array_mut() {
            options.retain(|option| option != "gid=5");
        }
    }
}

/// RT-NS-15: exec has the clocks of the container, whether its time namespace is its own or joined, in a user
/// namespace too.
#[test]
fn exec_has_the_containers_clocks() {
    let mut unshare = Command::new("unshare");
    unshare.args(["--time", "--boottime", "500000000", "--fork", "sleep", "100000"]);
    let container = Container::sleeping(|_| ());
    if !requires(container.runtime().is("keel"), "time namespaces are newer than the packaged runc")
    {
        return;
    }
    let holder = Child::start(unshare);
    let sleeper = Sleeper(first_child(holder.pid()));
    let joined = format!("/proc/{}/ns/time", sleeper.0);
    for (path, own_users) in [(Some(joined.as_str()), false), (None, false), (None, true)] {
        let container = Container::sleeping(|config| {
            set(config, "time", path);
            if path.is_none() {
                config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 500_000_000}});
            }
            if own_users {
                mapped(config);
            }
        });
        if own_users {
            chown_all(&container);
        }
        let pid = container.up();
        let uptime = container.exec(&["cat", "/proc/uptime"]).succeeds().stdout;
        let seconds = uptime.split('.').next().and_then(|seconds| seconds.parse::<u64>().ok());
        assert!(seconds.is_some_and(|seconds| seconds >= 500_000_000), "{path:?}: {uptime}");
        let wanted = fs::read_link(format!("/proc/{pid}/ns/time")).expect("a namespace");
        let own = container.exec(&["readlink", "/proc/self/ns/time"]).succeeds().stdout;
        assert_eq!(own.trim(), wanted.display().to_string());
    }
}
