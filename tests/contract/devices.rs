//! `linux.devices` and the devices that every container has.

use keel_tests::{Container, requires};
use serde_json::json;

/// RT-DEV-01: the six default devices are there with their numbers and mode 0666.
#[test]
fn has_the_default_devices() {
    let container = Container::new(|_| ());
    let seen = container.observe();
    for (name, major, minor) in [
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    ] {
        let device = &seen["dev"][name];
        assert_eq!(device["type"], "c", "{name}");
        assert_eq!(device["device"], json!([major, minor]), "{name}");
        assert_eq!(device["mode"], "0666", "{name}");
    }
}

/// RT-DEV-02: the symbolic links of /dev are there.
#[test]
fn has_the_default_links() {
    let container = Container::new(|_| ());
    let seen = container.observe();
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        assert_eq!(seen["links"][name], target, "{name}");
    }
}

/// RT-DEV-03: a device of the configuration is made with type, numbers, mode and owner.
#[test]
fn makes_listed_devices() {
    let container = Container::new(|config| {
        config["linux"]["devices"] = json!([
            {"path": "/dev/own", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 11, "gid": 12},
            {"path": "/dev/pipe", "type": "p", "fileMode": 0o600},
            {"path": "/dev/block", "type": "b", "major": 7, "minor": 200, "fileMode": 0o660},
        ]);
    });
    let seen = container.observe();
    assert_eq!(
        seen["dev"]["own"],
        json!({"type": "c", "device": [1, 3], "mode": "0640", "uid": 11, "gid": 12})
    );
    assert_eq!(seen["dev"]["pipe"]["type"], "p");
    assert_eq!(seen["dev"]["block"]["device"], json!([7, 200]));
}

/// RT-DEV-04: a device may stand in a folder that does not exist yet.
#[test]
fn makes_the_devices_folder() {
    let container = Container::new(|config| {
        config["linux"]["devices"] = json!([{"path": "/dev/net/tun", "type": "c", "major": 10, "minor": 200, "fileMode": 0o666}]);
        config["process"]["args"] = json!(["stat", "-c", "%F %a %t:%T", "/dev/net/tun"]);
    });
    assert_eq!(container.run().succeeds().stdout, "character special file 666 a:c8\n");
}

/// RT-DEV-05: devices work: /dev/null takes and /dev/zero gives.
#[test]
fn default_devices_work() {
    let container = Container::new(|config| {
        config["process"]["args"] = json!([
            "sh",
            "-c",
            "echo x > /dev/null && head -c 3 /dev/zero | wc -c && head -c 5 /dev/urandom | wc -c"
        ]);
    });
    assert_eq!(container.run().succeeds().stdout, "3\n5\n");
}

/// RT-DEV-06: an unknown device type is an error that names it.
#[test]
fn refuses_an_unknown_type() {
    let container = Container::new(|config| {
        config["linux"]["devices"] =
            json!([{"path": "/dev/x", "type": "q", "major": 1, "minor": 3}]);
    });
    container.run().fails_naming(&["q"]);
    container.assert_nothing_left();
}

/// RT-DEV-07: another file where a device shall be is an error; the same device is not.
#[test]
fn refuses_to_replace_another_file() {
    let device = json!({"path": "/opt/device", "type": "c", "major": 1, "minor": 3});
    for (present, fits) in [("f", false), ("c 1 5", false), ("c 1 3", true), ("d", false)] {
        let container = Container::new(|config| {
            config["linux"]["devices"] = json!([device.clone()]);
            config["process"]["args"] = json!(["stat", "-c", "%t:%T", "/opt/device"]);
        });
        if !requires(container.runtime().is("keel"), "the packaged peers take what is there") {
            return;
        }
        let path = container.rootfs().join("opt/device");
        std::fs::create_dir_all(container.rootfs().join("opt")).expect("a folder");
        match present {
            "f" => std::fs::write(&path, "").expect("a file"),
            "d" => std::fs::create_dir(&path).expect("a folder"),
            numbers => {
                let mut command = std::process::Command::new("mknod");
                let made = command.arg(&path).args(numbers.split(' ')).status().expect("mknod");
                assert!(made.success());
            }
        }
        let outcome = container.run();
        if fits {
            assert_eq!(outcome.succeeds().stdout, "1:3\n");
        } else {
            outcome.fails_naming(&["linux.devices[0]", "another file is already there"]);
            container.assert_nothing_left();
        }
    }
}

/// RT-DEV-08: in a user namespace the host's device is shown, with the host's owner and mode.
#[test]
fn shows_the_hosts_devices_in_a_user_namespace() {
    let container = Container::new(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
        namespaces.push(json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
        config["linux"]["devices"] = json!([
            {"path": "/dev/full", "type": "c", "major": 1, "minor": 7, "fileMode": 0o600, "uid": 5, "gid": 6},
            {"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2},
        ]);
    });
    let rootfs = container.rootfs().display().to_string();
    let owned = std::process::Command::new("chown").args(["-R", "100000:100000", &rootfs]).status();
    assert!(owned.expect("chown").success());
    let seen = container.observe();
    let host = std::fs::metadata("/dev/full").expect("the host's");
    let mode = std::os::unix::fs::MetadataExt::mode(&host) & 0o7777;
    assert_eq!(seen["dev"]["full"]["mode"], format!("{mode:04o}"));
    assert_eq!(seen["dev"]["full"]["uid"], 65534, "root of the host has no id inside");
    assert_eq!(seen["links"]["ptmx"], "pts/ptmx");
}

/// RT-DEV-09: where /dev is a folder of the host it is left as it is.
#[test]
fn leaves_a_bound_dev_alone() {
    let host = keel_tests::Scratch::new();
    let made =
        std::process::Command::new("mknod").arg(host.join("null")).args(["c", "1", "3"]).status();
    assert!(made.expect("mknod").success());
    let container = Container::new(|config| {
        let mounts = config["mounts"].as_array_mut().expect("an array");
        mounts
            .retain(|mount| !mount["destination"].as_str().unwrap_or_default().starts_with("/dev"));
        mounts.push(json!({"destination": "/dev", "type": "bind", "source": host.display().to_string(), "options": ["bind"]}));
        config["process"]["args"] = json!(["ls", "/dev"]);
    });
    assert_eq!(container.run().succeeds().stdout, "null\n");
    assert_eq!(std::fs::read_dir(&*host).expect("a folder").count(), 1, "something was made in it");
}

/// RT-DEV-10: `u` is a character device; a mode is taken whole; numbers that a type needs may not be missing.
#[test]
fn obeys_the_rules_of_types() {
    let container = Container::new(|config| {
        config["linux"]["devices"] = json!([
            {"path": "/dev/raw", "type": "u", "major": 1, "minor": 3, "fileMode": 384},
        ]);
    });
    let seen = container.observe();
    assert_eq!(seen["dev"]["raw"]["type"], "c");
    assert_eq!(seen["dev"]["raw"]["mode"], "0600");
    let container = Container::new(|config| {
        config["linux"]["devices"] = json!([{"path": "/dev/raw", "type": "c", "major": 1}]);
    });
    if requires(container.runtime().is("keel"), "the peers take a missing number for 0") {
        container.create().fails_naming(&["linux.devices[0].minor"]);
    }
}
