//! Kernels without the newer calls: every fallback is forced on this kernel, and the container is the same.

use keel_tests::{Container, Outcome, requires};
use serde_json::{Value, json};

const OPTIONAL: [&str; 4] = ["openat2", "mount_setattr", "close_range", "open_tree_attr"];

fn run_without(container: &Container, calls: &str) -> Outcome {
    let mut command = container.command(&["run", container.id()]);
    command.env("KEEL_WITHOUT", calls);
    container.finish(command)
}

/// The report without what differs from run to run.
fn stable(mut seen: Value) -> Value {
    let report = seen.as_object_mut().expect("an object");
    for key in ["namespaces", "cgroup", "fds", "tty"] {
        report.remove(key);
    }
    seen
}

/// RT-OLD-01: without any one of the newer calls, and without all of them, the program sees the same.
#[test]
fn each_fallback_gives_the_same_container() {
    let container = Container::new(|config| {
        config["linux"]["maskedPaths"] = json!(["/proc/keys", "/etc/group"]);
        config["root"]["readonly"] = json!(true);
    });
    if !requires(container.runtime().is("keel"), "KEEL_WITHOUT is keel's") {
        return;
    }
    let wanted = stable(container.observe());
    let all = OPTIONAL.join(",");
    for calls in OPTIONAL.iter().copied().chain([all.as_str()]) {
        let seen = stable(run_without(&container, calls).succeeds().json());
        for (key, value) in wanted.as_object().expect("an object") {
            assert_eq!(&seen[key], value, "without {calls}: {key}");
        }
    }
}

/// RT-OLD-02: what a newer call alone can do is refused by name where the call is missing, never left out.
#[test]
fn what_cannot_be_done_is_refused() {
    let host = keel_tests::Scratch::new();
    let source = host.display().to_string();
    let container = Container::new(|config| {
        let mount = json!({"destination": "/data", "type": "bind", "source": source, "options": ["rbind", "rro"]});
        config["mounts"].as_array_mut().expect("an array").push(mount);
    });
    if !requires(container.runtime().is("keel"), "KEEL_WITHOUT is keel's") {
        return;
    }
    run_without(&container, "mount_setattr").exits(1);
    container.assert_nothing_left();
}
