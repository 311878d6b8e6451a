//! `process.capabilities`: the five sets.

use keel_tests::{Container, requires};
use serde_json::{Value, json};

const CHOWN: u32 = 0;
const KILL: u32 = 5;
const NET_BIND_SERVICE: u32 = 10;
const NET_RAW: u32 = 13;

/// RT-CAP-01: each of the five sets is what the configuration says.
#[test]
fn sets_each_set_by_itself() {
    let container = Container::new(|config| {
        config["process"]["capabilities"] = json!({
            "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW"],
            "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "effective": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "inheritable": ["CAP_KILL"],
            "ambient": ["CAP_KILL"],
        });
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    let seen = container.observe();
    assert_eq!(seen["caps"]["bounding"], json!([CHOWN, KILL, NET_BIND_SERVICE, NET_RAW]));
    assert_eq!(seen["caps"]["inheritable"], json!([KILL]));
    // A user that is not root keeps, after execve, what is ambient.
    assert_eq!(seen["caps"]["ambient"], json!([KILL]));
    assert_eq!(seen["caps"]["permitted"], json!([KILL]));
    assert_eq!(seen["caps"]["effective"], json!([KILL]));
}

/// RT-CAP-02: root's program has, after execve, the bounding set as permitted and effective.
#[test]
fn gives_root_its_bounding_set() {
    let caps = json!(["CAP_CHOWN", "CAP_NET_RAW"]);
    let container = Container::new(|config| {
        config["process"]["capabilities"] =
            json!({"bounding": caps, "permitted": caps, "effective": caps});
    });
    let seen = container.observe();
    for set in ["bounding", "permitted", "effective"] {
        assert_eq!(seen["caps"][set], json!([CHOWN, NET_RAW]), "{set}");
    }
    assert_eq!(seen["caps"]["inheritable"], json!([]));
    assert_eq!(seen["caps"]["ambient"], json!([]));
}

/// RT-CAP-03: empty sets leave the program without any capability.
#[test]
fn empty_sets_leave_nothing() {
    let container = Container::new(|config| {
        config["process"]["capabilities"] = json!({"bounding": [], "permitted": [], "effective": [], "inheritable": [], "ambient": []});
    });
    let seen = container.observe();
    let sets = seen["caps"].as_object().expect("an object");
    assert!(sets.values().all(|set| set == &json!([])), "{sets:?}");
}

/// RT-CAP-04: an unknown capability is no reason to fail: the others are set.
#[test]
fn goes_on_without_an_unknown_capability() {
    let caps = json!(["CAP_CHOWN", "CAP_TO_DANCE"]);
    let container = Container::new(|config| {
        config["process"]["capabilities"] =
            json!({"bounding": caps, "permitted": caps, "effective": caps});
    });
    if !requires(!container.runtime().is("crun"), "crun refuses unknown capabilities") {
        return;
    }
    assert_eq!(container.observe()["caps"]["effective"], json!([CHOWN]));
}

/// RT-CAP-05: Docker's fourteen default capabilities come out as such.
#[test]
fn sets_dockers_default_capabilities() {
    let capture = include_str!("../captures/docker20.10-default-config.json");
    let capture: Value = serde_json::from_str(capture).expect("a capture is JSON");
    let caps = capture["process"]["capabilities"].clone();
    let container = Container::new(|config| config["process"]["capabilities"] = caps);
    let seen = container.observe();
    let wanted = json!([0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31]);
    assert_eq!(seen["caps"]["effective"], wanted);
    assert_eq!(seen["caps"]["bounding"], wanted);
}

/// RT-CAP-06: a capability that the runtime does not have itself is a warning, and the others are set.
#[test]
fn goes_on_without_what_cannot_be_granted() {
    let container = Container::new(|config| {
        let set = json!(["CAP_KILL", "CAP_SYS_TIME", "CAP_NOT_YET"]);
        config["process"]["capabilities"] =
            json!({"bounding": set, "permitted": set, "effective": set});
    });
    if !requires(container.runtime().is("keel"), "runc 1.1.5 fails for want of one capability") {
        return;
    }
    let run = container.command(&["run", container.id()]);
    let mut setpriv = std::process::Command::new("setpriv");
    setpriv.arg("--bounding-set=-sys_time").arg(run.get_program()).args(run.get_args());
    setpriv.current_dir(container.bundle());
    let outcome = container.finish(setpriv).succeeds();
    assert_eq!(outcome.json()["caps"]["permitted"], json!([5]));
    for word in ["level=warning", "ignoring unknown or unavailable capabilities", "CAP_SYS_TIME"] {
        assert!(outcome.stderr.contains(word), "{word}: {}", outcome.stderr);
    }
}

/// RT-CAP-07: an ambient capability that is not inheritable too is a warning that names it.
#[test]
fn warns_of_what_cannot_be_ambient() {
    let container = Container::new(|config| {
        config["process"]["capabilities"]["inheritable"] = json!(["CAP_KILL"]);
        config["process"]["capabilities"]["ambient"] = json!(["CAP_KILL", "CAP_CHOWN"]);
        config["process"]["args"] = json!(["true"]);
    });
    let outcome = container.run().succeeds();
    if requires(container.runtime().is("keel"), "runc 1.1.5 says nothing") {
        let warning = "can't raise ambient capability CAP_CHOWN: ";
        assert!(outcome.stderr.contains(warning), "{}", outcome.report());
        assert!(!outcome.stderr.contains("CAP_KILL"), "{}", outcome.report());
    }
}
