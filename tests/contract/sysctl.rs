//! `linux.sysctl`: kernel parameters of the container's own namespaces, and of no other.

use keel_tests::{Container, requires};
use serde_json::json;

/// RT-SYSCTL-01: a parameter of an own namespace is set inside and not on the host.
#[test]
fn sets_parameters_of_own_namespaces() {
    let container = Container::new(|config| {
        config["linux"]["sysctl"] = json!({"net.core.somaxconn": "99", "kernel.msgmax": "8000"});
        config["process"]["args"] =
            json!(["cat", "/proc/sys/net/core/somaxconn", "/proc/sys/kernel/msgmax"]);
    });
    assert_eq!(container.run().succeeds().stdout, "99\n8000\n");
    let host = std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("a value");
    assert_ne!(host.trim(), "99");
}

/// RT-SYSCTL-02: a parameter of the whole machine is refused by name.
#[test]
fn refuses_parameters_of_the_host() {
    for name in ["vm.swappiness", "kernel.core_pattern", "kernel.hostname"] {
        let container = Container::new(|config| config["linux"]["sysctl"] = json!({name: "1"}));
        container.run().fails_naming(&[name]);
        container.assert_nothing_left();
    }
}

/// RT-SYSCTL-03: a network parameter without an own network namespace is refused.
#[test]
fn refuses_network_parameters_of_the_host() {
    let container = Container::new(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
        namespaces.retain(|namespace| namespace["type"] != "network");
        config["mounts"].as_array_mut().expect("an array").retain(|mount| mount["type"] != "sysfs");
        config["linux"]["sysctl"] = json!({"net.core.somaxconn": "98"});
    });
    container.run().fails_naming(&["net.core.somaxconn"]);
    container.assert_nothing_left();
}

/// RT-SYSCTL-04: a network namespace that is the host's own is none of the container's, whatever its path.
#[test]
fn sees_through_a_path_to_the_hosts_namespace() {
    for (kind, path, name) in [
        ("network", "/proc/self/ns/net", "net.core.somaxconn"),
        ("ipc", "/proc/self/ns/ipc", "kernel.msgmax"),
    ] {
        let container = Container::new(|config| {
            let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
            namespaces.retain(|namespace| namespace["type"] != kind);
            // The namespace of whoever writes the config, by a path that says nothing.
            let path = path.replace("self", &std::process::id().to_string());
            namespaces.push(json!({"type": kind, "path": path}));
            config["mounts"]
                .as_array_mut()
                .expect("an array")
                .retain(|mount| mount["type"] != "sysfs" && mount["type"] != "mqueue");
            config["linux"]["sysctl"] = json!({name: "8192"});
        });
        if !requires(
            container.runtime().is("keel") || kind == "network",
            "runc looks at the network only",
        ) {
            continue;
        }
        container.run().fails_naming(&[name]);
        container.assert_nothing_left();
    }
}

/// RT-SYSCTL-05: names may be written with slashes; limits of a user namespace can be set in one.
#[test]
fn takes_slashes_and_limits_of_user_namespaces() {
    let container = Container::new(|config| {
        config["linux"]["sysctl"] =
            json!({"net/ipv4/conf/lo/forwarding": "1", "kernel.domainname": "dom"});
        config["process"]["args"] =
            json!(["cat", "/proc/sys/net/ipv4/conf/lo/forwarding", "/proc/sys/kernel/domainname"]);
    });
    assert_eq!(container.run().succeeds().stdout, "1\ndom\n");
    let refused = Container::new(|config| {
        config["linux"]["sysctl"] = json!({"user.max_user_namespaces": "3"});
    });
    if !requires(refused.runtime().is("keel"), "newer than the packaged peers") {
        return;
    }
    refused.run().fails_naming(&["user.max_user_namespaces"]);
    let container = Container::new(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
        namespaces.push(json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
        config["linux"]["sysctl"] = json!({"user.max_user_namespaces": "3"});
        config["process"]["args"] = json!(["cat", "/proc/sys/user/max_user_namespaces"]);
    });
    let rootfs = container.rootfs().display().to_string();
    let owned = std::process::Command::new("chown").args(["-R", "100000:100000", &rootfs]).status();
    assert!(owned.expect("chown").success());
    let outcome = container.run();
    assert_eq!(outcome.stdout, "3\n", "{}", outcome.report());
}
