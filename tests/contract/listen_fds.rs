//! `LISTEN_FDS`: sockets that a parent opened to be listened at (sd_listen_fds(3)), as
//! systemd-socket-activate hands them over.

use std::process::Command;

use keel_tests::{Container, Outcome};
use serde_json::json;

/// The runtime's command, started as a socket activator does: descriptors from 3 on are open, the variables
/// say how many, and for whom.
fn activated(container: &Container, opens: &str, variables: &str, args: &[&str]) -> Outcome {
    let run = container.command(args);
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{opens}; export {variables}; exec \"$@\"")).arg("sh");
    shell.arg(run.get_program()).args(run.get_args()).current_dir(container.bundle());
    container.finish(shell)
}

const THREE: &str = "exec 3</dev/null 4</ 5</etc";

/// CLI-LISTEN-01: the sockets come first, then what `--preserve-fds` asks for, and nothing else.
#[test]
fn sockets_come_before_preserved_descriptors() {
    let container = Container::new(|_| ());
    for (flags, expected) in [(&[][..], 2), (&["--preserve-fds", "1"], 3)] {
        let mut words = vec!["run"];
        words.extend_from_slice(flags);
        words.push(container.id());
        let seen = activated(&container, THREE, "LISTEN_FDS=2 LISTEN_PID=$$", &words);
        let seen = seen.succeeds().json();
        assert_eq!(seen["fds"].as_object().map(|fds| fds.len()), Some(3 + expected), "{seen}");
        assert_eq!(seen["fds"]["4"], "/", "{}", seen["fds"]);
        assert_eq!(seen["env"]["LISTEN_FDS"], "2");
        assert_eq!(seen["env"]["LISTEN_PID"], "1");
    }
}

/// CLI-LISTEN-02: variables that were meant for another process hand over nothing.
#[test]
fn leaves_what_is_anothers() {
    let container = Container::new(|_| ());
    for variables in ["LISTEN_FDS=2 LISTEN_PID=1", "LISTEN_FDS=2", "LISTEN_FDS=0 LISTEN_PID=$$"] {
        let seen = activated(&container, THREE, variables, &["run", container.id()]);
        let seen = seen.succeeds().json();
        assert_eq!(seen["fds"].as_object().map(|fds| fds.len()), Some(3), "{variables}");
        assert_eq!(seen["env"]["LISTEN_FDS"], json!(null), "{variables}");
    }
}

/// CLI-LISTEN-03: `create` keeps the sockets for the program that `start` lets go.
#[test]
fn survive_create_and_start() {
    let container = Container::new(|config| {
        config["process"]["args"] =
            json!(["sh", "-c", "readlink /proc/self/fd/4; echo $LISTEN_FDS"]);
    });
    let created =
        activated(&container, THREE, "LISTEN_FDS=2 LISTEN_PID=$$", &["create", container.id()]);
    let created = created.succeeds();
    container.start().succeeds();
    container.becomes("stopped");
    assert_eq!(created.stdout_now(), "/\n2\n");
}

/// CLI-LISTEN-04: exec hands over preserved descriptors only.
#[test]
fn exec_takes_none() {
    let container = Container::sleeping(|_| ());
    container.up();
    let words = ["exec", "--preserve-fds", "1", container.id(), "/bin/probe", "report"];
    let seen = activated(&container, THREE, "LISTEN_FDS=2 LISTEN_PID=$$", &words);
    let seen = seen.succeeds().json();
    assert_eq!(seen["fds"].as_object().map(|fds| fds.len()), Some(4), "{}", seen["fds"]);
    assert_eq!(seen["fds"]["3"], "/dev/null", "{}", seen["fds"]);
    assert_eq!(seen["env"]["LISTEN_FDS"], json!(null));
}
