//! Broken bundles: one clear error that names the place, status 1, and nothing left behind.

use std::fs;

use keel_tests::{Container, requires};
use serde_json::{Value, json};

/// Each command that reads a bundle fails with status 1 and leaves nothing; the message of `run`.
fn refused(delta: impl Fn(&mut Value)) -> String {
    let container = Container::new(&delta);
    for command in ["create", "run"] {
        let outcome = container.call(&[command, container.id()]).exits(1);
        assert!(!outcome.stderr.trim().is_empty(), "no message\n{}", outcome.report());
        container.assert_nothing_left();
        if command == "run" {
            return outcome.stderr;
        }
    }
    unreachable!("the loop ends with run")
}

/// Keel names the field; the packaged runc and crun name the Go or C type, or nothing.
fn refused_naming(delta: impl Fn(&mut Value), place: &str) {
    let message = refused(delta);
    if Container::new(|_| ()).runtime().is("keel") {
        assert!(message.contains(place), "{place} is not named: {message}");
    }
}

/// RT-INPUT-01: a value of the wrong JSON type is refused, and keel names its field.
#[test]
fn a_wrong_type_is_named() {
    refused_naming(
        |config| config["linux"]["namespaces"][2]["type"] = json!(7),
        "linux.namespaces[2].type",
    );
    refused_naming(|config| config["process"]["args"] = json!("sh"), "process.args");
    refused_naming(|config| config["process"]["user"]["uid"] = json!("root"), "process.user.uid");
    refused_naming(
        |config| config["mounts"][1]["options"] = json!({"ro": true}),
        "mounts[1].options",
    );
    refused_naming(
        |config| config["process"]["noNewPrivileges"] = json!("yes"),
        "process.noNewPrivileges",
    );
    refused_naming(
        |config| config["linux"]["resources"]["memory"] = json!({"limit": "64m"}),
        "linux.resources.memory.limit",
    );
}

/// RT-INPUT-02: an unknown namespace is refused, and keel names its field.
#[test]
fn an_unknown_namespace_is_named() {
    refused_naming(
        |config| config["linux"]["namespaces"][2]["type"] = json!("tim"),
        "linux.namespaces[2].type",
    );
}

/// RT-INPUT-03: a missing root file system is refused by its path.
#[test]
fn a_missing_rootfs_is_named() {
    let message = refused(|config| config["root"]["path"] = json!("gone"));
    assert!(message.contains("gone"), "{message}");
}

/// RT-INPUT-04: a mount that fails is refused by its source or destination.
#[test]
fn a_failing_mount_is_named() {
    let message = refused(|config| {
        let mounts = config["mounts"].as_array_mut().expect("an array");
        mounts.push(json!({"destination": "/data", "type": "bind", "source": "/nosuch/source", "options": ["bind"]}));
    });
    assert!(message.contains("/nosuch/source"), "{message}");
}

/// RT-INPUT-05: a configuration that is no JSON, is empty, or is missing is refused, and keel says where.
#[test]
fn a_broken_file_is_named() {
    let container = Container::new(|_| ());
    let file = container.path("config.json");
    let text = fs::read_to_string(&file).expect("config.json");
    for broken in [&text[..text.len() / 2], "", "[]", "null", "{\"ociVersion\": 1}", "\u{0}"] {
        // The packaged runc crashes on it (a nil pointer).
        if broken == "null" && container.runtime().is("runc") {
            continue;
        }
        fs::write(&file, broken).expect("config.json");
        container.create().exits(1);
        container.assert_nothing_left();
    }
    fs::remove_file(&file).expect("config.json");
    container.create().fails_naming(&["config.json"]);
    container.assert_nothing_left();
}

/// RT-INPUT-06: the required parts of a configuration are required.
#[test]
fn missing_parts_are_refused() {
    for key in ["process", "root"] {
        refused_naming(|config| drop(config.as_object_mut().expect("an object").remove(key)), key);
    }
    refused_naming(
        |config| drop(config["process"].as_object_mut().expect("an object").remove("args")),
        "process.args",
    );
}

/// RT-INPUT-07: properties that the specification does not know are passed over.
#[test]
fn passes_over_unknown_properties() {
    let container = Container::new(|config| {
        config["ociVersion"] = json!("1.9.9");
        config["xNewProperty"] = json!({"a": [1, 2]});
        config["process"]["xNew"] = json!(true);
        config["linux"]["xNew"] = json!("y");
    });
    container.observe();
}

/// RT-INPUT-10: a version of the specification that is not 1.x is refused by its field.
#[test]
fn refuses_another_major_version() {
    let container = Container::new(|config| config["ociVersion"] = json!("2.0.0"));
    if requires(container.runtime().is("keel"), "the packaged runc and crun take any version") {
        container.run().fails_naming(&["ociVersion"]);
    }
}

/// RT-INPUT-08: keel reports all errors of a configuration at once.
#[test]
fn all_errors_are_reported_at_once() {
    let container = Container::new(|config| {
        config["linux"]["namespaces"][0]["type"] = json!("tim");
        config["process"]["cwd"] = json!("relative");
        config["process"]["rlimits"][0]["type"] = json!("RLIMIT_FOO");
    });
    if requires(
        container.runtime().is("keel"),
        "the packaged runc and crun stop at the first error",
    ) {
        container.run().fails_naming(&[
            "linux.namespaces[0].type",
            "process.cwd",
            "process.rlimits[0].type",
        ]);
    }
}

/// RT-INPUT-09: a bundle folder that does not exist is refused by its path.
#[test]
fn a_missing_bundle_is_named() {
    let container = Container::new(|_| ());
    container
        .call(&["create", "--bundle", "/nosuch/bundle", container.id()])
        .fails_naming(&["/nosuch/bundle"]);
    container.assert_nothing_left();
}

/// RT-INPUT-12: what the specification has for other platforms is not looked at.
#[test]
fn passes_over_other_platforms() {
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["true"]);
        config["vm"] = json!({"hypervisor": {"path": "/no/such"}, "hwConfig": {"vcpus": 2}});
        config["windows"] = json!({"layerFolders": ["C:\\\\Layers"]});
        config["solaris"] = json!({"milestone": "svc:/milestone/container:default"});
        config["zos"] = json!({"namespaces": [{"type": "pid"}]});
        config["freebsd"] = json!({"jail": {"host": "new"}});
    });
    container.run().succeeds();
}

/// RT-INPUT-13: an annotation without a name is refused by the field.
#[test]
fn refuses_an_annotation_without_a_name() {
    let container = Container::new(|config| config["annotations"] = json!({"": "x"}));
    if requires(container.runtime().is("keel"), "the packaged runc and crun take it") {
        container.run().fails_naming(&["annotations"]);
        container.assert_nothing_left();
    }
}
