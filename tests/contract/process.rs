//! `process`: what the container's program is started with.

use keel_tests::{Container, requires};
use serde_json::json;

/// RT-PROC-01: `process.args` reach the program unchanged, empty and odd ones too.
#[test]
fn passes_args_unchanged() {
    let args =
        json!(["/bin/sh", "-c", "for a; do echo \"[$a]\"; done", "sh", "", "a b", "ü", "-x", "*"]);
    let container = Container::new(|config| config["process"]["args"] = args);
    assert_eq!(container.run().succeeds().stdout, "[]\n[a b]\n[ü]\n[-x]\n[*]\n");
}

/// RT-PROC-02: `process.env` is the program's environment; nothing of the caller's comes in.
#[test]
fn sets_the_environment() {
    let container = Container::new(|config| {
        config["process"]["env"] = json!(["PATH=/bin", "HOME=/x", "EMPTY=", "A=b=c", "SPACE= y "]);
    });
    let mut command = container.command(&["run", container.id()]);
    command.env("KEEL_TESTS_CALLER", "leaks");
    let seen = container.finish(command).succeeds().json();
    assert_eq!(
        seen["env"],
        json!({"PATH": "/bin", "HOME": "/x", "EMPTY": "", "A": "b=c", "SPACE": " y "})
    );
}

/// RT-PROC-03: `HOME` is taken from the container's /etc/passwd when the configuration has none.
#[test]
fn finds_home_in_the_containers_passwd() {
    let container =
        Container::new(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    assert_eq!(container.observe()["env"]["HOME"], "/home/web");
}

/// RT-PROC-04: `process.cwd` is the working directory.
#[test]
fn changes_to_cwd() {
    let container = Container::new(|config| config["process"]["cwd"] = json!("/home/web"));
    assert_eq!(container.observe()["cwd"], "/home/web");
}

/// RT-PROC-05: a `process.cwd` that does not exist is made.
#[test]
fn makes_a_missing_cwd() {
    let container = Container::new(|config| config["process"]["cwd"] = json!("/srv/a/b"));
    assert_eq!(container.observe()["cwd"], "/srv/a/b");
}

/// RT-PROC-06: a relative `process.cwd` is an error that names the field, and nothing is left.
#[test]
fn refuses_a_relative_cwd() {
    let container = Container::new(|config| config["process"]["cwd"] = json!("home"));
    container.run().fails_naming(&["wd"]);
    container.assert_nothing_left();
}

/// RT-PROC-07: the program runs as `user.uid`, `user.gid` and exactly `user.additionalGids`.
#[test]
fn sets_user_and_groups() {
    let container = Container::new(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 2000]});
    });
    let seen = container.observe();
    assert_eq!(seen["uid"], json!([1000, 1000, 1000, 1000]));
    assert_eq!(seen["gid"], json!([1001, 1001, 1001, 1001]));
    assert_eq!(seen["groups"], json!([5, 2000]));
}

/// RT-PROC-08: no additional groups are kept from the caller.
#[test]
fn drops_the_callers_groups() {
    let container =
        Container::new(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    assert_eq!(container.observe()["groups"], json!([]));
}

/// RT-PROC-09: `user.umask` is set.
#[test]
fn sets_the_umask() {
    let container = Container::new(|config| config["process"]["user"]["umask"] = json!(0o077));
    assert_eq!(container.observe()["umask"], "0077");
}

/// CLI-PROC-01: without `user.umask` the umask is 0022, whatever the caller's.
#[test]
fn has_umask_0022_by_default() {
    let container = Container::new(|_| ());
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "umask 0007; exec \"$@\"", "sh"]);
    let run = container.command(&["run", container.id()]);
    shell.arg(run.get_program()).args(run.get_args()).current_dir(container.bundle());
    assert_eq!(container.finish(shell).succeeds().json()["umask"], "0022");
}

/// RT-PROC-10: each of `rlimits` is set, soft and hard.
#[test]
fn sets_rlimits() {
    let container = Container::new(|config| {
        config["process"]["rlimits"] = json!([
            {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 4096},
            {"type": "RLIMIT_FSIZE", "soft": 1_000_000, "hard": 1_000_000},
        ]);
    });
    let seen = container.observe();
    assert_eq!(seen["rlimits"]["RLIMIT_NOFILE"], json!({"soft": 100, "hard": 200}));
    assert_eq!(seen["rlimits"]["RLIMIT_CORE"], json!({"soft": 0, "hard": 4096}));
    assert_eq!(seen["rlimits"]["RLIMIT_FSIZE"], json!({"soft": 1_000_000, "hard": 1_000_000}));
}

/// RT-PROC-11: an rlimit of an unknown type is an error that names it.
#[test]
fn refuses_an_unknown_rlimit() {
    let container = Container::new(|config| {
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_FOO", "soft": 1, "hard": 1}]);
    });
    container.run().fails_naming(&["RLIMIT_FOO"]);
    container.assert_nothing_left();
}

/// RT-PROC-12: `oomScoreAdj` is set.
#[test]
fn sets_oom_score_adj() {
    let container = Container::new(|config| config["process"]["oomScoreAdj"] = json!(543));
    assert_eq!(container.observe()["oom_score_adj"], "543");
}

/// RT-PROC-13: without `oomScoreAdj` the value is not touched: the program has its caller's.
#[test]
fn leaves_oom_score_adj_alone() {
    let container = Container::new(|_| ());
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "echo 321 > /proc/self/oom_score_adj; exec \"$@\"", "sh"]);
    let run = container.command(&["run", container.id()]);
    shell.arg(run.get_program()).args(run.get_args()).current_dir(container.bundle());
    assert_eq!(container.finish(shell).succeeds().json()["oom_score_adj"], "321");
}

/// RT-PROC-14: `noNewPrivileges` sets the bit, and its absence leaves it clear.
#[test]
fn sets_no_new_privs() {
    for (wanted, seen) in [(json!(true), "1"), (json!(false), "0"), (json!(null), "0")] {
        let container = Container::new(|config| {
            let process = config["process"].as_object_mut().expect("an object");
            process.remove("noNewPrivileges");
            if !wanted.is_null() {
                process.insert("noNewPrivileges".to_owned(), wanted);
            }
        });
        assert_eq!(container.observe()["no_new_privs"], seen);
    }
}

/// RT-PROC-15: only standard input, output and error are open in the program.
#[test]
fn leaves_only_stdio_open() {
    let container = Container::new(|_| ());
    let seen = container.observe();
    let open: Vec<&String> = seen["fds"].as_object().expect("an object").keys().collect();
    assert_eq!(open, ["0", "1", "2"], "{}", seen["fds"]);
}

/// RT-PROC-16: an empty `process.args` is an error that names the field.
#[test]
fn refuses_empty_args() {
    let container = Container::new(|config| config["process"]["args"] = json!([]));
    container.run().fails_naming(&["args"]);
    container.assert_nothing_left();
}

/// RT-PROC-17: a program without a slash is looked for in the container's `PATH`.
#[test]
fn searches_the_containers_path() {
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["tool"]);
        config["process"]["env"] = json!(["PATH=/nowhere:/opt/tools:/bin"]);
    });
    let tools = container.rootfs().join("opt/tools");
    std::fs::create_dir_all(&tools).expect("a folder");
    std::os::unix::fs::symlink("/bin/probe", tools.join("tool")).expect("a link");
    assert_eq!(container.observe()["args"], json!(["tool"]));
}

/// CLI-PROC-02: a caller that is bound to some processors binds neither a container nor a process of `exec`.
#[test]
fn is_not_bound_to_the_callers_processors() {
    let allowed = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("Cpus_allowed_list:"));
        line.unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    let own = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let container = Container::sleeping(|_| ());
    let one_processor = allowed(&own).ends_with("\t0");
    if !requires(!one_processor && container.runtime().is("keel"), "two processors, a newer runc") {
        return;
    }
    let bound = |args: &[&str]| {
        let command = container.command(args);
        let mut taskset = std::process::Command::new("taskset");
        taskset.args(["-c", "0"]).arg(command.get_program()).args(command.get_args());
        taskset.current_dir(container.bundle());
        container.finish(taskset).succeeds().stdout
    };
    bound(&["create", container.id()]);
    container.start().succeeds();
    let status = std::fs::read_to_string(format!("/proc/{}/status", container.pid()));
    assert_eq!(allowed(&status.expect("the program runs")), allowed(&own));
    let seen = bound(&["exec", container.id(), "cat", "/proc/self/status"]);
    assert_eq!(allowed(&seen), allowed(&own));
}

/// RT-PROC-18: when a variable is given twice, the program sees the last one.
#[test]
fn keeps_the_last_of_two_equal_variables() {
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["sh", "-c", "echo $A"]);
        config["process"]["env"] = json!(["PATH=/bin", "A=first", "A=last"]);
    });
    assert_eq!(container.run().succeeds().stdout, "last\n");
}
