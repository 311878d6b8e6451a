//! `exec`: one more process in a running container.

use std::fs;

use keel_tests::{Container, executes, requires};
use serde_json::{Value, json};

/// CLI-EXEC-01: the command's status is the process's.
#[test]
fn returns_the_status() {
    let container = Container::sleeping(|_| ());
    container.up();
    for status in [0, 1, 77] {
        container.exec(&["/bin/probe", "exit", &status.to_string()]).exits(status);
    }
    container.exec(&["/bin/probe", "raise", "9"]).exits(137);
}

/// CLI-EXEC-02: the process is in all namespaces and cgroups of the container.
#[test]
fn joins_the_container() {
    let container = Container::sleeping(|_| ());
    let pid = container.up();
    let seen = container.exec_report(&[]);
    for name in ["ipc", "mnt", "net", "pid", "uts", "cgroup", "user"] {
        let link = fs::read_link(format!("/proc/{pid}/ns/{name}")).expect("a namespace");
        assert_eq!(seen["namespaces"][name], link.display().to_string(), "{name}");
    }
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroups");
    assert_eq!(seen["cgroup"], cgroup.trim());
}

/// CLI-EXEC-03: user, capabilities, limits, umask and no_new_privs are those of the configuration.
#[test]
fn has_the_configurations_credentials() {
    let container = Container::sleeping(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": [7]});
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 99}]);
    });
    container.up();
    let seen = container.exec_report(&[]);
    assert_eq!(seen["uid"], json!([1000, 1000, 1000, 1000]));
    assert_eq!(seen["groups"], json!([7]));
    assert_eq!(seen["rlimits"]["RLIMIT_NOFILE"], json!({"soft": 99, "hard": 99}));
    assert_eq!(seen["no_new_privs"], "1");
    assert_eq!(seen["caps"]["bounding"], json!([5, 10, 29]));
}

/// CLI-EXEC-04: `--env` adds variables, `--cwd` sets the working directory.
#[test]
fn takes_env_and_cwd() {
    let container =
        Container::sleeping(|config| config["process"]["env"] = json!(["PATH=/bin", "A=1"]));
    container.up();
    let seen = container.exec_report(&["--env", "B=2", "--env", "C=3 4", "--cwd", "/home/web"]);
    assert_eq!(seen["cwd"], "/home/web");
    for (name, value) in [("A", "1"), ("B", "2"), ("C", "3 4")] {
        assert_eq!(seen["env"][name], value, "{name}");
    }
}

/// CLI-EXEC-05: `--user UID:GID` sets both; `--additional-gids` adds groups.
#[test]
fn takes_user_and_groups() {
    let container = Container::sleeping(|_| ());
    container.up();
    let flags = ["--user", "1000:1001", "-g", "5", "-g", "6"];
    let seen = container.exec_report(&flags);
    assert_eq!(seen["uid"], json!([1000, 1000, 1000, 1000]));
    assert_eq!(seen["gid"], json!([1001, 1001, 1001, 1001]));
    assert_eq!(seen["groups"], json!([5, 6]));
}

/// CLI-EXEC-06: flags end at the id: what follows belongs to the process.
#[test]
fn passes_what_looks_like_flags() {
    let container = Container::sleeping(|_| ());
    container.up();
    let outcome = container.exec(&["echo", "-d", "--tty", "--", "x"]).succeeds();
    assert_eq!(outcome.stdout, "-d --tty -- x\n");
}

/// CLI-EXEC-07: `--process FILE` gives the whole process.
#[test]
fn takes_a_process_file() {
    let container = Container::sleeping(|_| ());
    container.up();
    let file = container.path("process.json");
    let process = json!({
        "args": ["/bin/probe", "report"], "cwd": "/tmp", "env": ["PATH=/bin", "X=y"],
        "user": {"uid": 3, "gid": 4, "additionalGids": [9]}, "noNewPrivileges": false,
        "capabilities": {"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"]},
    });
    fs::write(&file, process.to_string()).expect("a file");
    let file = file.display().to_string();
    let seen = container.call(&["exec", "--process", &file, container.id()]).succeeds().json();
    assert_eq!(seen["cwd"], "/tmp");
    assert_eq!(seen["uid"], json!([3, 3, 3, 3]));
    assert_eq!(seen["groups"], json!([9]));
    assert_eq!(seen["env"]["X"], "y");
    assert_eq!(seen["no_new_privs"], "0");
    assert_eq!(seen["caps"]["bounding"], json!([5]));
}

/// CLI-EXEC-08: with `--detach` and `--pid-file` the command returns, and the file names the process.
#[test]
fn detaches_with_a_pid_file() {
    let container = Container::sleeping(|_| ());
    container.up();
    let file = container.path("exec.pid").display().to_string();
    let words = ["exec", "--detach", "--pid-file", &file, container.id(), "sleep", "100001"];
    container.call(&words).succeeds();
    let pid = fs::read_to_string(&file).expect("a pid file");
    executes(&pid, &["sleep", "100001"]);
}

/// CLI-EXEC-09: any error of the runtime gives status 255.
#[test]
fn errors_are_255() {
    let container = Container::sleeping(|_| ());
    container.up();
    container
        .exec(&["nosuchprogram"])
        .exits(255)
        .says(&["exec failed", "exec: \\\"nosuchprogram\\\": executable file not found in $PATH"]);
    container.exec(&["/bin/nosuchprogram"]).exits(255).says(&["no such file or directory"]);
    container.exec(&["/etc/passwd"]).exits(255).says(&["permission denied"]);
    container.call(&["exec", "nosuchcontainer", "true"]).exits(255).says(&["does not exist"]);
}

/// CLI-EXEC-10: there is no exec in a stopped container.
#[test]
fn refuses_a_stopped_container() {
    let container = Container::new(|config| config["process"]["args"] = json!(["true"]));
    container.up_and_over();
    container.exec(&["true"]).exits(255).says(&["cannot exec in a stopped container"]);
}

/// CLI-EXEC-11: exec works in a created container.
#[test]
fn enters_a_created_container() {
    let container = Container::sleeping(|_| ());
    container.create().succeeds();
    assert_eq!(container.exec(&["echo", "in"]).succeeds().stdout, "in\n");
}

/// CLI-EXEC-12: streams are the caller's.
#[test]
fn passes_the_streams() {
    let container = Container::sleeping(|_| ());
    container.up();
    let command = container.command(&["exec", container.id(), "sh", "-c", "cat; echo err >&2"]);
    let outcome = container.finish_with_input(command, "in\n").succeeds();
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("in\n", "err\n"));
}

/// CLI-EXEC-13: only stdio is open in the process.
#[test]
fn leaves_only_stdio_open() {
    let container = Container::sleeping(|_| ());
    container.up();
    let seen = container.exec_report(&[]);
    let open: Vec<&String> = seen["fds"].as_object().expect("an object").keys().collect();
    assert_eq!(open, ["0", "1", "2"], "{}", seen["fds"]);
}

/// CLI-EXEC-14: the container's seccomp filter holds for the process.
#[test]
fn applies_seccomp() {
    let container = Container::sleeping(|config| {
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["getcwd"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77}]});
    });
    container.up();
    let outcome = container.exec(&["/bin/probe", "syscall", "79", "0", "0"]);
    assert_eq!(outcome.json()["errno"], 77);
}

/// CLI-EXEC-15: `--no-new-privs` and `--cap` change what the process gets.
#[test]
fn takes_caps_and_no_new_privs() {
    let container =
        Container::sleeping(|config| config["process"]["noNewPrivileges"] = json!(false));
    container.up();
    let seen = container.exec_report(&["--cap", "CAP_NET_RAW", "--no-new-privs"]);
    assert_eq!(seen["no_new_privs"], "1");
    assert!(
        seen["caps"]["effective"].as_array().is_some_and(|set| set.contains(&json!(13))),
        "{seen}"
    );
}

/// CLI-EXEC-16: the processes that Docker, containerd and Podman sent to exec run.
#[test]
fn runs_captured_process_files() {
    let folder = keel_tests::project_root().join("tests/captures");
    let mut tried = 0;
    for entry in fs::read_dir(folder).expect("captures").flatten() {
        if !entry.file_name().to_string_lossy().contains("-exec-process-") {
            continue;
        }
        let text = fs::read_to_string(entry.path()).expect("a capture");
        let mut process: Value = serde_json::from_str(&text).expect("JSON");
        if process["terminal"] == true {
            continue;
        }
        // The machine may not raise limits or lower the score; everything else stays as it was sent.
        process["args"] = json!(["/bin/probe", "report"]);
        process.as_object_mut().expect("an object").remove("oomScoreAdj");
        let container = Container::sleeping(|_| ());
        container.up();
        let file = container.path("process.json");
        fs::write(&file, process.to_string()).expect("a file");
        let words = ["exec", "--process", &file.display().to_string(), container.id()];
        let seen = container.call(&words).succeeds().json();
        assert_eq!(seen["cwd"], process["cwd"], "{:?}", entry.file_name());
        assert_eq!(seen["uid"][0], process["user"]["uid"], "{:?}", entry.file_name());
        tried += 1;
    }
    assert!(tried >= 5, "only {tried} captures were tried");
}

/// CLI-EXEC-17: `execCPUAffinity.final` binds a process of exec.
#[test]
fn binds_to_processors() {
    let container = Container::sleeping(|_| ());
    if !requires(container.runtime().is("keel"), "execCPUAffinity is newer than the packaged runc")
    {
        return;
    }
    container.up();
    let config = fs::read_to_string(container.path("config.json")).expect("config.json");
    let mut process = config.parse::<Value>().expect("JSON")["process"].clone();
    process["args"] = json!(["cat", "/proc/self/status"]);
    process["execCPUAffinity"] = json!({"initial": "0-1", "final": "0"});
    let file = container.path("process.json");
    fs::write(&file, process.to_string()).expect("process.json");
    let file = file.display().to_string();
    let status = container.call(&["exec", "--process", &file, container.id()]).succeeds().stdout;
    assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");
}
