//! `explain`: each cause belongs to a bundle that really fails with the errno it names.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use keel_tests::{Container, Scratch, requires};
use serde_json::{Value, json};

fn is_keel(container: &Container) -> bool {
    requires(container.runtime().is("keel"), "`explain` is a command of keel")
}

fn file(path: &Path, bytes: impl AsRef<[u8]>, mode: u32) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, bytes).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

/// Runs a bundle, which fails with the words of an errno, and asks why: the cause of this kind must be there.
#[track_caller]
fn explains(
    kind: &str,
    errno: &str,
    words: &str,
    delta: impl FnOnce(&mut Value),
    prepare: impl FnOnce(&Container),
) -> Value {
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["/app"]);
        delta(config);
    });
    if !is_keel(&container) {
        return Value::Null;
    }
    prepare(&container);
    let failed = container.run();
    assert_ne!(failed.status, 0, "{}", failed.report());
    let text = failed.stderr.to_lowercase();
    assert!(text.contains(words), "{words:?} in {}", failed.report());
    let found = container.call(&["explain", "--format", "json"]).succeeds().json();
    let causes = found["causes"].as_array().expect("causes");
    let cause = causes.iter().find(|cause| cause["kind"] == kind);
    let cause = cause.unwrap_or_else(|| panic!("no {kind} in {found}"));
    assert_eq!(cause["errno"].as_str().unwrap_or_default(), errno, "{cause}");
    let told = container.call(&["explain"]).succeeds().stdout;
    assert!(told.contains(cause["cause"].as_str().expect("a cause")), "{told}");
    cause.clone()
}

const NOT_THERE: &str = "no such file or directory";
const DENIED: &str = "permission denied";
const NO_PROGRAM: &str = "exec format error";

fn app(bytes: &'static [u8], mode: u32) -> impl FnOnce(&Container) {
    move |container| file(&container.rootfs().join("app"), bytes, mode)
}

/// A copy of busybox with another machine, or with an interpreter that is not there.
fn altered(container: &Container, alter: impl FnOnce(&mut Vec<u8>)) {
    let mut program = fs::read("/bin/busybox").expect("busybox");
    alter(&mut program);
    file(&container.rootfs().join("app"), program, 0o755);
}

/// CLI-EXPLAIN-01: a missing interpreter of a script is named, and a carriage return in its line is.
#[test]
fn finds_what_is_wrong_with_a_script() {
    let script = app(b"#!/nosuch/shell -e\n", 0o755);
    let cause = explains("interpreter-missing", "ENOENT", NOT_THERE, |_| (), script);
    assert!(cause.is_null() || cause["cause"].as_str().expect("text").contains("/nosuch/shell"));
    explains("crlf", "ENOENT", NOT_THERE, |_| (), app(b"#!/bin/sh\r\necho\r\n", 0o755));
    explains("no-program", "ENOEXEC", NO_PROGRAM, |_| (), app(b"echo\n", 0o755));
    explains("no-program", "ENOEXEC", NO_PROGRAM, |_| (), app(b"", 0o755));
    explains(
        "no-exec-permission",
        "EACCES",
        DENIED,
        |_| (),
        |container| {
            file(&container.rootfs().join("plain"), "text", 0o644);
            file(&container.rootfs().join("app"), "#!/plain\n", 0o755);
        },
    );
}

/// CLI-EXPLAIN-02: the loader that a program names and the root filesystem lacks is named; so is another machine.
#[test]
fn finds_what_is_wrong_with_a_program() {
    let container = |container: &Container| {
        // A program of the host that needs a loader, in a root filesystem without one.
        let program = fs::read("/usr/bin/env").expect("a program of the host");
        file(&container.rootfs().join("app"), program, 0o755);
        let _ = fs::remove_dir_all(container.rootfs().join("lib64"));
    };
    let cause = explains("loader-missing", "ENOENT", NOT_THERE, |_| (), container);
    assert!(
        cause.is_null() || cause["cause"].as_str().expect("text").contains("/ld-linux"),
        "{cause}"
    );
    let alien = |container: &Container| altered(container, |program| program[18] = 0x16);
    let cause = explains("wrong-architecture", "ENOEXEC", NO_PROGRAM, |_| (), alien);
    assert!(cause.is_null() || cause["cause"].as_str().expect("text").contains("s390x"), "{cause}");
}

/// CLI-EXPLAIN-03: a program that is not found, and rights that are missing on the way to it and on it.
#[test]
fn finds_what_is_wrong_with_a_path() {
    let name = |config: &mut Value| config["process"]["args"] = json!(["nosuchprogram"]);
    explains("program-not-found", "ENOENT", "executable file not found in $path", name, |_| ());
    let path = |config: &mut Value| config["process"]["args"] = json!(["/nosuch/program"]);
    explains("program-not-found", "ENOENT", NOT_THERE, path, |_| ());
    explains("no-exec-permission", "EACCES", DENIED, |_| (), app(b"#!/bin/sh\n", 0o644));
    let user = |config: &mut Value| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        config["process"]["args"] = json!(["/private/app"]);
        config["process"]["capabilities"] = json!({});
    };
    explains("no-search-permission", "EACCES", DENIED, user, |container| {
        file(&container.rootfs().join("private/app"), "#!/bin/sh\n", 0o755);
        let private = fs::Permissions::from_mode(0o700);
        fs::set_permissions(container.rootfs().join("private"), private).expect("chmod");
    });
    let folder = |config: &mut Value| config["process"]["args"] = json!(["/etc"]);
    explains("not-a-file", "EISDIR", "is a directory", folder, |_| ());
}

/// CLI-EXPLAIN-04: a mount with noexec, a missing source and an unknown file system are found by the mount's field.
#[test]
fn finds_what_is_wrong_with_a_mount() {
    fn add(config: &mut Value, mount: Value) {
        config["mounts"].as_array_mut().expect("mounts").push(mount);
    }
    let noexec = |config: &mut Value| {
        config["process"]["args"] = json!(["/data/app"]);
        add(
            config,
            json!({"destination": "/data", "type": "bind", "source": "data", "options": ["bind", "noexec"]}),
        );
    };
    explains("noexec", "EACCES", DENIED, noexec, |container| {
        let busybox = fs::read("/bin/busybox").expect("busybox");
        file(&container.path("data/app"), &busybox, 0o755);
        file(&container.rootfs().join("data/app"), &busybox, 0o755);
    });
    let source = |config: &mut Value| {
        add(
            config,
            json!({"destination": "/data", "type": "bind", "source": "/nosuchsource", "options": ["bind"]}),
        );
    };
    let cause = explains("mount-source", "ENOENT", NOT_THERE, source, |_| ());
    assert!(cause.is_null() || cause["field"].as_str().expect("a field").starts_with("mounts["));
    let kind = |config: &mut Value| {
        add(config, json!({"destination": "/data", "type": "nosuchfs", "source": "none"}));
    };
    explains("filesystem-unknown", "ENODEV", "no such device", kind, |_| ());
}

/// CLI-EXPLAIN-05: a root filesystem that is not there, or is a file.
#[test]
fn finds_what_is_wrong_with_the_root() {
    let missing = |config: &mut Value| config["root"]["path"] = json!("nosuch/rootfs");
    explains("rootfs", "ENOENT", NOT_THERE, missing, |_| ());
    let plain = |config: &mut Value| config["root"]["path"] = json!("config.json");
    explains("rootfs", "ENOTDIR", "not a directory", plain, |_| ());
}

fn profile(action: &str) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": ["ptrace"], "action": "SCMP_ACT_KILL"},
            {"names": ["execve"], "action": action},
            {"names": ["clone"], "action": "SCMP_ACT_ERRNO", "args":
                [{"index": 0, "value": 0x1000_0000, "valueTwo": 0x1000_0000, "op": "SCMP_CMP_MASKED_EQ"}]},
        ],
    })
}

/// CLI-EXPLAIN-06: a seccomp rule that denies execve is named; `--syscall` tells the rule for any call and its arguments.
#[test]
fn finds_the_seccomp_rule() {
    let deny = |config: &mut Value| {
        config["process"]["args"] = json!(["true"]);
        config["linux"]["seccomp"] = profile("SCMP_ACT_ERRNO");
    };
    let cause = explains("seccomp", "EPERM", "operation not permitted", deny, |_| ());
    assert!(cause.is_null() || cause["field"] == "linux.seccomp.syscalls[1]", "{cause}");
    let container = Container::new(|config| {
        config["linux"]["seccomp"] = profile("SCMP_ACT_ALLOW");
        config["process"]["args"] = json!(["unshare", "-U", "true"]);
    });
    if !is_keel(&container) {
        return;
    }
    let ask = |words: &[&str]| {
        let mut all = vec!["explain", "--format", "json"];
        all.extend_from_slice(words);
        container.call(&all).succeeds().json()
    };
    let clone = ask(&["--syscall", "clone", "--arg", "0x10000000"]);
    assert_eq!(clone["field"], "linux.seccomp.syscalls[2]");
    assert_eq!(clone["action"], "SCMP_ACT_ERRNO (EPERM)");
    assert_eq!(clone["passes"], false);
    assert_eq!(ask(&["--syscall", "clone", "--arg", "0"])["field"], "linux.seccomp.defaultAction");
    assert_eq!(ask(&["--syscall", "ptrace"])["action"], "SCMP_ACT_KILL_THREAD");
    container.call(&["explain", "--syscall", "nosuchcall"]).fails_naming(&["nosuchcall"]);
}

/// CLI-EXPLAIN-07: ids without a mapping, limits above the caller's, hooks and namespaces that are not there.
#[test]
fn finds_what_the_caller_lacks() {
    let ids = |config: &mut Value| {
        config["process"]["args"] = json!(["true"]);
        config["process"]["user"] = json!({"uid": 4000, "gid": 0});
        config["linux"]["uidMappings"] =
            json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
        config["linux"]["gidMappings"] =
            json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
        config["linux"]["namespaces"]
            .as_array_mut()
            .expect("namespaces")
            .push(json!({"type": "user"}));
    };
    explains("id-unmapped", "EINVAL", "unmapped", ids, |_| ());
    let hook = |config: &mut Value| {
        config["process"]["args"] = json!(["true"]);
        config["hooks"] = json!({"createRuntime": [{"path": "/nosuch/hook"}]});
    };
    explains("hook", "ENOENT", NOT_THERE, hook, |_| ());
    let namespace = |config: &mut Value| {
        config["process"]["args"] = json!(["true"]);
        let all = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        all.retain(|one| one["type"] != "network");
        all.push(json!({"type": "network", "path": "/proc/0/ns/net"}));
    };
    explains("namespace", "ENOENT", NOT_THERE, namespace, |_| ());
    let sysctl = |config: &mut Value| {
        config["process"]["args"] = json!(["true"]);
        config["linux"]["sysctl"] = json!({"fs.mqueue.nosuch": "1"});
    };
    explains("sysctl", "ENOENT", NOT_THERE, sysctl, |_| ());
    let outside = |config: &mut Value| {
        config["process"]["args"] = json!(["true"]);
        config["linux"]["sysctl"] = json!({"vm.swappiness": "1"});
    };
    let cause = explains("config", "", "linux.sysctl", outside, |_| ());
    assert!(
        cause.is_null() || cause["field"].as_str().expect("a field").contains("sysctl"),
        "{cause}"
    );
}

/// CLI-EXPLAIN-08: a container whose start failed tells what was recorded, and why.
#[test]
fn repeats_what_start_said() {
    let container = Container::new(|config| config["process"]["args"] = json!(["/app"]));
    if !is_keel(&container) {
        return;
    }
    file(&container.rootfs().join("app"), "#!/nosuch/shell\n", 0o755);
    container.create().succeeds();
    container.start().exits(1);
    let found = container.call(&["explain", "--format", "json", container.id()]).succeeds().json();
    assert_eq!(found["causes"][0]["kind"], "interpreter-missing", "{found}");
    let recorded = found["recorded"].as_str().expect("a record");
    assert!(recorded.contains("exec /app: no such file or directory"), "{recorded}");
}

/// CLI-EXPLAIN-09: a command for a running container is looked for as exec would, in what its processes see.
#[test]
fn explains_a_failed_exec() {
    let container = Container::sleeping(|config| {
        let mount = json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["noexec"]});
        config["mounts"].as_array_mut().expect("mounts").push(mount);
    });
    if !is_keel(&container) {
        return;
    }
    container.up();
    let id = container.id();
    container.exec(&["nosuchprogram"]).exits(255);
    let kind = |command: &str| {
        let found = container.call(&["explain", "--format", "json", id, command]).succeeds().json();
        found["causes"][0]["kind"].clone()
    };
    assert_eq!(kind("nosuchprogram"), "program-not-found");
    container.exec(&["sh", "-c", "cp /bin/busybox /data/app"]).succeeds();
    container.exec(&["/data/app"]).exits(255).says(&["permission denied"]);
    assert_eq!(kind("/data/app"), "noexec");
    assert_eq!(kind("sleep"), Value::Null);
}

/// CLI-EXPLAIN-10: a bundle that runs has no causes.
#[test]
fn finds_nothing_where_nothing_is_wrong() {
    let container = Container::new(|config| config["process"]["args"] = json!(["true"]));
    if !is_keel(&container) {
        return;
    }
    container.run().succeeds();
    let told = container.call(&["explain"]).succeeds().stdout;
    assert_eq!(told, "nothing was found that keeps it from running\n");
}

/// CLI-EXPLAIN-11: every finding of a config that is not valid is a cause with its field.
#[test]
fn lists_what_is_not_valid() {
    let wrong = |config: &mut Value| {
        config["process"]["cwd"] = json!("relative");
        config["linux"]["namespaces"][0]["type"] = json!("nosuch");
    };
    let cause = explains("config", "", "process.cwd", wrong, |_| ());
    assert!(cause.is_null() || cause["field"] == "process.cwd", "{cause}");
}

/// CLI-EXPLAIN-12: a profile or label of a security module that this host does not have is a cause.
#[test]
fn finds_a_missing_security_module() {
    let active = fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    if !requires(!active.starts_with('Y'), "AppArmor is active here") {
        return;
    }
    let profile = |config: &mut Value| {
        config["process"]["args"] = json!(["true"]);
        config["process"]["apparmorProfile"] = json!("docker-default");
    };
    explains("apparmor", "EINVAL", "invalid argument", profile, |_| ());
}

/// The effective capabilities of this process, a bit each.
fn own_capabilities() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("a line");
    u64::from_str_radix(line.trim(), 16).expect("a number")
}

/// CLI-EXPLAIN-13: a hard limit above the caller's own is a cause where it may not be raised.
#[test]
fn finds_a_limit_that_cannot_be_raised() {
    let effective = own_capabilities();
    if !requires(effective & 1 << 24 == 0, "the caller may raise every limit") {
        return;
    }
    let limit = |config: &mut Value| {
        config["process"]["args"] = json!(["true"]);
        let limit = json!({"type": "RLIMIT_NPROC", "hard": 4_000_000_000_u64, "soft": 100});
        config["process"]["rlimits"] = json!([limit]);
    };
    explains("rlimit", "EPERM", "operation not permitted", limit, |_| ());
}

/// CLI-EXPLAIN-14: a capability that the caller does not have, and a device that is not on the host, are causes.
#[test]
fn finds_what_cannot_be_granted() {
    let effective = own_capabilities();
    let device = |config: &mut Value| {
        config["process"]["args"] = json!(["true"]);
        config["linux"]["uidMappings"] =
            json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
        config["linux"]["gidMappings"] =
            json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
        config["linux"]["namespaces"]
            .as_array_mut()
            .expect("namespaces")
            .push(json!({"type": "user"}));
        config["linux"]["devices"] =
            json!([{"path": "/dev/nosuch", "type": "c", "major": 1, "minor": 3}]);
    };
    explains("device", "ENOENT", NOT_THERE, device, |_| ());
    if !requires(effective & 1 << 24 == 0, "the caller may raise every limit") {
        return;
    }
    let limit = |config: &mut Value| {
        config["process"]["args"] = json!(["sh", "-c", "ulimit -Hn 99999999"]);
        for set in ["bounding", "effective", "permitted"] {
            let all = config["process"]["capabilities"][set].as_array_mut().expect("a set");
            all.push(json!("CAP_SYS_RESOURCE"));
        }
    };
    explains("capability", "EPERM", "operation not permitted", limit, |_| ());
}

/// What is in the way of a container of an ordinary user, which fails with these words.
#[track_caller]
fn explains_to_a_user(container: &Container, kind: &str, errno: &str, words: &str) -> Value {
    container.run().fails_naming(&[words]);
    container.assert_nothing_left();
    let found = container.call(&["explain", "--format", "json"]).succeeds().json();
    let causes = found["causes"].as_array().expect("causes");
    let cause = causes.iter().find(|cause| cause["kind"] == kind);
    let cause = cause.unwrap_or_else(|| panic!("no {kind} in {found}"));
    assert_eq!(cause["errno"], errno, "{cause}");
    cause.clone()
}

/// CLI-EXPLAIN-15: a flag of a mount that a user namespace may not take away is named with its mount.
#[test]
fn finds_a_locked_flag() {
    let host = Scratch::new();
    let source = host.join("source");
    fs::create_dir(&source).expect("a folder");
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "noexec", "keel-tests"]).arg(&source);
    assert!(mount.status().expect("mount").success());
    let container = Container::rootless(|config| {
        let options = json!(["bind", "ro", "exec"]);
        let mount =
            json!({"destination": "/data", "type": "bind", "source": source, "options": options});
        config["mounts"].as_array_mut().expect("mounts").push(mount);
    });
    if !is_keel(&container) {
        return;
    }
    let cause = explains_to_a_user(&container, "locked-flags", "EPERM", "locked flags noexec");
    assert!(cause["cause"].as_str().expect("text").contains("source has noexec"), "{cause}");
    container.change(|config| {
        let last = config["mounts"].as_array_mut().expect("mounts").last_mut().expect("a mount");
        last["options"] = json!(["bind", "ro"]);
    });
    container.run().succeeds();
    let told = container.call(&["explain"]).succeeds().stdout;
    assert_eq!(told, "nothing was found that keeps it from running\n");
}

/// CLI-EXPLAIN-16: ids of the host that a user was not given are named, with those that it was.
#[test]
fn finds_ids_that_are_not_the_users() {
    let container = Container::rootless(|config| {
        let map = &mut config["linux"]["uidMappings"];
        map.as_array_mut().expect("a map").push(json!({"containerID": 1, "hostID": 1, "size": 9}));
    });
    if !is_keel(&container) {
        return;
    }
    let cause = explains_to_a_user(&container, "subordinate-ids", "EPERM", "not allowed");
    assert_eq!(cause["field"], "linux.uidMappings[1]");
    let given = format!("65536 from {} on", container.user().first_subuid);
    assert!(cause["cause"].as_str().expect("text").contains(&given), "{cause}");
    container.change(|config| container.user().map_all(config));
    container.run().succeeds();
    let told = container.call(&["explain"]).succeeds().stdout;
    assert_eq!(told, "nothing was found that keeps it from running\n");
}

/// CLI-EXPLAIN-17: a limit, and a cgroup that the config names, need a cgroup that was delegated to the user; one that
/// was not is named, as is a file in it that cannot be written.
#[test]
fn finds_cgroups_that_were_not_delegated() {
    let container = Container::rootless(|config| {
        config["linux"]["resources"] = json!({"pids": {"limit": 10}});
    });
    if !is_keel(&container) {
        return;
    }
    let kind = "cgroup-delegation";
    let cause = explains_to_a_user(&container, kind, "EACCES", "linux.resources.pids.limit: ");
    assert_eq!(cause["field"], "linux.resources.pids.limit");
    assert!(cause["hint"].as_str().expect("a hint").contains("Delegate=yes"), "{cause}");
    let named = format!("/{}", container.id());
    container.change(|config| {
        config["linux"]["resources"] = json!({});
        config["linux"]["cgroupsPath"] = json!(named);
    });
    let cause = explains_to_a_user(&container, kind, "EACCES", "permission denied");
    assert_eq!(cause["field"], "linux.cgroupsPath");
    assert!(cause["cause"].as_str().expect("text").contains("is not this user's"), "{cause}");
    // Without either the container does without cgroups.
    container.change(|config| {
        config["linux"].as_object_mut().expect("linux").remove("cgroupsPath");
    });
    container.run().succeeds();
    let told = container.call(&["explain"]).succeeds().stdout;
    assert_eq!(told, "nothing was found that keeps it from running\n");
}
