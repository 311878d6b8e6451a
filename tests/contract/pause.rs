//! `pause` and `resume`: processes stand still and go on.

use keel_tests::{Container, controller_folder, eventually, requires};
use serde_json::json;

/// A container that counts in a file of its rootfs, and that file's path on the host.
fn counting() -> (Container, std::path::PathBuf) {
    let script = "n=0; while :; do n=$((n+1)); echo $n >/count; done";
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["sh", "-c", script]);
        config["root"]["readonly"] = json!(false);
    });
    let path = container.rootfs().join("count");
    container.up();
    eventually("it counts", || std::fs::read_to_string(&path).ok().filter(|text| text.len() > 1));
    (container, path)
}

fn pause(container: &Container) -> keel_tests::Outcome {
    container.call(&["pause", container.id()])
}

fn resume(container: &Container) -> keel_tests::Outcome {
    container.call(&["resume", container.id()])
}

/// CLI-PAUSE-01: every process stands still from the return of `pause` to `resume`, and `state` and `list` say so.
#[test]
fn stops_and_goes_on() {
    let (container, path) = counting();
    pause(&container).succeeds();
    assert_eq!(container.state()["status"], "paused");
    let list = container.call(&["list", "-f", "json"]).succeeds().json();
    assert_eq!(list[0]["status"], "paused");
    let modified = || std::fs::metadata(&path).and_then(|data| data.modified()).expect("a time");
    let before = modified();
    // Work that takes longer than the counting of one number.
    for _ in 0..5 {
        container.state();
    }
    assert_eq!(modified(), before, "a paused process wrote");
    resume(&container).succeeds();
    assert_eq!(container.state()["status"], "running");
    eventually("it counts again", || (modified() > before).then_some(()));
}

/// CLI-PAUSE-02: a created container can be paused, and goes on to be created.
#[test]
fn pauses_a_created_container() {
    let container = Container::sleeping(|_| ());
    container.create().succeeds();
    pause(&container).succeeds();
    assert_eq!(container.state()["status"], "paused");
    container.start().fails_naming(&["cannot start a container in the paused state"]);
    resume(&container).succeeds();
    assert_eq!(container.state()["status"], "created");
    container.start().succeeds();
}

/// CLI-PAUSE-03: pausing a paused container does nothing.
#[test]
fn pausing_twice_is_no_error() {
    let container = Container::sleeping(|_| ());
    if !requires(container.runtime().is("keel"), "runc answers that the container is not running") {
        return;
    }
    container.up();
    pause(&container).succeeds();
    pause(&container).succeeds();
    assert_eq!(container.state()["status"], "paused");
    resume(&container).succeeds();
}

/// CLI-PAUSE-04: a container that is not paused cannot be resumed, a stopped one not be paused.
#[test]
fn refuses_by_state() {
    let container = Container::new(|config| config["process"]["args"] = json!(["cat"]));
    container.create().succeeds();
    resume(&container).fails_naming(&["container not paused"]);
    container.start().succeeds();
    container.becomes("stopped");
    pause(&container).fails_naming(&["container not running"]);
    resume(&container).fails_naming(&["container not paused"]);
    container.call(&["pause", "nosuchcontainer"]).fails_naming(&["does not exist"]);
    container.call(&["resume", "nosuchcontainer"]).fails_naming(&["does not exist"]);
}

/// CLI-PAUSE-05: exec into a paused container is refused; with `--ignore-paused` it waits for `resume`.
#[test]
fn exec_waits_only_when_told() {
    let container = Container::sleeping(|_| ());
    container.up();
    pause(&container).succeeds();
    container.exec(&["true"]).exits(255).says(&["cannot exec in a paused container"]);
    container.exec(&["true"]).says(&["use --ignore-paused to override"]);
    let mut child = container
        .command(&["exec", "--ignore-paused", container.id(), "true"])
        .stdin(std::process::Stdio::null())
        .spawn()
        .expect("exec starts");
    let pid = container.pid();
    let folder = controller_folder(pid, "freezer").or_else(|| controller_folder(pid, "unified"));
    let procs = folder.expect("a cgroup that freezes").join("cgroup.procs");
    eventually("the process is in the frozen cgroup", || {
        let listed = std::fs::read_to_string(&procs).unwrap_or_default();
        (listed.lines().count() > 1).then_some(())
    });
    assert!(child.try_wait().expect("its state").is_none(), "it ran in a frozen cgroup");
    resume(&container).succeeds();
    let status = eventually("exec ends", || child.try_wait().expect("its state"));
    assert!(status.success(), "{status}");
}

/// CLI-PAUSE-06: SIGKILL ends a paused container; another signal arrives when it goes on.
#[test]
fn takes_signals() {
    let container = Container::sleeping(|_| ());
    container.up();
    pause(&container).succeeds();
    container.kill("KILL").succeeds();
    container.becomes("stopped");

    let script = "trap 'exit 7' USR1; echo ready; while :; do sleep 1 & wait $!; done";
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["sh", "-c", script]);
    });
    let created = container.create().succeeds();
    container.start().succeeds();
    eventually("the trap is set", || created.stdout_now().contains("ready").then_some(()));
    pause(&container).succeeds();
    container.kill("USR1").succeeds();
    assert_eq!(container.state()["status"], "paused");
    resume(&container).succeeds();
    container.becomes("stopped");
}

/// CLI-PAUSE-07: a paused container is deleted by force, whether or not it was started.
#[test]
fn is_deleted_by_force() {
    for started in [true, false] {
        let container = Container::sleeping(|_| ());
        container.create().succeeds();
        if started {
            container.start().succeeds();
        }
        pause(&container).succeeds();
        container.delete(&[]).fails_naming(&["that is not stopped: paused"]);
        container.delete(&["--force"]).succeeds();
        container.assert_nothing_left();
    }
}

/// CLI-PAUSE-08: a container without a pid namespace of its own stands still, and dies whole, too.
#[test]
fn kills_all_of_a_paused_container() {
    let container = Container::new(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
        namespaces.retain(|namespace| namespace["type"] != "pid");
        config["process"]["args"] = json!(["sh", "-c", "sleep 100003 & sleep 100004 & wait"]);
    });
    let pid = container.up();
    pause(&container).succeeds();
    let folder = controller_folder(pid, "pids").expect("a pids cgroup");
    let flags: &[&str] = if container.runtime().is("keel") { &[] } else { &["--all"] };
    let words = [&["kill"], flags, &[container.id(), "KILL"]].concat();
    container.call(&words).succeeds();
    eventually("no process is left", || {
        let procs = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        procs.is_empty().then_some(())
    });
}
