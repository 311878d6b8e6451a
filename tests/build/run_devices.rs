//! `RUN --device`: what files of the Container Device Interface say of a device, its command has.

use std::fs;

use keel_tests::{ImageStore, Outcome};

/// Two devices of one kind, as YAML and as JSON.
const YAML: &str = "cdiVersion: \"0.6.0\"
kind: vendor1.com/device
annotations: {org.mobyproject.buildkit.device.class: pair}
containerEdits:
  env: [SPEC=of-all]
devices:
- name: first
  containerEdits:
    env: [NAME=first, PATH=/bin]
    deviceNodes:
    - {path: /dev/odd, hostPath: /dev/fuse, permissions: r, uid: 7, gid: 8, fileMode: 416}
    mounts:
    - {hostPath: HERE/lib, containerPath: /opt/lib/one, options: [ro, nosuid]}
    hooks:
    - {hookName: createRuntime, path: /bin/sh, args: [sh, -c, 'cat > HERE/told']}
    additionalGids: [77]
- name: second
  containerEdits: {env: [SECOND=2]}
";
const JSON: &str = r#"{"cdiVersion": "0.6.0", "kind": "vendor2.com/device", "devices": [
    {"name": "open", "annotations": {"org.mobyproject.buildkit.device.autoallow": "true"},
     "containerEdits": {"env": ["OPEN=1"]}}]}"#;

fn prepared(command: &str) -> ImageStore {
    let store = ImageStore::with_dockerfile(&format!("FROM busybox:1\nRUN {command}\n"));
    fs::create_dir_all(store.beside("cdi")).expect("a folder");
    fs::create_dir_all(store.beside("lib")).expect("a folder");
    fs::write(store.beside("lib/file"), "lent").expect("a file");
    let here = store.beside("").display().to_string();
    fs::write(store.beside("cdi/one.yaml"), YAML.replace("HERE", here.trim_end_matches('/')))
        .expect("a file");
    fs::write(store.beside("cdi/two.json"), JSON).expect("a file");
    store
}

fn build(store: &ImageStore, flags: &[&str]) -> Outcome {
    let folder = store.beside("cdi").display().to_string();
    let fixed = ["--progress=plain", "--no-cache", "--cdi-config-dir", &folder];
    store.build(&[&fixed, flags].concat())
}

/// DF-DEVICE-01: a command has the variables, nodes, mounts, groups and hooks of its devices, which stay out of the layer,
/// and no node but by its permissions.
#[test]
fn a_command_has_what_the_device_wants() {
    let store = prepared(
        "--device=vendor1.com/device=first,required echo $NAME $SPEC; stat -c %a.%u.%g /dev/odd; \\
         : < /dev/odd && echo opened; (: > /dev/odd) || echo closed; cat /opt/lib/one/file; \\
         touch /opt/lib/one/x || echo fixed; id -G; env | grep -c SECOND || touch /made",
    );
    let outcome = build(&store, &["--allow", "device", "-t", "app:1"]).succeeds();
    for word in ["first of-all", "640.7.8", "opened", "closed", "lent", "fixed", " 77"] {
        assert!(outcome.stderr.contains(word), "{word}: {}", outcome.report());
    }
    let told = fs::read_to_string(store.beside("told")).expect("what the hook was told");
    assert!(told.contains("\"bundle\""), "{told}");
    let kept = store.run_on("keel", "app:1", &["ls", "-d", "/made", "/opt", "/dev/odd"]);
    assert_eq!(kept.stdout, "/made\n", "{}", kept.report());
}

/// DF-DEVICE-02: a name means one device, the first of its class, all of them, or those of an annotation; one that is
/// not there is warned of, or is an error where it is required, which tells of files that cannot be read.
#[test]
fn names_mean_devices() {
    let show = "env | grep -e NAME -e SECOND -e SPEC -e OPEN | sort | tr '\\n' ' '";
    for (name, expected) in [
        ("vendor1.com/device", "NAME=first SPEC=of-all"),
        ("vendor1.com/device=second", "SECOND=2 SPEC=of-all"),
        ("vendor1.com/device=*", "NAME=first SECOND=2 SPEC=of-all"),
        ("vendor1.com/device=pair,required", "NAME=first SECOND=2 SPEC=of-all"),
        ("name=vendor2.com/device=open", "OPEN=1"),
    ] {
        let store = prepared(&format!("--device={name} {show}"));
        let outcome = build(&store, &["--allow=device"]).succeeds();
        let is_told = outcome.stderr.lines().any(|line| line.trim_end().ends_with(expected));
        assert!(is_told, "{name}: {}", outcome.report());
    }
    let store = prepared("--device=vendor1.com/device=third true");
    let outcome = build(&store, &["--allow=device"]).succeeds();
    outcome.says(&["optional device \"vendor1.com/device=third\" is not registered"]);
    fs::write(store.beside("cdi/zero.yml"), "kind: [").expect("a file");
    let text = "FROM busybox:1\nRUN --device=vendor1.com/device=third,required true\n";
    fs::write(store.beside("context/Dockerfile"), text).expect("a file");
    let words = ["Dockerfile:2:14", "is not registered", "zero.yml", "line 2", "--cdi-config-dir"];
    build(&store, &["--allow=device"]).fails_naming(&words);
    // Two files of one directory that describe the same device contradict each other.
    fs::copy(store.beside("cdi/two.json"), store.beside("cdi/twice.json")).expect("a file");
    let text = "FROM busybox:1\nRUN --device=vendor2.com/device=open,required true\n";
    fs::write(store.beside("context/Dockerfile"), text).expect("a file");
    build(&store, &[]).fails_naming(&["\"vendor2.com/device=open\" is not registered"]);
}

/// DF-DEVICE-03: a device must be allowed: all, a kind, one, or by its own annotation; whether it is cached or not.
#[test]
fn a_device_must_be_allowed() {
    let store = prepared("--device=vendor1.com/device=second echo $SECOND");
    for flag in ["device", "device=vendor1.com/device", "device=vendor1.com/device=second"] {
        build(&store, &["--allow", flag]).succeeds();
    }
    for flags in [&[][..], &["--allow", "device=vendor1.com/device=first"]] {
        let words = [
            "Dockerfile:2",
            "device \"vendor1.com/device=second\" is not allowed",
            "--allow device=",
        ];
        build(&store, flags).fails_naming(&words);
    }
    build(&store, &["--allow", "devices"]).exits(125).says(&["device=NAME"]);
    let store = prepared("--device=vendor2.com/device=open test $OPEN = 1");
    build(&store, &[]).succeeds();
}
