//! Callers that are root of a user namespace and have everything else from the host, as a user's Podman has.

use std::ffi::OsStr;
use std::process::{Child, Command, Stdio};

use keel_tests::{Container, Outcome, eventually};
use serde_json::{Value, json};

/// A user namespace that lasts as long as this.
struct Outer(Child);

impl Outer {
    fn of(container: &Container) -> Self {
        let mut command = container.user().runs("/usr/bin/unshare".as_ref());
        command.args(["--user", "--map-root-user", "sleep", "1000"]);
        let outer = Self(command.stdin(Stdio::null()).spawn().expect("unshare"));
        let map = format!("/proc/{}/uid_map", outer.0.id());
        let own = [0, u64::from(container.user().uid), 1];
        let mapped = || std::fs::read_to_string(&map).ok().filter(|map| words(map) == own);
        eventually("the user namespace is mapped", mapped);
        outer
    }

    fn call(&self, container: &Container, words: &[&str]) -> Outcome {
        let mut command: Command = container.user().runs("/usr/bin/nsenter".as_ref());
        command.args(["--user", "--preserve-credentials", "--target", &self.0.id().to_string()]);
        command.arg(container.runtime().path()).arg("--root").arg(container.state_root());
        command.args(words.iter().map(OsStr::new)).current_dir(container.bundle());
        container.finish(command)
    }
}

impl Drop for Outer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn words(text: &str) -> Vec<u64> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// A container without a user namespace of its own.
fn nested(delta: impl FnOnce(&mut Value)) -> Container {
    Container::rootless(|config| {
        let linux = config["linux"].as_object_mut().expect("an object");
        linux.remove("uidMappings");
        linux.remove("gidMappings");
        let namespaces = linux["namespaces"].as_array_mut().expect("an array");
        namespaces.retain(|namespace| namespace["type"] != "user");
        delta(config);
    })
}

fn sleeping() -> Container {
    nested(|config| config["process"]["args"] = json!(["sleep", "100000"]))
}

/// RT-NESTED-01: exec enters the pid namespace without having a way back to the host's, and so does a hook.
#[test]
fn executes_in_a_pid_namespace() {
    let container = sleeping();
    let file = container.path("hooked").display().to_string();
    container.user().owns(&container.path(""));
    container.change(|config| {
        let script = format!("readlink /proc/self/ns/mnt >{file}");
        config["hooks"]["createContainer"] = json!([
            {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}]);
    });
    let outer = Outer::of(&container);
    let id = container.id();
    outer.call(&container, &["create", id]).succeeds();
    outer.call(&container, &["start", id]).succeeds();
    assert!(
        std::fs::read_to_string(container.path("hooked")).expect("the report").starts_with("mnt:")
    );
    let seen = outer.call(&container, &["exec", id, "/bin/probe", "report"]).succeeds().json();
    let pid = container.state()["pid"].as_i64().expect("a pid");
    for kind in ["pid", "mnt", "ipc", "uts", "user"] {
        let link = std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a namespace");
        assert_eq!(seen["namespaces"][kind], link.display().to_string(), "{kind}");
    }
    outer.call(&container, &["exec", id, "/bin/probe", "exit", "7"]).exits(7);
    outer.call(&container, &["delete", "--force", id]).succeeds();
}

/// RT-NESTED-02: the containers of a pod share a pid namespace.
#[test]
fn joins_a_pid_namespace() {
    let first = sleeping();
    let outer = Outer::of(&first);
    outer.call(&first, &["create", first.id()]).succeeds();
    let pid = first.state()["pid"].as_i64().expect("a pid");
    let path = format!("/proc/{pid}/ns/pid");
    let second = nested(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
        namespaces.retain(|namespace| namespace["type"] != "pid");
        namespaces.push(json!({"type": "pid", "path": path}));
        config["process"]["args"] = json!(["/bin/probe", "report"]);
    });
    let seen = outer.call(&second, &["run", second.id()]).succeeds().json();
    let link = std::fs::read_link(&path).expect("a namespace");
    assert_eq!(seen["namespaces"]["pid"], link.display().to_string());
    outer.call(&first, &["delete", "--force", first.id()]).succeeds();
}
