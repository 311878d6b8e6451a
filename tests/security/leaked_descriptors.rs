//! Descriptors of the runtime that a container could reach the host through.

use std::os::unix::fs::symlink;

use keel_tests::Container;
use serde_json::json;

/// SEC-FD-01: no working directory below /proc/self/fd leads out of the container (CVE-2024-21626), in `run`.
#[test]
fn no_cwd_through_a_descriptor_in_run() {
    for number in 3..64 {
        let container = Container::new(|config| {
            config["process"]["cwd"] = json!(format!("/proc/self/fd/{number}"))
        });
        let outcome = container.run();
        assert_ne!(outcome.status, 0, "descriptor {number} is open\n{}", outcome.report());
        container.assert_nothing_left();
    }
}

/// SEC-FD-02: nor in `create`, with a link of the image as the working directory (CVE-2024-21626).
#[test]
fn no_cwd_through_a_link_to_a_descriptor() {
    for number in 3..32 {
        let container = Container::new(|config| config["process"]["cwd"] = json!("/workdir"));
        symlink(format!("/proc/self/fd/{number}"), container.rootfs().join("workdir"))
            .expect("a link");
        container.create().exits(1);
        container.assert_nothing_left();
    }
}

/// SEC-FD-03: nor in `exec` (CVE-2024-21626).
///
/// Seen to fail with a descriptor of the host's root kept open, a plain chdir(2) in `change_directory` and no
/// `verify_working_directory`.
#[test]
fn no_cwd_through_a_descriptor_in_exec() {
    let container = Container::sleeping(|_| ());
    container.up();
    for number in 3..64 {
        let cwd = format!("/proc/self/fd/{number}");
        let outcome = container.call(&["exec", "--cwd", &cwd, container.id(), "pwd"]);
        assert_ne!(outcome.status, 0, "descriptor {number} is open\n{}", outcome.report());
    }
}

/// SEC-FD-04: nor by a relative climb: the working directory is always below the container's root.
#[test]
fn the_cwd_is_inside() {
    for cwd in ["/proc/self/cwd", "/proc/1/cwd", "/proc/self/root", "/proc/thread-self/root/../.."]
    {
        let container = Container::new(|config| config["process"]["cwd"] = json!(cwd));
        let outcome = container.run();
        if outcome.status == 0 {
            let seen = outcome.json()["cwd"].as_str().expect("a path").to_owned();
            assert!(seen.starts_with('/') && !seen.contains("unreachable"), "{cwd} gives {seen}");
        }
    }
}
