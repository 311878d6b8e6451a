//! Writes of the runtime that an image or a mount would lead to another file than the one that is meant.

use std::fs;

use keel_tests::{Container, Scratch, requires};
use serde_json::json;

/// A folder that looks like a part of procfs, with a file that nobody may write.
fn decoy(file: &str) -> (Scratch, std::path::PathBuf) {
    let decoy = Scratch::new();
    let canary = decoy.join(file);
    fs::create_dir_all(canary.parent().expect("a folder")).expect("a folder");
    fs::write(&canary, "canary").expect("a file");
    (decoy, canary)
}

/// SEC-PROC-01: a sysctl is set in the kernel, or is an error, whatever is mounted at /proc/sys (CVE-2025-52881).
///
/// Two defences, of which one is enough. Seen to fail without both: no check of what lies on procfs in `attach`, and
/// the setting written by its path when all is mounted. The canary was overwritten.
#[test]
fn sysctls_reach_the_kernel_only() {
    for (destination, file) in
        [("/proc/sys", "kernel/shm_rmid_forced"), ("/proc", "sys/kernel/shm_rmid_forced")]
    {
        let (decoy, canary) = decoy(file);
        let container = Container::new(|config| {
            config["linux"]["sysctl"] = json!({"kernel.shm_rmid_forced": "1"});
            config["linux"]["maskedPaths"] = json!([]);
            config["linux"]["readonlyPaths"] = json!([]);
            // The container's own view of the kernel, beside the one that is covered.
            config["process"]["args"] = json!(["cat", "/real/sys/kernel/shm_rmid_forced"]);
            config["root"]["readonly"] = json!(false);
            let mounts = config["mounts"].as_array_mut().expect("an array");
            mounts.push(json!({"destination": destination, "type": "bind", "source": decoy.display().to_string(),
                "options": ["bind", "rw"]}));
            mounts.push(json!({"destination": "/real", "type": "proc", "source": "proc"}));
        });
        let outcome = container.run();
        assert_eq!(fs::read_to_string(&canary).expect("a file"), "canary", "{destination}");
        if outcome.status == 0 {
            assert_eq!(outcome.stdout, "1\n", "{destination}: not set\n{}", outcome.report());
        }
        container.assert_nothing_left();
    }
}

/// SEC-PROC-02: a procfs of the host that is bound into the container, or a link of the image in its place, gets
/// no security setting of the container's (CVE-2019-16884, CVE-2025-62596): the program has what was asked for.
///
/// Seen to fail as SEC-PROC-01, with the score written by its path.
#[test]
fn settings_reach_the_process_only() {
    let (decoy, canary) = decoy("self/oom_score_adj");
    let container = Container::new(|config| {
        config["process"]["oomScoreAdj"] = json!(321);
        config["process"]["args"] = json!(["cat", "/real/self/oom_score_adj"]);
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
        config["root"]["readonly"] = json!(false);
        let mounts = config["mounts"].as_array_mut().expect("an array");
        mounts.push(
            json!({"destination": "/proc", "type": "bind", "source": decoy.display().to_string(),
            "options": ["bind", "rw"]}),
        );
        mounts.push(json!({"destination": "/real", "type": "proc", "source": "proc"}));
    });
    let outcome = container.run();
    assert_eq!(fs::read_to_string(&canary).expect("a file"), "canary");
    if outcome.status == 0 {
        assert_eq!(outcome.stdout, "321\n", "{}", outcome.report());
    }
    container.assert_nothing_left();
}

/// SEC-PROC-03: a hook never runs with variables of the program's environment, which the image chooses
/// (CVE-2025-23266): its loader would load the image's library as root of the host.
///
/// Seen to fail where `lifecycle::hooks` hands on the program's variables.
#[test]
fn hooks_do_not_get_the_images_environment() {
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["true"]);
        config["process"]["env"] =
            json!(["PATH=/bin", "LD_PRELOAD=/evil.so", "LD_LIBRARY_PATH=/evil", "EVIL=1"]);
    });
    if !requires(
        container.runtime().is("keel"),
        "the packaged runc gives createContainer hooks the program's environment, crun shows none",
    ) {
        return;
    }
    let log = container.path("hooks.log").display().to_string();
    let hook =
        json!({"path": "/bin/sh", "args": ["sh", "-c", format!("cat > /dev/null; env >> {log}")]});
    container.change(|config| {
        config["hooks"] = json!({"prestart": [hook], "createRuntime": [hook], "createContainer": [hook],
            "poststart": [hook], "poststop": [hook]});
    });
    let _ = container.run();
    let seen = fs::read_to_string(&log).unwrap_or_default();
    assert!(seen.contains("PWD="), "no hook told its environment: {seen}");
    assert!(!seen.contains("evil") && !seen.contains("EVIL"), "{seen}");
}
