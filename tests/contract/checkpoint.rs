//! `checkpoint` and `restore`, with a real criu.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use keel_tests::{ConsoleSocket, Container, Outcome, criu_folder, eventually, requires};
use serde_json::{Value, json};

/// Counts in its memory, and shows the count in a file of a tmpfs.
const COUNTER: &str = "i=0; while :; do i=$((i+1)); echo $i > /dev/shm/new; mv /dev/shm/new /dev/shm/n; sleep 0.02; done";

fn counting(delta: impl FnOnce(&mut Value)) -> Container {
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["sh", "-c", COUNTER]);
        delta(config);
    });
    std::os::unix::fs::symlink("busybox", container.rootfs().join("bin/mv")).expect("an applet");
    container
}

/// A command that finds criu.
fn command(container: &Container, words: &[&str]) -> Command {
    let mut command = container.command(words);
    command.env("PATH", path_with_criu());
    command
}

fn path_with_criu() -> String {
    format!("{}:{}", criu_folder().display(), std::env::var("PATH").unwrap_or_default())
}

fn call(container: &Container, words: &[&str]) -> Outcome {
    container.finish(command(container, words))
}

/// Runs a command whose container gets /dev/null for its streams: other runtimes cannot save a file that lies
/// outside of the container.
#[track_caller]
fn with_null(mut command: Command) {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the runtime starts");
    let status = eventually("the command ends", || child.try_wait().expect("a child"));
    assert!(status.success(), "{command:?}: {status}");
}

#[track_caller]
fn run(container: &Container) {
    with_null(command(container, &["run", "--detach", container.id()]));
}

#[track_caller]
fn restore(container: &Container, flags: &[&str]) {
    let words: Vec<&str> =
        ["restore", "--detach"].iter().chain(flags).copied().chain([container.id()]).collect();
    with_null(command(container, &words));
}

fn checkpoint(container: &Container, flags: &[&str]) -> Outcome {
    let words: Vec<&str> =
        ["checkpoint"].iter().chain(flags).copied().chain([container.id()]).collect();
    call(container, &words)
}

/// What the counter has come to.
#[track_caller]
fn count(container: &Container) -> u64 {
    let shown = container.exec(&["cat", "/dev/shm/n"]).succeeds();
    shown.stdout.trim().parse().expect("a number")
}

#[track_caller]
fn counts_to(container: &Container, at_least: u64) -> u64 {
    eventually(&format!("the counter is at {at_least}"), || {
        let shown = container.exec(&["cat", "/dev/shm/n"]);
        shown.stdout.trim().parse().ok().filter(|count| *count >= at_least)
    })
}

/// Checkpoints a counter, restores it, and sees that it goes on where it was.
#[track_caller]
fn goes_on(container: &Container, saving: &[&str], restoring: &[&str]) {
    let before = counts_to(container, 3);
    checkpoint(container, saving).succeeds();
    container.assert_nothing_left();
    restore(container, restoring);
    let first = count(container);
    assert!(first >= before, "it began anew: {first} after {before}");
    counts_to(container, first + 1);
    assert_eq!(container.state()["status"], "running");
}

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
    let _second = keel_tests::Child::start(holder);
    counts_to(&container, before + 1);
}

/// A port of the loopback interface that nobody listens at.
fn free_port() -> u16 {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    free.local_addr().expect("an address").port()
}

/// CLI-RESTORE-01: in the foreground the status is the process's, and the container is gone afterwards.
#[test]
fn restores_in_the_foreground() {
    let container = Container::new(|config| {
        let script = "while ! test -e /dev/shm/go; do sleep 0.02; done; exit 7";
        config["process"]["args"] = json!(["sh", "-c", script]);
    });
    run(&container);
    checkpoint(&container, &[]).succeeds();
    let mut foreground = command(&container, &["restore", container.id()]);
    foreground.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = foreground.spawn().expect("the runtime starts");
    eventually("it is restored", || {
        (container.exec(&["touch", "/dev/shm/go"]).status == 0).then_some(())
    });
    let status = eventually("the restore ends", || child.try_wait().expect("a child"));
    assert_eq!(status.code(), Some(7));
    container.assert_nothing_left();
}

/// CLI-RESTORE-02: callers that share flags with checkpoint are understood, and the pid file names the process.
#[test]
fn takes_the_flags_of_callers() {
    let container = counting(|_| ());
    run(&container);
    checkpoint(&container, &["--image-path", "images"]).succeeds();
    let mut flags =
        vec!["--image-path", "images", "--work-path", "work", "--pid-file", "pid", "-no-subreaper"];
    if container.runtime().is("keel") {
        flags.extend(["--parent-path", "../x", "--page-server", "127.0.0.1:1", "-no-pivot"]);
    }
    restore(&container, &flags);
    let pid = fs::read_to_string(container.path("pid")).expect("a pid file");
    assert_eq!(pid, container.pid().to_string());
    assert!(container.path("work/restore.log").exists());
}

/// CLI-RESTORE-03: a folder without images is an error that leaves nothing.
#[test]
fn refuses_a_folder_without_images() {
    let container = counting(|_| ());
    let words = ["restore", "--detach", "--image-path", "nowhere", container.id()];
    call(&container, &words).fails_naming(&["no such file or directory"]);
    container.assert_nothing_left();
    if container.runtime().is("keel") {
        fs::create_dir(container.path("odd")).expect("a folder");
        fs::write(container.path("odd/descriptors.json"), "{\"a\": 1}").expect("a file");
        let words = ["restore", "--detach", "--image-path", "odd", container.id()];
        call(&container, &words).fails_naming(&["descriptors.json"]);
        container.assert_nothing_left();
    }
}

/// CLI-RESTORE-04: a restore that fails leaves nothing, and names criu's log.
#[test]
fn a_failed_restore_leaves_nothing() {
    let container = counting(|_| ());
    run(&container);
    checkpoint(&container, &[]).succeeds();
    let images = container.path("checkpoint");
    for entry in fs::read_dir(&images).expect("a folder").flatten() {
        if entry.file_name().to_string_lossy().starts_with("core-") {
            fs::write(entry.path(), "no image").expect("a file");
        }
    }
    let words = ["restore", "--detach", container.id()];
    call(&container, &words).fails_naming(&["criu failed"]);
    container.assert_nothing_left();
}

/// CLI-RESTORE-05: streams that are pipes, or files outside, become the caller's.
#[test]
fn streams_become_the_callers() {
    let script = "while :; do echo tick; sleep 0.02; done";
    let container =
        Container::new(|config| config["process"]["args"] = json!(["sh", "-c", script]));
    let (mut from_first, to_first) = std::io::pipe().expect("a pipe");
    let piped = |words: &[&str], to: std::io::PipeWriter| {
        let mut command = command(&container, words);
        command.stdin(Stdio::null()).stdout(to).stderr(Stdio::null());
        let mut child = command.spawn().expect("the runtime starts");
        drop(command);
        let status = eventually("the command ends", || child.try_wait().expect("a child"));
        assert!(status.success(), "{words:?}: {status}");
    };
    let mut five = [0; 5];
    piped(&["run", "--detach", container.id()], to_first);
    from_first.read_exact(&mut five).expect("a line");
    checkpoint(&container, &[]).succeeds();
    let (mut from_second, to_second) = std::io::pipe().expect("a pipe");
    piped(&["restore", "--detach", container.id()], to_second);
    from_second.read_exact(&mut five).expect("a line");
    assert_eq!(&five, b"tick\n");
    container.delete(&["--force"]).succeeds();
    if !requires(container.runtime().is("keel"), "runc cannot save a file outside") {
        return;
    }
    // The same file again, as a log is: criu wants it to be as long as it was.
    let log = container.path("log");
    let logged = |words: &[&str]| {
        let file = fs::File::options().append(true).create(true).open(&log).expect("a file");
        let mut command = command(&container, words);
        command.stdin(Stdio::null()).stdout(file).stderr(Stdio::null());
        let mut child = command.spawn().expect("the runtime starts");
        let status = eventually("the command ends", || child.try_wait().expect("a child"));
        assert!(status.success(), "{words:?}: {status}");
    };
    let length = || fs::metadata(&log).expect("a file").len();
    logged(&["run", "--detach", container.id()]);
    eventually("it writes", || (length() > 20).then_some(()));
    checkpoint(&container, &[]).succeeds();
    let before = length();
    logged(&["restore", "--detach", container.id()]);
    eventually("it writes on", || (length() > before + 20).then_some(()));
}

/// CLI-RESTORE-06: the terminal of a restored container goes to the console socket.
#[test]
fn hands_over_the_terminal() {
    let container = Container::new(|config| {
        config["process"]["terminal"] = json!(true);
        let script = "echo up; while read line; do echo \"got $line\"; done";
        config["process"]["args"] = json!(["sh", "-c", script]);
    });
    let socket = ConsoleSocket::listen(container.path("s"));
    let path = socket.path().display().to_string();
    let words = ["run", "--detach", "--console-socket", &path, container.id()];
    call(&container, &words).succeeds();
    let mut console = socket.receive();
    console.read_until("up");
    checkpoint(&container, &[]).succeeds();
    drop(console);
    let words = ["restore", "--detach", container.id()];
    call(&container, &words).fails_naming(&["without setting console socket"]);
    container.assert_nothing_left();
    let words = ["restore", "--detach", "--console-socket", &path, container.id()];
    call(&container, &words).succeeds();
    let mut console = socket.receive();
    assert_eq!(console.fds, 1);
    console.write("hello\n");
    console.read_until("got hello");
}

/// CLI-RESTORE-07: bind mounts come from the bundle, through links and within one another, and their mount points
/// are made anew.
#[test]
fn binds_come_from_the_bundle() {
    let container = counting(|_| ());
    for folder in ["one", "two", "linked", "rootfs/real/conf"] {
        fs::create_dir_all(container.path(folder)).expect("a folder");
    }
    fs::write(container.path("file"), "file").expect("a file");
    std::os::unix::fs::symlink("/real/conf", container.path("rootfs/conf")).expect("a link");
    container.change(|config| {
        let bind = |source: &str, destination: &str| {
            let source = container.path(source).display().to_string();
            json!({"destination": destination, "type": "bind", "source": source, "options": ["bind"]})
        };
        let mounts = config["mounts"].as_array_mut().expect("an array");
        mounts.extend([
            bind("one", "/test"),
            bind("two", "/test/for/nested"),
            bind("linked", "/conf"),
            bind("file", "/etc/file"),
        ]);
    });
    run(&container);
    let before = counts_to(&container, 3);
    checkpoint(&container, &[]).succeeds();
    fs::remove_dir_all(container.path("one/for")).expect("a folder");
    fs::remove_file(container.path("rootfs/etc/file")).expect("a file");
    fs::write(container.path("two/new"), "two").expect("a file");
    fs::write(container.path("linked/new"), "linked").expect("a file");
    restore(&container, &[]);
    for (path, content) in
        [("/test/for/nested/new", "two"), ("/conf/new", "linked"), ("/etc/file", "file")]
    {
        assert_eq!(container.exec(&["cat", path]).succeeds().stdout, content, "{path}");
    }
    counts_to(&container, before + 1);
}

/// CLI-RESTORE-08: namespaces of the container are made again, a user namespace and a cgroup namespace too.
#[test]
fn makes_namespaces_again() {
    let cgroups = counting(|config| {
        config["linux"]["namespaces"]
            .as_array_mut()
            .expect("an array")
            .push(json!({"type": "cgroup"}));
    });
    run(&cgroups);
    goes_on(&cgroups, &[], &[]);
    let users = counting(|config| {
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
        namespaces.push(json!({"type": "user"}));
    });
    run(&users);
    // The processes read the images as users of their namespace.
    fs::create_dir(users.path("images")).expect("a folder");
    goes_on(&users, &["--image-path", "images"], &["--image-path", "images"]);
    let map = users.exec(&["cat", "/proc/self/uid_map"]).succeeds().stdout;
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
}

/// CLI-RESTORE-09: a network namespace that was joined is joined again.
#[test]
fn joins_a_network_namespace_again() {
    let holder = Container::sleeping(|_| ());
    let path = format!("/proc/{}/ns/net", holder.up());
    let container = counting(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("an array");
        let network = namespaces.iter_mut().find(|n| n["type"] == "network").expect("network");
        network["path"] = json!(path);
    });
    run(&container);
    goes_on(&container, &[], &[]);
    let joined = fs::read_link(format!("/proc/{}/ns/net", container.pid())).expect("a link");
    assert_eq!(joined, fs::read_link(&path).expect("a link"));
}

/// CLI-RESTORE-10: with `--manage-cgroups-mode ignore` on both sides the cgroup is the one of the bundle, with its
/// limits.
#[test]
fn restores_into_another_cgroup() {
    let container = counting(|_| ());
    if !requires(!container.runtime().is("runc"), "runc 1.1 does not know the mode ignore") {
        return;
    }
    run(&container);
    let before = counts_to(&container, 3);
    checkpoint(&container, &["--manage-cgroups-mode", "ignore"]).succeeds();
    let other = format!("/{}/other", container.id());
    container.change(|config| {
        config["linux"]["cgroupsPath"] = json!(other);
        config["linux"]["resources"]["pids"] = json!({"limit": 77});
    });
    restore(&container, &["--manage-cgroups-mode", "ignore"]);
    counts_to(&container, before + 1);
    let pid = container.pid();
    assert!(fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("a table").contains(&other));
    assert_eq!(keel_tests::cgroup_value(pid, "pids", "pids.max"), "77");
    container.delete(&["--force"]).succeeds();
    for folder in fs::read_dir("/sys/fs/cgroup").expect("a folder").flatten() {
        let _ = fs::remove_dir(folder.path().join(container.id()));
    }
    let _ = fs::remove_dir(format!("/sys/fs/cgroup/{}", container.id()));
}

/// CLI-RESTORE-11: the hooks of the bundle run when the namespaces are there, and are told the process.
#[test]
fn runs_hooks() {
    let container = counting(|_| ());
    let told = container.path("told");
    let script = format!("cat >> {0}; echo >> {0}", told.display());
    run(&container);
    checkpoint(&container, &[]).succeeds();
    container.change(|config| {
        let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
        config["hooks"] = json!({"prestart": hook, "createRuntime": hook});
    });
    restore(&container, &[]);
    let told = fs::read_to_string(told).expect("told");
    let states: Vec<Value> =
        told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(states.len(), 2);
    assert_eq!(states[0]["pid"], container.pid());
    container.delete(&["--force"]).succeeds();
    container.change(|config| {
        config["hooks"] = json!({"createRuntime": [{"path": "/bin/false"}]});
    });
    call(&container, &["restore", "--detach", container.id()]).fails_naming(&["hook"]);
    container.assert_nothing_left();
}

/// CLI-RESTORE-12: a restore that is killed at any moment can be cleared away by force.
#[test]
fn a_killed_restore_can_be_deleted() {
    let container = counting(|_| ());
    if !requires(container.runtime().is("keel"), "the packaged runc is known to leave things") {
        return;
    }
    run(&container);
    checkpoint(&container, &[]).succeeds();
    let words = ["restore", "--detach", container.id()];
    let mut deaths = 0;
    for number in (1..60).step_by(3) {
        let plain = command(&container, &words);
        let mut strace = Command::new("strace");
        let inject = format!("inject=sendto,mkdirat,renameat2,clone3:signal=KILL:when={number}");
        strace.args(["-qq", "-o", "/dev/null", "-e", &inject]);
        strace.arg(plain.get_program()).args(plain.get_args()).current_dir(container.bundle());
        strace.env("PATH", path_with_criu());
        let killed = container.finish(strace).status == 137;
        container.delete(&["--force"]).succeeds();
        eventually(&format!("nothing is left of the restore killed at {number}"), || {
            container.left().is_empty().then_some(())
        });
        if !killed {
            break;
        }
        deaths += 1;
    }
    // On version 2 there are fewer cgroups to make.
    assert!(deaths > 2, "only {deaths} places were visited");
    restore(&container, &[]);
}

/// CLI-RESTORE-13: `features` says that checkpoint is there, and which annotation it obeys.
#[test]
fn is_listed_in_features() {
    let container = Container::new(|_| ());
    if !requires(container.runtime().is("keel"), "runc 1.1 does not list unsafe annotations") {
        return;
    }
    let features = container.call(&["features"]).succeeds().json();
    assert_eq!(features["annotations"]["org.opencontainers.runc.checkpoint.enabled"], "true");
    let unsafe_ones = features["potentiallyUnsafeConfigAnnotations"].as_array().expect("an array");
    assert!(unsafe_ones.iter().any(|name| name == "org.criu.config"), "{unsafe_ones:?}");
}

/// CLI-RESTORE-14: `org.criu.config` names criu's own configuration file, of which the bundle decides.
#[test]
fn takes_the_configuration_file_of_the_annotation() {
    let container = counting(|_| ());
    let file = container.path("criu.conf");
    fs::File::create(&file)
        .and_then(|mut file| file.write_all(b"log-file=other.log\n"))
        .expect("a file");
    container.change(|config| {
        config["annotations"] = json!({"org.criu.config": file.display().to_string()});
    });
    run(&container);
    goes_on(&container, &["--work-path", "work"], &["--work-path", "work"]);
    assert!(container.path("work/other.log").exists());
}

/// CLI-RESTORE-15: what protects a container holds again: read-only and masked paths, read-only binds, the read-only
/// root, capabilities, the seccomp filter.
#[test]
fn protections_hold_again() {
    let container = counting(|config| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_ERRNO"}]});
    });
    fs::create_dir(container.path("data")).expect("a folder");
    container.change(|config| {
        let source = container.path("data").display().to_string();
        config["mounts"].as_array_mut().expect("an array").push(
            json!({"destination": "/data", "type": "bind", "source": source, "options": ["bind", "ro"]}),
        );
    });
    run(&container);
    counts_to(&container, 1);
    let credentials = || {
        let status =
            fs::read_to_string(format!("/proc/{}/status", container.pid())).expect("status");
        let kept = ["Cap", "NoNewPrivs", "Seccomp", "Uid", "Gid"];
        let lines = status.lines().filter(|line| kept.iter().any(|word| line.starts_with(word)));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = credentials();
    checkpoint(&container, &[]).succeeds();
    restore(&container, &[]);
    assert_eq!(credentials(), before);
    for script in [
        "! touch /data/new",
        "! touch /new",
        "! echo 1 > /proc/sys/kernel/ns_last_pid",
        "test -z \"$(cat /proc/kcore)\"",
        "test -z \"$(ls -A /sys/firmware)\"",
        "! touch /sys/fs/cgroup/cpu/tasks",
    ] {
        let outcome = container.exec(&["sh", "-c", script]);
        assert_eq!(outcome.status, 0, "{script}\n{}", outcome.report());
    }
}

/// CLI-RESTORE-16: a mount that criu would restore without its id mapping is refused before anything is saved.
#[test]
fn refuses_id_mapped_mounts() {
    let container = counting(|_| ());
    if !requires(container.runtime().is("keel"), "runc 1.1 has no id-mapped mounts") {
        return;
    }
    let without = std::env::var("KEEL_WITHOUT").unwrap_or_default();
    if !requires(!without.contains("mount_setattr"), "mount_setattr: without it ids are not mapped")
    {
        return;
    }
    fs::create_dir(container.path("data")).expect("a folder");
    container.change(|config| {
        let source = container.path("data").display().to_string();
        let map = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
        config["mounts"].as_array_mut().expect("an array").push(
            json!({"destination": "/data", "type": "bind", "source": source, "options": ["bind", "idmap"],
                "uidMappings": map, "gidMappings": map}),
        );
    });
    run(&container);
    checkpoint(&container, &[]).fails_naming(&["mounts[7]", "id mapping"]);
    assert!(!container.path("checkpoint").exists());
    counts_to(&container, 1);
}
