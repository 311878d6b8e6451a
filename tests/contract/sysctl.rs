//! `linux.sysctl`: kernel parameters of the container's own namespaces, and of no other.

use keel_tests::Container;
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
