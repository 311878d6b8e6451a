//! `linux.devices` and the devices that every container has.

use keel_tests::Container;
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
