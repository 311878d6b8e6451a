//! `state`: what a caller learns about one container.

use keel_tests::{Container, Runtime, requires};
use serde_json::json;

/// CLI-STATE-01: the keys, their order and the two-space indent are runc's, without a last newline.
#[test]
fn prints_the_keys_in_order() {
    let container = Container::sleeping(|config| config["annotations"] = json!({"a": "b"}));
    container.create().succeeds();
    let text = container.call(&["state", container.id()]).succeeds().stdout;
    let keys: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("  \""))
        .filter_map(|line| line.trim().split('"').nth(1))
        .collect();
    let crun = Runtime::under_test().is("crun");
    if crun {
        assert!(keys.starts_with(&[
            "ociVersion",
            "id",
            "pid",
            "status",
            "bundle",
            "rootfs",
            "created"
        ]));
        return;
    }
    let wanted = [
        "ociVersion",
        "id",
        "pid",
        "status",
        "bundle",
        "rootfs",
        "created",
        "annotations",
        "owner",
    ];
    assert_eq!(keys, wanted, "{text}");
    assert!(text.ends_with('}'), "no newline after the object");
}

/// CLI-STATE-02: the values are those of the container.
#[test]
fn tells_the_truth() {
    let container = Container::sleeping(|config| config["annotations"] = json!({"org.x": "y z"}));
    container.create().succeeds();
    let state = container.state();
    assert_eq!(state["id"], container.id());
    assert_eq!(state["bundle"], container.bundle().display().to_string());
    assert_eq!(state["rootfs"], container.rootfs().display().to_string());
    assert_eq!(state["annotations"], json!({"org.x": "y z"}));
    let cgroup =
        std::fs::read_to_string(format!("/proc/{}/cgroup", state["pid"])).expect("a process");
    assert!(cgroup.contains(container.id()), "{cgroup}");
}

/// CLI-STATE-03: `created` is a time in UTC with the letter Z.
#[test]
fn created_is_in_utc() {
    let container = Container::sleeping(|_| ());
    container.create().succeeds();
    let state = container.state();
    let created = state["created"].as_str().expect("a string");
    assert!(
        created.len() >= 20 && created.ends_with('Z') && created.as_bytes()[10] == b'T',
        "{created}"
    );
}

/// RT-LIFE-07: the status goes from created to running to stopped; a stopped container has pid 0.
#[test]
fn follows_the_lifecycle() {
    let container = Container::sleeping(|_| ());
    container.create().succeeds();
    assert_eq!(container.state()["status"], "created");
    container.start().succeeds();
    assert_eq!(container.state()["status"], "running");
    container.kill("KILL").succeeds();
    container.becomes("stopped");
    assert_eq!(container.state()["pid"], 0);
}

/// RT-LIFE-08: the state of a container that does not exist is an error.
#[test]
fn refuses_an_unknown_container() {
    let container = Container::new(|_| ());
    let outcome = container.call(&["state", "nosuchcontainer"]);
    assert_eq!(outcome.stdout, "");
    outcome.fails_naming(&["does not exist"]);
}

/// CLI-STATE-04: `ociVersion` is the version of the container's configuration.
#[test]
fn gives_the_configurations_version() {
    let container = Container::sleeping(|config| config["ociVersion"] = json!("1.0.1"));
    if !requires(
        container.runtime().is("keel"),
        "the packaged runc and crun give their own version",
    ) {
        return;
    }
    container.create().succeeds();
    assert_eq!(container.state()["ociVersion"], "1.0.1");
}

/// CLI-STATE-05: `state.json` has the members that tools read: the process and its start, cgroups,
/// namespaces, labels.
#[test]
fn writes_the_members_that_tools_read() {
    let container = Container::sleeping(|config| config["annotations"] = json!({"a": "b"}));
    let pid = container.up();
    let path = container.state_root().join(container.id()).join("state.json");
    let text = std::fs::read(path).expect("a file");
    let state: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!((&state["id"], &state["init_process_pid"]), (&json!(container.id()), &json!(pid)));
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let fields = stat.rsplit_once(')').expect("a name").1;
    let start = fields.split_whitespace().nth(19).expect("a time");
    assert_eq!(state["init_process_start"].to_string(), start);
    assert_eq!(state["namespace_paths"]["NEWNS"], format!("/proc/{pid}/ns/mnt"));
    let cgroup = state["cgroup_paths"]["pids"].as_str().or(state["cgroup_paths"][""].as_str());
    assert!(std::path::Path::new(cgroup.expect("a cgroup")).is_dir(), "{state}");
    let labels = state["config"]["labels"].as_array().expect("labels");
    let bundle = format!("bundle={}", container.bundle().display());
    assert!(labels.contains(&json!("a=b")) && labels.contains(&json!(bundle)), "{labels:?}");
    assert_eq!(state["external_descriptors"].as_array().map(Vec::len), Some(3), "{state}");
}

/// CLI-STATE-06: `config` of `state.json` says in runc's names what the container was made of, and its limits follow
/// an update.
#[test]
fn writes_the_config_that_tools_read() {
    let container = Container::sleeping(|config| {
        let bind = json!({"destination": "/data", "type": "bind", "source": "rootfs/etc",
            "options": ["rbind", "ro", "rslave"]});
        config["mounts"].as_array_mut().expect("mounts").push(bind);
        config["hostname"] = json!("here");
        config["linux"]["resources"]["pids"] = json!({"limit": 77});
        config["linux"]["sysctl"] = json!({"kernel.shmmni": "9"});
    });
    container.up();
    let path = container.state_root().join(container.id()).join("state.json");
    let config = || -> serde_json::Value {
        let text = std::fs::read(&path).expect("a file");
        serde_json::from_slice::<serde_json::Value>(&text).expect("JSON")["config"].take()
    };
    let seen = config();
    let mounts = seen["mounts"].as_array().expect("mounts");
    let at = |place: &str| mounts.iter().find(|one| one["destination"] == place).expect("a mount");
    assert_eq!((&at("/proc")["device"], &at("/proc")["source"]), (&json!("proc"), &json!("proc")));
    // MS_NOSUID and MS_STRICTATIME.
    assert_eq!(at("/dev")["flags"], 0x0100_0002, "{}", at("/dev"));
    assert_eq!(at("/dev")["data"], "mode=755,size=65536k");
    // MS_RDONLY, MS_BIND and MS_REC; MS_SLAVE and MS_REC.
    assert_eq!(at("/data")["flags"], 1 | 4096 | 16384, "{}", at("/data"));
    assert_eq!(at("/data")["propagation_flags"], json!([(1 << 19) | 16384]));
    let source = container.rootfs().join("etc");
    assert_eq!(at("/data")["source"], source.display().to_string());
    assert_eq!(at("/data")["device"], "bind");
    assert_eq!(
        (&seen["hostname"], &seen["sysctl"]["kernel.shmmni"]),
        (&json!("here"), &json!("9"))
    );
    let kinds: Vec<_> = seen["namespaces"].as_array().expect("namespaces").iter().collect();
    for kind in ["NEWNS", "NEWPID", "NEWUTS", "NEWIPC"] {
        assert!(kinds.iter().any(|one| one["type"] == kind), "{kinds:?}");
    }
    let bounding = seen["capabilities"]["Bounding"].as_array().expect("names");
    assert!(bounding.contains(&json!("CAP_KILL")), "{bounding:?}");
    assert!(seen["mask_paths"].as_array().expect("paths").contains(&json!("/proc/keys")));
    assert_eq!((&seen["no_new_privileges"], &seen["readonlyfs"]), (&json!(true), &json!(true)));
    assert_eq!(seen["cgroups"]["pids_limit"], 77);
    container.update(&["--pids-limit", "88"]).succeeds();
    assert_eq!(config()["cgroups"]["pids_limit"], 88);
}
