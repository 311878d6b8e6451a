//! What `ADD` takes from elsewhere, and agents that are lent to a command.

use std::fs;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use keel_tests::{Child, ImageStore, Outcome, digest, eventually, fixture, free_port};

/// A store with the base, and a web server of the folder `served` beside it.
fn prepared() -> (ImageStore, Child, String) {
    let store = ImageStore::new();
    store.import(&fixture("busybox.tar"), "busybox").succeeds();
    fs::create_dir_all(store.beside("served/d")).expect("a folder");
    fs::create_dir_all(store.beside("context")).expect("a folder");
    let port = free_port();
    let mut command = Command::new("python3");
    command.args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string(), "--directory"]);
    command.arg(store.beside("served")).stdout(Stdio::null()).stderr(Stdio::null());
    let child = Child::start(command);
    eventually("the server listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    (store, child, format!("http://127.0.0.1:{port}"))
}

fn build(store: &ImageStore, dockerfile: &str, flags: &[&str]) -> Outcome {
    fs::write(store.beside("context/Dockerfile"), dockerfile).expect("a Dockerfile");
    let words = ["build", "--progress", "plain", "-t", "a:1"].into_iter();
    store.call(&words.chain(flags.iter().copied()).chain(["context"]).collect::<Vec<_>>())
}

fn shell(store: &ImageStore, script: &str) -> String {
    store.run_on("keel", "a:1", &["/bin/sh", "-c", script]).succeeds().stdout
}

/// DF-REMOTE-01: ADD takes a file by its URL: name, permissions and time; a checksum is held against it, and with one
/// it is not fetched again; an archive is extracted when that is asked for.
#[test]
fn adds_a_file_by_its_url() {
    let (store, server, url) = prepared();
    fs::write(store.beside("served/d/file"), "text\n").expect("a file");
    store.tool("touch", &["-d", "@700000000", "served/d/file"]);
    store.tool("tar", &["-C", "served", "-czf", "served/a.tgz", "d"]);
    let sum = digest(b"text\n");
    let text = format!(
        "FROM busybox\nADD {url}/d/file?x=y /in/\nADD --chmod=644 {url}/d/file /as\n\
         ADD {url}/a.tgz /packed\nADD --unpack {url}/a.tgz /unpacked/\n"
    );
    build(&store, &text, &[]).succeeds();
    let seen =
        shell(&store, "stat -c '%a %u %Y %n' /in/file /as; cat /as /unpacked/d/file; ls /packed");
    assert_eq!(seen, "600 0 700000000 /in/file\n644 0 700000000 /as\ntext\ntext\n/packed\n");
    let wrong = format!("FROM busybox\nADD --checksum={} {url}/d/file /x\n", digest(b"other"));
    build(&store, &wrong, &[]).exits(1).says(&["Dockerfile:2", &sum]);
    let right = format!("FROM busybox\nADD --checksum={sum} {url}/d/file /x\n");
    build(&store, &right, &[]).succeeds();
    build(&store, &format!("FROM busybox\nADD {url}/nothing /x\n"), &[]).exits(1).says(&["404"]);
    drop(server);
    build(&store, &right, &[]).succeeds().says(&["CACHED"]);
}

/// DF-REMOTE-02: ADD takes the files of a git repository, of a commit that is held against the checksum, and its
/// `.git` where that is to be kept.
#[test]
fn adds_a_repository() {
    let (store, _server, url) = prepared();
    let script = "git init -q -b main r && cd r && mkdir sub && echo one > a && echo two > sub/b && git add -A && \
        git -c user.name=t -c user.email=t@t commit -qm one && cd .. && git clone -q --bare r served/r.git && \
        git -C served/r.git update-server-info";
    store.tool("sh", &["-c", script]);
    let commit = store.tool("git", &["-C", "r", "rev-parse", "HEAD"]).stdout.trim().to_owned();
    let text = format!(
        "FROM busybox\nADD --checksum={commit} {url}/r.git /all/\nADD {url}/r.git#main:sub /sub/\n\
         ADD --keep-git-dir=true {url}/r.git /kept/\n"
    );
    build(&store, &text, &[]).succeeds();
    let seen =
        shell(&store, "cat /all/a /all/sub/b /sub/b; ls -d /all/.git /kept/.git 2>/dev/null; true");
    assert_eq!(seen, "one\ntwo\ntwo\n/kept/.git\n");
    let wrong = format!("FROM busybox\nADD --checksum=0123456789 {url}/r.git /all/\n");
    build(&store, &wrong, &[]).exits(1).says(&["Dockerfile:2", &commit]);
}

/// DF-REMOTE-03: the agent that `--ssh` names is there for a command that asks for it, and for no other.
#[test]
fn lends_an_agent() {
    let (store, _server, _) = prepared();
    let socket = store.beside("agent");
    let _agent = UnixListener::bind(&socket).expect("a socket");
    let text = "FROM busybox\nRUN --mount=type=ssh test -S $SSH_AUTH_SOCK && echo $SSH_AUTH_SOCK > /x\n\
        RUN test -z \"$SSH_AUTH_SOCK\" && test ! -e /run\n";
    let flag = format!("default={}", socket.display());
    build(&store, text, &["--ssh", &flag]).succeeds();
    assert_eq!(shell(&store, "cat /x"), "/run/buildkit/ssh_agent.0\n");
}
