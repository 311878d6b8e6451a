//! Every configuration that Docker, containerd and Podman wrote in real use, run as it was written.
//!
//! Only what names another machine is changed: the root, the program, joined namespaces, sources of bind
//! mounts, Docker's network hook, and what the kernel of this machine refuses to everybody. Each is run on the
//! runtime under test and on runc, and the probe must see the same.

use std::fs;

use keel_tests::{Container, Runtime};
use serde_json::{Value, json};

/// A capture, made runnable in a container's bundle.
fn adapted(capture: &Value, container: &Container) -> Value {
    let mut config = capture.clone();
    config["root"]["path"] = json!("rootfs");
    config["process"]["args"] = json!(["/bin/probe", "report"]);
    config["process"]["terminal"] = json!(false);
    config["linux"]["cgroupsPath"] = json!(format!("/{}", container.id()));
    config.as_object_mut().expect("an object").remove("hooks");
    // The machine's bounding set may lack CAP_SYS_RESOURCE, without which nobody raises or lowers these.
    let process = config["process"].as_object_mut().expect("an object");
    process.remove("oomScoreAdj");
    let own = own_capabilities();
    if let Some(sets) = config["process"]["capabilities"].as_object_mut() {
        for set in sets.values_mut().filter_map(Value::as_array_mut) {
            set.retain(|name| name != "CAP_SYS_RESOURCE" || own & (1 << 24) != 0);
        }
    }
    for namespace in config["linux"]["namespaces"].as_array_mut().expect("an array") {
        namespace.as_object_mut().expect("an object").remove("path");
    }
    for (number, mount) in config["mounts"].as_array_mut().expect("an array").iter_mut().enumerate()
    {
        if mount["type"] != "bind" {
            continue;
        }
        let destination = mount["destination"].as_str().expect("a string").to_owned();
        let source = container.path(&format!("source-{number}"));
        // Folders are known by their names; all other sources of the captures are files.
        let folder = ["/dev/shm", "/img", "/w", "/sec"].contains(&destination.as_str());
        let made = if folder { fs::create_dir(&source) } else { fs::write(&source, "") };
        made.expect("a source");
        mount["source"] = json!(source.display().to_string());
    }
    config
}

/// The bounding set of the test process.
fn own_capabilities() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find(|line| line.starts_with("CapBnd")).expect("a bounding set");
    u64::from_str_radix(line.split_whitespace().nth(1).expect("a mask"), 16).expect("hex")
}

/// What must be equal between two runtimes; what they may choose freely is left out.
fn comparable(seen: &Value, id: &str) -> Value {
    let mut out = json!({});
    for key in [
        "args",
        "env",
        "cwd",
        "pid",
        "uid",
        "gid",
        "groups",
        "umask",
        "caps",
        "seccomp",
        "no_new_privs",
        "hostname",
        "domainname",
        "rlimits",
        "links",
        "dev",
        "interfaces",
        "processes",
        "setgroups",
    ] {
        out[key] = seen[key].clone();
    }
    // crun adds a link to /proc/kcore; it is no matter of the configuration.
    out["links"].as_object_mut().expect("an object").remove("core");
    out["dev"].as_object_mut().expect("an object").remove("core");
    // ptmx may be a link or a bind mount, pts has its own time: what they are is what counts.
    let mut mounts = Vec::new();
    for mount in seen["mounts"].as_array().expect("an array") {
        let destination = mount["destination"].as_str().expect("a string");
        let mut options: Vec<&str> = mount["options"]
            .as_array()
            .expect("an array")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        options.retain(|option| ["ro", "rw", "nosuid", "nodev", "noexec"].contains(option));
        let masked = destination.starts_with("/proc/") || destination.starts_with("/sys/");
        if masked {
            // How a path is masked is free; that it is, is tested by itself.
            options.clear();
        }
        if destination == "/" {
            continue;
        }
        mounts.push(format!("{destination} {}", options.join(",")).replace(id, "ID"));
    }
    mounts.sort();
    mounts.dedup();
    out["mounts"] = json!(mounts);
    out
}

fn run_on(runtime: Runtime, capture: &Value) -> Value {
    let container = Container::of(runtime, |_| ());
    let config = adapted(capture, &container);
    container.write_config(&config);
    comparable(&container.observe(), container.id())
}

fn check(name: &str) {
    let path =
        keel_tests::project_root().join("tests/captures").join(format!("{name}-config.json"));
    let capture: Value =
        serde_json::from_str(&fs::read_to_string(path).expect("a capture")).expect("JSON");
    let wanted = run_on(Runtime::named("runc"), &capture);
    let seen = run_on(Runtime::under_test(), &capture);
    for (key, value) in wanted.as_object().expect("an object") {
        assert_eq!(&seen[key], value, "{name}: {key} differs from runc's");
    }
}

/// RT-REAL-01: the configurations of Docker Engine 20.10 run as on runc.
#[test]
fn docker_20_10() {
    for name in ["default", "limits-mounts-init", "privileged", "tty"] {
        check(&format!("docker20.10-{name}"));
    }
}

/// RT-REAL-02: the configurations of Docker Engine 28.5 and of its BuildKit run as on runc.
#[test]
fn docker_28_5() {
    for name in ["default", "privileged", "buildkit-RUN"] {
        check(&format!("docker28.5-{name}"));
    }
}

/// RT-REAL-03: the configurations of containerd's ctr run as on runc.
#[test]
fn containerd_ctr() {
    for name in ["containerd1.6-ctr", "containerd2.1-ctr"] {
        check(name);
    }
}

/// RT-REAL-04: the configurations of containerd's CRI plugin, as a kubelet asked for them, run as on runc.
#[test]
fn containerd_cri() {
    for name in ["sandbox", "container", "shared-pid", "seccomp-or-priv", "seccomp-or-priv-1"] {
        check(&format!("containerd1.6-cri-{name}"));
    }
}

/// RT-REAL-05: the configurations of Podman 4.3 run as on runc.
#[test]
fn podman_4_3() {
    for name in ["default", "pod-infra", "ports-volume"] {
        check(&format!("podman4.3-{name}"));
    }
}

/// RT-REAL-06: no capture is left out.
#[test]
fn all_captures_are_named() {
    let own = include_str!("captures.rs");
    let folder = keel_tests::project_root().join("tests/captures");
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("captures").flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let Some(name) = file.strip_suffix("-config.json") else { continue };
        let last = name
            .rsplit_once("cri-")
            .map_or_else(|| name.split_once('-').map_or(name, |(_, last)| last), |(_, last)| last);
        assert!(
            own.contains(&format!("\"{last}\"")) || own.contains(&format!("\"{name}\"")),
            "{name}"
        );
        count += 1;
    }
    assert!(count >= 17, "{count}");
}
