//! `hostname` and `domainname`.

use keel_tests::{Container, requires};
use serde_json::json;

/// RT-UTS-01: `hostname` is set inside and not outside.
#[test]
fn sets_the_hostname() {
    let before = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    let container = Container::new(|config| config["hostname"] = json!("its-own.name"));
    assert_eq!(container.observe()["hostname"], "its-own.name");
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name"), before);
}

/// RT-UTS-02: `domainname` is set inside.
#[test]
fn sets_the_domainname() {
    let container = Container::new(|config| config["domainname"] = json!("example.org"));
    if !requires(
        container.runtime().is("keel"),
        "domainname is newer than the packaged runc and crun",
    ) {
        return;
    }
    assert_eq!(container.observe()["domainname"], "example.org");
}

/// RT-UTS-03: a hostname without a UTS namespace of its own is an error: it would rename the host.
#[test]
fn refuses_to_rename_the_host() {
    let container = Container::new(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
        namespaces.retain(|namespace| namespace["type"] != "uts");
    });
    container.run().exits(1);
    container.assert_nothing_left();
}

/// RT-UTS-04: a domain name without a UTS namespace of its own is an error too.
#[test]
fn refuses_to_rename_the_hosts_domain() {
    let container = Container::new(|config| {
        config.as_object_mut().expect("an object").remove("hostname");
        config["domainname"] = json!("inside.example");
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
        namespaces.retain(|namespace| namespace["type"] != "uts");
    });
    if requires(container.runtime().is("keel"), "the packaged runc does not look at the field") {
        container.run().fails_naming(&["domainname"]);
        container.assert_nothing_left();
    }
}
