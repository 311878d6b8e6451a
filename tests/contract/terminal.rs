//! `process.terminal` and the console-socket protocol.

use keel_tests::{ConsoleSocket, Container};
use serde_json::json;

/// CLI-TTY-01: the terminal's master comes over the socket: one message, one descriptor, the name as text.
#[test]
fn sends_the_master_over_the_socket() {
    let container = Container::new(|config| {
        config["process"]["terminal"] = json!(true);
        config["process"]["args"] =
            json!(["sh", "-c", "tty; read line; echo \"got $line\"; sleep 100000"]);
    });
    let socket = ConsoleSocket::listen(container.path("s"));
    let path = socket.path().display().to_string();
    let command = container.command(&["create", "--console-socket", &path, container.id()]);
    container.finish(command).succeeds();
    let mut console = socket.receive();
    assert_eq!(console.fds, 1);
    assert!(console.name.starts_with("/dev/pt"), "{}", console.name);
    container.start().succeeds();
    console.read_until("/dev/pts/0");
    console.write("hello\n");
    console.read_until("got hello");
}

/// CLI-TTY-02: the terminal is the program's controlling terminal and its three streams.
#[test]
fn is_the_controlling_terminal() {
    let container = Container::new(|config| {
        config["process"]["terminal"] = json!(true);
        config["process"]["consoleSize"] = json!({"height": 33, "width": 77});
        config["process"]["args"] = json!([
            "sh",
            "-c",
            "for n in 0 1 2; do test -t $n && echo -n $n; done; echo; stty size; echo x > /dev/tty && ls /dev/console; read line"
        ]);
    });
    let socket = ConsoleSocket::listen(container.path("s"));
    let path = socket.path().display().to_string();
    let command = container.command(&["create", "--console-socket", &path, container.id()]);
    container.finish(command).succeeds();
    let mut console = socket.receive();
    container.start().succeeds();
    let text = console.read_until("/dev/console");
    assert!(text.contains("012"), "{text}");
    assert!(text.contains("33 77"), "{text}");
}

/// CLI-TTY-03: exec has a terminal over a socket too.
#[test]
fn exec_has_a_terminal() {
    let container = Container::sleeping(|_| ());
    container.up();
    let socket = ConsoleSocket::listen(container.path("s"));
    let path = socket.path().display().to_string();
    let words = [
        "exec",
        "--tty",
        "--detach",
        "--console-socket",
        &path,
        container.id(),
        "sh",
        "-c",
        "tty; read line",
    ];
    container.call(&words).succeeds();
    let mut console = socket.receive();
    console.read_until("/dev/pts/");
}

/// CLI-TTY-04: a terminal without a socket cannot be detached from.
#[test]
fn refuses_a_terminal_without_a_socket() {
    let container = Container::new(|config| config["process"]["terminal"] = json!(true));
    container
        .create()
        .fails_naming(&["cannot allocate tty if", "will detach without setting console socket"]);
    container.assert_nothing_left();
}

/// CLI-TTY-05: a socket without a terminal is an error.
#[test]
fn refuses_a_socket_without_a_terminal() {
    let container = Container::new(|_| ());
    let socket = ConsoleSocket::listen(container.path("s"));
    let path = socket.path().display().to_string();
    container
        .call(&["create", "--console-socket", &path, container.id()])
        .fails_naming(&["cannot use console socket if", "will not detach or allocate tty"]);
    container.assert_nothing_left();
}

/// CLI-TTY-06: in the foreground, the program's terminal is joined to the caller's.
#[test]
fn joins_the_callers_terminal() {
    let container = Container::new(|config| {
        config["process"]["terminal"] = json!(true);
        config["process"]["args"] =
            json!(["sh", "-c", "test -t 0 && test -t 1 && echo terminal; tty"]);
    });
    let run = container.command(&["run", container.id()]);
    let words: Vec<String> = std::iter::once(run.get_program())
        .chain(run.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''")))
        .collect();
    // script gives the command a terminal of its own, as a shell would.
    let mut script = std::process::Command::new("script");
    script.args(["-q", "-e", "-c", &words.join(" "), "/dev/null"]).current_dir(container.bundle());
    let outcome = container.finish(script).succeeds();
    assert!(outcome.stdout.contains("terminal"), "{}", outcome.report());
    assert!(outcome.stdout.contains("/dev/pts/0"), "{}", outcome.report());
    container.assert_nothing_left();
}

/// CLI-TTY-07: the terminal belongs to the program's user.
#[test]
fn belongs_to_the_user() {
    let container = Container::new(|config| {
        config["process"]["terminal"] = json!(true);
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        config["process"]["args"] = json!(["sh", "-c", "stat -c 'owner %u' $(tty)"]);
    });
    assert_eq!(container.run().succeeds().stdout.trim_end(), "owner 1000");
}

/// CLI-TTY-08: what the program writes to its terminal in the foreground has plain newlines, from the
/// first line on.
#[test]
fn keeps_newlines_as_they_are() {
    for _ in 0..10 {
        let container = Container::new(|config| {
            config["process"]["terminal"] = json!(true);
            config["process"]["args"] = json!(["echo", "first"]);
        });
        assert_eq!(container.run().succeeds().stdout, "first\n");
    }
}
