//! `linux.seccomp`: what the filter lets through, and what it answers.

use keel_tests::Container;
use serde_json::{Value, json};

const GETPID: &str = "39";
const GETCWD: &str = "79";
const PERSONALITY: &str = "135";
const KEYCTL: &str = "250";
const UNSHARE: &str = "272";
const SETNS: &str = "308";
const MOVE_PAGES: &str = "279";
const FUTURE: &str = "900";

/// Runs one system call in a container with the filter; the probe's answer.
fn call(filter: &Value, words: &[&str]) -> keel_tests::Outcome {
    let mut args = vec!["/bin/probe", "syscall"];
    args.extend_from_slice(words);
    let container = Container::new(|config| {
        config["linux"]["seccomp"] = filter.clone();
        config["process"]["args"] = json!(args);
    });
    container.run()
}

fn errno(filter: &Value, words: &[&str]) -> i64 {
    call(filter, words).succeeds().json()["errno"].as_i64().expect("a number")
}

fn capture(text: &str) -> Value {
    serde_json::from_str::<Value>(text).expect("JSON")["linux"]["seccomp"].clone()
}

fn docker() -> Value {
    capture(include_str!("../captures/docker28.5-default-config.json"))
}

/// RT-SECCOMP-01: without a filter the mode is 0, with one it is 2.
#[test]
fn installs_a_filter() {
    let container = Container::new(|_| ());
    assert_eq!(container.observe()["seccomp"], "0");
    let container = Container::new(|config| config["linux"]["seccomp"] = docker());
    assert_eq!(container.observe()["seccomp"], "2");
}

/// RT-SECCOMP-02: Docker's default profile lets ordinary calls through and refuses the dangerous ones.
#[test]
fn holds_dockers_default_profile() {
    for (name, filter, refused) in [
        ("docker 28.5", docker(), &[KEYCTL, SETNS, UNSHARE][..]),
        (
            "docker 20.10",
            capture(include_str!("../captures/docker20.10-default-config.json")),
            &[KEYCTL, SETNS, UNSHARE],
        ),
        (
            "containerd 1.6",
            capture(include_str!("../captures/containerd1.6-cri-sandbox-config.json")),
            &[KEYCTL, SETNS, UNSHARE],
        ),
    ] {
        assert_eq!(errno(&filter, &[GETPID]), 0, "{name}");
        for number in refused {
            // 2^28 is CLONE_NEWUSER; none of the three calls would fail with EPERM by itself.
            let seen = errno(&filter, &[number, "268435456", "0", "0"]);
            assert_eq!(seen, 1, "{name}: call {number}");
        }
    }
}

/// RT-SECCOMP-03: Podman's profile answers ENOSYS to what it does not know.
#[test]
fn holds_podmans_profile() {
    let filter = capture(include_str!("../captures/podman4.3-default-config.json"));
    assert_eq!(errno(&filter, &[GETPID]), 0);
    assert_eq!(errno(&filter, &[FUTURE]), 38);
    // Of no pages, so that only the filter can refuse.
    assert_eq!(errno(&filter, &[MOVE_PAGES, "0", "0", "0", "0", "0"]), 1);
    // This call stands in two rules, allowed first: the first one holds.
    assert_eq!(errno(&filter, &[SETNS, "-1", "0"]), 9);
}

/// RT-SECCOMP-04: `errnoRet` is the answer of a rule, `defaultErrnoRet` that of the default action.
#[test]
fn answers_the_errno_of_the_rule() {
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["getcwd"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77},
        {"names": ["personality"], "action": "SCMP_ACT_ERRNO"}]});
    assert_eq!(errno(&filter, &[GETCWD, "0", "0"]), 77);
    assert_eq!(errno(&filter, &[PERSONALITY, "-1"]), 1, "EPERM when no number is given");
    assert_eq!(errno(&filter, &[GETPID]), 0);
}

/// RT-SECCOMP-05: conditions on arguments hold, for each operator.
#[test]
fn compares_arguments() {
    // personality takes any number, so that a refusal can only be the filter's.
    for (op, value, two, refused, allowed) in [
        ("SCMP_CMP_EQ", 8, 0, "8", "9"),
        ("SCMP_CMP_NE", 8, 0, "9", "8"),
        ("SCMP_CMP_LT", 8, 0, "7", "8"),
        ("SCMP_CMP_LE", 8, 0, "8", "9"),
        ("SCMP_CMP_GT", 8, 0, "9", "8"),
        ("SCMP_CMP_GE", 8, 0, "8", "7"),
        ("SCMP_CMP_MASKED_EQ", 0xf0, 0x10, "23", "39"),
    ] {
        let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99,
             "args": [{"index": 0, "op": op, "value": value, "valueTwo": two}]}]});
        assert_eq!(errno(&filter, &[PERSONALITY, refused]), 99, "{op} {refused}");
        assert_eq!(errno(&filter, &[PERSONALITY, allowed]), 0, "{op} {allowed}");
    }
}

/// RT-SECCOMP-06: conditions look at all 64 bits.
#[test]
fn compares_64_bits() {
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99,
         "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 0x1_0000_0008_u64}]}]});
    assert_eq!(errno(&filter, &[PERSONALITY, "4294967304"]), 99);
    assert_eq!(errno(&filter, &[PERSONALITY, "8"]), 0);
}

/// RT-SECCOMP-07: `SCMP_ACT_KILL_PROCESS` ends the program with SIGSYS.
#[test]
fn kills_the_process() {
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["personality"], "action": "SCMP_ACT_KILL_PROCESS"}]});
    call(&filter, &[PERSONALITY, "0"]).exits(128 + 31);
}

/// RT-SECCOMP-08: names of calls that the machine does not know are passed over.
#[test]
fn passes_over_unknown_names() {
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["no_such_call", "personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99}]});
    assert_eq!(errno(&filter, &[PERSONALITY, "0"]), 99);
}

/// RT-SECCOMP-09: an unknown action or architecture is an error that names it.
#[test]
fn refuses_unknown_words() {
    for (key, filter) in [
        ("SCMP_ACT_DANCE", json!({"defaultAction": "SCMP_ACT_DANCE"})),
        (
            "SCMP_ARCH_PDP11",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PDP11"],
            "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_ERRNO"}]}),
        ),
    ] {
        let container = Container::new(|config| config["linux"]["seccomp"] = filter);
        container.run().fails_naming(&[key]);
        container.assert_nothing_left();
    }
}

/// RT-SECCOMP-10: the filter works for a user that is not root, with and without no_new_privs.
#[test]
fn works_without_root() {
    for nnp in [true, false] {
        let container = Container::new(|config| {
            config["linux"]["seccomp"] = docker();
            config["process"]["noNewPrivileges"] = json!(nnp);
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        });
        assert_eq!(container.observe()["seccomp"], "2", "no_new_privs {nnp}");
    }
}

/// RT-SECCOMP-15: a filter may deny what only the runtime needs to close descriptors.
#[test]
fn may_deny_closing_descriptors() {
    let filter = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["close_range", "fcntl"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
    });
    for no_new_privileges in [true, false] {
        let container = Container::new(|config| {
            config["linux"]["seccomp"] = filter.clone();
            config["process"]["noNewPrivileges"] = json!(no_new_privileges);
            config["process"]["args"] = json!(["true"]);
        });
        container.run().succeeds();
    }
}

/// RT-SECCOMP-16: a filter that is older than faccessat2(2) and openat2(2) and denies them is no obstacle.
#[test]
fn may_deny_what_newer_kernels_have() {
    let container = Container::new(|config| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["faccessat2", "openat2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
        });
        config["process"]["noNewPrivileges"] = json!(false);
        config["process"]["cwd"] = json!("/etc");
        config["process"]["args"] = json!(["pwd"]);
    });
    assert_eq!(container.run().succeeds().stdout, "/etc\n");
}
