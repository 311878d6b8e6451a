//! `features`: what the runtime can do, for orchestrators that ask first.

use keel_tests::{Container, requires};
use serde_json::{Value, json};

fn features() -> Option<Value> {
    let container = Container::new(|_| ());
    if !requires(!container.runtime().is("crun"), "the packaged crun has no features command") {
        return None;
    }
    let outcome = container.call(&["features"]).succeeds();
    assert_eq!(outcome.stderr, "", "CRI-O reads both streams together");
    Some(outcome.json())
}

fn words(value: &Value) -> Vec<&str> {
    value.as_array().map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

/// CLI-FEATURES-01: JSON on stdout, nothing on stderr, with the versions of the specification.
#[test]
fn prints_versions() {
    let Some(features) = features() else { return };
    assert_eq!(features["ociVersionMin"], "1.0.0");
    assert!(features["ociVersionMax"].as_str().is_some_and(|version| version.starts_with("1.")));
}

/// CLI-FEATURES-02: every hook, namespace and capability the specification has is listed.
#[test]
fn lists_hooks_namespaces_capabilities() {
    let Some(features) = features() else { return };
    let hooks = words(&features["hooks"]);
    for hook in
        ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
    {
        assert!(hooks.contains(&hook), "{hook}: {hooks:?}");
    }
    let namespaces = words(&features["linux"]["namespaces"]);
    for namespace in ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"] {
        assert!(namespaces.contains(&namespace), "{namespace}: {namespaces:?}");
    }
    assert!(words(&features["linux"]["capabilities"]).contains(&"CAP_SYS_ADMIN"));
}

/// CLI-FEATURES-03: mount options and seccomp actions, operators and architectures are listed, sorted.
#[test]
fn lists_mount_options_and_seccomp() {
    let Some(features) = features() else { return };
    let options = words(&features["mountOptions"]);
    for option in ["bind", "nosuid", "rbind", "ro", "rprivate", "rro"] {
        assert!(options.contains(&option), "{option}: {options:?}");
    }
    let mut sorted = options.clone();
    sorted.sort_unstable();
    assert_eq!(options, sorted);
    let seccomp = &features["linux"]["seccomp"];
    assert_eq!(seccomp["enabled"], true);
    assert!(words(&seccomp["actions"]).contains(&"SCMP_ACT_ERRNO"));
    assert!(words(&seccomp["operators"]).contains(&"SCMP_CMP_MASKED_EQ"));
    assert!(words(&seccomp["archs"]).contains(&"SCMP_ARCH_X86_64"));
}

/// CLI-FEATURES-04: cgroup drivers are told truly: version 1 on this machine can be used.
#[test]
fn tells_cgroup_versions() {
    let Some(features) = features() else { return };
    assert_eq!(features["linux"]["cgroup"]["v1"], true);
    assert!(features["linux"]["cgroup"]["v2"].is_boolean());
    assert!(features["linux"]["cgroup"]["systemd"].is_boolean());
}

/// CLI-FEATURES-05: the fields of 1.3 are told: memory policies, network devices, annotations to be wary of.
#[test]
fn tells_the_fields_of_1_3() {
    let Some(features) = features() else { return };
    if !requires(!features["linux"]["memoryPolicy"].is_null(), "the packaged runc follows 1.0") {
        return;
    }
    let policy = &features["linux"]["memoryPolicy"];
    assert!(words(&policy["modes"]).contains(&"MPOL_WEIGHTED_INTERLEAVE"), "{policy}");
    assert!(words(&policy["flags"]).contains(&"MPOL_F_STATIC_NODES"), "{policy}");
    assert_eq!(features["linux"]["netDevices"]["enabled"], true);
    let all = json!({"enabled": true, "schemata": true, "monitoring": true});
    assert_eq!(features["linux"]["intelRdt"], all);
    assert_eq!(features["linux"]["cgroup"]["rdma"], true);
    let annotations = &features["annotations"];
    assert!(annotations["org.opencontainers.runc.version"].is_string(), "{annotations}");
    assert!(words(&features["linux"]["seccomp"]["actions"]).contains(&"SCMP_ACT_NOTIFY"));
    let unsafe_annotations = words(&features["potentiallyUnsafeConfigAnnotations"]);
    assert!(unsafe_annotations.contains(&"org.systemd.property."), "{unsafe_annotations:?}");
}

/// CLI-VERSION-01: `--version` begins with the program's name and has the lines that callers read.
#[test]
fn prints_its_version() {
    let container = Container::new(|_| ());
    let mut command = container.runtime().command();
    command.arg("--version");
    let outcome = container.finish(command).succeeds();
    assert!(outcome.stdout.contains(" version "), "{}", outcome.report());
    assert!(outcome.stdout.lines().any(|line| line.starts_with("spec: ")), "{}", outcome.report());
    assert!(
        outcome.stdout.lines().any(|line| line.starts_with("commit: ")),
        "{}",
        outcome.report()
    );
}
