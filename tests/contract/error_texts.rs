//! Texts that Docker Engine, containerd and Podman look for in an error, and the statuses they expect.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use keel_tests::{Container, requires};
use serde_json::json;

/// What Docker Engine makes of an error text: 126 cannot be started, 127 is not there, 128 anything else.
fn dockers_verdict(text: &str) -> i32 {
    let text = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&["permission denied"]) {
        126
    } else if has(&["executable file not found", "no such file or directory", "not a directory"]) {
        127
    } else {
        128
    }
}

fn verdict_of(args: &[&str]) -> i32 {
    let container = Container::new(|config| config["process"]["args"] = json!(args));
    let plain = container.rootfs().join("plain");
    fs::write(&plain, "text").expect("a file");
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o644)).expect("chmod");
    let outcome = container.create().exits(1);
    container.assert_nothing_left();
    dockers_verdict(&outcome.stderr)
}

/// CLI-ERR-01: a name that is nowhere in PATH makes Docker exit with 127.
#[test]
fn a_missing_name_is_127() {
    assert_eq!(verdict_of(&["nosuchprogram"]), 127);
}

/// CLI-ERR-02: a path that is not there makes Docker exit with 127.
#[test]
fn a_missing_path_is_127() {
    assert_eq!(verdict_of(&["/nosuch/program"]), 127);
    assert_eq!(verdict_of(&["/plain/program"]), 127);
}

/// CLI-ERR-03: a file without the executable bit, or a folder, makes Docker exit with 126.
#[test]
fn a_file_that_cannot_run_is_126() {
    assert_eq!(verdict_of(&["/plain"]), 126);
    let container = Container::new(|config| config["process"]["args"] = json!(["/etc"]));
    let outcome = container.create().exits(1);
    let text = outcome.stderr.to_lowercase();
    assert!(text.contains("permission denied") || text.contains("is a directory"), "{text}");
}

/// CLI-ERR-04: errors begin as callers know them: the operation, then `unable to start container process`.
#[test]
fn errors_begin_with_the_operation() {
    let container = Container::new(|config| config["process"]["args"] = json!(["nosuchprogram"]));
    container.create().fails_naming(&[
        " create failed: unable to start container process: ",
        "exec: \\\"nosuchprogram\\\": ",
    ]);
    container.run().fails_naming(&[" run failed: unable to start container process: "]);
}

/// CLI-ERR-05: containerd's shim takes these words of `kill` and `delete` for "not found".
#[test]
fn not_found_has_its_words() {
    let container = Container::new(|config| config["process"]["args"] = json!(["true"]));
    container.call(&["kill", "nosuchcontainer"]).fails_naming(&["does not exist"]);
    container.call(&["delete", "nosuchcontainer"]).fails_naming(&["does not exist"]);
    container.up_and_over();
    container.kill("TERM").fails_naming(&["container not running"]);
}

/// CLI-ERR-06: a mistake in the command line is status 1 with the usage on stdout.
#[test]
fn usage_errors_are_1() {
    let container = Container::new(|_| ());
    let outcome = container.call(&["create", "--nosuchflag", "x"]).exits(1);
    assert!(outcome.stdout.contains("Incorrect Usage"), "{}", outcome.report());
    outcome.says(&["flag provided but not defined: -nosuchflag"]);
    let outcome = container.call(&["state"]).exits(1);
    assert!(outcome.stdout.contains("Incorrect Usage"), "{}", outcome.report());
    outcome.says(&["requires exactly 1 argument"]);
}

/// CLI-ERR-07: an unknown command is status 3.
#[test]
fn an_unknown_command_is_3() {
    let container = Container::new(|_| ());
    container.call(&["nosuchcommand"]).exits(3).says(&["No help topic for 'nosuchcommand'"]);
}

/// CLI-ERR-08: no arguments, `--help` and `help` print the help with status 0.
#[test]
fn help_is_no_error() {
    let container = Container::new(|_| ());
    for words in [&["--help"][..], &["-h"], &["help"], &["create", "--help"]] {
        let mut command = container.runtime().command();
        command.args(words);
        let outcome = container.finish(command).succeeds();
        assert!(outcome.stdout.to_lowercase().contains("usage"), "{}", outcome.report());
    }
}

/// CLI-ERR-09: on failure the first thing on stderr is the error, and it is one line.
#[test]
fn the_error_is_one_line() {
    let container = Container::new(|config| config["process"]["args"] = json!(["nosuchprogram"]));
    let outcome = container.create().exits(1);
    assert_eq!(outcome.stderr.trim_end().lines().count(), 1, "{}", outcome.report());
}

/// CLI-ERR-11: `--rootless` takes every spelling of a boolean, `--criu` is passed over, and neither keeps a
/// command from its work.
#[test]
fn takes_every_spelling_of_global_flags() {
    let container = Container::new(|_| ());
    for word in ["true", "T", "1", "FALSE", "f", "0", "auto"] {
        container.call(&["--rootless", word, "list"]).succeeds();
        container.call(&[&format!("-rootless={word}"), "list"]).succeeds();
    }
    container.call(&["--criu", "/nowhere", "list"]).succeeds();
    container.call(&["-criu=/nowhere", "-debug=false", "list"]).succeeds();
}

/// CLI-ERR-12: a value that is no number is a mistake in the command line, of `exec` too, where other errors are 255.
#[test]
fn numbers_are_read_with_the_command_line() {
    let container = Container::sleeping(|_| ());
    container.up();
    let id = container.id();
    for words in [
        &["exec", "-g", "wheel", id, "true"][..],
        &["exec", "--preserve-fds", "x", id, "true"],
        &["create", "--preserve-fds", "x", "other"],
        &["update", "--pids-limit", "many", id],
        &["checkpoint", "--status-fd", "x", id],
    ] {
        let outcome = container.call(words).exits(1).says(&["invalid value \\\""]);
        // Newer runc has this line on the other stream.
        let all = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(all.contains("Incorrect Usage: invalid value"), "{}", outcome.report());
        assert!(outcome.stdout.contains("USAGE:"), "{}", outcome.report());
    }
}

/// CLI-ERR-13: a bundle that is not there, and one without a config, have runc's words.
#[test]
fn a_missing_bundle_has_its_words() {
    let container = Container::new(|_| ());
    let missing = "chdir /nosuch/bundle: no such file or directory";
    container.call(&["create", "--bundle", "/nosuch/bundle", "x"]).fails_naming(&[missing]);
    container.call(&["run", "-b", "/nosuch/bundle", "x"]).fails_naming(&[missing]);
    container.call(&["spec", "--bundle", "/nosuch/bundle"]).fails_naming(&[missing]);
    let empty = container.path("empty");
    fs::create_dir(&empty).expect("a folder");
    let empty = empty.to_str().expect("a path");
    let words = "JSON specification file config.json not found";
    container.call(&["create", "--bundle", empty, "x"]).fails_naming(&[words]);
}

/// CLI-ERR-14: the root of the file system is no place for states.
#[test]
fn the_state_root_is_not_the_root() {
    let container = Container::new(|_| ());
    if !requires(!container.runtime().is("runc"), "runc 1.1.5 takes any folder") {
        return;
    }
    for place in ["/", "/tmp/.."] {
        let mut command = container.runtime().command();
        command.args(["--root", place, "list"]);
        container.finish(command).fails_naming(&["Option --root argument should not be set to /"]);
    }
}

/// CLI-ERR-15: a label without SELinux, a profile without AppArmor and a folder that is not there are told in runc's
/// words, of a container and of a process of exec.
#[test]
fn what_the_host_lacks_has_its_words() {
    let selinux = "selinux label is specified in config, but selinux is disabled or not supported";
    let apparmor = "apparmor failed to apply profile: ";
    let folder = "set in config.json failed: ";
    let create = |field: &str, value: &str, words: &str| {
        let container = Container::new(|config| config["process"][field] = json!(value));
        container.create().fails_naming(&[words]);
        container.assert_nothing_left();
    };
    let container = Container::sleeping(|_| ());
    container.up();
    let exec = |flag: &str, value: &str, words: &str| {
        container.call(&["exec", flag, value, container.id(), "true"]).exits(255).says(&[words]);
    };
    if requires(!Path::new("/sys/fs/selinux/enforce").exists(), "no SELinux") {
        create("selinuxLabel", "system_u:system_r:container_t:s0", selinux);
        exec("--process-label", "system_u:system_r:container_t:s0", selinux);
    }
    create("apparmorProfile", "nosuch-profile", apparmor);
    exec("--apparmor", "nosuch-profile", apparmor);
    exec("--cwd", "/nosuch", "chdir to cwd (\\\"/nosuch\\\") ");
    exec("--cwd", "/nosuch", folder);
}
