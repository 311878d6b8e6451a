//! `spec`: the configuration to begin with.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use keel_tests::{Container, Runtime, Scratch, output_within};
use serde_json::{Value, json};

fn spec(folder: &Scratch, args: &[&str]) -> keel_tests::Outcome {
    let mut command = Runtime::under_test().command();
    command.arg("spec").args(args).current_dir(&**folder);
    let io = folder.join("io");
    let _ = fs::create_dir(&io);
    output_within(command, &io, None)
}

/// CLI-SPEC-01: `spec` writes what runc's writes, as JSON values.
#[test]
fn writes_the_base_configuration() {
    let folder = Scratch::new();
    spec(&folder, &[]).succeeds();
    let text = fs::read_to_string(folder.join("config.json")).expect("config.json");
    let mut seen: Value = serde_json::from_str(&text).expect("JSON");
    let mut wanted = keel_tests::base_config();
    wanted["process"]["terminal"] = json!(true);
    wanted["process"]["args"] = json!(["sh"]);
    wanted["hostname"] = json!("runc");
    if !seen["hostname"].is_string() || seen["hostname"] != "runc" {
        assert_eq!(seen["hostname"], Runtime::under_test().name());
        seen["hostname"] = json!("runc");
    }
    for key in ["process", "root", "hostname", "mounts"] {
        let mut seen = seen[key].clone();
        // runc 1.2 left the ambient set out; the version beside the tests still writes it.
        if let Some(capabilities) = seen.get_mut("capabilities").and_then(Value::as_object_mut) {
            capabilities.remove("ambient");
        }
        assert_eq!(seen, wanted[key], "{key}");
    }
    if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        // Version 2 is shown as a file system of its own, so a container gets its own view of it.
        let namespaces = wanted["linux"]["namespaces"].as_array_mut().expect("an array");
        namespaces.push(json!({"type": "cgroup"}));
    }
    for key in ["namespaces", "readonlyPaths"] {
        assert_eq!(seen["linux"][key], wanted["linux"][key], "{key}");
    }
    assert_eq!(seen["linux"]["resources"], wanted["linux"]["resources"]);
    for path in wanted["linux"]["maskedPaths"].as_array().expect("an array") {
        let masked = seen["linux"]["maskedPaths"].as_array().expect("an array");
        assert!(masked.contains(path), "{path} is not masked");
    }
}

/// CLI-SPEC-02: the text is indented with tabs and readable by all, as the umask allows.
#[test]
fn formats_as_runc() {
    let folder = Scratch::new();
    spec(&folder, &[]).succeeds();
    let file = folder.join("config.json");
    let text = fs::read_to_string(&file).expect("config.json");
    assert!(text.starts_with("{\n\t\"ociVersion\": \""), "{text}");
    assert!(text.ends_with('}'));
    assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o644);
}

/// CLI-SPEC-03: an existing file is not overwritten.
#[test]
fn keeps_an_existing_file() {
    let folder = Scratch::new();
    fs::write(folder.join("config.json"), "mine").expect("a file");
    spec(&folder, &[]).fails_naming(&["File config.json exists. Remove it first"]);
    assert_eq!(fs::read_to_string(folder.join("config.json")).expect("a file"), "mine");
}

/// CLI-SPEC-04: `--bundle` names the folder.
#[test]
fn takes_the_bundle_flag() {
    let folder = Scratch::new();
    fs::create_dir(folder.join("b")).expect("a folder");
    spec(&folder, &["--bundle", "b"]).succeeds();
    assert!(folder.join("b/config.json").is_file());
}

/// CLI-SPEC-05: `--rootless` adds a user namespace with one mapping each and drops the network and limits.
#[test]
fn takes_the_rootless_flag() {
    let folder = Scratch::new();
    spec(&folder, &["--rootless"]).succeeds();
    let text = fs::read_to_string(folder.join("config.json")).expect("config.json");
    let seen: Value = serde_json::from_str(&text).expect("JSON");
    let namespaces: Vec<&str> = seen["linux"]["namespaces"]
        .as_array()
        .expect("an array")
        .iter()
        .filter_map(|namespace| namespace["type"].as_str())
        .collect();
    assert!(namespaces.contains(&"user") && !namespaces.contains(&"network"), "{namespaces:?}");
    for maps in ["uidMappings", "gidMappings"] {
        assert_eq!(seen["linux"][maps].as_array().map(Vec::len), Some(1), "{maps}");
        assert_eq!(seen["linux"][maps][0]["size"], 1);
    }
    assert!(seen["linux"].get("resources").is_none(), "{}", seen["linux"]["resources"]);
}

/// CLI-SPEC-06: what `spec` writes can be run as it is.
#[test]
fn what_it_writes_runs() {
    let container = Container::new(|_| ());
    fs::remove_file(container.path("config.json")).expect("a file");
    container.call(&["spec"]).succeeds();
    let text = fs::read_to_string(container.path("config.json")).expect("config.json");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["echo", "hello"]);
    config["linux"]["cgroupsPath"] = json!(format!("/{}", container.id()));
    container.write_config(&config);
    assert_eq!(container.run().succeeds().stdout, "hello\n");
}
