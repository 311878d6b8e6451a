//! `linux.maskedPaths` and `linux.readonlyPaths`.

use keel_tests::{Container, requires};
use serde_json::json;

/// RT-MASK-01: a masked file reads as empty, a masked folder as empty; neither can be written.
#[test]
fn masked_paths_are_empty() {
    let container = Container::new(|config| {
        config["linux"]["maskedPaths"] = json!(["/proc/keys", "/secret", "/etc/passwd"]);
        config["process"]["args"] =
            json!(["sh", "-c", "cat /proc/keys /etc/passwd; ls /secret; touch /secret/x"]);
        config["root"]["readonly"] = json!(false);
    });
    let secret = container.rootfs().join("secret");
    std::fs::create_dir(&secret).expect("a folder");
    std::fs::write(secret.join("file"), "hidden").expect("a file");
    let outcome = container.run();
    assert_eq!(outcome.stdout, "", "{}", outcome.report());
    outcome.exits(1).says(&["Read-only file system"]);
}

/// RT-MASK-02: a masked path that does not exist is no error.
#[test]
fn missing_paths_are_no_error() {
    let container = Container::new(|config| {
        config["linux"]["maskedPaths"] = json!(["/proc/nosuch", "/nosuch/deep"]);
        config["linux"]["readonlyPaths"] = json!(["/proc/nosuch", "/nosuch/deep"]);
        config["process"]["args"] = json!(["true"]);
    });
    container.run().succeeds();
}

/// RT-MASK-03: a read-only path can be read and not written, and so can everything below it.
#[test]
fn readonly_paths_hold() {
    let container = Container::new(|config| {
        config["root"]["readonly"] = json!(false);
        config["linux"]["readonlyPaths"] = json!(["/proc/sys", "/fixed"]);
        config["process"]["args"] = json!([
            "/bin/probe",
            "open-write",
            "/proc/sys/kernel/hostname",
            "/fixed/in/file",
            "/free"
        ]);
    });
    std::fs::create_dir_all(container.rootfs().join("fixed/in")).expect("a folder");
    std::fs::write(container.rootfs().join("fixed/in/file"), "").expect("a file");
    std::fs::write(container.rootfs().join("free"), "").expect("a file");
    let seen = container.run().succeeds().json();
    assert_eq!(seen["/proc/sys/kernel/hostname"], 30, "EROFS");
    assert_eq!(seen["/fixed/in/file"], 30, "EROFS");
    assert_eq!(seen["/free"], 0);
}

/// RT-MASK-04: the paths that `runc spec` masks are masked.
#[test]
fn the_usual_paths_are_masked() {
    let container = Container::new(|config| {
        config["process"]["args"] = json!([
            "sh",
            "-c",
            "cat /proc/timer_list /proc/keys /proc/sched_debug 2>/dev/null; ls /sys/firmware /proc/scsi /proc/acpi 2>/dev/null | grep -v : | grep ."
        ]);
    });
    assert_eq!(container.run().stdout, "");
}

/// RT-MASK-05: many masked folders share one file system.
#[test]
fn masked_folders_share_one_file_system() {
    let folders: Vec<String> = (0..60).map(|number| format!("/hidden/{number}")).collect();
    let container = Container::new(|config| {
        config["linux"]["maskedPaths"] = json!(folders);
        config["process"]["args"] = json!(["sh", "-c", "stat -c %d /hidden/* | sort -u | wc -l"]);
    });
    for folder in &folders {
        std::fs::create_dir_all(container.rootfs().join(&folder[1..])).expect("a folder");
    }
    if requires(container.runtime().is("keel"), "the packaged peers make one for each") {
        assert_eq!(container.run().succeeds().stdout, "1\n");
    }
}

/// RT-MASK-06: a path listed twice, and one below a masked folder, is no error.
#[test]
fn paths_may_be_listed_twice() {
    let container = Container::new(|config| {
        config["linux"]["maskedPaths"] =
            json!(["/secret", "/secret", "/secret/in", "/etc/passwd", "/etc/passwd"]);
        config["linux"]["readonlyPaths"] = json!(["/etc", "/etc"]);
        config["process"]["args"] = json!(["sh", "-c", "ls /secret; cat /etc/passwd"]);
    });
    std::fs::create_dir_all(container.rootfs().join("secret/in")).expect("a folder");
    assert_eq!(container.run().succeeds().stdout, "");
}

/// RT-MASK-07: a read-only path keeps the other flags of its mount.
#[test]
fn readonly_paths_keep_flags() {
    let container = Container::new(|config| {
        let mounts = config["mounts"].as_array_mut().expect("an array");
        mounts.push(json!({"destination": "/box", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "noexec"]}));
        config["linux"]["readonlyPaths"] = json!(["/box"]);
    });
    let seen = container.observe();
    let mounts = seen["mounts"].as_array().expect("an array");
    let top = mounts.iter().rfind(|mount| mount["destination"] == "/box").expect("the mount");
    for flag in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(
            top["options"].as_array().expect("an array").contains(&json!(flag)),
            "{flag}: {top}"
        );
    }
}

/// RT-MASK-08: a path that is listed twice is covered once.
#[test]
fn a_path_listed_twice_is_covered_once() {
    let container = Container::new(|config| {
        config["linux"]["maskedPaths"] = json!(["/tmp", "/etc/passwd", "/tmp", "/etc/passwd"]);
        config["process"]["args"] = json!(["cat", "/proc/mounts"]);
    });
    if !requires(container.runtime().is("keel"), "runc 1.1.5 covers it twice") {
        return;
    }
    let mounts = container.run().succeeds().stdout;
    for path in [" /tmp ", " /etc/passwd "] {
        assert_eq!(mounts.lines().filter(|line| line.contains(path)).count(), 1, "{mounts}");
    }
}

/// RT-MASK-09: of the links in `/proc` what they lead to is covered, and what a hook has mounted there stays.
#[test]
fn links_and_mounts_of_proc_are_covered() {
    let masked = Container::new(|config| {
        config["linux"]["maskedPaths"] = json!(["/proc/mounts", "/proc/uptime"]);
        config["process"]["args"] = json!(["cat", "/proc/mounts", "/proc/uptime"]);
    });
    assert_eq!(masked.run().succeeds().stdout, "");
    const ADJUSTMENT: &str = "/proc/self/oom_score_adj";
    let fixed = Container::new(|config| {
        config["linux"]["readonlyPaths"] = json!(["/proc/self"]);
        config["process"]["args"] = json!(["/bin/probe", "open-write", ADJUSTMENT]);
    });
    assert_eq!(fixed.run().succeeds().json()[ADJUSTMENT], 30, "EROFS");

    let hooked = Container::new(|config| {
        config["linux"]["readonlyPaths"] = json!(["/proc/fs"]);
        config["process"]["args"] = json!(["sh", "-c", "cat /proc/fs/here; ! touch /proc/fs/new"]);
    });
    let place = hooked.rootfs().join("proc/fs");
    let script = format!(
        "cat > /dev/null; mount -t tmpfs hook {0} && echo hook > {0}/here",
        place.display()
    );
    hooked.change(|config| {
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script],
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]});
        config["hooks"] = json!({"createContainer": [hook]});
    });
    if requires(hooked.runtime().is("keel"), "runc 1.1.5 shows createContainer no rootfs path") {
        assert_eq!(hooked.run().succeeds().stdout, "hook\n");
    }
}
