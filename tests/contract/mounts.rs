//! `mounts`: what is mounted where, in which order, with which options.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use keel_tests::{Container, Scratch, requires};
use serde_json::{Value, json};

fn add(config: &mut Value, mount: Value) {
    config["mounts"].as_array_mut().expect("mounts is an array").push(mount);
}

/// The last mount at a destination in the probe's report.
#[track_caller]
fn mount_at<'a>(seen: &'a Value, destination: &str) -> &'a Value {
    let mounts = seen["mounts"].as_array().expect("an array");
    mounts
        .iter()
        .rfind(|mount| mount["destination"] == destination)
        .unwrap_or_else(|| panic!("nothing is mounted at {destination}: {mounts:#?}"))
}

fn has(mount: &Value, list: &str, word: &str) -> bool {
    mount[list].as_array().is_some_and(|words| words.iter().any(|seen| seen == word))
}

/// RT-MOUNT-01: the mounts of the base configuration are there, with type and options.
#[test]
fn mounts_the_usual_file_systems() {
    let container = Container::new(|_| ());
    let seen = container.observe();
    for (destination, kind, options) in [
        ("/proc", "proc", &["rw"][..]),
        ("/dev", "tmpfs", &["rw", "nosuid"]),
        ("/dev/pts", "devpts", &["rw", "nosuid", "noexec"]),
        ("/dev/shm", "tmpfs", &["rw", "nosuid", "nodev", "noexec"]),
        ("/dev/mqueue", "mqueue", &["rw", "nosuid", "nodev", "noexec"]),
        ("/sys", "sysfs", &["ro", "nosuid", "nodev", "noexec"]),
    ] {
        let mount = mount_at(&seen, destination);
        assert_eq!(mount["type"], kind, "{destination}");
        for option in options {
            assert!(has(mount, "options", option), "{destination} lacks {option}: {mount}");
        }
    }
    assert!(has(mount_at(&seen, "/dev"), "super", "size=65536k"));
    assert!(has(mount_at(&seen, "/dev/pts"), "super", "ptmxmode=666"));
    assert!(has(mount_at(&seen, "/dev/pts"), "super", "gid=5"));
}

/// RT-MOUNT-02: mounts are made in the order of the list: a later one covers an earlier one.
#[test]
fn mounts_in_listed_order() {
    let container = Container::new(|config| {
        add(config, json!({"destination": "/srv", "type": "tmpfs", "source": "first"}));
        add(config, json!({"destination": "/srv/in", "type": "tmpfs", "source": "second"}));
        add(config, json!({"destination": "/srv", "type": "tmpfs", "source": "third"}));
        config["process"]["args"] = json!(["ls", "/srv"]);
    });
    // The third mount hides the second.
    assert_eq!(container.run().succeeds().stdout, "");
}

/// RT-MOUNT-03: a bind mount shows a file of the host.
#[test]
fn binds_a_file() {
    let container =
        Container::new(|config| config["process"]["args"] = json!(["cat", "/etc/given"]));
    let file = container.path("given");
    fs::write(&file, "from the host\n").expect("a file");
    with_mount(
        &container,
        json!({"destination": "/etc/given", "type": "bind", "source": file, "options": ["bind"]}),
    );
    assert_eq!(container.run().succeeds().stdout, "from the host\n");
}

/// RT-MOUNT-04: a bind mount of a folder is decided by its options, not by its type.
#[test]
fn binds_a_folder_whatever_the_type_says() {
    for kind in [json!("bind"), json!("none"), json!("")] {
        let container = Container::new(|config| {
            config["process"]["args"] = json!(["sh", "-c", "cat /data/file; echo new > /data/new"]);
        });
        let folder = container.path("data");
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join("file"), "shared\n").expect("a file");
        with_mount(
            &container,
            json!({"destination": "/data", "type": kind, "source": folder, "options": ["rbind"]}),
        );
        assert_eq!(container.run().succeeds().stdout, "shared\n");
        assert_eq!(fs::read_to_string(folder.join("new")).expect("written from inside"), "new\n");
    }
}

/// RT-MOUNT-05: `ro` on a bind mount holds inside and leaves the host's folder writable.
#[test]
fn a_read_only_bind_cannot_be_written() {
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["/bin/probe", "open-write", "/data/file"]);
    });
    let folder = container.path("data");
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("file"), "").expect("a file");
    with_mount(
        &container,
        json!({"destination": "/data", "type": "bind", "source": folder, "options": ["rbind", "ro"]}),
    );
    assert_eq!(container.run().succeeds().json()["/data/file"], 30, "EROFS");
    fs::write(folder.join("file"), "still writable").expect("the host's side is not touched");
}

/// RT-MOUNT-06: flags and their opposites: the later word wins.
#[test]
fn options_set_and_clear_flags() {
    for (options, set, clear) in [
        (
            json!(["nosuid", "nodev", "noexec"]),
            &["nosuid", "nodev", "noexec", "rw"][..],
            &["ro"][..],
        ),
        (json!(["ro", "noatime"]), &["ro", "noatime"], &["nosuid", "relatime"]),
        (json!(["noexec", "exec"]), &["rw"], &["noexec"]),
        (json!(["nodiratime", "relatime"]), &["nodiratime", "relatime"], &["noatime"]),
        (json!([]), &["rw", "relatime"], &["nosuid", "nodev", "noexec", "ro"]),
    ] {
        let mount =
            json!({"destination": "/srv", "type": "tmpfs", "source": "tmpfs", "options": options});
        let container = Container::new(|config| add(config, mount));
        let seen = container.observe();
        let mount = mount_at(&seen, "/srv");
        for word in set {
            assert!(has(mount, "options", word), "{options} should give {word}: {mount}");
        }
        for word in clear {
            assert!(!has(mount, "options", word), "{options} should not give {word}: {mount}");
        }
    }
}

/// RT-MOUNT-07: words that are no flags are given to the file system.
#[test]
fn passes_other_options_as_data() {
    let mount = json!({"destination": "/srv", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m", "nr_inodes=77", "mode=0711", "uid=7", "gid=8"]});
    let container = Container::new(|config| {
        add(config, mount);
        config["process"]["args"] = json!(["stat", "-c", "%a %u %g", "/srv"]);
    });
    assert_eq!(container.run().succeeds().stdout, "711 7 8\n");
}

/// RT-MOUNT-08: a destination is made when it is missing: a folder for a folder, a file for a file.
#[test]
fn makes_missing_destinations() {
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["stat", "-c", "%F", "/new/a/b", "/new/c/file"]);
    });
    fs::create_dir(container.path("folder")).expect("a folder");
    fs::write(container.path("file"), "text").expect("a file");
    with_mount(
        &container,
        json!({"destination": "/new/a/b", "type": "bind", "source": container.path("folder"), "options": ["bind"]}),
    );
    with_mount(
        &container,
        json!({"destination": "/new/c/file", "type": "bind", "source": container.path("file"), "options": ["bind"]}),
    );
    assert_eq!(container.run().succeeds().stdout, "directory\nregular file\n");
}

/// RT-MOUNT-09: a symbolic link in the destination is followed inside the root file system only.
#[test]
fn follows_destination_links_inside_the_rootfs() {
    for (link, target) in
        [("absolute", "/real"), ("relative", "../real"), ("climbing", "../../../../../../real")]
    {
        let container = Container::new(|config| {
            config["process"]["args"] = json!(["sh", "-c", "cat /real/sub/mark"]);
        });
        fs::create_dir_all(container.rootfs().join("real")).expect("a folder");
        fs::create_dir_all(container.rootfs().join("links")).expect("a folder");
        symlink(target, container.rootfs().join("links").join(link)).expect("a link");
        let folder = container.path("data");
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join("mark"), "mounted\n").expect("a file");
        let destination = format!("/links/{link}/sub");
        with_mount(
            &container,
            json!({"destination": destination, "type": "bind", "source": folder, "options": ["bind"]}),
        );
        assert_eq!(container.run().succeeds().stdout, "mounted\n", "{link}");
    }
}

/// RT-MOUNT-10: a relative source is relative to the bundle.
#[test]
fn a_relative_source_is_relative_to_the_bundle() {
    let container = Container::new(|config| config["process"]["args"] = json!(["cat", "/given"]));
    fs::write(container.path("given"), "of the bundle\n").expect("a file");
    with_mount(
        &container,
        json!({"destination": "/given", "type": "bind", "source": "given", "options": ["bind"]}),
    );
    let mut command = container.command(&["run", "--bundle"]);
    command.arg(container.bundle()).arg(container.id()).current_dir("/");
    assert_eq!(container.finish(command).succeeds().stdout, "of the bundle\n");
}

/// RT-MOUNT-11: `rbind` takes along what is mounted below the source, `bind` does not.
#[test]
fn rbind_is_recursive_and_bind_is_not() {
    let host = Scratch::new();
    fs::create_dir(host.join("sub")).expect("a folder");
    mount_tmpfs(&host.join("sub"));
    fs::write(host.join("sub/below"), "").expect("a file");
    for (option, wanted) in [("rbind", "below\n"), ("bind", "")] {
        let container =
            Container::new(|config| config["process"]["args"] = json!(["ls", "/data/sub"]));
        with_mount(
            &container,
            json!({"destination": "/data", "type": "bind", "source": host.display().to_string(), "options": [option]}),
        );
        assert_eq!(container.run().succeeds().stdout, wanted, "{option}");
    }
}

/// RT-MOUNT-12: propagation options are applied to the mount: later host mounts arrive at a slave only.
#[test]
fn propagation_options_hold() {
    for (option, arrives) in [("rslave", true), ("rprivate", false), ("rshared", true)] {
        let host = Scratch::new();
        let container = Container::sleeping(|_| ());
        let shared = host.join("shared");
        fs::create_dir_all(&shared).expect("a folder");
        mount_tmpfs(&shared);
        run("mount", &["--make-shared", &shared.display().to_string()]);
        fs::create_dir(shared.join("later")).expect("a folder");
        with_mount(
            &container,
            json!({"destination": "/data", "type": "bind", "source": shared, "options": ["rbind", option]}),
        );
        if !requires(!container.runtime().is("crun"), "crun runs in a slave mount namespace here") {
            return;
        }
        let pid = container.up();
        mount_tmpfs(&shared.join("later"));
        let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("mountinfo");
        assert_eq!(table.contains(" /data/later "), arrives, "{option}:\n{table}");
    }
}

/// RT-MOUNT-13: nothing the container mounts is seen on the host.
#[test]
fn mounts_do_not_reach_the_host() {
    let container = Container::sleeping(|_| ());
    let pid = container.up();
    let inside = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("mountinfo");
    assert!(inside.contains(" /dev/mqueue "), "{inside}");
    let outside = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    assert!(!outside.contains(container.id()), "{outside}");
}

/// RT-MOUNT-14: a tmpfs over an existing folder takes the folder's mode.
#[test]
fn a_tmpfs_inherits_the_folders_mode() {
    let mount =
        json!({"destination": "/box", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"]});
    let container = Container::new(|config| {
        add(config, mount);
        config["process"]["args"] = json!(["stat", "-c", "%a", "/box"]);
    });
    let folder = container.rootfs().join("box");
    fs::create_dir(&folder).expect("a folder");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o1750)).expect("chmod");
    assert_eq!(container.run().succeeds().stdout, "1750\n");
}

/// RT-MOUNT-16: a mount that fails is an error that names it; nothing is left.
#[test]
fn a_failing_mount_is_named_and_leaves_nothing() {
    let container = Container::new(|config| {
        add(
            config,
            json!({"destination": "/data", "type": "bind", "source": "/does/not/exist", "options": ["bind"]}),
        );
    });
    container.create().fails_naming(&["/does/not/exist", "no such file or directory"]);
    container.assert_nothing_left();
}

/// RT-MOUNT-17: a file system type the kernel does not know is an error that names the destination.
#[test]
fn an_unknown_type_is_named_and_leaves_nothing() {
    let container = Container::new(|config| {
        add(config, json!({"destination": "/data", "type": "nosuchfs", "source": "x"}));
    });
    container.create().fails_naming(&["/data", "no such device"]);
    container.assert_nothing_left();
}

/// RT-MOUNT-18: a mount over a file of /proc that is not of the permitted few is refused.
#[test]
fn refuses_to_mount_over_proc_files() {
    let container = Container::new(|_| ());
    let folder = container.path("fake");
    fs::create_dir(&folder).expect("a folder");
    with_mount(
        &container,
        json!({"destination": "/proc/sys", "type": "bind", "source": folder, "options": ["bind"]}),
    );
    if !requires(!container.runtime().is("crun"), "crun allows mounts over /proc") {
        return;
    }
    container.run().fails_naming(&["/proc"]);
    container.assert_nothing_left();
}

/// RT-MOUNT-19: `cgroup` shows the container's own cgroups, read-only when asked.
#[test]
fn a_cgroup_mount_shows_the_own_cgroup() {
    // On version 2 it is one for all controllers.
    let folders = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].map(std::path::Path::new);
    let folder = folders.into_iter().find(|folder| folder.exists()).expect("cgroups").display();
    let script = format!("cat {folder}/cgroup.procs; echo; mkdir {folder}/x");
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["sh", "-c", script]);
        config["linux"]["resources"]["pids"] = json!({"limit": 50});
    });
    if !requires(keel_tests::controller_folder(1, "pids").is_some(), "the pids controller") {
        return;
    }
    let outcome = container.run();
    assert!(outcome.stdout.lines().any(|line| line == "1"), "{}", outcome.report());
    outcome.says(&["Read-only file system"]);
}

/// RT-MOUNT-20: recursive read-only (`rro`) holds for what is mounted below the source.
#[test]
fn rro_is_recursive() {
    let without = std::env::var("KEEL_WITHOUT").unwrap_or_default();
    if !requires(
        !without.contains("mount_setattr"),
        "mount_setattr: without it rro is refused (RT-OLD-02)",
    ) {
        return;
    }
    let host = Scratch::new();
    fs::create_dir(host.join("sub")).expect("a folder");
    mount_tmpfs(&host.join("sub"));
    fs::write(host.join("sub/file"), "").expect("a file");
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["/bin/probe", "open-write", "/data/sub/file"]);
    });
    with_mount(
        &container,
        json!({"destination": "/data", "type": "bind", "source": host.display().to_string(), "options": ["rbind", "rro"]}),
    );
    assert_eq!(container.run().succeeds().json()["/data/sub/file"], 30, "EROFS");
}

/// Adds a mount to a written configuration: sources are known only once the bundle is there.
fn with_mount(container: &Container, mount: Value) {
    container.change(|config| add(config, mount));
}

fn mount_tmpfs(path: &std::path::Path) {
    run("mount", &["-t", "tmpfs", "keel-tests", &path.display().to_string()]);
}

fn run(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).status().expect("a program");
    assert!(status.success(), "{program} {args:?}");
}

/// RT-MOUNT-90: a destination below the rootfs as the host names it, and a source there, mean the place in the
/// container with what is mounted there by then.
#[test]
fn takes_the_hosts_names_of_places_in_the_rootfs() {
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["cat", "/second/file"]);
    });
    let rootfs = container.rootfs().display().to_string();
    let data = container.path("data");
    std::fs::create_dir(&data).expect("a folder");
    std::fs::write(data.join("file"), "seen").expect("a file");
    container.change(|config| {
        let mounts = config["mounts"].as_array_mut().expect("an array");
        let bind = |source: String, destination: String| json!({"source": source, "destination": destination, "options": ["rbind"]});
        mounts.push(bind(data.display().to_string(), format!("{rootfs}/first")));
        mounts.push(bind(format!("{rootfs}/first"), "/second".to_owned()));
    });
    if !requires(container.runtime().is("keel"), "runc 1.1.5 does not make such a destination") {
        return;
    }
    assert_eq!(container.run().succeeds().stdout, "seen");
}

/// RT-MOUNT-21: a destination in a new `/dev` may be written in any way, be mounted twice, and lie deeper.
#[test]
fn mounts_in_a_new_dev() {
    let container = Container::new(|config| {
        for (destination, name) in [
            ("/dev/slash/", "one"),
            ("/dev/./dot", "two"),
            ("//dev//slashes", "three"),
            ("/dev/twice", "four"),
            ("/dev/twice", "five"),
            ("/dev/deep/er", "six"),
            ("/dev/pts/../back", "seven"),
        ] {
            add(config, json!({"destination": destination, "type": "tmpfs", "source": name}));
        }
    });
    let seen = container.observe();
    for (destination, name) in [
        ("/dev/slash", "one"),
        ("/dev/dot", "two"),
        ("/dev/slashes", "three"),
        ("/dev/twice", "five"),
        ("/dev/deep/er", "six"),
        ("/dev/back", "seven"),
    ] {
        assert_eq!(mount_at(&seen, destination)["source"], name, "{destination}");
    }
}
