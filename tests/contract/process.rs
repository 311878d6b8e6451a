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

/// RT-PROC-19: the same limit twice is an error that names it.
#[test]
fn refuses_a_limit_twice() {
    let container = Container::new(|config| {
        config["process"]["rlimits"] = json!([
            {"type": "RLIMIT_NOFILE", "soft": 99, "hard": 99},
            {"type": "RLIMIT_NOFILE", "soft": 98, "hard": 98}]);
    });
    if !requires(container.runtime().is("keel"), "runc 1.1.5 takes the last of two") {
        return;
    }
    container.run().fails_naming(&["RLIMIT_NOFILE"]);
    container.assert_nothing_left();
}

/// RT-PROC-20: a working directory that is made has mode 0755 and belongs to root.
#[test]
fn a_made_cwd_has_the_usual_mode() {
    let container = Container::new(|config| {
        config["process"]["cwd"] = json!("/srv/made");
        config["process"]["args"] = json!(["stat", "-c", "%a %u %g", "/srv/made"]);
    });
    assert_eq!(container.run().succeeds().stdout, "755 0 0\n");
}

/// A container that shows the fields of its program's line in /proc that tell how it is scheduled: nice
/// value, real-time priority and policy.
fn scheduled(scheduler: serde_json::Value) -> Container {
    Container::new(|config| {
        config["process"]["scheduler"] = scheduler;
        config["process"]["args"] = json!(["cat", "/proc/self/stat"]);
    })
}

fn knows_scheduler(container: &Container) -> bool {
    let known = !container.runtime().is("runc") && !container.runtime().is("crun");
    requires(known, "the packaged runc and crun are older than scheduler")
}

/// RT-PROC-21: `scheduler` sets policy, nice value, priority and flags; a process of `exec` has it too.
#[test]
fn sets_the_scheduler() {
    let fields = |line: &str| -> Vec<i64> {
        let rest = line.rsplit_once(')').unwrap_or_else(|| panic!("{line}")).1;
        let all: Vec<&str> = rest.split_whitespace().collect();
        // Fields 19, 40 and 41 of proc_pid_stat(5); the rest begins with the third.
        [16, 37, 38].iter().map(|at| all[*at].parse().expect("a number")).collect()
    };
    for (scheduler, expected) in [
        (json!({"policy": "SCHED_OTHER", "nice": 7}), [7, 0, 0]),
        (json!({"policy": "SCHED_BATCH", "nice": -3}), [-3, 0, 3]),
        (
            json!({"policy": "SCHED_BATCH", "nice": 4, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}),
            [4, 0, 3],
        ),
    ] {
        let container = scheduled(scheduler);
        if !knows_scheduler(&container) {
            return;
        }
        assert_eq!(fields(&container.run().succeeds().stdout), expected);
    }
    // This policy has no nice value, so that the caller's is kept.
    let container = scheduled(json!({"policy": "SCHED_IDLE"}));
    assert_eq!(fields(&container.run().succeeds().stdout)[1..], [0, 5]);
    let container = Container::sleeping(|config| {
        config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH"});
    });
    container.up();
    let line = container.exec(&["cat", "/proc/self/stat"]).succeeds().stdout;
    assert_eq!(fields(&line)[2], 3);
}

/// RT-PROC-22: the real-time policies are asked of the kernel with their parameters; where the container's
/// cgroup has no real-time budget, the error names the field.
#[test]
fn asks_for_real_time_policies() {
    for scheduler in [
        json!({"policy": "SCHED_FIFO", "priority": 10}),
        json!({"policy": "SCHED_RR", "priority": 99}),
        json!({"policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 5_000_000, "period": 10_000_000}),
    ] {
        let text = scheduler.to_string();
        let container = scheduled(scheduler);
        if !knows_scheduler(&container) {
            return;
        }
        let outcome = container.run();
        if outcome.status == 0 {
            let policy = outcome.stdout.rsplit_once(')').expect("a line").1.split(' ').nth(39);
            assert!(policy.is_some_and(|policy| ["1", "2", "6"].contains(&policy)), "{text}");
        } else {
            outcome.fails_naming(&["process.scheduler"]);
        }
    }
}

/// RT-PROC-23: an unknown policy or flag, and parameters that the policy does not have, are refused by
/// their fields.
#[test]
fn refuses_contradictions_of_the_scheduler() {
    for (scheduler, field) in [
        (json!({"nice": 1}), "policy"),
        (json!({"policy": "SCHED_FAST"}), "policy"),
        (json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_NONE"]}), "flags[0]"),
        (json!({"policy": "SCHED_OTHER", "nice": 20}), "nice"),
        (json!({"policy": "SCHED_OTHER", "priority": 5}), "priority"),
        (json!({"policy": "SCHED_FIFO", "priority": -5}), "priority"),
        (json!({"policy": "SCHED_FIFO", "priority": 5, "runtime": 5}), "runtime"),
    ] {
        let container = scheduled(scheduler);
        if !knows_scheduler(&container) {
            return;
        }
        container.create().fails_naming(&[&format!("process.scheduler.{field}")]);
        container.assert_nothing_left();
    }
}

/// RT-PROC-24: `ioPriority` sets class and level.
#[test]
fn sets_the_io_priority() {
    for (class, level, value) in [
        ("IOPRIO_CLASS_RT", 3, 1 << 13 | 3),
        ("IOPRIO_CLASS_BE", 7, 2 << 13 | 7),
        ("IOPRIO_CLASS_IDLE", 0, 3 << 13),
    ] {
        let container = Container::new(|config| {
            config["process"]["ioPriority"] = json!({"class": class, "priority": level});
            // ioprio_get(2) of this process.
            config["process"]["args"] = json!(["/bin/probe", "syscall", "252", "1", "0"]);
        });
        if !requires(!container.runtime().is("runc"), "the packaged runc is older than ioPriority")
        {
            return;
        }
        assert_eq!(container.run().succeeds().json()["value"], value, "{class}");
    }
    for priority in
        [json!({"class": "IOPRIO_CLASS_NONE"}), json!({"class": "IOPRIO_CLASS_BE", "priority": 8})]
    {
        let container = Container::new(|config| config["process"]["ioPriority"] = priority);
        container.create().fails_naming(&["ioPriority"]);
        container.assert_nothing_left();
    }
}

/// RT-PROC-25: `linux.personality` sets the execution domain, for a process of `exec` too; an unknown one is
/// refused.
#[test]
fn sets_the_personality() {
    let container = Container::sleeping(|config| {
        config["linux"]["personality"] = json!({"domain": "LINUX32"});
    });
    if !requires(container.runtime().is("keel"), "the packaged runc knows no personality") {
        return;
    }
    let pid = container.up();
    let first = std::fs::read_to_string(format!("/proc/{pid}/personality"));
    assert_eq!(first.expect("procfs").trim(), "00000008");
    let seen = container.exec(&["cat", "/proc/self/personality"]).succeeds().stdout;
    assert_eq!(seen.trim(), "00000008");
    let container = Container::new(|config| {
        config["linux"]["personality"] = json!({"domain": "SVR4"});
    });
    container.create().fails_naming(&["linux.personality.domain"]);
}

/// RT-PROC-26: an empty `HOME` is none: the container's /etc/passwd tells.
#[test]
fn an_empty_home_is_none() {
    let container = Container::new(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        config["process"]["env"] = json!(["PATH=/bin", "HOME="]);
    });
    if requires(container.runtime().is("keel"), "the packaged runc leaves it empty") {
        assert_eq!(container.observe()["env"]["HOME"], "/home/web");
    }
}

/// RT-PROC-27: a label of a security module that the host does not have is an error that names the field.
#[test]
fn refuses_labels_without_their_module() {
    let has = |path: &str| std::path::Path::new(path).exists();
    for (field, label, module) in [
        ("apparmorProfile", "some-profile", "/sys/kernel/security/apparmor"),
        ("selinuxLabel", "system_u:system_r:container_t:s0", "/sys/fs/selinux"),
    ] {
        if !requires(!has(module), "the host has the security module") {
            continue;
        }
        let container = Container::new(|config| config["process"][field] = json!(label));
        let word = if container.runtime().is("keel") { field } else { &field[..3] };
        container.run().fails_naming(&[word]);
        container.assert_nothing_left();
    }
}

/// RT-PROC-40: a low limit of open files does not keep the runtime from making many mounts.
#[test]
fn a_low_limit_of_open_files_is_for_the_program() {
    let container = Container::new(|config| {
        let mounts = config["mounts"].as_array_mut().expect("an array");
        for number in 0..30 {
            let destination = format!("/mnt/{number}");
            mounts.push(json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"}));
        }
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 20, "hard": 20}]);
        config["process"]["args"] = json!(["sh", "-c", "ulimit -n"]);
    });
    assert_eq!(container.run().succeeds().stdout, "20\n");
}
