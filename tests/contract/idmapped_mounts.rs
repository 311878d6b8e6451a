//! `idmap`, `ridmap`, `uidMappings` and `gidMappings` of a mount: whose a file is, seen through a mount.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;
use std::process::Command;

use keel_tests::{Child, Container, Scratch, eventually, requires};
use serde_json::{Value, json};

const NEWER: &str = "id-mapped mounts are newer than the packaged runc";

fn peer_is_newer(container: &Container) -> bool {
    requires(!container.runtime().is("runc"), NEWER)
}

fn without(call: &str) -> bool {
    std::env::var("KEEL_WITHOUT").unwrap_or_default().contains(call)
}

fn without_mount_setattr() -> bool {
    !requires(!without("mount_setattr"), "mount_setattr: without it ids are not mapped")
}

/// Whether it is Linux 6.15 or later.
fn kernel_has_open_tree_attr() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    let mut numbers = release.split(['.', '-']).map_while(|word| word.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(15))
}

fn one_to_one(host: u32) -> Value {
    json!([{"containerID": 0, "hostID": host, "size": 65536}])
}

/// A folder of the host with a file of user 3 and group 4.
fn source() -> Scratch {
    let host = Scratch::new();
    fs::write(host.join("file"), "").expect("a file");
    chown(host.join("file"), Some(3), Some(4)).expect("chown");
    host
}

fn add(config: &mut Value, mount: Value) {
    config["mounts"].as_array_mut().expect("an array").push(mount);
}

fn bind(source: &Path, options: Value) -> Value {
    json!({"destination": "/data", "type": "bind", "source": source, "options": options})
}

fn mapped_bind(source: &Path, options: Value) -> Value {
    let mut mount = bind(source, options);
    mount["uidMappings"] = one_to_one(100_000);
    mount["gidMappings"] = one_to_one(200_000);
    mount
}

fn show_owner(config: &mut Value, path: &str) {
    config["process"]["args"] = json!(["stat", "-c", "%u:%g", path]);
}

fn user_namespace(config: &mut Value) {
    config["linux"]["namespaces"].as_array_mut().expect("an array").push(json!({"type": "user"}));
    config["linux"]["uidMappings"] = one_to_one(100_000);
    config["linux"]["gidMappings"] = one_to_one(200_000);
}

fn give_rootfs(container: &Container) {
    let status =
        Command::new("chown").args(["-R", "100000:200000"]).arg(container.rootfs()).status();
    assert!(status.expect("chown").success());
}

/// RT-IDMAP-01: a mapping of the mount changes whose its files are, both ways, and not on the host.
#[test]
fn maps_ids_both_ways() {
    let host = source();
    let container = Container::new(|config| {
        add(config, mapped_bind(&host, json!(["bind", "idmap"])));
        config["process"]["user"] = json!({"uid": 100_005, "gid": 200_006});
        config["process"]["args"] = json!([
            "sh",
            "-c",
            "stat -c %u:%g /data/file; touch /data/new; stat -c %u:%g /data/new"
        ]);
    });
    if !peer_is_newer(&container) || without_mount_setattr() {
        return;
    }
    chown(&*host, Some(5), Some(6)).expect("chown");
    assert_eq!(container.run().succeeds().stdout, "100003:200004\n100005:200006\n");
    let new = fs::metadata(host.join("new")).expect("written from inside");
    assert_eq!((new.uid(), new.gid()), (5, 6));
    let old = fs::metadata(host.join("file")).expect("a file");
    assert_eq!((old.uid(), old.gid()), (3, 4));
}

/// RT-IDMAP-02: without mappings of its own a mount has those of the container's user namespace.
#[test]
fn takes_the_containers_mapping() {
    let host = source();
    let container = Container::new(|config| {
        user_namespace(config);
        add(config, bind(&host, json!(["bind", "idmap"])));
        show_owner(config, "/data/file");
    });
    if !peer_is_newer(&container) || without_mount_setattr() {
        return;
    }
    give_rootfs(&container);
    assert_eq!(container.run().succeeds().stdout, "3:4\n");
}

/// RT-IDMAP-03: `ridmap` maps what is mounted below the source too, `idmap` the one mount.
#[test]
fn is_recursive_when_asked() {
    let host = source();
    fs::create_dir(host.join("sub")).expect("a folder");
    let status = Command::new("mount").args(["-t", "tmpfs", "x"]).arg(host.join("sub")).status();
    assert!(status.expect("mount").success());
    fs::write(host.join("sub/file"), "").expect("a file");
    chown(host.join("sub/file"), Some(3), Some(4)).expect("chown");
    for (option, seen) in [("ridmap", "100003:200004\n"), ("idmap", "3:4\n")] {
        let container = Container::new(|config| {
            add(config, mapped_bind(&host, json!(["rbind", option])));
            show_owner(config, "/data/sub/file");
        });
        if !requires(container.runtime().is("keel"), "newer than the packaged peers")
            || without_mount_setattr()
        {
            return;
        }
        assert_eq!(container.run().succeeds().stdout, seen, "{option}");
    }
}

/// RT-IDMAP-04: mappings without the option are obeyed as well.
#[test]
fn needs_no_option() {
    let host = source();
    let container = Container::new(|config| {
        add(config, mapped_bind(&host, json!(["bind"])));
        show_owner(config, "/data/file");
    });
    if !requires(container.runtime().is("keel"), NEWER) || without_mount_setattr() {
        return;
    }
    assert_eq!(container.run().succeeds().stdout, "100003:200004\n");
}

/// RT-IDMAP-05: crun's form of the option holds a mapping, counted from the container's where it begins with `@`.
#[test]
fn takes_a_mapping_in_the_option() {
    let host = source();
    for (option, seen) in [
        ("idmap=uids=0-100010-10;gids=0-200020-10", "13:24\n"),
        ("idmap=uids=@0-10-10;gids=@0-20-10", "13:24\n"),
        ("idmap=uids=0-100000-1#3-100040-1;gids=4-200050-1", "40:50\n"),
    ] {
        let container = Container::new(|config| {
            user_namespace(config);
            add(config, bind(&host, json!(["bind", option])));
            show_owner(config, "/data/file");
        });
        if !peer_is_newer(&container) || without_mount_setattr() {
            return;
        }
        give_rootfs(&container);
        assert_eq!(container.run().succeeds().stdout, seen, "{option}");
    }
}

/// RT-IDMAP-06: what is asked for by halves, or cannot be, is an error that names the field.
#[test]
fn refuses_what_contradicts_itself() {
    let host = source();
    let container = Container::new(|_| ());
    if !requires(container.runtime().is("keel"), "the peers have other words") {
        return;
    }
    let half = {
        let mut mount = mapped_bind(&host, json!(["bind", "idmap"]));
        mount["gidMappings"] = Value::Null;
        mount.as_object_mut().expect("an object").remove("gidMappings");
        mount
    };
    let twice = mapped_bind(&host, json!(["bind", "idmap=uids=0-1-1;gids=0-1-1"]));
    let tmpfs = json!({"destination": "/data", "type": "tmpfs", "source": "x", "options": ["idmap"],
        "uidMappings": one_to_one(1), "gidMappings": one_to_one(1)});
    for (mount, words) in [
        (half, ["mounts[7].gidMappings", "both"]),
        (twice, ["mounts[7].options", "conflict"]),
        (tmpfs, ["mounts[7].options", "bind mounts only"]),
        (bind(&host, json!(["bind", "idmap"])), ["mounts[7].options", "user namespace"]),
        (bind(&host, json!(["bind", "idmap=uids=0-x-1"])), ["mounts[7].options", "0-x-1"]),
        (bind(&host, json!(["bind", "idmap=uids=@0-1-1;gids=@0-1-1"])), ["mounts[7].options", "@"]),
    ] {
        let container = Container::new(|config| add(config, mount.clone()));
        container.create().fails_naming(&words);
        container.assert_nothing_left();
    }
}

/// RT-IDMAP-07: a file system that cannot map ids is named, a kernel that cannot is told; nothing is left.
#[test]
fn names_what_cannot_map_ids() {
    let container = Container::new(|config| {
        add(config, mapped_bind(Path::new("/proc/sys"), json!(["bind", "idmap"])));
    });
    if !requires(container.runtime().is("keel"), "the peers have other words")
        || without_mount_setattr()
    {
        return;
    }
    container.create().fails_naming(&["mounts[7]", "proc does not support id-mapped mounts"]);
    container.assert_nothing_left();
    let mut command = container.command(&["create", container.id()]);
    command.env("KEEL_WITHOUT", "mount_setattr");
    container.finish(command).fails_naming(&["mounts[7]", "Linux 5.12"]);
    container.assert_nothing_left();
}

/// RT-IDMAP-08: a source whose ids are mapped already gets the new mapping instead, where the kernel can do that.
#[test]
fn maps_a_mapped_source_anew() {
    let host = source();
    let container = Container::new(|config| {
        let mut mount = bind(&host, json!(["bind", "idmap"]));
        mount["uidMappings"] = one_to_one(500_000);
        mount["gidMappings"] = one_to_one(600_000);
        add(config, mount);
        show_owner(config, "/data/file");
    });
    if !requires(container.runtime().is("keel"), NEWER) || without_mount_setattr() {
        return;
    }
    map_on_host(&host);
    assert_eq!(fs::metadata(host.join("file")).expect("a file").uid(), 100_003);
    let outcome = container.run();
    match kernel_has_open_tree_attr() && !without("open_tree_attr") {
        true => assert_eq!(outcome.succeeds().stdout, "500003:600004\n"),
        false => drop(outcome.fails_naming(&["mounts[7]", "its ids are mapped already"])),
    }
    container.assert_nothing_left();
}

/// Covers a folder of the host with itself, its ids mapped.
fn map_on_host(folder: &Scratch) {
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "sleep", "100000"]);
    let holder = Child::start(unshare);
    let file = |name: &str| format!("/proc/{}/{name}", holder.pid());
    let own = fs::read_link("/proc/self/ns/user").expect("a namespace");
    eventually("the namespace is there", || {
        fs::read_link(file("ns/user")).ok().filter(|there| *there != own)
    });
    fs::write(file("uid_map"), "0 100000 65536").expect("uid_map");
    fs::write(file("gid_map"), "0 200000 65536").expect("gid_map");
    let namespace = fs::File::open(file("ns/user")).expect("a namespace");
    keel_tests::sys::cover_mapped(folder, &namespace).expect("an id-mapped mount");
}

/// RT-IDMAP-09: no process of the mapping is left, and the mount is the container's alone.
#[test]
fn leaves_no_helper_and_leaks_no_mount() {
    let host = source();
    let container = Container::sleeping(|config| {
        add(config, mapped_bind(&host, json!(["bind", "idmap"])));
    });
    if !peer_is_newer(&container) || without_mount_setattr() {
        return;
    }
    let pid = container.up();
    let inside = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("mountinfo");
    let mount = inside.lines().find(|line| line.contains(" /data ")).expect("the mount");
    assert!(!mount.contains("shared:"), "{mount}");
    let outside = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    assert!(!outside.contains(container.id()), "{outside}");
}

/// RT-IDMAP-10: a source in the rootfs is what the mounts before it have put there, with a user namespace or
/// without.
#[test]
fn maps_what_is_mounted_in_the_rootfs() {
    for own_users in [false, true] {
        let host = source();
        let container = Container::new(|_| ());
        if !requires(container.runtime().is("keel"), NEWER) || without_mount_setattr() {
            return;
        }
        fs::create_dir_all(container.rootfs().join("earlier")).expect("a folder");
        let rootfs = container.rootfs();
        container.change(|config| {
            let mut mount = mapped_bind(&rootfs.join("earlier"), json!(["rbind", "idmap"]));
            if own_users {
                user_namespace(config);
            } else {
                mount["destination"] = json!(rootfs.join("data"));
            }
            let mut earlier = bind(&host, json!(["bind"]));
            earlier["destination"] = json!("/earlier");
            add(config, earlier);
            add(config, mount);
            show_owner(config, "/data/file");
        });
        if own_users {
            give_rootfs(&container);
        }
        let seen = if own_users { "3:4\n" } else { "100003:200004\n" };
        assert_eq!(container.run().succeeds().stdout, seen);
        // What cannot be mapped there is told by its field, and leaves nothing.
        container.change(|config| {
            let mounts = config["mounts"].as_array_mut().expect("an array");
            let last = mounts.last_mut().expect("a mount");
            last["source"] = json!(rootfs.join("proc/sys"));
        });
        container.create().fails_naming(&["mounts[8]", "does not support id-mapped mounts"]);
        container.assert_nothing_left();
    }
}
