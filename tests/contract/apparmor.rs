//! `process.apparmorProfile` and `process.selinuxLabel`: the profile is on the program, or there is none.

use std::fs;
use std::process::Command;

use keel_tests::{Container, requires};
use serde_json::json;

const PROFILE: &str = "keel-tests-profile";

/// Loads a profile that allows all but writing below /tmp; false where AppArmor is not on.
fn profile() -> bool {
    let on = fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    if !requires(on.starts_with('Y'), "AppArmor: the tests in the guest have it") {
        return false;
    }
    let text = format!(
        "abi <abi/4.0>,\nprofile {PROFILE} flags=(attach_disconnected,mediate_deleted) {{\n  file,\n  \
         capability,\n  network,\n  mount,\n  umount,\n  pivot_root,\n  signal,\n  ptrace,\n  unix,\n  deny /tmp/** w,\n}}\n"
    );
    let folder = keel_tests::Scratch::new();
    let path = folder.join("profile");
    fs::write(&path, text).expect("a profile");
    let status = Command::new("apparmor_parser").arg("--replace").arg(&path).status();
    status.expect("apparmor_parser").success()
}

/// RT-APPARMOR-01: the program runs under the profile, which holds.
#[test]
fn confines_the_program() {
    if !profile() {
        return;
    }
    let container = Container::new(|config| {
        config["process"]["apparmorProfile"] = json!(PROFILE);
        config["root"]["readonly"] = json!(false);
        config["process"]["args"] =
            json!(["sh", "-c", "cat /proc/self/attr/current; echo x > /tmp/a || echo denied"]);
    });
    let outcome = container.run().succeeds();
    assert!(outcome.stdout.starts_with(&format!("{PROFILE} (enforce)\n")), "{}", outcome.report());
    assert!(outcome.stdout.ends_with("denied\n"), "{}", outcome.report());
}

/// RT-APPARMOR-02: `exec` takes the profile of the configuration, or that of `--apparmor`.
#[test]
fn confines_what_exec_starts() {
    if !profile() {
        return;
    }
    let container = Container::sleeping(|_| ());
    container.up();
    let of = |flags: &[&str]| {
        let words =
            [&["exec"], flags, &[container.id(), "cat", "/proc/self/attr/current"]].concat();
        container.call(&words).succeeds().stdout
    };
    // Debian's runc has a profile of its own that confines nothing.
    assert!(of(&[]).contains("unconfined"));
    assert_eq!(of(&["--apparmor", PROFILE]), format!("{PROFILE} (enforce)\n"));
}

/// RT-APPARMOR-03: a profile that is not loaded is an error that names it, and nothing is left.
#[test]
fn names_a_missing_profile() {
    if !profile() {
        return;
    }
    let container = Container::sleeping(|config| {
        config["process"]["apparmorProfile"] = json!("nosuchprofile");
    });
    container.create().fails_naming(&["apparmor"]);
    container.assert_nothing_left();
}

/// RT-APPARMOR-04: an SELinux label where SELinux is off is an error.
#[test]
fn refuses_a_label_without_selinux() {
    let off = !std::path::Path::new("/sys/fs/selinux/enforce").exists();
    if !requires(off, "a kernel without SELinux") {
        return;
    }
    let container = Container::sleeping(|config| {
        config["process"]["selinuxLabel"] = json!("system_u:system_r:container_t:s0");
    });
    container.create().fails_naming(&["elinux"]);
    container.assert_nothing_left();
}
