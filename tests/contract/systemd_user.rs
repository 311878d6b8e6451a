//! `--systemd-cgroup` of an ordinary user, whose own systemd makes the unit.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use keel_tests::{Container, Outcome, requires, version_2};
use serde_json::json;

const USER: u32 = 1000;
const RUNTIME_DIR: &str = "/run/user/1000";

/// A container of the user's: its files, and a user namespace in which the user is root.
fn of_the_user() -> Option<Container> {
    let session = Path::new(RUNTIME_DIR).join("bus").exists();
    if !requires(session, "a session of a user with its own systemd") || !version_2() {
        return None;
    }
    let container = Container::sleeping(|_| ());
    // Whoever needs a description of the files of root and nothing else is not served here.
    container.call(&["spec", "--rootless", "--bundle", "state"]).succeeds();
    let text = fs::read_to_string(container.path("state/config.json")).expect("config.json");
    fs::remove_file(container.path("state/config.json")).expect("config.json");
    let mut config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["sleep", "100000"]);
    for key in ["uidMappings", "gidMappings"] {
        config["linux"][key] = json!([{"containerID": 0, "hostID": USER, "size": 1}]);
    }
    config["linux"]["cgroupsPath"] = json!(format!(":kt:{}", container.id()));
    config["linux"]["resources"] = json!({"memory": {"limit": 67_108_864}, "pids": {"limit": 22}});
    container.write_config(&config);
    let status = Command::new("chown").args(["-R", "1000:1000"]).arg(container.bundle()).status();
    assert!(status.expect("chown").success());
    chown(container.state_root(), Some(USER), Some(USER)).expect("chown");
    Some(container)
}

/// Runs the runtime as the user, in the user's session.
fn call(container: &Container, words: &[&str]) -> Outcome {
    let of_root = container.command(words);
    let mut command = Command::new("runuser");
    command.args(["-u", "user", "--", "env"]);
    command.arg(format!("XDG_RUNTIME_DIR={RUNTIME_DIR}"));
    command.arg(of_root.get_program()).args(of_root.get_args()).current_dir(container.bundle());
    container.finish(command)
}

fn unit_property(container: &Container, name: &str) -> String {
    let mut command = Command::new("runuser");
    command.args(["-u", "user", "--", "env", &format!("XDG_RUNTIME_DIR={RUNTIME_DIR}")]);
    command.args(["systemctl", "--user", "show", "--value", "-p", name]);
    command.arg(format!("kt-{}.scope", container.id()));
    container.finish(command).succeeds().stdout.trim().to_owned()
}

/// RT-SYSTEMD-20: the unit is in the user's slice below the user's own systemd, with its limits, and goes
/// with the container.
#[test]
fn a_user_has_a_scope() {
    let Some(container) = of_the_user() else { return };
    call(&container, &["--systemd-cgroup", "run", "--detach", container.id()]).succeeds();
    let state = call(&container, &["state", container.id()]).succeeds().json();
    let pid = state["pid"].as_i64().expect("a pid");
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("a cgroup");
    let wanted = format!("user@1000.service/user.slice/kt-{}.scope\n", container.id());
    assert!(cgroup.ends_with(&wanted), "{cgroup}");
    assert_eq!(unit_property(&container, "MemoryMax"), "67108864");
    let folder = format!("/sys/fs/cgroup{}", cgroup.trim().trim_start_matches("0::"));
    let file = |name: &str| fs::read_to_string(format!("{folder}/{name}")).expect("a file");
    assert_eq!(file("memory.max"), "67108864\n");
    assert_eq!(file("pids.max"), "22\n");
    call(&container, &["delete", "--force", container.id()]).succeeds();
    assert_eq!(unit_property(&container, "LoadState"), "not-found");
    assert!(!Path::new(&folder).exists());
}

/// RT-SYSTEMD-21: without a session the error says what is missing, and nothing is left.
#[test]
fn names_a_missing_session() {
    let Some(container) = of_the_user() else { return };
    let of_root = container.command(&["--systemd-cgroup", "run", "--detach", container.id()]);
    let mut command = Command::new("runuser");
    command.args([
        "-u",
        "user",
        "--",
        "env",
        "-u",
        "XDG_RUNTIME_DIR",
        "-u",
        "DBUS_SESSION_BUS_ADDRESS",
    ]);
    command.arg(of_root.get_program()).args(of_root.get_args()).current_dir(container.bundle());
    container.finish(command).exits(1);
    container.assert_nothing_left();
}

/// RT-SYSTEMD-22: a process of exec that may not move to the unit by itself, since its caller is in no cgroup
/// of the user's, is put there by systemd: into the container's own, or into one below.
#[test]
fn exec_enters_from_elsewhere() {
    let Some(container) = of_the_user() else { return };
    call(&container, &["--systemd-cgroup", "run", "--detach", container.id()]).succeeds();
    if !requires(container.runtime().is("keel"), "AttachProcessesToUnit, which newer runc calls") {
        return;
    }
    let state = call(&container, &["state", container.id()]).succeeds().json();
    let of = |pid: &str| fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("a cgroup");
    let inside = of(&state["pid"].to_string());
    assert!(!of("self").contains("user@1000.service"), "{}", of("self"));
    let file = container.path("state/exec.pid").display().to_string();
    let words = ["exec", "--detach", "--pid-file", &file, container.id(), "sleep", "100001"];
    call(&container, &words).succeeds();
    assert_eq!(of(&fs::read_to_string(&file).expect("a pid")), inside);
    let folder = format!("/sys/fs/cgroup{}", inside.trim().trim_start_matches("0::"));
    fs::create_dir(format!("{folder}/below")).expect("a cgroup");
    chown(format!("{folder}/below"), Some(USER), Some(USER)).expect("chown");
    chown(format!("{folder}/below/cgroup.procs"), Some(USER), Some(USER)).expect("chown");
    let words = ["exec", "--cgroup", "below", "--detach", "--pid-file", &file, container.id()];
    call(&container, &[&words[..], &["sleep", "100002"]].concat()).succeeds();
    let below = of(&fs::read_to_string(&file).expect("a pid"));
    assert_eq!(below.trim(), format!("{}/below", inside.trim()));
    call(&container, &["exec", "--cgroup", "nosuch", container.id(), "true"]).exits(255);
    call(&container, &["delete", "--force", container.id()]).succeeds();
}
