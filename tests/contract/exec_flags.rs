//! `exec`: every flag to the letter, as orchestrators and people give them.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use keel_tests::{
    Child, ConsoleSocket, Container, controller_folder, eventually, freeze, requires,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

/// CLI-EXEC-18: `--cap` adds to the bounding, effective and permitted sets, and to the ambient set only what the
/// config made inheritable; the inheritable set stays (CVE-2022-29162).
#[test]
fn caps_are_never_inheritable() {
    let container = Container::sleeping(|config| {
        let sets = config["process"]["capabilities"].as_object_mut().expect("sets");
        sets.remove("inheritable");
        sets.remove("ambient");
    });
    container.up();
    let seen = container.exec_report(&["--cap", "CAP_NET_RAW", "--cap", "CAP_SYS_TIME"]);
    for set in ["bounding", "effective", "permitted"] {
        let set = seen["caps"][set].as_array().expect("a set");
        assert!(set.contains(&json!(13)) && set.contains(&json!(25)), "{}", seen["caps"]);
    }
    assert_eq!(seen["caps"]["inheritable"], json!([]));
    assert_eq!(seen["caps"]["ambient"], json!([]));
}

/// CLI-EXEC-33: a capability is named as capabilities(7) has it; other spellings are passed over with a warning and
/// grant nothing.
#[test]
fn capabilities_have_one_spelling() {
    let container = Container::sleeping(|_| ());
    container.up();
    for name in ["net_raw", "NET_RAW", "cap_net_raw", "CAP_NOSUCH"] {
        let seen = container.exec_report(&["--cap", name]);
        let set = seen["caps"]["permitted"].as_array().expect("a set");
        assert!(!set.contains(&json!(13)), "{name}: {set:?}");
        let outcome = container.call(&["exec", "--cap", name, container.id(), "true"]).succeeds();
        outcome.says(&[&format!("ignoring unknown or unavailable capabilities: [{name}]")]);
    }
}

/// CLI-EXEC-19: `--cgroup` names a sub-cgroup, for all controllers or for some; it must exist, and lie below the
/// container's own.
#[test]
fn enters_sub_cgroups() {
    let container = Container::sleeping(|_| ());
    let pid = container.up();
    let folder = |controller: &str| controller_folder(pid, controller).expect("a cgroup");
    if !requires(folder("memory") != folder("pids"), "controllers on version 1") {
        return;
    }
    for controller in ["memory", "pids"] {
        fs::create_dir(folder(controller).join("sub")).expect("a sub-cgroup");
    }
    let seen = container.exec_report(&["--cgroup", "memory,pids:sub"]);
    let table = seen["cgroup"].as_str().expect("a table");
    for line in table.lines() {
        let below = line.contains(":memory:") || line.contains(":pids:");
        assert_eq!(line.ends_with("/sub"), below, "{table}");
    }
    let refused = |flags: &[&str], words: &str| {
        let mut all = vec!["exec"];
        all.extend_from_slice(flags);
        all.extend([container.id(), "true"]);
        container.call(&all).exits(255).says(&[words]);
    };
    refused(&["--cgroup", "memory:nosuch"], "no such file or directory");
    refused(&["--cgroup", "memory:../.."], "../.. is not a sub cgroup path");
    refused(&["--cgroup", "nosuch:sub"], "unknown controller nosuch in SubCgroupPaths");
    if requires(container.runtime().is("keel"), "runc 1.1.5 takes the last of two") {
        let twice = ["--cgroup", "memory:sub", "--cgroup", "memory:sub"];
        refused(&twice, "controller memory specified multiple times");
    }
    for controller in ["memory", "pids"] {
        let folder = folder(controller).join("sub");
        eventually("the sub-cgroup is empty", || fs::remove_dir(&folder).ok());
    }
}

/// CLI-EXEC-20: `--pidfd-socket` is sent a pidfd of the process with the word `setns`.
#[test]
fn sends_a_pidfd() {
    let container = Container::sleeping(|_| ());
    if !requires(container.runtime().is("keel"), "runc 1.1.5 has no --pidfd-socket") {
        return;
    }
    container.up();
    let path = container.path("pidfd");
    let listener = UnixListener::bind(&path).expect("a socket");
    let path = path.display().to_string();
    let file = container.path("exec.pid").display().to_string();
    let words = ["exec", "-d", "--pidfd-socket", &path, "--pid-file", &file, container.id()];
    let mut words = words.to_vec();
    words.extend(["sleep", "100002"]);
    container.call(&words).succeeds();
    let (stream, _) = listener.accept().expect("a connection");
    let (word, pidfd) = receive(&stream);
    assert_eq!(word, "setns");
    let info = fs::read_to_string(format!(
        "/proc/self/fdinfo/{}",
        std::os::fd::AsRawFd::as_raw_fd(&pidfd)
    ));
    let info = info.expect("fdinfo");
    let pid = fs::read_to_string(&file).expect("a pid file");
    assert!(info.contains(&format!("Pid:\t{pid}\n")), "{info}");
}

fn receive(stream: &std::os::unix::net::UnixStream) -> (String, OwnedFd) {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut payload = [0_u8; 64];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [std::io::IoSliceMut::new(&mut payload)];
    let message = recvmsg(stream, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC);
    let length = message.expect("a message").bytes;
    let mut fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fd = fds.next().and_then(|mut fds| fds.next()).expect("a descriptor");
    (String::from_utf8_lossy(&payload[..length]).into_owned(), fd)
}

/// CLI-EXEC-21: in the foreground a signal to the command reaches the process.
#[test]
fn forwards_signals() {
    let container = Container::sleeping(|config| config["root"]["readonly"] = json!(false));
    container.up();
    let trap = "trap 'echo caught > /tmp/caught; exit 9' USR1; touch /tmp/ready; while :; do sleep 0.1; done";
    let mut command = container.command(&["exec", container.id(), "sh", "-c", trap]);
    command.stdin(Stdio::null());
    let command = Child::start(command);
    eventually("the trap is set", || container.rootfs().join("tmp/ready").exists().then_some(()));
    let pid = Pid::from_raw(command.pid()).expect("a pid");
    kill_process(pid, Signal::USR1).expect("a signal");
    eventually("the signal arrives", || {
        container.rootfs().join("tmp/caught").exists().then_some(())
    });
}

/// CLI-EXEC-22: many at a time do not meet.
#[test]
fn many_at_a_time() {
    let container = Container::sleeping(|_| ());
    container.up();
    std::thread::scope(|scope| {
        for number in 0..12 {
            let container = &container;
            let folder = container.path(&format!("io{number}"));
            fs::create_dir(&folder).expect("a folder");
            scope.spawn(move || {
                let status = number.to_string();
                let command =
                    container.command(&["exec", container.id(), "/bin/probe", "exit", &status]);
                keel_tests::output_within(command, &folder, None).exits(number);
            });
        }
    });
    let left = container.exec(&["ps"]).succeeds().stdout;
    assert!(!left.contains("probe"), "{left}");
}

/// CLI-EXEC-23: the process file that conmon gives, in conmon's words, with a terminal over its socket.
#[test]
fn conmons_invocation() {
    let container = Container::sleeping(|_| ());
    container.up();
    let file = container.path("process.json");
    let process = json!({
        "terminal": true, "args": ["sh", "-c", "tty; id -u; exit 0"], "cwd": "/",
        "env": ["PATH=/bin", "TERM=xterm"], "user": {"uid": 0, "gid": 0},
    });
    fs::write(&file, process.to_string()).expect("a file");
    let socket = ConsoleSocket::listen(container.path("console"));
    let text = |path: &std::path::Path| path.display().to_string();
    let pid_file = container.path("conmon.pid");
    let words = [
        "exec".to_owned(),
        "--pid-file".to_owned(),
        text(&pid_file),
        "--process".to_owned(),
        text(&file),
        "--console-socket".to_owned(),
        text(socket.path()),
        "--detach".to_owned(),
        container.id().to_owned(),
    ];
    container.call(&words).succeeds();
    let mut console = socket.receive();
    console.read_until("/dev/pts/0\r\n0\r\n");
    let pid = fs::read_to_string(&pid_file).expect("a pid file");
    assert!(pid.parse::<u32>().is_ok(), "{pid:?}");
}

/// CLI-EXEC-24: `--detach`, `--tty` and `--console-socket` must fit together.
#[test]
fn terminal_flags_must_fit() {
    let container = Container::sleeping(|_| ());
    container.up();
    let refused = |flags: &[&str], words: &str| {
        let mut all = vec!["exec"];
        all.extend_from_slice(flags);
        all.extend([container.id(), "true"]);
        container.call(&all).exits(255).says(&[words]);
    };
    refused(
        &["--detach", "--tty"],
        "cannot allocate tty if runc will detach without setting console socket",
    );
    let text = "cannot use console socket if runc will not detach or allocate tty";
    refused(&["--console-socket", "/nosuch", "--tty"], text);
    refused(&["--console-socket", "/nosuch", "--detach"], text);
}

/// CLI-EXEC-25: a process joins the namespaces that the container itself joined by path.
#[test]
fn follows_joined_namespaces() {
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "--ipc", "--uts", "--pid", "--fork", "sleep", "100000"]);
    let holder = Child::start(unshare);
    let pid = eventually("unshare forks", || {
        let path = format!("/proc/{0}/task/{0}/children", holder.pid());
        let child: i32 = fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()?;
        let name = fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
        (name.trim() == "sleep").then_some(child)
    });
    let container = Container::sleeping(|config| {
        config.as_object_mut().expect("an object").remove("hostname");
        for namespace in config["linux"]["namespaces"].as_array_mut().expect("an array") {
            let file = match namespace["type"].as_str() {
                Some("network") => "net",
                Some(kind @ ("ipc" | "uts" | "pid")) => kind,
                _ => continue,
            }
            .to_owned();
            namespace["path"] = format!("/proc/{pid}/ns/{file}").into();
        }
    });
    container.up();
    let seen = container.exec_report(&[]);
    for file in ["net", "ipc", "uts", "pid"] {
        let link = fs::read_link(format!("/proc/{pid}/ns/{file}")).expect("a namespace");
        assert_eq!(seen["namespaces"][file], link.display().to_string(), "{file}");
    }
    container.delete(&["--force"]).succeeds();
    kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL).expect("a signal");
}

/// CLI-EXEC-26: the end of standard input reaches the process, and its output is whole.
#[test]
fn input_ends() {
    let container = Container::sleeping(|_| ());
    container.up();
    let command = container.command(&["exec", container.id(), "wc", "-c"]);
    let outcome = container.finish_with_input(command, &"x".repeat(300_000)).succeeds();
    assert_eq!(outcome.stdout.trim(), "300000");
}

/// CLI-EXEC-27: what stands in place of the id or the command is missing: 255 or usage, never another's process.
#[test]
fn needs_an_id_and_a_command() {
    let container = Container::sleeping(|_| ());
    container.up();
    for words in [&["exec"][..], &["exec", container.id()]] {
        let outcome = container.call(words);
        assert_ne!(outcome.status, 0, "{}", outcome.report());
    }
    container.call(&["exec", "--user", "web", container.id(), "true"]).exits(255);
}

/// CLI-EXEC-28: single dashes and equals signs are as good as double dashes and spaces.
#[test]
fn takes_every_spelling_of_flags() {
    let container = Container::sleeping(|_| ());
    container.up();
    let seen = container.exec_report(&[
        "-user=7:8",
        "-env",
        "A=b",
        "--cwd=/tmp",
        "-env=C=d",
        "-no-new-privs",
    ]);
    assert_eq!(seen["uid"], json!([7, 7, 7, 7]));
    assert_eq!(seen["env"]["A"], "b");
    assert_eq!(seen["env"]["C"], "d");
    assert_eq!(seen["cwd"], "/tmp");
}

/// CLI-EXEC-29: a paused container is refused, unless `--ignore-paused` says to wait for its thaw.
#[test]
fn refuses_a_paused_container() {
    let container = Container::sleeping(|_| ());
    let pid = container.up();
    let folder = controller_folder(pid, "freezer").expect("a freezer");
    freeze(&folder, true);
    container.becomes("paused");
    container
        .exec(&["true"])
        .exits(255)
        .says(&["cannot exec in a paused container (use --ignore-paused to override)"]);
    let mut command = container.command(&["exec", "--ignore-paused", container.id(), "true"]);
    command.stdin(Stdio::null());
    let waiting = Child::start(command);
    freeze(&folder, false);
    eventually("exec ends", || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", waiting.pid())).ok()?;
        stat.rsplit_once(')')?.1.trim_start().starts_with('Z').then_some(())
    });
}

/// CLI-EXEC-30: `--cwd` must be absolute and there; unlike that of a creation it is not made.
#[test]
fn makes_no_working_directory() {
    let container = Container::sleeping(|config| config["root"]["readonly"] = json!(false));
    container.up();
    let missing = container.call(&["exec", "--cwd", "/srv/none", container.id(), "true"]);
    missing.exits(255).says(&["/srv/none", "no such file or directory"]);
    container.exec(&["test", "!", "-e", "/srv/none"]).succeeds();
    let relative = container.call(&["exec", "--cwd", "tmp", container.id(), "true"]);
    relative.exits(255).says(&["Cwd must be an absolute path"]);
}

/// CLI-EXEC-31: a variable without an equals sign, or without a name, is refused.
#[test]
fn refuses_variables_that_are_none() {
    let container = Container::sleeping(|_| ());
    container.up();
    for entry in ["NAME", "=value", ""] {
        let outcome = container.call(&["exec", "--env", entry, container.id(), "true"]);
        let text = outcome.exits(255).stderr;
        assert!(text.to_lowercase().contains("environment variable"), "{entry:?}: {text}");
    }
}

/// CLI-EXEC-32: capabilities that nobody knows are passed over with a warning, and the others are added.
#[test]
fn passes_over_unknown_capabilities() {
    let container = Container::sleeping(|_| ());
    container.up();
    let flags = ["exec", "--cap", "CAP_NONE", "--cap", "CAP_SYS_TIME", container.id()];
    let mut words = flags.to_vec();
    words.extend(["grep", "CapEff", "/proc/self/status"]);
    let outcome = container.call(&words).succeeds();
    assert!(outcome.stderr.contains("ignoring unknown or unavailable capabilities: [CAP_NONE]"));
    let mask = outcome.stdout.trim().rsplit('\t').next().expect("a mask").to_owned();
    let mask = u64::from_str_radix(&mask, 16).expect("a number");
    assert_eq!(mask >> 25 & 1, 1, "CAP_SYS_TIME is number 25: {mask:x}");
}
