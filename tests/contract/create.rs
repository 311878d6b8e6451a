//! `create`: everything but the program's start.

use std::fs;

use keel_tests::Container;
use serde_json::json;

/// CLI-CREATE-01: `create` returns with the container created and the program not started.
#[test]
fn stops_before_the_program() {
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["touch", "/ran"]);
        config["root"]["readonly"] = json!(false);
    });
    container.create().succeeds();
    assert_eq!(container.state()["status"], "created");
    assert!(!container.rootfs().join("ran").exists());
    container.start().succeeds();
    container.becomes("stopped");
    assert!(container.rootfs().join("ran").exists());
}

/// CLI-CREATE-02: an id that is in use is refused and its container is not touched.
#[test]
fn refuses_an_id_in_use() {
    let container = Container::sleeping(|_| ());
    let pid = container.up();
    container.create().fails_naming(&["exist"]);
    assert_eq!(container.pid(), pid);
    assert_eq!(container.state()["status"], "running");
}

/// CLI-CREATE-03: without `--bundle` the bundle is the working directory; with it, that folder.
#[test]
fn takes_the_bundle_flag() {
    for flag in ["--bundle", "-b", "-bundle"] {
        let container = Container::sleeping(|_| ());
        let mut command = container.command(&["create", flag]);
        command.arg(container.bundle()).arg(container.id()).current_dir("/");
        container.finish(command).succeeds();
        assert_eq!(container.state()["bundle"], container.bundle().display().to_string());
    }
}

/// CLI-CREATE-04: a flag's value may stand behind an equals sign.
#[test]
fn takes_equals_signs() {
    let container = Container::sleeping(|_| ());
    let mut command = container.runtime().command();
    command.arg(format!("--root={}", container.state_root().display()));
    command.arg("create").arg(format!("--bundle={}", container.bundle().display()));
    command.arg(container.id());
    container.finish(command).succeeds();
    assert_eq!(container.state()["status"], "created");
}

/// CLI-CREATE-05: ids that are no plain names are refused and make no file.
#[test]
fn refuses_ids_that_are_paths() {
    let container = Container::new(|_| ());
    for id in ["..", ".", "a/b", "../x", "/x", "a b", "ä", ""] {
        let outcome = container.call(&["create", id]);
        assert_eq!(outcome.status, 1, "{id:?}\n{}", outcome.report());
        assert!(outcome.stderr.contains(" create failed: "), "{}", outcome.report());
    }
    let left: Vec<_> = fs::read_dir(container.state_root()).expect("a folder").flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// CLI-CREATE-06: after `create` a changed configuration has no effect on the program.
#[test]
fn later_changes_of_the_configuration_have_no_effect() {
    let container = Container::new(|config| config["process"]["args"] = json!(["echo", "first"]));
    let created = container.create().succeeds();
    let mut config = keel_tests::base_config();
    config["process"]["args"] = json!(["echo", "second"]);
    container.write_config(&config);
    container.start().succeeds();
    container.becomes("stopped");
    assert_eq!(created.stdout_now(), "first\n");
}

/// CLI-CREATE-07: a program that does not exist fails `create`, not `start`.
#[test]
fn finds_a_missing_program_early() {
    let container = Container::new(|config| config["process"]["args"] = json!(["nosuchprogram"]));
    container
        .create()
        .fails_naming(&["exec: \\\"nosuchprogram\\\": executable file not found in $PATH"]);
    container.assert_nothing_left();
}

/// CLI-CREATE-08: the wrong number of arguments is a usage error with status 1.
#[test]
fn counts_its_arguments() {
    let container = Container::new(|_| ());
    container.call(&["create"]).exits(1);
    container.call(&["create", "a", "b"]).exits(1);
    container.assert_nothing_left();
}

/// RT-LIFE-01: `create` writes nothing to stdout or stderr: callers read both as the error.
#[test]
fn is_silent() {
    let container = Container::sleeping(|_| ());
    let created = container.create().succeeds();
    assert_eq!((created.stdout.as_str(), created.stderr.as_str()), ("", ""));
    let started = container.start().succeeds();
    assert_eq!((started.stdout.as_str(), started.stderr.as_str()), ("", ""));
    let killed = container.kill("KILL").succeeds();
    assert_eq!((killed.stdout.as_str(), killed.stderr.as_str()), ("", ""));
    container.becomes("stopped");
    let deleted = container.delete(&[]).succeeds();
    assert_eq!((deleted.stdout.as_str(), deleted.stderr.as_str()), ("", ""));
}
