//! What keel cannot do yet is refused by the name of its field: nobody shall believe it was done.

use keel_tests::{Container, requires};
use serde_json::{Value, json};

/// `create` fails, names the place, and leaves nothing.
fn refused(place: &str, delta: impl FnOnce(&mut Value)) {
    let container = Container::new(delta);
    container.create().fails_naming(&[place]);
    container.assert_nothing_left();
}

/// RT-INPUT-11: each part of the configuration that keel does not carry out is refused by its field.
#[test]
fn missing_abilities_are_named() {
    let container = Container::new(|_| ());
    if !requires(container.runtime().is("keel"), "runc and crun can do some of these") {
        return;
    }
    refused("linux.intelRdt", |config| {
        config["linux"]["intelRdt"] = json!({"closID": "x", "l3CacheSchema": "L3:0=f"})
    });
    refused("linux.seccomp", |config| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/listener",
            "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_NOTIFY"}]});
    });
}

/// CLI-ERR-10: the systemd driver is refused by its flag where controllers are on version 1.
#[test]
fn the_systemd_driver_is_named() {
    let container = Container::new(|_| ());
    let there = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    if !requires(container.runtime().is("keel"), "runc and crun have the driver")
        || !requires(!there, "a controller on version 1")
    {
        return;
    }
    container.call(&["--systemd-cgroup", "create", container.id()]).fails_naming(&["systemd"]);
    container.assert_nothing_left();
}
