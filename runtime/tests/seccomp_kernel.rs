//! Our programs in the kernel: a child loads the filter, makes calls and says what came back.

#![cfg(target_arch = "x86_64")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a failing test panics"
)]

#[path = "sys/loading.rs"]
mod loading;

use keel::config::field::{Field, Findings};
use keel::config::json::Json;
use keel::config::seccomp::{Architecture, Seccomp};
use keel::seccomp::{Filter, compile};
use loading::{child, errno_of, getpid_32};
use serde_json::{Value, json};

fn filter(profile: &Value) -> Filter {
    let findings = Findings::default();
    let profile = Seccomp::read(&Field::root(&Json::from(profile), &findings)).expect("a profile");
    assert_eq!(findings.into_parts().0, []);
    compile(&profile, Architecture::X86_64).unwrap()
}

fn profile(architectures: &[&str]) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ERRNO", "architectures": architectures,
        "syscalls": [
            {"names": ["getpid", "exit_group", "futex_waitv"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99},
            {"names": ["close"], "action": "SCMP_ACT_ERRNO", "errnoRet": 40,
                "args": [{"index": 0, "value": 0x1_0000_0000_u64, "op": "SCMP_CMP_GE"}]},
            {"names": ["getuid"], "action": "SCMP_ACT_KILL_PROCESS"},
            {"names": ["getgid"], "action": "SCMP_ACT_TRAP"},
        ],
    })
}

#[test]
fn denies_in_the_kernel_what_the_profile_denies() {
    let filter = filter(&profile(&["SCMP_ARCH_X86_64"]));
    let errno = |number: i64, first: u64| child(&filter, || errno_of(number, first));
    assert_eq!(errno(libc::SYS_getpid, 0), 0);
    assert_eq!(errno(libc::SYS_getppid, 0), 99);
    assert_eq!(errno(libc::SYS_close, 0x1_0000_0000), 40);
    assert_eq!(errno(libc::SYS_close, 0xffff_ffff), libc::EPERM);
    assert_eq!(errno(libc::SYS_geteuid, 0), libc::EPERM);
    assert_eq!(errno(libc::SYS_futex_waitv + 1, 0), libc::ENOSYS);
    assert_eq!(errno(libc::SYS_getuid, 0), -libc::SIGSYS);
    assert_eq!(errno(libc::SYS_getgid, 0), -libc::SIGSYS);
    // x32, whether the kernel has it or not.
    assert_eq!(errno(0x4000_0000 | libc::SYS_getpid, 0), -libc::SIGSYS);
}

#[test]
fn kills_a_call_through_an_abi_that_is_not_listed() {
    assert_eq!(child(&filter(&profile(&[])), getpid_32), -libc::SIGSYS);
    assert_eq!(child(&filter(&profile(&["SCMP_ARCH_X86"])), getpid_32), 0);
}

#[test]
fn loads_with_every_flag() {
    let mut profile = profile(&[]);
    profile["flags"] = json!([
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_TSYNC"
    ]);
    let filter = filter(&profile);
    assert_eq!(filter.flags, 6);
    assert_eq!(child(&filter, || errno_of(libc::SYS_getpid, 0)), 0);
}

#[test]
fn asks_for_a_listener_when_a_rule_notifies() {
    let filter = filter(&json!({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent", "listenerMetadata": "me",
        "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_NOTIFY"}],
    }));
    assert_eq!(filter.flags, 1 << 3 | 1 << 5);
    let listener = filter.listener.as_ref().unwrap();
    assert_eq!((listener.path.as_str(), listener.metadata.as_deref()), ("/run/agent", Some("me")));
    // A descriptor came back, which is what this helper takes for a failure.
    assert_eq!(child(&filter, || 0), 200);
}
