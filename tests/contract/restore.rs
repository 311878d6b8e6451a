//! `restore`, with a real criu.

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use keel_tests::counter::{
    call, checkpoint, command, counting, counts_to, goes_on, path_with_criu, restore, run,
};
use keel_tests::{ConsoleSocket, Container, eventually, requires};
use serde_json::{Value, json};

/// CLI-RESTORE-01: in the foreground the status is the process's, and the container is gone afterwards.
#[test]
fn restores_in_the_foreground() {
    let container = Container::new(|config| {
        let script = "while ! test -e /dev/shm/go; do sleep 0.02; done; exit 7";
        config["process"]["args"] = json!(["sh", "-c", script]);
    });
    run(&container);
    checkpoint(&container, &[]).succeeds();
    let mut foreground = command(&container, &["restore", container.id()]);
    foreground.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = foreground.spawn().expect("the runtime starts");
    eventually("it is restored", || {
        (container.exec(&["touch", "/dev/shm/go"]).status == 0).then_some(())
    });
    let status = eventually("the restore ends", || child.try_wait().expect("a child"));
    assert_eq!(status.code(), Some(7));
    container.assert_nothing_left();
}

/// CLI-RESTORE-02: callers that share flags with checkpoint are understood, and the pid file names the process.
#[test]
fn takes_the_flags_of_callers() {
    let container = counting(|_| ());
    run(&container);
    checkpoint(&container, &["--image-path", "images"]).succeeds();
    let mut flags =
        vec!["--image-path", "images", "--work-path", "work", "--pid-file", "pid", "-no-subreaper"];
    if container.runtime().is("keel") {
        flags.extend(["--parent-path", "../x", "--page-server", "127.0.0.1:1", "-no-pivot"]);
    }
    restore(&container, &flags);
    let pid = fs::read_to_string(container.path("pid")).expect("a pid file");
    assert_eq!(pid, container.pid().to_string());
    assert!(container.path("work/restore.log").exists());
}

/// CLI-RESTORE-03: a folder without images is an error that leaves nothing.
#[test]
fn refuses_a_folder_without_images() {
    let container = counting(|_| ());
    let words = ["restore", "--detach", "--image-path", "nowhere", container.id()];
    call(&container, &words).fails_naming(&["no such file or directory"]);
    container.assert_nothing_left();
    if container.runtime().is("keel") {
        fs::create_dir(container.path("odd")).expect("a folder");
        fs::write(container.path("odd/descriptors.json"), "{\"a\": 1}").expect("a file");
        let words = ["restore", "--detach", "--image-path", "odd", container.id()];
        call(&container, &words).fails_naming(&["descriptors.json"]);
        container.assert_nothing_left();
    }
}

/// CLI-RESTORE-04: a restore that fails leaves nothing, and names criu's log.
#[test]
fn a_failed_restore_leaves_nothing() {
    let container = counting(|_| ());
    run(&container);
    checkpoint(&container, &[]).succeeds();
    let images = container.path("checkpoint");
    for entry in fs::read_dir(&images).expect("a folder").flatten() {
        if entry.file_name().to_string_lossy().starts_with("core-") {
            fs::write(entry.path(), "no image").expect("a file");
        }
    }
    let words = ["restore", "--detach", container.id()];
    call(&container, &words).fails_naming(&["criu failed"]);
    container.assert_nothing_left();
}

/// CLI-RESTORE-05: streams that are pipes, or files outside, become the caller's.
#[test]
fn streams_become_the_callers() {
    let script = "while :; do echo tick; sleep 0.02; done";
    let container =
        Container::new(|config| config["process"]["args"] = json!(["sh", "-c", script]));
    let (mut from_first, to_first) = std::io::pipe().expect("a pipe");
    let piped = |words: &[&str], to: std::io::PipeWriter| {
        let mut command = command(&container, words);
        command.stdin(Stdio::null()).stdout(to).stderr(Stdio::null());
        let mut child = command.spawn().expect("the runtime starts");
        drop(command);
        let status = eventually("the command ends", || child.try_wait().expect("a child"));
        assert!(status.success(), "{words:?}: {status}");
    };
    let mut five = [0; 5];
    piped(&["run", "--detach", container.id()], to_first);
    from_first.read_exact(&mut five).expect("a line");
    checkpoint(&container, &[]).succeeds();
    let (mut from_second, to_second) = std::io::pipe().expect("a pipe");
    piped(&["restore", "--detach", container.id()], to_second);
    from_second.read_exact(&mut five).expect("a line");
    assert_eq!(&five, b"tick\n");
    container.delete(&["--force"]).succeeds();
    if !requires(container.runtime().is("keel"), "runc cannot save a file outside") {
        return;
    }
    // The same file again, as a log is: criu wants it to be as long as it was.
    let log = container.path("log");
    let logged = |words: &[&str]| {
        let file = fs::File::options().append(true).create(true).open(&log).expect("a file");
        let mut command = command(&container, words);
        command.stdin(Stdio::null()).stdout(file).stderr(Stdio::null());
        let mut child = command.spawn().expect("the runtime starts");
        let status = eventually("the command ends", || child.try_wait().expect("a child"));
        assert!(status.success(), "{words:?}: {status}");
    };
    let length = || fs::metadata(&log).expect("a file").len();
    logged(&["run", "--detach", container.id()]);
    eventually("it writes", || (length() > 20).then_some(()));
    checkpoint(&container, &[]).succeeds();
    let before = length();
    logged(&["restore", "--detach", container.id()]);
    eventually("it writes on", || (length() > before + 20).then_some(()));
}

/// CLI-RESTORE-06: the terminal of a restored container goes to the console socket.
#[test]
fn hands_over_the_terminal() {
    let container = Container::new(|config| {
        config["process"]["terminal"] = json!(true);
        let script = "echo up; while read line; do echo \"got $line\"; done";
        config["process"]["args"] = json!(["sh", "-c", script]);
    });
    let socket = ConsoleSocket::listen(container.path("s"));
    let path = socket.path().display().to_string();
    let words = ["run", "--detach", "--console-socket", &path, container.id()];
    call(&container, &words).succeeds();
    let mut console = socket.receive();
    console.read_until("up");
    checkpoint(&container, &[]).succeeds();
    drop(console);
    let words = ["restore", "--detach", container.id()];
    call(&container, &words).fails_naming(&["without setting console socket"]);
    container.assert_nothing_left();
    let words = ["restore", "--detach", "--console-socket", &path, container.id()];
    call(&container, &words).succeeds();
    let mut console = socket.receive();
    assert_eq!(console.fds, 1);
    console.write("hello\n");
    console.read_until("got hello");
}

/// CLI-RESTORE-07: bind mounts come from the bundle, through links and within one another, and their mount points
/// are made anew.
#[test]
fn binds_come_from_the_bundle() {
    let container = counting(|_| ());
    for folder in ["one", "two", "linked", "rootfs/real/conf"] {
        fs::create_dir_all(container.path(folder)).expect("a folder");
    }
    fs::write(container.path("file"), "file").expect("a file");
    std::os::unix::fs::symlink("/real/conf", container.path("rootfs/conf")).expect("a link");
    container.change(|config| {
        let bind = |source: &str, destination: &str| {
            let source = container.path(source).display().to_string();
            json!({"destination": destination, "type": "bind", "source": source, "options": ["bind"]})
        };
        let mounts = config["mounts"].as_array_mut().expect("an array");
        mounts.extend([
            bind("one", "/test"),
            bind("two", "/test/for/nested"),
            bind("linked", "/conf"),
            bind("file", "/etc/file"),
        ]);
    });
    run(&container);
    let before = counts_to(&container, 3);
    checkpoint(&container, &[]).succeeds();
    fs::remove_dir_all(container.path("one/for")).expect("a folder");
    fs::remove_file(container.path("rootfs/etc/file")).expect("a file");
    fs::write(container.path("two/new"), "two").expect("a file");
    fs::write(container.path("linked/new"), "linked").expect("a file");
    restore(&container, &[]);
    for (path, content) in
        [("/test/for/nested/new", "two"), ("/conf/new", "linked"), ("/etc/file", "file")]
    {
        assert_eq!(container.exec(&["cat", path]).succeeds().stdout, content, "{path}");
    }
    counts_to(&container, before + 1);
}

/// CLI-RESTORE-08: namespaces of the container are made again, a user namespace and a cgroup namespace too.
#[test]
fn makes_namespaces_again() {
    let cgroups = counting(|config| {
        config["linux"]["namespaces"]
            .as_array_mut()
            .expect("an array")
            .push(json!({"type": "cgroup"}));
    });
    run(&cgroups);
    goes_on(&cgroups, &[], &[]);
    let users = counting(|config| {
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
        namespaces.push(json!({"type": "user"}));
    });
    run(&users);
    // The processes read the images as users of their namespace.
    fs::create_dir(users.path("images")).expect("a folder");
    goes_on(&users, &["--image-path", "images"], &["--image-path", "images"]);
    let map = users.exec(&["cat", "/proc/self/uid_map"]).succeeds().stdout;
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
}

/// CLI-RESTORE-09: a network namespace that was joined is joined again.
#[test]
fn joins_a_network_namespace_again() {
    let holder = Container::sleeping(|_| ());
    let path = format!("/proc/{}/ns/net", holder.up());
    let container = counting(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
        let network = namespaces.iter_mut().find(|n| n["type"] == "network").expect("network");
        network["path"] = json!(path);
    });
    run(&container);
    goes_on(&container, &[], &[]);
    let joined = fs::read_link(format!("/proc/{}/ns/net", container.pid())).expect("a link");
    assert_eq!(joined, fs::read_link(&path).expect("a link"));
}

/// CLI-RESTORE-10: with `--manage-cgroups-mode ignore` on both sides the cgroup is the one of the bundle, with its
/// limits.
#[test]
fn restores_into_another_cgroup() {
    let container = counting(|_| ());
    if !requires(!container.runtime().is("runc"), "runc 1.1 does not know the mode ignore") {
        return;
    }
    run(&container);
    let before = counts_to(&container, 3);
    checkpoint(&container, &["--manage-cgroups-mode", "ignore"]).succeeds();
    let other = format!("/{}/other", container.id());
    container.change(|config| {
        config["linux"]["cgroupsPath"] = json!(other);
        config["linux"]["resources"]["pids"] = json!({"limit": 77});
    });
    restore(&container, &["--manage-cgroups-mode", "ignore"]);
    counts_to(&container, before + 1);
    let pid = container.pid();
    assert!(fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("a table").contains(&other));
    assert_eq!(keel_tests::cgroup_value(pid, "pids", "pids.max"), "77");
    container.delete(&["--force"]).succeeds();
    for folder in fs::read_dir("/sys/fs/cgroup").expect("a folder").flatten() {
        let _ = fs::remove_dir(folder.path().join(container.id()));
    }
    let _ = fs::remove_dir(format!("/sys/fs/cgroup/{}", container.id()));
}

/// CLI-RESTORE-11: the hooks of the bundle run when the namespaces are there, and are told the process.
#[test]
fn runs_hooks() {
    let container = counting(|_| ());
    let told = container.path("told");
    let script = format!("cat >> {0}; echo >> {0}", told.display());
    run(&container);
    checkpoint(&container, &[]).succeeds();
    container.change(|config| {
        let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
        config["hooks"] = json!({"prestart": hook, "createRuntime": hook});
    });
    restore(&container, &[]);
    let told = fs::read_to_string(told).expect("told");
    let states: Vec<Value> =
        told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(states.len(), 2);
    assert_eq!(states[0]["pid"], container.pid());
    container.delete(&["--force"]).succeeds();
    container.change(|config| {
        config["hooks"] = json!({"createRuntime": [{"path": "/bin/false"}]});
    });
    call(&container, &["restore", "--detach", container.id()]).fails_naming(&["hook"]);
    container.assert_nothing_left();
}

/// CLI-RESTORE-12: a restore that is killed at any moment can be cleared away by force.
#[test]
fn a_killed_restore_can_be_deleted() {
    let container = counting(|_| ());
    if !requires(container.runtime().is("keel"), "the packaged runc is known to leave things") {
        return;
    }
    run(&container);
    checkpoint(&container, &[]).succeeds();
    let words = ["restore", "--detach", container.id()];
    let mut deaths = 0;
    for number in (1..60).step_by(3) {
        let plain = command(&container, &words);
        let mut strace = Command::new("strace");
        let inject = format!("inject=sendto,mkdirat,renameat2,clone3:signal=KILL:when={number}");
        strace.args(["-qq", "-o", "/dev/null", "-e", &inject]);
        strace.arg(plain.get_program()).args(plain.get_args()).current_dir(container.bundle());
        strace.env("PATH", path_with_criu());
        let killed = container.finish(strace).status == 137;
        container.delete(&["--force"]).succeeds();
        eventually(&format!("nothing is left of the restore killed at {number}"), || {
            container.left().is_empty().then_some(())
        });
        if !killed {
            break;
        }
        deaths += 1;
    }
    // On version 2 there are fewer cgroups to make.
    assert!(deaths > 2, "only {deaths} places were visited");
    restore(&container, &[]);
}

/// CLI-RESTORE-13: `features` says that checkpoint is there, and which annotation it obeys.
#[test]
fn is_listed_in_features() {
    let container = Container::new(|_| ());
    if !requires(container.runtime().is("keel"), "runc 1.1 does not list unsafe annotations") {
        return;
    }
    let features = container.call(&["features"]).succeeds().json();
    assert_eq!(features["annotations"]["org.opencontainers.runc.checkpoint.enabled"], "true");
    let unsafe_ones = features["potentiallyUnsafeConfigAnnotations"].as_array().expect("an array");
    assert!(unsafe_ones.iter().any(|name| name == "org.criu.config"), "{unsafe_ones:?}");
}

/// CLI-RESTORE-14: `org.criu.config` names criu's own configuration file, of which the bundle decides.
#[test]
fn takes_the_configuration_file_of_the_annotation() {
    let container = counting(|_| ());
    let file = container.path("criu.conf");
    fs::File::create(&file)
        .and_then(|mut file| file.write_all(b"log-file=other.log\n"))
        .expect("a file");
    container.change(|config| {
        config["annotations"] = json!({"org.criu.config": file.display().to_string()});
    });
    run(&container);
    goes_on(&container, &["--work-path", "work"], &["--work-path", "work"]);
    assert!(container.path("work/other.log").exists());
}

/// CLI-RESTORE-15: what protects a container holds again: read-only and masked paths, read-only binds, the read-only
/// root, capabilities, the seccomp filter.
#[test]
fn protections_hold_again() {
    let container = counting(|config| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_ERRNO"}]});
    });
    fs::create_dir(container.path("data")).expect("a folder");
    container.change(|config| {
        let source = container.path("data").display().to_string();
        config["mounts"].as_array_mut().expect("an array").push(
            json!({"destination": "/data", "type": "bind", "source": source, "options": ["bind", "ro"]}),
        );
    });
    run(&container);
    counts_to(&container, 1);
    let credentials = || {
        let status =
            fs::read_to_string(format!("/proc/{}/status", container.pid())).expect("status");
        let kept = ["Cap", "NoNewPrivs", "Seccomp", "Uid", "Gid"];
        let lines = status.lines().filter(|line| kept.iter().any(|word| line.starts_with(word)));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = credentials();
    checkpoint(&container, &[]).succeeds();
    restore(&container, &[]);
    assert_eq!(credentials(), before);
    for script in [
        "! touch /data/new",
        "! touch /new",
        "! echo 1 > /proc/sys/kernel/ns_last_pid",
        "test -z \"$(cat /proc/kcore)\"",
        "test -z \"$(ls -A /sys/firmware)\"",
        "! touch /sys/fs/cgroup/cpu/tasks",
    ] {
        let outcome = container.exec(&["sh", "-c", script]);
        assert_eq!(outcome.status, 0, "{script}\n{}", outcome.report());
    }
}

/// CLI-RESTORE-16: a mount that criu would restore without its id mapping is refused before anything is saved.
#[test]
fn refuses_id_mapped_mounts() {
    let container = counting(|_| ());
    if !requires(container.runtime().is("keel"), "runc 1.1 has no id-mapped mounts") {
        return;
    }
    let without = std::env::var("KEEL_WITHOUT").unwrap_or_default();
    if !requires(!without.contains("mount_setattr"), "mount_setattr: without it ids are not mapped")
    {
        return;
    }
    fs::create_dir(container.path("data")).expect("a folder");
    container.change(|config| {
        let source = container.path("data").display().to_string();
        let map = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
        config["mounts"].as_array_mut().expect("an array").push(
            json!({"destination": "/data", "type": "bind", "source": source, "options": ["bind", "idmap"],
                "uidMappings": map, "gidMappings": map}),
        );
    });
    run(&container);
    checkpoint(&container, &[]).fails_naming(&["mounts[7]", "id mapping"]);
    assert!(!container.path("checkpoint").exists());
    counts_to(&container, 1);
}

/// CLI-RESTORE-17: a container that shares the mounts of the host would come back without any, and is refused before
/// anything is saved.
#[test]
fn refuses_mounts_of_the_host() {
    let container = counting(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
        namespaces.retain(|namespace| namespace["type"] != "mount");
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
    });
    if !requires(container.runtime().is("keel"), "runc leaves the mounts on the host") {
        return;
    }
    run(&container);
    checkpoint(&container, &[]).fails_naming(&["linux.namespaces", "without a mount namespace"]);
    assert!(!container.path("checkpoint").exists());
    counts_to(&container, 1);
}
