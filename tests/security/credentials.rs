//! What `exec` gives a process, when asked in odd ways.

use keel_tests::{Container, requires};
use serde_json::json;

/// SEC-CAP-01: `exec --cap` never adds to the inheritable set (CVE-2022-29162, CVE-2022-27650, CVE-2025-27612).
///
/// Seen to fail with the permitted set as the inheritable one in `capability_sets`, as does SEC-CAP-02.
#[test]
fn exec_leaves_inheritable_alone() {
    let container =
        Container::sleeping(|config| config["process"]["noNewPrivileges"] = json!(false));
    container.up();
    for flags in [&[][..], &["--cap", "CAP_NET_RAW"], &["--cap", "CAP_SYS_ADMIN", "--user", "1000"]]
    {
        let mut words = vec!["exec"];
        words.extend_from_slice(flags);
        words.extend([container.id(), "/bin/probe", "report"]);
        let seen = container.call(&words).succeeds().json();
        assert_eq!(seen["caps"]["inheritable"], json!([]), "{flags:?}");
    }
}

/// SEC-CAP-02: a container's processes never have inheritable capabilities that the configuration lacks.
#[test]
fn run_leaves_inheritable_empty() {
    let container = Container::new(|_| ());
    assert_eq!(container.observe()["caps"]["inheritable"], json!([]));
}

/// SEC-USER-01: `exec --user` takes numbers as they are written (CVE-2026-30892).
#[test]
fn user_numbers_are_what_they_say() {
    let container = Container::sleeping(|_| ());
    container.up();
    for (word, uid, gid) in [("1", 1, 0), ("1:2", 1, 2), ("0", 0, 0), ("1000:0", 1000, 0)] {
        let words = ["exec", "--user", word, container.id(), "/bin/probe", "report"];
        let seen = container.call(&words).succeeds().json();
        assert_eq!(seen["uid"], json!([uid, uid, uid, uid]), "{word}");
        assert_eq!(seen["gid"], json!([gid, gid, gid, gid]), "{word}");
    }
}

/// SEC-USER-02: whatever is no number, or none that a user id can be, is refused and never becomes root
/// (CVE-2026-30892, CVE-2016-3697, CVE-2024-40635).
///
/// Seen to fail with a `parse_id` that trims, and takes what is no number for 0.
#[test]
fn odd_user_words_are_refused() {
    let container = Container::sleeping(|_| ());
    container.up();
    let words = [
        "1:",
        ":1",
        "+1",
        " 1",
        "1 ",
        "0x1",
        "4294967295",
        "4294967296",
        "-1",
        "root",
        "1:2:3",
        "1,2",
        "",
        "18446744073709551617",
        "1:4294967296",
        "1.0",
        "١",
    ];
    for word in words {
        let outcome = container.call(&["exec", "--user", word, container.id(), "id", "-u"]);
        if container.runtime().is("keel") {
            // An empty word is the flag's default: the configuration's user.
            if !word.is_empty() {
                assert_eq!(outcome.status, 255, "{word:?}\n{}", outcome.report());
            }
        }
    }
    let _ = requires(
        container.runtime().is("keel"),
        "the packaged runc and crun take some odd user words",
    );
}
