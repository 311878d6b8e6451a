//! `--pid-file`: where callers learn the pid.

use std::fs;

use keel_tests::Container;

/// CLI-PIDFILE-01: the file holds the decimal pid of `state`, without a newline.
#[test]
fn holds_the_pid() {
    let container = Container::sleeping(|_| ());
    let file = container.path("pid").display().to_string();
    container.call(&["create", "--pid-file", &file, container.id()]).succeeds();
    assert_eq!(fs::read_to_string(&file).expect("a pid file"), container.pid().to_string());
}

/// CLI-PIDFILE-02: a relative path is relative to the caller's folder, not to the bundle.
#[test]
fn a_relative_path_is_the_callers() {
    let container = Container::sleeping(|_| ());
    let folder = container.path("caller");
    fs::create_dir(&folder).expect("a folder");
    let mut command = container.command(&["create", "--pid-file", "pid", "--bundle"]);
    command.arg(container.bundle()).arg(container.id()).current_dir(&folder);
    container.finish(command).succeeds();
    assert!(folder.join("pid").is_file());
    assert!(!container.bundle().join("pid").exists());
}

/// CLI-PIDFILE-03: a file that cannot be written is an error, and no container is left.
#[test]
fn an_unwritable_file_is_an_error() {
    let container = Container::sleeping(|_| ());
    container
        .call(&["create", "--pid-file", "/nosuch/pid", container.id()])
        .fails_naming(&["no such file"]);
    container.assert_nothing_left();
}
