//! `delete`: nothing of the container stays.

use keel_tests::{Container, requires};
use serde_json::json;

/// RT-LIFE-11: deleting a stopped container takes away its cgroups and its state.
#[test]
fn leaves_nothing() {
    let container = Container::new(|config| config["process"]["args"] = json!(["true"]));
    container.up_and_over();
    container.delete(&[]).succeeds();
    container.assert_nothing_left();
    container.call(&["state", container.id()]).fails_naming(&["does not exist"]);
}

/// RT-LIFE-12: deleting a running container fails and does not disturb it.
#[test]
fn refuses_a_running_container() {
    let container = Container::sleeping(|_| ());
    let pid = container.up();
    container
        .delete(&[])
        .fails_naming(&["cannot delete container", "that is not stopped: running"]);
    assert_eq!(container.pid(), pid);
}

/// CLI-DELETE-01: `--force` kills a running container and deletes it.
#[test]
fn force_kills_first() {
    for flag in ["--force", "-f", "-force"] {
        let container = Container::sleeping(|_| ());
        container.up();
        container.delete(&[flag]).succeeds();
        container.assert_nothing_left();
    }
}

/// CLI-DELETE-02: a created container is killed and deleted without `--force`.
#[test]
fn deletes_a_created_container() {
    let container = Container::sleeping(|_| ());
    container.create().succeeds();
    container.delete(&[]).succeeds();
    container.assert_nothing_left();
}

/// RT-LIFE-13: deleting a container that does not exist is an error that callers know by its words.
#[test]
fn refuses_an_unknown_container() {
    let container = Container::new(|_| ());
    container.call(&["delete", "nosuchcontainer"]).fails_naming(&["does not exist"]);
}

/// CLI-DELETE-03: with `--force` a container that does not exist is no error.
#[test]
fn force_accepts_an_unknown_container() {
    let container = Container::new(|_| ());
    container.call(&["delete", "--force", "nosuchcontainer"]).succeeds();
}

/// CLI-DELETE-04: an id can be used again after its deletion.
#[test]
fn frees_the_id() {
    let container = Container::new(|config| config["process"]["args"] = json!(["echo", "again"]));
    for _ in 0..2 {
        container.up_and_over();
        container.delete(&[]).succeeds();
    }
    assert_eq!(container.run().succeeds().stdout, "again\n");
}

/// CLI-DELETE-05: a second `delete` says that the container does not exist.
#[test]
fn a_second_delete_finds_nothing() {
    let container = Container::new(|config| config["process"]["args"] = json!(["true"]));
    container.up_and_over();
    container.delete(&[]).succeeds();
    container.delete(&[]).fails_naming(&["does not exist"]);
}

/// CLI-DELETE-06: `--force` removes cgroups that the container made below its own, with what runs in them.
#[test]
fn removes_cgroups_below() {
    let container = Container::sleeping(|_| ());
    let pid = container.up();
    for controller in ["pids", "memory", "unified"] {
        let Some(folder) = keel_tests::controller_folder(pid, controller) else { continue };
        if folder.ends_with(container.id()) {
            let below = folder.join("a/b/c");
            std::fs::create_dir_all(&below).expect("cgroups below");
            std::fs::write(below.join("cgroup.procs"), pid.to_string()).expect("a process moves");
        }
    }
    container.delete(&["--force"]).succeeds();
    container.assert_nothing_left();
}

/// CLI-DELETE-07: a process that others put into the cgroup does not keep `--force` from removing it.
#[test]
fn kills_foreign_processes() {
    let container = Container::sleeping(|_| ());
    if !requires(container.runtime().is("keel"), "runc fails: the cgroup is busy") {
        return;
    }
    let pid = container.up();
    let mut foreign = std::process::Command::new("sleep").arg("100006").spawn().expect("sleep");
    for controller in ["pids", "memory", "devices", "freezer"] {
        let Some(folder) = keel_tests::controller_folder(pid, controller) else { continue };
        let procs = folder.join("cgroup.procs");
        std::fs::write(procs, foreign.id().to_string()).expect("a process moves in");
    }
    container.delete(&["--force"]).succeeds();
    assert!(!foreign.wait().expect("its end").success());
    container.assert_nothing_left();
}

/// CLI-DELETE-08: cgroups that the container froze below its own do not keep `--force` from killing what is in them.
#[test]
fn kills_what_is_frozen_below() {
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["sh", "-c", "sleep 100007 & wait"]);
    });
    if !requires(container.runtime().is("keel"), "runc waits ten seconds and fails") {
        return;
    }
    let pid = container.up();
    let Some(folder) = keel_tests::controller_folder(pid, "freezer") else {
        let _ = requires(false, "a hierarchy that freezes");
        return;
    };
    let child = keel_tests::eventually("the child is there", || {
        let listed = std::fs::read_to_string(folder.join("cgroup.procs")).ok()?;
        listed.lines().find(|line| *line != pid.to_string()).map(str::to_owned)
    });
    let below = folder.join("a/b");
    std::fs::create_dir_all(&below).expect("cgroups below");
    std::fs::write(below.join("cgroup.procs"), child).expect("the child moves");
    keel_tests::freeze(&below, true);
    container.delete(&["--force"]).succeeds();
    container.assert_nothing_left();
}
