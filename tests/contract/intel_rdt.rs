//! `linux.intelRdt`, as far as a machine without it can tell.

use keel_tests::{Container, requires};
use serde_json::json;

/// RT-RDT-01: where no resctrl file system is mounted, the field is an error and there is no container.
#[test]
fn needs_the_resctrl_file_system() {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("procfs");
    if !requires(!mounts.contains(" - resctrl "), "the machine has a resctrl file system") {
        return;
    }
    for rdt in [
        json!({"closID": "x", "l3CacheSchema": "L3:0=f"}),
        json!({"memBwSchema": "MB:0=20"}),
        json!({}),
    ] {
        let empty = rdt == json!({});
        let container = Container::new(|config| config["linux"]["intelRdt"] = rdt);
        if empty && !requires(container.runtime().is("keel"), "runc 1.1.5 passes over an empty one")
        {
            continue;
        }
        container.create().fails_naming(&["intelRdt"]);
        container.assert_nothing_left();
    }
}

/// RT-RDT-02: a class of service that leads elsewhere, and lines that are more than one, are refused by
/// their fields.
#[test]
fn refuses_what_leads_elsewhere() {
    for (rdt, field) in [
        (json!({"closID": "../../etc"}), "linux.intelRdt.closID"),
        (json!({"memBwSchema": "L3:0=f"}), "linux.intelRdt.memBwSchema"),
        (json!({"schemata": ["L3:0=f\nMB:0=1"]}), "linux.intelRdt.schemata[0]"),
    ] {
        let container = Container::new(|config| config["linux"]["intelRdt"] = rdt);
        if requires(container.runtime().is("keel"), "the packaged runc looks at the machine first")
        {
            container.create().fails_naming(&[field]);
            container.assert_nothing_left();
        }
    }
}

/// RT-RDT-03: a restored container is put into its groups, as a created one: where there are none, it is an error
/// that names the field.
#[test]
fn restore_needs_the_resctrl_file_system() {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("procfs");
    if !requires(!mounts.contains(" - resctrl "), "the machine has a resctrl file system") {
        return;
    }
    let container = Container::new(|config| {
        config["linux"]["intelRdt"] = json!({"closID": "x", "l3CacheSchema": "L3:0=f"});
    });
    if requires(container.runtime().is("keel"), "the packaged runc looks at the images first") {
        let outcome = container.call(&["restore", "--image-path", ".", container.id()]);
        outcome.fails_naming(&["intelRdt", "no resctrl file system is mounted"]);
        container.assert_nothing_left();
    }
}
