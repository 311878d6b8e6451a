//! Asking the machine's systemd about a unit, for tests of the systemd cgroup driver.

use std::path::Path;
use std::process::Command;

use crate::requires;

/// Whether controllers are on cgroup version 2 alone; else the test is skipped.
#[must_use]
pub fn version_2() -> bool {
    let there = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    requires(there, "cgroup version 2 alone: the tests in the guest have it")
}

/// Whether systemd runs here, on version 2; else the test is skipped.
#[must_use]
pub fn systemd() -> bool {
    let there = Path::new("/run/systemd/private").exists();
    requires(there, "systemd as the first process: the tests in the guest have it") && version_2()
}

/// One property of a unit, as `systemctl show` has it.
#[track_caller]
pub fn unit_property(unit: &str, name: &str) -> String {
    let output = Command::new("systemctl")
        .args(["show", "--value", "-p", name, unit])
        .output()
        .expect("systemctl");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
