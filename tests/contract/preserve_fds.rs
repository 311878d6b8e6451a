//! `--preserve-fds` and descriptors that the caller left open.

use std::process::Command;

use keel_tests::{Container, requires};

/// The runtime's command, started by a shell that opens descriptors without close-on-exec first.
fn with_open_files(container: &Container, opens: &str, args: &[&str]) -> Command {
    let run = container.command(args);
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{opens}; exec \"$@\"")).arg("sh");
    shell.arg(run.get_program()).args(run.get_args()).current_dir(container.bundle());
    shell
}

fn open_in(container: &Container, command: Command) -> Vec<String> {
    let seen = container.finish(command).succeeds().json();
    seen["fds"].as_object().expect("an object").keys().cloned().collect()
}

/// CLI-FDS-01: descriptors that the caller left open do not reach the program.
#[test]
fn the_callers_descriptors_do_not_come_in() {
    let container = Container::new(|_| ());
    let command =
        with_open_files(&container, "exec 3</ 7</etc 9</dev/null", &["run", container.id()]);
    assert_eq!(open_in(&container, command), ["0", "1", "2"]);
}

/// CLI-FDS-02: `--preserve-fds N` lets the N after the standard three come in, and no other.
#[test]
fn preserves_the_number_asked_for() {
    let container = Container::new(|_| ());
    let words = ["run", "--preserve-fds", "2", container.id()];
    let command =
        with_open_files(&container, "exec 3</dev/null 4</dev/null 5</dev/null 9</", &words);
    assert_eq!(open_in(&container, command), ["0", "1", "2", "3", "4"]);
}

/// CLI-FDS-03: a descriptor that is to be preserved must be open.
#[test]
fn refuses_a_closed_descriptor() {
    let container = Container::new(|_| ());
    if !requires(
        container.runtime().is("keel"),
        "the packaged runc takes its own descriptors for the caller's",
    ) {
        return;
    }
    let words = ["run", "--preserve-fds", "3", container.id()];
    let command = with_open_files(&container, "exec 3</dev/null 4<&- 5<&-", &words);
    container.finish(command).fails_naming(&["preserved-fd"]);
    container.assert_nothing_left();
}
