//! Containers of an ordinary user: nothing here is done by root but the preparation.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;

use keel_tests::{Container, executes, requires};
use serde_json::{Value, json};

fn sleeping(delta: impl FnOnce(&mut Value)) -> Container {
    Container::rootless(|config| {
        config["process"]["args"] = json!(["sleep", "100000"]);
        delta(config);
    })
}

fn all_ids(container: &Container) {
    container.change(|config| container.user().map_all(config));
}

fn words(text: &Value) -> Vec<u64> {
    let text = text.as_str().unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// RT-ROOTLESS-01: a user's own id is mapped without any tool, and setgroups is denied.
#[test]
fn maps_its_own_id() {
    let container = Container::rootless(|_| ());
    let seen = container.observe();
    assert_eq!(words(&seen["uid_map"]), [0, u64::from(container.user().uid), 1]);
    assert_eq!(words(&seen["gid_map"]), [0, u64::from(container.user().gid), 1]);
    assert_eq!(seen["setgroups"], "deny");
    assert_eq!(seen["uid"], json!([0, 0, 0, 0]));
}

/// RT-ROOTLESS-02: the ids that the user was given are mapped by newuidmap and newgidmap.
#[test]
fn maps_the_ids_it_was_given() {
    let container = Container::rootless(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    all_ids(&container);
    let seen = container.observe();
    let user = container.user();
    let (own, first) = (u64::from(user.uid), u64::from(user.first_subuid));
    assert_eq!(words(&seen["uid_map"]), [0, own, 1, 1, first, 65536]);
    assert_eq!(seen["uid"], json!([1000, 1000, 1000, 1000]));
    assert_eq!(seen["gid"], json!([1000, 1000, 1000, 1000]));
}

/// RT-ROOTLESS-03: ids that the user was not given are refused in newuidmap's own words, and nothing is left.
#[test]
fn refuses_ids_it_was_not_given() {
    let container = Container::rootless(|config| {
        let map = &mut config["linux"]["uidMappings"];
        map.as_array_mut().expect("a map").push(json!({"containerID": 1, "hostID": 1, "size": 9}));
    });
    let outcome = container.run().fails_naming(&["newuidmap", "not allowed"]);
    if container.runtime().is("keel") {
        outcome.says(&["linux.uidMappings", "/etc/subuid"]);
    }
    container.assert_nothing_left();
}

/// RT-ROOTLESS-04: where newuidmap is not installed, the error says so.
#[test]
fn names_a_missing_tool() {
    let container = Container::rootless(|_| ());
    if !requires(container.runtime().is("keel"), "runc 1.1.5 tells the errno of a write only") {
        return;
    }
    all_ids(&container);
    let mut command = container.command(&["run", container.id()]);
    command.env("PATH", "/nosuch");
    let program = container.path("setpriv");
    assert!(!program.exists());
    container.finish(found(command)).fails_naming(&[
        "linux.gidMappings",
        "newgidmap",
        "$PATH",
        "uidmap",
    ]);
    container.assert_nothing_left();
}

/// The command with its program by path, for an environment in which it would not be found.
fn found(command: Command) -> Command {
    let mut again = Command::new("/usr/bin/setpriv");
    again.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => again.env(name, value),
            None => again.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        again.current_dir(folder);
    }
    again
}

/// RT-ROOTLESS-05: an id that is not mapped cannot be taken, and the error is runc's.
#[test]
fn refuses_an_unmapped_user() {
    let unmapped = |user: Value, text: &str| {
        let container = Container::rootless(|config| config["process"]["user"] = user);
        container.run().fails_naming(&[text]);
        container.assert_nothing_left();
    };
    let text = "cannot set uid to unmapped user in user namespace";
    unmapped(json!({"uid": 1000, "gid": 0}), text);
    let text = "cannot set gid to unmapped user in user namespace";
    unmapped(json!({"uid": 0, "gid": 1000}), text);
    let text = "cannot set any additional groups in a rootless container";
    unmapped(json!({"uid": 0, "gid": 0, "additionalGids": [7]}), text);
}

/// RT-ROOTLESS-06: exec by the same user joins everything, in a created container and in a running one.
#[test]
fn exec_joins_the_container() {
    for several in [false, true] {
        let container = sleeping(|_| ());
        if several {
            all_ids(&container);
        }
        container.create().succeeds();
        assert_eq!(container.exec(&["echo", "in"]).succeeds().stdout, "in\n");
        container.start().succeeds();
        let pid = container.pid();
        let seen = container.exec(&["/bin/probe", "report"]).succeeds().json();
        for name in ["ipc", "mnt", "net", "pid", "uts", "cgroup", "user"] {
            let link = fs::read_link(format!("/proc/{pid}/ns/{name}")).expect("a namespace");
            assert_eq!(seen["namespaces"][name], link.display().to_string(), "{name}");
        }
        assert_eq!(seen["uid"], json!([0, 0, 0, 0]));
        assert_eq!(seen["fds"].as_object().map(|fds| fds.len()), Some(3), "{}", seen["fds"]);
        container.exec(&["/bin/probe", "exit", "77"]).exits(77);
        container.exec(&["/bin/probe", "raise", "15"]).exits(143);
        container.exec(&["nosuch"]).exits(255).says(&["executable file not found in $PATH"]);
    }
}

/// RT-ROOTLESS-07: exec takes a user that is mapped, and refuses one that is not.
#[test]
fn exec_takes_mapped_users() {
    let container = sleeping(|_| ());
    all_ids(&container);
    container.up();
    let words = ["exec", "--user", "5:6", container.id(), "/bin/probe", "report"];
    let seen = container.call(&words).succeeds().json();
    assert_eq!(seen["uid"], json!([5, 5, 5, 5]));
    assert_eq!(seen["gid"], json!([6, 6, 6, 6]));
    let words = ["exec", "--user", "70000", container.id(), "true"];
    let text = "cannot set uid to unmapped user in user namespace";
    container.call(&words).exits(255).says(&[text]);
}

/// RT-ROOTLESS-08: detached exec writes its pid file, and the process is the caller's to kill.
#[test]
fn exec_detaches() {
    let container = sleeping(|_| ());
    container.up();
    let file = container.path("exec.pid").display().to_string();
    let words = ["exec", "--detach", "--pid-file", &file, container.id(), "sleep", "100001"];
    container.call(&words).succeeds();
    let pid = fs::read_to_string(&file).expect("a pid file");
    executes(&pid, &["sleep", "100001"]);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a status");
    let own = format!("Uid:\t{}\t", container.user().uid);
    assert!(status.contains(&own), "{status}");
}

/// RT-ROOTLESS-09: state, list, kill and delete are the user's too.
#[test]
fn the_user_keeps_control() {
    let container = sleeping(|_| ());
    container.up();
    assert_eq!(container.state()["status"], "running");
    let listed = container.call(&["list", "--format", "json"]).succeeds().json();
    assert_eq!(listed[0]["owner"], "keel-tests");
    container.delete(&[]).exits(1);
    container.kill("KILL").succeeds();
    container.becomes("stopped");
    container.delete(&[]).succeeds();
    container.assert_nothing_left();
}

/// RT-ROOTLESS-10: devices are the host's, shown by bind mounts.
#[test]
fn shows_the_hosts_devices() {
    let container = Container::rootless(|_| ());
    let seen = container.observe();
    for (name, number) in [("null", [1, 3]), ("zero", [1, 5]), ("urandom", [1, 9])] {
        assert_eq!(seen["dev"][name]["device"], json!(number), "{name}");
        let mounts = seen["mounts"].as_array().expect("mounts");
        let place = format!("/dev/{name}");
        assert!(mounts.iter().any(|mount| mount["destination"] == place.as_str()), "{place}");
    }
    assert!(fs::metadata(container.rootfs().join("dev")).expect("dev").is_dir());
}

/// RT-ROOTLESS-11: a cgroup that may not be made is left out, unless `--rootless=false` asks for it.
#[test]
fn does_without_cgroups() {
    let container = Container::rootless(|_| ());
    for flag in ["--rootless=true", "--rootless=auto", "--rootless=T"] {
        let mut command = container.user().command(container.runtime());
        command.arg(flag).arg("--root").arg(container.state_root());
        command.args(["run", container.id()]).current_dir(container.bundle());
        container.finish(command).succeeds();
    }
    let mut command = container.user().command(container.runtime());
    command.arg("--rootless=false").arg("--root").arg(container.state_root());
    command.args(["run", container.id()]).current_dir(container.bundle());
    container.finish(command).fails_naming(&["cgroup", "permission denied"]);
    container.assert_nothing_left();
}

/// RT-ROOTLESS-17: a cgroup that the config names and that may not be made is an error.
#[test]
fn a_named_cgroup_is_wanted() {
    let container = Container::rootless(|_| ());
    container.change(|config| {
        config["linux"]["cgroupsPath"] = format!("/{}", container.id()).into();
    });
    container.run().fails_naming(&["/sys/fs/cgroup/", container.id(), "permission denied"]);
    container.assert_nothing_left();
}

/// RT-ROOTLESS-12: `root.readonly`, masked and read-only paths hold in a user namespace.
#[test]
fn protects_in_a_user_namespace() {
    let container = Container::rootless(|config| {
        config["root"]["readonly"] = json!(true);
        config["linux"]["maskedPaths"] = json!(["/proc/keys", "/proc/acpi"]);
        config["linux"]["readonlyPaths"] = json!(["/proc/sys"]);
        config["process"]["args"] = json!([
            "sh",
            "-c",
            "touch /x; echo root $?; cat /proc/keys | wc -c; echo 1 > /proc/sys/net/ipv4/ip_forward; echo sys $?"
        ]);
    });
    let outcome = container.run().succeeds();
    assert_eq!(outcome.stdout, "root 1\n0\nsys 1\n", "{}", outcome.report());
}

/// RT-ROOTLESS-13: the state root is `$XDG_RUNTIME_DIR/NAME`, private to the user and with the sticky bit.
#[test]
fn states_lie_in_the_runtime_folder() {
    let container = sleeping(|_| ());
    let folder = container.path("xdg");
    fs::create_dir(&folder).expect("a folder");
    container.user().owns(&folder);
    let call = |words: &[&str]| {
        let mut command = container.user().command(container.runtime());
        command.args(words).current_dir(container.bundle()).env("XDG_RUNTIME_DIR", &folder);
        container.finish(command).succeeds()
    };
    call(&["create", container.id()]);
    let root = folder.join(container.runtime().name());
    let meta = fs::metadata(&root).expect("the state root");
    assert_eq!((meta.permissions().mode() & 0o7777, meta.uid()), (0o1700, container.user().uid));
    assert!(root.join(container.id()).is_dir());
    call(&["delete", "--force", container.id()]);
}

/// RT-ROOTLESS-14: root of a user namespace is told from root: what it may not do on the host is left out.
#[test]
fn runs_below_unshare() {
    let container = Container::rootless(|_| ());
    let inside = |words: &[&str]| {
        let mut command = container.user().runs("/usr/bin/unshare".as_ref());
        command.args(words).arg(container.runtime().path());
        command.arg("--root").arg(container.state_root());
        command.args(["run", container.id()]).current_dir(container.bundle());
        container.finish(command)
    };
    // Without a user namespace of the container's own …
    container.change(|config| {
        let linux = config["linux"].as_object_mut().expect("an object");
        linux.remove("uidMappings");
        linux.remove("gidMappings");
        let namespaces = linux["namespaces"].as_array_mut().expect("an array");
        namespaces.retain(|namespace| namespace["type"] != "user");
    });
    let seen = inside(&["--user", "--map-root-user"]).succeeds().json();
    assert_eq!(words(&seen["uid_map"]), [0, u64::from(container.user().uid), 1]);
    assert_eq!(seen["dev"]["null"]["device"], json!([1, 3]));
    if !requires(
        container.runtime().is("keel"),
        "runc 1.1.5 opens mounts that belong to another user namespace",
    ) {
        return;
    }
    // … and with one.
    container.change(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
        namespaces.push(json!({"type": "user"}));
        for map in ["uidMappings", "gidMappings"] {
            config["linux"][map] = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
        }
    });
    for flags in [&["--user", "--map-root-user"][..], &["--user", "--map-root-user", "--mount"]] {
        let seen = inside(flags).succeeds().json();
        assert_eq!(words(&seen["uid_map"]), [0, 0, 1], "{flags:?}");
    }
    container.assert_nothing_left();
}

/// Runs the probe with a hook that writes a report; what the probe saw, and what the hook wrote.
fn observe_with_hook(
    container: &Container,
    point: &str,
    script: String,
    report: &std::path::Path,
) -> (Value, String) {
    container.user().owns(&container.path("io"));
    container.change(|config| {
        config["hooks"][point] = json!([
            {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}]);
    });
    let seen = container.observe();
    (seen, fs::read_to_string(report).expect("the hook's report"))
}

/// RT-ROOTLESS-15: hooks of an ordinary user find the container's namespaces in procfs.
#[test]
fn hooks_see_the_namespaces() {
    let container = Container::rootless(|_| ());
    let report = container.path("io/hook");
    let script = format!(
        "read state; pid=${{state##*\\\"pid\\\":}}; pid=${{pid%%[,\\}}]*}}; \
                          readlink /proc/$pid/ns/user > {}",
        report.display()
    );
    let (seen, told) = observe_with_hook(&container, "createRuntime", script, &report);
    assert_eq!(seen["namespaces"]["user"], told.trim());
}

/// RT-ROOTLESS-16: exec has a terminal, in the user namespace too.
#[test]
fn exec_has_a_terminal() {
    let container = sleeping(|_| ());
    container.up();
    let socket = keel_tests::ConsoleSocket::listen(container.path("console"));
    container.user().owns(socket.path());
    let path = socket.path().display().to_string();
    let words = [
        "exec",
        "-d",
        "-t",
        "--console-socket",
        &path,
        container.id(),
        "sh",
        "-c",
        "tty; stty size",
    ];
    container.call(&words).succeeds();
    let mut console = socket.receive();
    console.read_until("/dev/pts/0");
}

/// Takes a namespace from the config, and has a file system at `destination` that needs it.
fn without(config: &mut Value, namespace: &str, mount: Value) {
    let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
    namespaces.retain(|listed| listed["type"] != namespace);
    let mounts = config["mounts"].as_array_mut().expect("an array");
    mounts.retain(|listed| listed["destination"] != mount["destination"]);
    mounts.insert(0, mount);
}

/// RT-ROOTLESS-18: a file system that the user may not mount is refused with what it would need.
#[test]
fn explains_a_refused_mount() {
    let mount = |kind: &str, place: &str| json!({"destination": place, "type": kind, "source": kind, "options": ["nosuid"]});
    for (namespace, kind, place) in
        [("network", "sysfs", "/sys"), ("pid", "proc", "/proc"), ("ipc", "mqueue", "/mqueue")]
    {
        // Who does not ask for a sysfs that is read-only means one's own.
        let container =
            Container::rootless(|config| without(config, namespace, mount(kind, place)));
        let outcome = container.run().fails_naming(&[kind, "peration not permitted"]);
        if container.runtime().is("keel") {
            outcome.says(&[&format!("{namespace} namespace")]);
        }
        container.assert_nothing_left();
    }
}

/// RT-ROOTLESS-19: without a network namespace of one's own the host's sysfs is shown, read-only in all its
/// parts.
#[test]
fn shows_the_hosts_sysfs() {
    let options = ["nosuid", "noexec", "nodev", "ro"];
    let container = Container::rootless(|config| {
        let sysfs =
            json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": options});
        without(config, "network", sysfs);
        let mounts = config["mounts"].as_array_mut().expect("an array");
        mounts.retain(|mount| mount["type"] != "cgroup");
    });
    if !requires(
        container.runtime().is("keel"),
        "runc fails; crun does not start on hybrid cgroups",
    ) {
        return;
    }
    let seen = container.observe();
    let mounts = seen["mounts"].as_array().expect("mounts");
    let at = |place: &str| {
        let found = mounts.iter().rfind(|mount| mount["destination"] == place);
        found.unwrap_or_else(|| panic!("{place} is no mount: {mounts:?}"))
    };
    let has = |place: &str, option: &str| {
        at(place)["options"].as_array().is_some_and(|all| all.iter().any(|word| word == option))
    };
    for option in options {
        assert!(has("/sys", option), "{option}: {}", at("/sys"));
    }
    let without = std::env::var("KEEL_WITHOUT").unwrap_or_default();
    if requires(!without.contains("mount_setattr"), "mount_setattr: without it what is below stays")
    {
        for mount in mounts {
            let place = mount["destination"].as_str().unwrap_or_default();
            assert!(!place.starts_with("/sys/") || has(place, "ro"), "{mount}");
        }
    }
    container.change(|config| config["process"]["args"] = json!(["ls", "/sys/class/net"]));
    let own = fs::read_dir("/sys/class/net").expect("interfaces").flatten();
    let seen = container.run().succeeds().stdout;
    for interface in own {
        let name = interface.file_name().into_string().expect("a name");
        assert!(seen.lines().any(|line| line == name), "{name}: {seen}");
    }
}

/// RT-ROOTLESS-20: createContainer hooks of an ordinary user run in the container's namespaces.
#[test]
fn hooks_enter_the_namespaces() {
    let container = Container::rootless(|_| ());
    let report = container.path("io/hook");
    let script = format!(
        "cat >/dev/null; for kind in user pid mnt net uts; do readlink /proc/self/ns/$kind; done > {0}; \
         echo $$ >> {0}",
        report.display()
    );
    let (seen, told) = observe_with_hook(&container, "createContainer", script, &report);
    for kind in ["user", "mnt", "net", "uts"] {
        let wanted = seen["namespaces"][kind].as_str().expect("a namespace");
        assert!(told.lines().any(|line| line == wanted), "{kind}: {told}");
    }
}

/// SEC-CGROUP-01: an ordinary user's container cannot write below its cgroup mount, with or without a cgroup
/// namespace, in its own user namespace or the caller's (CVE-2023-25809).
#[test]
fn cgroups_are_read_only() {
    let container = Container::rootless(|config| {
        let script = "for f in /sys/fs/cgroup /sys/fs/cgroup/*; do \
                      mkdir $f/escape 2>/dev/null && echo $f; done; echo done";
        config["process"]["args"] = json!(["sh", "-c", script]);
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
        namespaces.retain(|namespace| namespace["type"] != "cgroup");
    });
    if !requires(
        container.runtime().is("keel"),
        "runc 1.1.5 leaves the tmpfs of the mount writable",
    ) {
        return;
    }
    let outside = |inner: &[&str]| {
        let mut command = container.user().runs("/usr/bin/env".as_ref());
        command.args(inner).arg(container.runtime().path());
        command.arg("--root").arg(container.state_root());
        command.args(["run", container.id()]).current_dir(container.bundle());
        assert_eq!(container.finish(command).succeeds().stdout, "done\n", "{inner:?}");
    };
    let add_cgroup = |config: &mut Value| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
        namespaces.push(json!({"type": "cgroup"}));
    };
    outside(&[]);
    container.change(add_cgroup);
    outside(&[]);
    container.change(|config| {
        let linux = config["linux"].as_object_mut().expect("an object");
        linux.remove("uidMappings");
        linux.remove("gidMappings");
        let namespaces = linux["namespaces"].as_array_mut().expect("an array");
        namespaces.retain(|namespace| namespace["type"] != "user");
    });
    outside(&["unshare", "--user", "--map-root-user"]);
    container.change(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
        namespaces.retain(|namespace| namespace["type"] != "cgroup");
    });
    outside(&["unshare", "--user", "--map-root-user"]);
}

/// RT-ROOTLESS-21: hooks of an ordinary user's container without a pid namespace of its own see and enter its
/// other namespaces.
#[test]
fn hooks_need_no_pid_namespace() {
    let container = Container::rootless(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
        namespaces.retain(|namespace| namespace["type"] != "pid");
        for mount in config["mounts"].as_array_mut().expect("an array") {
            if mount["type"] == "proc" {
                // A procfs of its own would take a pid namespace of its own.
                *mount = json!({"destination": "/proc", "type": "bind", "source": "/proc",
                    "options": ["rbind"]});
            }
        }
        config["linux"].as_object_mut().expect("an object").remove("maskedPaths");
        config["linux"].as_object_mut().expect("an object").remove("readonlyPaths");
    });
    let report = container.path("io/hook");
    let script = format!("readlink /proc/self/ns/user /proc/self/ns/net > {}", report.display());
    let (seen, told) = observe_with_hook(&container, "createContainer", script, &report);
    let wanted = ["user", "net"].map(|kind| seen["namespaces"][kind].as_str().unwrap_or_default());
    assert_eq!(told.lines().collect::<Vec<_>>(), wanted);
}
