//! `plan`: what would be done, without doing it and without being root.

use std::fs;
use std::process::Command;

use keel_tests::{Container, Outcome, listing, requires};
use serde_json::json;

/// `keel plan` as a user who may do nothing, from a copy that every user can reach: a build folder may lie in
/// root's home.
fn plan(container: &Container) -> Outcome {
    let copy = container.path("keel");
    if !copy.exists() {
        let status = Command::new("cp").arg(container.runtime().path()).arg(&copy).status();
        assert!(status.is_ok_and(|status| status.success()), "cp to {}", copy.display());
    }
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "--bounding-set",
        "-all",
    ]);
    command.arg(copy).args(["plan", "-b"]).arg(container.bundle());
    container.finish(command)
}

fn is_keel(container: &Container) -> bool {
    requires(container.runtime().is("keel"), "plan is a command of keel")
}

/// CLI-PLAN-01: the steps are printed without any privilege, each with its field of the configuration.
#[test]
fn prints_the_steps_without_privileges() {
    let container = Container::new(|_| ());
    if !is_keel(&container) {
        return;
    }
    let text = plan(&container).succeeds().stdout;
    for place in
        ["mounts[0]", "/proc", "process.capabilities", "linux.maskedPaths[0]", "process.args"]
    {
        assert!(text.contains(place), "{place} is not in the plan:\n{text}");
    }
    let first = text.find("mounts[0]").expect("the first mount");
    let last = text.find("process.args").expect("the program");
    assert!(first < last, "the program comes after the mounts:\n{text}");
}

/// CLI-PLAN-02: nothing is changed by it.
#[test]
fn changes_nothing() {
    let container = Container::new(|_| ());
    if !is_keel(&container) {
        return;
    }
    let before = listing(&container.rootfs());
    plan(&container).succeeds();
    assert_eq!(listing(&container.rootfs()), before);
    container.assert_nothing_left();
}

/// CLI-PLAN-03: it finds the same errors as `create`.
#[test]
fn finds_the_errors_of_create() {
    let container =
        Container::new(|config| config["linux"]["namespaces"][2]["type"] = json!("tim"));
    if !is_keel(&container) {
        return;
    }
    plan(&container).fails_naming(&["linux.namespaces[2].type"]);
}

/// CLI-PLAN-04: the same configuration gives the same plan.
#[test]
fn is_deterministic() {
    let container = Container::new(|_| ());
    if !is_keel(&container) {
        return;
    }
    let first = plan(&container).succeeds().stdout;
    let text = fs::read_to_string(container.path("config.json")).expect("config.json");
    fs::write(container.path("config.json"), format!("{text}\n\n")).expect("config.json");
    assert_eq!(plan(&container).succeeds().stdout, first);
}
