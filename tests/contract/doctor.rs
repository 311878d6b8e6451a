//! `doctor`: what the host has, told as it is, and as it would be without a call.

use std::fs;
use std::process::Command;

use keel_tests::{Container, requires};
use serde_json::Value;

fn is_keel(container: &Container) -> bool {
    requires(container.runtime().is("keel"), "`doctor` is a command of keel")
}

fn find<'a>(items: &'a Value, name: &str) -> &'a Value {
    let all = items.as_array().expect("a list");
    all.iter().find(|item| item["name"] == name).unwrap_or_else(|| panic!("no {name} in {items}"))
}

/// CLI-DOCTOR-01: `doctor` tells kernel, controllers, services and programs as /proc, /sys and PATH do.
#[test]
fn tells_the_truth() {
    let container = Container::new(|_| ());
    if !is_keel(&container) {
        return;
    }
    let items = container.call(&["doctor", "--format", "json"]).succeeds().json();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    let kernel = find(&items, "kernel")["detail"].as_str().expect("a detail").to_owned();
    assert!(kernel.starts_with(release.trim()), "{kernel}");
    let table = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    for controller in ["memory", "cpu", "pids", "hugetlb", "rdma"] {
        let v1 = table.lines().any(|line| {
            let (_, right) = line.split_once(" - cgroup ").unwrap_or_default();
            right.split([' ', ',']).any(|word| word == controller)
        });
        let v2_root = table.lines().find(|line| line.contains(" - cgroup2 "));
        let v2 = v2_root.and_then(|line| line.split(' ').nth(4)).is_some_and(|point| {
            let known = fs::read_to_string(format!("{point}/cgroup.controllers"));
            known.unwrap_or_default().split_whitespace().any(|word| word == controller)
        });
        let expected = if v1 || v2 { "yes" } else { "no" };
        assert_eq!(
            find(&items, &format!("cgroup-{controller}"))["present"],
            expected,
            "{controller}"
        );
    }
    let systemd = std::path::Path::new("/run/systemd/system").is_dir();
    assert_eq!(find(&items, "systemd")["present"] == "yes", systemd);
    let text = container.call(&["doctor"]).succeeds().stdout;
    assert_eq!(text.lines().count(), items.as_array().expect("a list").len());
}

/// CLI-DOCTOR-02: a call that the kernel refuses is told as missing, with what that disables.
#[test]
fn notices_every_call_that_is_missing() {
    let container = Container::new(|_| ());
    if !is_keel(&container) {
        return;
    }
    for (call, name) in [
        ("openat2", "openat2"),
        ("pidfd_getfd", "pidfd-getfd"),
        ("close_range", "close-range"),
        ("fsopen", "fsopen"),
        ("open_tree", "open-tree"),
        ("move_mount", "move-mount"),
        ("mount_setattr", "mount-setattr"),
        ("mount_setattr", "idmapped-mounts"),
        ("faccessat2", "faccessat2"),
        ("seccomp", "seccomp-listener"),
        ("bpf", "bpf"),
        ("keyctl", "keyctl"),
        ("memfd_create", "memfd"),
        ("set_mempolicy", "memory-policy"),
        ("landlock_create_ruleset", "landlock"),
    ] {
        let plain = container.command(&["doctor", "--format", "json", "--require", name]);
        let mut strace = Command::new("strace");
        let inject = format!("inject={call}:error=ENOSYS");
        strace.args(["-qq", "-o", "/dev/null", "-e", &inject]).arg(plain.get_program());
        strace.args(plain.get_args()).current_dir(container.bundle());
        // A refused call may have been the program's own start's, too; it goes on without.
        let outcome = container.finish(strace).exits(1).says(&["this host lacks", name]);
        let items = outcome.json();
        let item = find(&items, name);
        assert_ne!(item["present"], "yes", "{item}");
        assert!(item["without"].as_str().is_some_and(|text| text.len() > 5), "{item}");
    }
}

/// CLI-DOCTOR-03: `--require` fails where a name is missing on this host, and for a name that there is not.
#[test]
fn requires_by_name() {
    let container = Container::new(|_| ());
    if !is_keel(&container) {
        return;
    }
    container.call(&["doctor", "--require", "kernel", "--require", "clone3"]).succeeds();
    container.call(&["doctor", "--require", "nosuch"]).fails_naming(&["nosuch"]);
    let items = container.call(&["doctor", "--format", "json"]).succeeds().json();
    for item in items.as_array().expect("a list") {
        let name = item["name"].as_str().expect("a name");
        let status = i32::from(item["present"] != "yes");
        container.call(&["doctor", "--require", name]).exits(status);
    }
}
