//! `process.terminal` and the console-socket protocol.

use keel_tests::{ConsoleSocket, Container, requires};
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

/// Runs a command of the runtime at a terminal, as a shell would.
fn at_a_terminal(container: &Container, args: &[&str]) -> keel_tests::Outcome {
    shown_by_script(container, "exec ", args)
}

/// script gives the command a terminal of its own. What it copies to its output is no terminal's.
fn shown_by_script(container: &Container, before: &str, args: &[&str]) -> keel_tests::Outcome {
    let call = container.command(args);
    let words: Vec<String> = std::iter::once(call.get_program())
        .chain(call.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''")))
        .collect();
    let mut script = std::process::Command::new("script");
    script.args(["-q", "-e", "-c", &format!("{before}{}", words.join(" ")), "/dev/null"]);
    script.current_dir(container.bundle());
    container.finish(script)
}

/// CLI-TTY-06: in the foreground, the program's terminal is joined to the caller's.
#[test]
fn joins_the_callers_terminal() {
    let container = Container::new(|config| {
        config["process"]["terminal"] = json!(true);
        config["process"]["args"] =
            json!(["sh", "-c", "test -t 0 && test -t 1 && echo terminal; tty"]);
    });
    let outcome = at_a_terminal(&container, &["run", container.id()]).succeeds();
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
    let outcome = at_a_terminal(&container, &["run", container.id()]).succeeds();
    assert!(outcome.stdout.contains("owner 1000"), "{}", outcome.report());
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
        if !requires(
            container.runtime().is("keel"),
            "runc 1.1.5 sets it when the first may be written",
        ) {
            return;
        }
        let outcome = at_a_terminal(&container, &["run", container.id()]).succeeds();
        assert!(outcome.stdout.contains("first\n"), "{}", outcome.report());
    }
}

/// CLI-TTY-09: without any terminal on the caller's side a terminal in the foreground is an error, of run and
/// of exec, and nothing is left.
#[test]
fn needs_a_terminal_of_the_callers() {
    let detached = |container: &Container, args: &[&str]| {
        let call = container.command(args);
        let mut setsid = std::process::Command::new("setsid");
        setsid.arg("--wait").arg(call.get_program()).args(call.get_args());
        setsid.current_dir(container.bundle());
        container.finish(setsid)
    };
    let text = "open /dev/tty: no such device or address";
    let container = Container::new(|config| config["process"]["terminal"] = json!(true));
    detached(&container, &["run", container.id()]).exits(1).says(&[text]);
    container.assert_nothing_left();
    let container = Container::sleeping(|_| ());
    container.up();
    let words = ["exec", "-t", container.id(), "true"];
    detached(&container, &words).exits(255).says(&[text]);
}

/// CLI-TTY-10: the terminal of exec in the foreground has the size of the caller's and follows it.
#[test]
fn has_the_size_of_the_callers() {
    let container = Container::sleeping(|config| config["root"]["readonly"] = json!(false));
    container.up();
    let size = "until test \"$(stty size)\" = \"$WANTED\"; do :; done; echo followed";
    let words = ["exec", "-t", "--env", "WANTED=22 62", container.id(), "sh", "-c", size];
    let before = "stty rows 22 cols 62; exec ";
    let outcome = shown_by_script(&container, before, &words).succeeds();
    assert!(outcome.stdout.contains("followed"), "{}", outcome.report());
    let before = "stty rows 21 cols 61; tty=$(tty); \
                  (until test -e rootfs/ready; do :; done; stty rows 22 cols 62 < $tty) & exec ";
    let size = format!("echo now > /ready; {size}");
    let words = ["exec", "-t", "--env", "WANTED=22 62", container.id(), "sh", "-c", &size];
    let outcome = shown_by_script(&container, before, &words).succeeds();
    assert!(outcome.stdout.contains("followed"), "{}", outcome.report());
}
