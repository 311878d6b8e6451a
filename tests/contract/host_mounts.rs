//! A container without a mount namespace of its own: its mounts are the host's until it is deleted.

use std::fs;

use keel_tests::{Container, requires};
use serde_json::{Value, json};

/// A container that shares the mounts of the host. `None` on a runtime that leaves its mounts behind, which
/// would be in the way of every other test.
fn sharing(delta: impl FnOnce(&mut Value)) -> Option<Container> {
    let container = Container::new(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
        namespaces.retain(|namespace| namespace["type"] != "mount");
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
        delta(config);
    });
    let clean = container.runtime().is("keel");
    requires(clean, "runc and crun leave the mounts on the host").then_some(container)
}

fn on_host(container: &Container) -> Vec<String> {
    let rootfs = container.rootfs().display().to_string();
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("the mounts");
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| point.starts_with(&rootfs)).map(str::to_owned).collect()
}

/// RT-HOSTMNT-01: the mounts are made below the rootfs on the host, and are gone with the container, whether
/// it is deleted, run to its end, or could not be made.
#[test]
fn mounts_end_with_the_container() {
    let Some(container) = sharing(|config| {
        config["process"]["args"] = json!(["sleep", "100000"]);
        let mounts = config["mounts"].as_array_mut().expect("an array");
        mounts.push(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}));
    }) else {
        return;
    };
    container.up();
    let there = on_host(&container);
    for place in ["", "/proc", "/dev", "/tmp"] {
        let point = format!("{}{place}", container.rootfs().display());
        assert!(there.contains(&point), "{point} is not in {there:?}");
    }
    container.delete(&["--force"]).succeeds();
    assert!(on_host(&container).is_empty(), "{:?}", on_host(&container));
    container.change(|config| config["process"]["args"] = json!(["true"]));
    container.run().succeeds();
    assert!(on_host(&container).is_empty(), "{:?}", on_host(&container));
    container.change(|config| {
        let mounts = config["mounts"].as_array_mut().expect("an array");
        mounts.push(json!({"destination": "/x", "type": "nosuchfs", "source": "x"}));
    });
    container.run().fails_naming(&["nosuchfs"]);
    assert!(on_host(&container).is_empty(), "{:?}", on_host(&container));
    container.assert_nothing_left();
}

/// RT-HOSTMNT-02: a read-only root is read-only for the container, and can be written on the host again
/// after it.
#[test]
fn readonly_is_the_containers() {
    let Some(container) = sharing(|config| {
        config["root"]["readonly"] = json!(true);
        config["process"]["args"] = json!(["/bin/probe", "open-write", "/etc/passwd"]);
    }) else {
        return;
    };
    assert_eq!(container.run().succeeds().json()["/etc/passwd"], 30);
    fs::write(container.rootfs().join("etc/written"), "").expect("a root that can be written");
}

/// RT-HOSTMNT-03: exec has the container's root, not the host's, with its mounts and without any.
#[test]
fn exec_has_the_containers_root() {
    for mounts in [true, false] {
        let Some(container) = sharing(|config| {
            config["process"]["args"] = json!(["sleep", "100000"]);
            if !mounts {
                config["mounts"] = json!([]);
                config["root"]["readonly"] = json!(false);
            }
        }) else {
            return;
        };
        fs::write(container.rootfs().join("etc/mark"), "of the container").expect("a file");
        container.up();
        let outcome = container.exec(&["cat", "/etc/mark"]).succeeds();
        assert_eq!(outcome.stdout, "of the container", "with mounts: {mounts}");
        container.delete(&["--force"]).succeeds();
    }
}

/// RT-HOSTMNT-04: a create that was killed leaves what `delete --force` takes away.
#[test]
fn a_killed_create_is_undone() {
    let Some(container) = sharing(|config| {
        config["hooks"]["createRuntime"] =
            json!([{"path": "/bin/sh", "args": ["sh", "-c", "kill -9 $PPID"]}]);
    }) else {
        return;
    };
    let _killed = container.create();
    assert!(!on_host(&container).is_empty(), "the hook came too early");
    container.delete(&["--force"]).succeeds();
    assert!(on_host(&container).is_empty(), "{:?}", on_host(&container));
}

/// RT-HOSTMNT-05: over the host's own root nothing can be laid, and nothing is.
#[test]
fn the_hosts_root_is_refused() {
    let Some(container) = sharing(|config| config["root"]["path"] = json!("/")) else { return };
    // Those of the host's own folders: others mount elsewhere meanwhile.
    let own =
        ["/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"];
    let mounts = || {
        let table = fs::read_to_string("/proc/self/mountinfo").expect("the mounts");
        let points = table.lines().filter_map(|line| line.split(' ').nth(4));
        points.filter(|point| own.contains(point)).count()
    };
    let before = mounts();
    assert!(before > 1, "the host has some");
    container.create().fails_naming(&["root.path: / needs a mount namespace"]);
    assert_eq!(mounts(), before);
    container.assert_nothing_left();
}
