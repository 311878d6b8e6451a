//! `linux.maskedPaths` and `linux.readonlyPaths`.

use keel_tests::Container;
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
