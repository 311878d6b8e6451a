//! `ps`: the processes of a container.

use std::path::{Path, PathBuf};

use keel_tests::{Container, requires};
use serde_json::{Value, json};

/// A container whose shell has two children.
fn family() -> (Container, i32) {
    let container = Container::new(|config| {
        config["process"]["args"] =
            json!(["sh", "-c", "sleep 100001 & sleep 100002 & echo ready; wait"]);
    });
    let created = container.create().succeeds();
    container.start().succeeds();
    keel_tests::eventually("the children are there", || {
        created.stdout_now().contains("ready").then_some(())
    });
    let pid = container.pid();
    (container, pid)
}

fn pids(container: &Container) -> Vec<i64> {
    let listed = container.call(&["ps", "--format", "json", container.id()]).succeeds();
    assert!(listed.stdout.ends_with("]\n"), "{}", listed.report());
    let listed = listed.json();
    listed.as_array().expect("an array").iter().filter_map(Value::as_i64).collect()
}

/// CLI-PS-01: the table is the host's, with its heading and the container's processes alone.
#[test]
fn prints_the_hosts_table() {
    let (container, pid) = family();
    let table = container.call(&["ps", container.id()]).succeeds().stdout;
    let mut lines = table.lines();
    let heading = lines.next().expect("a heading");
    assert!(heading.starts_with("UID") && heading.contains(" PID "), "{table}");
    assert_eq!(lines.clone().count(), 3, "{table}");
    assert!(lines.any(|line| line.contains(&pid.to_string())), "{table}");
    assert!(table.contains("sleep 100001") && table.contains("sleep 100002"), "{table}");
}

/// CLI-PS-02: with `json` it is an array of the host's pids, and a newline.
#[test]
fn prints_pids() {
    let (container, pid) = family();
    let listed = pids(&container);
    assert!(listed.len() == 3 && listed.contains(&i64::from(pid)), "{listed:?}");
    let short = container.call(&["ps", "-f", "json", container.id()]).succeeds().json();
    assert_eq!(short.as_array().map(Vec::len), Some(3));
}

/// CLI-PS-03: what follows the id are the options of ps, dashes or not.
#[test]
fn hands_options_to_ps() {
    let (container, pid) = family();
    let table = container.call(&["ps", container.id(), "-o", "pid,args", "ax"]).succeeds().stdout;
    assert_eq!(table.lines().next().map(str::trim_start), Some("PID COMMAND"), "{table}");
    let own = table.lines().find(|line| line.trim_start().starts_with(&format!("{pid} ")));
    assert!(own.is_some_and(|line| line.contains("sh -c")), "{table}");
    assert_eq!(table.lines().count(), 4, "{table}");
}

/// CLI-PS-04: a table without pids, options that ps refuses and an unknown format are errors.
#[test]
fn refuses_what_it_cannot_select_from() {
    let (container, _) = family();
    container
        .call(&["ps", container.id(), "-o", "comm"])
        .fails_naming(&["couldn't find PID field in ps output"]);
    container.call(&["ps", container.id(), "--nosuch"]).fails_naming(&["exit status 1"]);
    container.call(&["ps", "-f", "yaml", container.id()]).fails_naming(&["invalid format option"]);
    container.call(&["ps", "nosuchcontainer"]).fails_naming(&["does not exist"]);
}

/// CLI-PS-05: processes in cgroups below the container's are listed, too.
#[test]
fn looks_below_the_cgroup() {
    let (container, pid) = family();
    let mut moved = 0;
    let folders = ["devices", "unified"].map(|name| keel_tests::controller_folder(pid, name));
    let mut folders: Vec<_> = folders.into_iter().flatten().collect();
    // Where version 2 is alone it is one.
    folders.dedup();
    for folder in folders {
        if moved == 0 || folder.ends_with(container.id()) {
            moved = move_last(&folder, &container);
        }
    }
    let listed = pids(&container);
    assert!(listed.len() == 3 && listed.contains(&moved), "{moved} of {listed:?}");
}

/// Moves the last process of a cgroup into a new one below it.
fn move_last(folder: &Path, container: &Container) -> i64 {
    let below: PathBuf = folder.join(format!("{}-below", container.id()));
    std::fs::create_dir(&below).expect("a cgroup below");
    let last = pids(container).last().copied().expect("a process");
    std::fs::write(below.join("cgroup.procs"), last.to_string()).expect("the process moves");
    last
}

/// CLI-PS-06: of a stopped container there is the heading, and `null` in JSON as runc's callers know it.
#[test]
fn lists_nothing_of_a_stopped_container() {
    let container = Container::new(|config| config["process"]["args"] = json!(["true"]));
    if !requires(!container.runtime().is("crun"), "crun prints an empty array") {
        return;
    }
    container.up_and_over();
    let table = container.call(&["ps", container.id()]).succeeds().stdout;
    assert!(table.starts_with("UID") && table.lines().count() == 1, "{table}");
    assert_eq!(container.call(&["ps", "-f", "json", container.id()]).succeeds().stdout, "null\n");
}
