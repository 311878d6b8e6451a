//! `SCMP_ACT_NOTIFY`: calls of the container that a program outside answers.

use keel_tests::sys::Answer;
use keel_tests::{Agent, Container, eventually, requires};
use serde_json::{Value, json};

const PERSONALITY: i32 = 135;
const EXECVE: i32 = 59;

/// A filter that notifies of the named calls and allows the others.
fn notifying(agent: &Agent, names: &[&str]) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": agent.path().display().to_string(),
        "listenerMetadata": "for the agent",
        "syscalls": [{"names": names, "action": "SCMP_ACT_NOTIFY"}],
    })
}

fn set(container: &Container, filter: Value) {
    container.change(|config| config["linux"]["seccomp"] = filter);
}

fn asks() -> Container {
    Container::new(|config| {
        config["process"]["args"] = json!(["/bin/probe", "syscall", "135", "0"]);
    })
}

/// RT-NOTIFY-01: a call of which the filter notifies gets what the agent answers: an errno, a value, or
/// what the kernel makes of it; with no_new_privs and without it.
#[test]
fn the_agent_answers() {
    for (answer, value, errno) in
        [(Answer::Errno(123), -1, 123), (Answer::Value(77), 77, 0), (Answer::Continue, 0, 0)]
    {
        for no_new_privileges in [true, false] {
            let container = asks();
            let agent = Agent::listen(container.path("agent"), &[(PERSONALITY, answer)]);
            set(&container, notifying(&agent, &["personality"]));
            container.change(|config| {
                config["process"]["noNewPrivileges"] = json!(no_new_privileges);
            });
            let seen = container.run().succeeds().json();
            assert_eq!(seen, json!({"value": value, "errno": errno}), "{answer:?}");
            assert_eq!(agent.count(PERSONALITY), 1);
        }
    }
}

/// RT-NOTIFY-02: the agent is sent the container process state with one descriptor: `creating` and the pid
/// of the process for the container's own, `running` for one of `exec`, which has a filter of its own.
#[test]
fn the_agent_is_told_the_state() {
    let container = Container::sleeping(|config| config["annotations"] = json!({"a": "b"}));
    let agent = Agent::listen(container.path("agent"), &[(PERSONALITY, Answer::Errno(99))]);
    set(&container, notifying(&agent, &["personality"]));
    let pid = container.up();
    let seen = container.exec(&["/bin/probe", "syscall", "135", "0"]).succeeds().json();
    assert_eq!(seen["errno"], 99);
    let states = eventually("two states", || Some(agent.states()).filter(|s| s.len() == 2));
    for (state, status) in states.iter().zip(["creating", "running"]) {
        assert!(state["ociVersion"].as_str().is_some_and(|v| v.starts_with("1.")), "{state}");
        assert_eq!(state["fds"], json!(["seccompFd"]));
        assert_eq!(state["metadata"], "for the agent");
        assert_eq!(state["state"]["status"], status);
        assert_eq!(state["state"]["id"], container.id());
        assert_eq!(state["state"]["pid"], pid);
        assert_eq!(state["state"]["bundle"], container.bundle().display().to_string());
        assert_eq!(state["state"]["annotations"]["a"], "b");
    }
    assert_eq!(states[0]["pid"], pid);
    assert_ne!(states[1]["pid"], pid);
}

/// RT-NOTIFY-03: the calls with which the container's process becomes the program may notify too, and so
/// may the one that hands over a descriptor.
#[test]
fn calls_on_the_way_to_the_program_may_notify() {
    for no_new_privileges in [true, false] {
        let container = asks();
        let agent = Agent::listen(container.path("agent"), &[(PERSONALITY, Answer::Value(5))]);
        let names =
            ["execve", "openat", "open", "read", "close", "fcntl", "sendmsg", "personality"];
        set(&container, notifying(&agent, &names));
        container.change(|config| config["process"]["noNewPrivileges"] = json!(no_new_privileges));
        assert_eq!(container.run().succeeds().json()["value"], 5);
        assert_eq!(agent.count(EXECVE), 1);
    }
}

/// RT-NOTIFY-04: without an agent at the path, without a path, with metadata and no path, or with a rule on
/// `write`, which would wait for ever, there is no container.
#[test]
fn refuses_what_nobody_could_answer() {
    let agentless = |change: &dyn Fn(&mut Value)| {
        let container = asks();
        let mut filter = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": container.path("nobody").display().to_string(),
            "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_NOTIFY"}],
        });
        change(&mut filter);
        set(&container, filter);
        let outcome = container.create();
        assert_ne!(outcome.status, 0, "{}", outcome.report());
        container.assert_nothing_left();
    };
    agentless(&|_| ());
    agentless(&|filter| filter["listenerPath"] = json!(""));
    if requires(!asks().runtime().is("runc"), "the packaged runc passes over lone metadata") {
        agentless(&|filter| {
            filter["listenerPath"] = json!("");
            filter["listenerMetadata"] = json!("x");
            filter["syscalls"][0]["action"] = json!("SCMP_ACT_LOG");
        });
    }
    agentless(&|filter| filter["syscalls"][0]["names"] = json!(["personality", "write"]));
    agentless(&|filter| filter["defaultAction"] = json!("SCMP_ACT_NOTIFY"));
}

/// RT-NOTIFY-05: a path is no error and not connected to where no rule notifies.
#[test]
fn a_path_without_a_rule_is_not_used() {
    let container = asks();
    let path = container.path("nobody").display().to_string();
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path,
        "listenerMetadata": "x", "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_LOG"}]});
    set(&container, filter);
    container.run().succeeds();
}

/// RT-NOTIFY-06: no descriptor of the listener reaches the program or a hook of the container.
#[test]
fn the_listener_stays_outside() {
    let container = Container::new(|_| ());
    let agent = Agent::listen(container.path("agent"), &[]);
    set(&container, notifying(&agent, &["personality"]));
    container.change(|config| {
        config["hooks"]["startContainer"] = json!([{"path": "/bin/busybox",
            "args": ["sh", "-c", "cat > /dev/null; test $(ls /proc/self/fd | wc -l) -eq 4"]}]);
    });
    let seen = container.observe();
    let open: Vec<&String> = seen["fds"].as_object().expect("an object").keys().collect();
    assert_eq!(open, ["0", "1", "2"], "{}", seen["fds"]);
}

/// RT-NOTIFY-07: each flag of seccomp(2) is taken, those that need a listener with one.
#[test]
fn takes_every_flag() {
    let container = asks();
    let agent = Agent::listen(container.path("agent"), &[(PERSONALITY, Answer::Value(9))]);
    let mut filter = notifying(&agent, &["personality"]);
    filter["flags"] = json!([
        "SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW"
    ]);
    if !requires(!container.runtime().is("runc"), "the packaged runc knows no flags") {
        return;
    }
    if !container.runtime().is("crun") {
        let flags = filter["flags"].as_array_mut().expect("an array");
        flags.push(json!("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"));
    }
    set(&container, filter);
    assert_eq!(container.run().succeeds().json()["value"], 9);
}
