//! `checkpoint`, with a real criu.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use keel_tests::counter::{
    checkpoint, command, count, counting, counts_to, goes_on, path_with_criu, restore, run,
};
use keel_tests::{Container, criu_folder, eventually, requires};
use serde_json::{Value, json};

/// CLI-CKPT-01: a restored container goes on with its memory, twice in a row, and exec enters it.
#[test]
fn goes_on_with_its_memory() {
    let container = counting(|_| ());
    run(&container);
    let created = container.state()["created"].clone();
    goes_on(&container, &[], &[]);
    assert_ne!(container.state()["created"], created, "the time of the restore");
    goes_on(&container, &[], &[]);
}

/// CLI-CKPT-02: the container is deleted afterwards, with its poststop hooks; the images lie in ./checkpoint,
/// the log in the work path.
#[test]
fn deletes_the_container() {
    let container = counting(|_| ());
    let told = container.path("told");
    container.change(|config| {
        let script = format!("cat > {}", told.display());
        config["hooks"]["poststop"] = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
    });
    run(&container);
    checkpoint(&container, &["--work-path", "work"]).succeeds();
    container.assert_nothing_left();
    assert!(container.path("checkpoint/inventory.img").exists());
    assert!(container.path("work/dump.log").exists());
    let mode = fs::metadata(container.path("checkpoint")).expect("a folder").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let state: Value = serde_json::from_slice(&fs::read(told).expect("told")).expect("JSON");
    assert_eq!(state["status"], "stopped");
}

/// CLI-CKPT-03: with `--leave-running` the container runs on, and its images can be restored later.
#[test]
fn leaves_it_running() {
    let container = counting(|_| ());
    run(&container);
    let before = counts_to(&container, 3);
    checkpoint(&container, &["--leave-running"]).succeeds();
    assert_eq!(container.state()["status"], "running");
    counts_to(&container, before + 3);
    container.delete(&["--force"]).succeeds();
    restore(&container, &[]);
    counts_to(&container, before);
}

/// CLI-CKPT-04: what does not run cannot be checkpointed.
#[test]
fn refuses_what_does_not_run() {
    let container = counting(|_| ());
    container.create().succeeds();
    checkpoint(&container, &[])
        .fails_naming(&["Container cannot be checkpointed in created state"]);
    assert!(!container.path("checkpoint").exists(), "nothing is made for a refusal");
    container.kill("KILL").succeeds();
    container.becomes("stopped");
    checkpoint(&container, &[])
        .fails_naming(&["Container cannot be checkpointed in stopped state"]);
}

/// CLI-CKPT-05: without criu the error says so, and the container runs on.
#[test]
fn says_that_criu_is_missing() {
    let container = counting(|_| ());
    run(&container);
    let mut command = container.command(&["checkpoint", container.id()]);
    command.env("PATH", container.path("nowhere"));
    let outcome = container.finish(command);
    outcome.fails_naming(&["criu", "executable file not found in $PATH"]);
    counts_to(&container, count(&container) + 1);
    container.delete(&["--force"]).succeeds();
    fs::create_dir_all(container.path("checkpoint")).expect("a folder");
    fs::write(container.path("checkpoint/descriptors.json"), "[]").expect("a file");
    let mut command = container.command(&["restore", "--detach", container.id()]);
    command.env("PATH", container.path("nowhere"));
    container.finish(command).fails_naming(&["criu", "executable file not found in $PATH"]);
    container.assert_nothing_left();
}

/// CLI-CKPT-06: when criu fails, the error names its log, quotes it, and the container runs on; with the flag
/// that it asks for, file locks are taken along.
#[test]
fn a_failed_dump_leaves_it_running() {
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["/bin/probe", "lock", "/dev/shm/lock"]);
    });
    run(&container);
    let is_locked = || container.exec(&["/bin/probe", "try-lock", "/dev/shm/lock"]).status == 1;
    eventually("the lock is held", || is_locked().then_some(()));
    let outcome = checkpoint(&container, &[]);
    let outcome = outcome.fails_naming(&["criu failed", "dump.log"]);
    if container.runtime().is("keel") {
        assert!(outcome.stderr.contains("--file-locks"), "{}", outcome.report());
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.report());
    }
    assert_eq!(container.state()["status"], "running");
    container.exec(&["true"]).succeeds();
    checkpoint(&container, &["--file-locks"]).succeeds();
    restore(&container, &["--file-locks"]);
    assert!(is_locked(), "the lock was not taken along");
}

/// CLI-CKPT-07: `--parent-path` is relative and leads to a folder.
#[test]
fn checks_the_parent_path() {
    let container = counting(|_| ());
    run(&container);
    for wrong in ["/tmp", "../nowhere"] {
        checkpoint(&container, &["--image-path", "images", "--parent-path", wrong])
            .fails_naming(&["--parent-path"]);
    }
    assert_eq!(container.state()["status"], "running");
}

/// CLI-CKPT-08: a dump after a pre-dump holds what changed since; without a kernel that can tell, a pre-dump is
/// refused.
#[test]
fn dumps_in_two_steps() {
    let container = counting(|_| ());
    run(&container);
    counts_to(&container, 3);
    let mut check = Command::new(criu_folder().join("criu"));
    check.args(["check", "--feature", "mem_dirty_track"]);
    let tracks = container.finish(check).status == 0;
    let first = checkpoint(&container, &["--pre-dump", "--image-path", "first"]);
    assert_eq!(container.state()["status"], "running");
    if !tracks {
        first.fails_naming(&["is missing features"]);
        counts_to(&container, count(&container) + 1);
        return;
    }
    first.succeeds();
    let before = counts_to(&container, 3);
    let flags = ["--image-path", "second", "--parent-path", "../first"];
    checkpoint(&container, &flags).succeeds();
    assert!(container.path("second/parent").exists());
    restore(&container, &["--image-path", "second"]);
    counts_to(&container, before + 1);
}

/// CLI-CKPT-09: `--page-server` sends the memory to a server; what is no address is refused.
#[test]
fn sends_memory_to_a_page_server() {
    let container = counting(|_| ());
    run(&container);
    for wrong in ["nowhere", "127.0.0.1:", ":80"] {
        checkpoint(&container, &["--page-server", wrong])
            .fails_naming(&["Use --page-server ADDRESS:PORT to specify page server"]);
    }
    checkpoint(&container, &["--page-server", "127.0.0.1:x"])
        .fails_naming(&["Invalid port number"]);
    let port = free_port();
    fs::create_dir(container.path("images")).expect("a folder");
    let mut server = Command::new(criu_folder().join("criu"));
    server.args(["page-server", "--address", "127.0.0.1", "--images-dir", "images"]);
    server.args(["--port", &port.to_string()]).current_dir(container.bundle());
    server.stdout(Stdio::null()).stderr(Stdio::null());
    let _server = keel_tests::Child::start(server);
    let listening = format!("0100007F:{port:04X} 00000000:0000 0A");
    eventually("the page server listens", || {
        fs::read_to_string("/proc/net/tcp").expect("a table").contains(&listening).then_some(())
    });
    let before = counts_to(&container, 3);
    let address = format!("127.0.0.1:{port}");
    checkpoint(&container, &["--image-path", "images", "--page-server", &address]).succeeds();
    // What a server writes has numbers of its own.
    assert!(!container.path("images/pages-1.img").exists(), "written without the server");
    restore(&container, &["--image-path", "images"]);
    counts_to(&container, before + 1);
}

/// CLI-CKPT-10: the descriptor for lazy pages must be there and take a byte; words that are none are refused.
#[test]
fn refuses_wrong_words() {
    let container = counting(|_| ());
    run(&container);
    checkpoint(&container, &["--empty-ns", "mount"]).fails_naming(&["is not supported"]);
    if container.runtime().is("keel") {
        checkpoint(&container, &["--manage-cgroups-mode", "some"])
            .fails_naming(&["invalid manage-cgroups-mode value"]);
        checkpoint(&container, &["--lazy-pages", "--status-fd", "77"])
            .fails_naming(&["invalid --status-fd argument 77: bad file descriptor"]);
        // Standard input of these commands is open for reading only.
        checkpoint(&container, &["--lazy-pages", "--status-fd", "0"])
            .fails_naming(&["invalid --status-fd argument 0: not writable"]);
        checkpoint(&container, &["--status-fd", "x"]).fails_naming(&["-status-fd"]);
    }
    assert_eq!(container.state()["status"], "running");
}

/// CLI-CKPT-11: with `--tcp-established` open connections live on; without it the error names the flag.
#[test]
fn keeps_connections() {
    let script = "sleep 100000 | busybox nc -l -p 7007 > /dev/shm/got & \
                  while ! busybox netstat -lnt | grep -q 7007; do :; done; \
                  while :; do echo x; sleep 0.02; done | busybox nc 127.0.0.1 7007";
    let container =
        Container::new(|config| config["process"]["args"] = json!(["sh", "-c", script]));
    let got = || {
        let shown = container.exec(&["sh", "-c", "wc -c < /dev/shm/got"]);
        shown.stdout.trim().parse::<u64>().unwrap_or(0)
    };
    run(&container);
    eventually("the connection stands", || (got() > 4).then_some(()));
    let refused = checkpoint(&container, &[]).fails_naming(&["criu failed"]);
    if container.runtime().is("keel") {
        assert!(refused.stderr.contains("--tcp-established"), "{}", refused.report());
    }
    if !requires(container.runtime().is("keel"), "runc leaves the loopback interface down") {
        return;
    }
    let before = got();
    checkpoint(&container, &["--tcp-established"]).succeeds();
    restore(&container, &["--tcp-established"]);
    eventually("the connection goes on", || (got() > before + 10).then_some(()));
}

/// CLI-CKPT-12: `--status-fd` gets a zero byte when lazy pages can be had, and the command waits for whoever
/// fetches them.
#[test]
fn tells_when_pages_can_be_had() {
    let container = counting(|_| ());
    run(&container);
    counts_to(&container, 3);
    let port = free_port();
    let (mut from, to) = std::io::pipe().expect("a pipe");
    let address = format!("127.0.0.1:{port}");
    let words = [
        "checkpoint",
        "--lazy-pages",
        "--page-server",
        &address,
        "--status-fd",
        "1",
        container.id(),
    ];
    let mut lazy = command(&container, &words);
    lazy.stdin(Stdio::null()).stdout(to).stderr(Stdio::null());
    let mut child = lazy.spawn().expect("the runtime starts");
    drop(lazy);
    let mut byte = [7];
    from.read_exact(&mut byte).expect("a byte");
    assert_eq!(byte, [0]);
    assert!(container.path("checkpoint/inventory.img").exists());
    assert!(child.try_wait().expect("a child").is_none(), "it waits for nobody");
    // Whoever hangs up without asking for a page has fetched what it wants.
    drop(std::net::TcpStream::connect(&address).expect("the page server"));
    eventually("the checkpoint ends", || child.try_wait().expect("a child"));
}

/// CLI-CKPT-13: a paused container can be checkpointed, and goes on when it is restored.
#[test]
fn takes_a_paused_container() {
    let container = counting(|_| ());
    run(&container);
    let before = counts_to(&container, 3);
    container.call(&["pause", container.id()]).succeeds();
    checkpoint(&container, &[]).succeeds();
    container.assert_nothing_left();
    restore(&container, &[]);
    counts_to(&container, before + 1);
}

/// CLI-CKPT-14: streams on the caller's terminal are taken along with `--shell-job`, and are the caller's terminal
/// of then.
#[test]
fn takes_a_shell_job() {
    let container = counting(|_| ());
    let on_terminal = |words: &[&str]| {
        let plain = command(&container, words);
        let line: Vec<String> = std::iter::once(plain.get_program())
            .chain(plain.get_args())
            .map(|word| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''")))
            .collect();
        // script gives the command a terminal of its own, as a shell would.
        let mut script = Command::new("script");
        script.args(["-q", "-e", "-c", &line.join(" "), "/dev/null"]);
        script.env("PATH", path_with_criu()).current_dir(container.bundle());
        script
    };
    if !requires(container.runtime().is("keel"), "runc puts pipes between") {
        return;
    }
    let mut holder = on_terminal(&["run", container.id()]);
    holder.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let first = keel_tests::Child::start(holder);
    let before = counts_to(&container, 3);
    checkpoint(&container, &[]).fails_naming(&["criu failed"]);
    checkpoint(&container, &["--shell-job"]).succeeds();
    drop(first);
    eventually("nothing is left", || container.left().is_empty().then_some(()));
    let mut holder = on_terminal(&["restore", "--shell-job", container.id()]);
    holder.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let second = keel_tests::Child::start(holder);
    counts_to(&container, before + 1);
    container.delete(&["--force"]).succeeds();
    drop(second);
    eventually("nothing is left", || container.left().is_empty().then_some(()));
}

/// A port of the loopback interface that nobody listens at.
fn free_port() -> u16 {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    free.local_addr().expect("an address").port()
}
