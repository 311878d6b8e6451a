//! What keel cannot do yet is refused by the name of its field: nobody shall believe it was done.

use keel_tests::{Container, requires};

/// CLI-ERR-10: the systemd driver is refused by its flag where controllers are on version 1.
#[test]
fn the_systemd_driver_is_named() {
    let container = Container::new(|_| ());
    let there = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    if !requires(container.runtime().is("keel"), "runc and crun have the driver")
        || !requires(!there, "a controller on version 1")
    {
        return;
    }
    container.call(&["--systemd-cgroup", "create", container.id()]).fails_naming(&["systemd"]);
    container.assert_nothing_left();
}
