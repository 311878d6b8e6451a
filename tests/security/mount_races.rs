//! A folder of the image that becomes a link while the runtime mounts there.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use keel_tests::{Container, Scratch, listing, requires};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;

/// How often the race is run: 200 in the suite, `KEEL_TESTS_RACE_ROUNDS=10000` by hand.
fn rounds() -> usize {
    std::env::var("KEEL_TESTS_RACE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(200)
}

/// SEC-RACE-01: an attacker who exchanges a folder with a link to the host never gets a mount or a folder made
/// outside (CVE-2021-30465, CVE-2017-1002101, CVE-2024-45310).
///
/// Seen to fail, in the first rounds, with `Root::lookup` without RESOLVE_IN_ROOT, and with one that asks for the
/// path of what it found and opens that again: a folder was made on the host. A walk of whole paths in
/// `Root::open_exact` made nothing there in 200 rounds, because the parent is opened anew, without its links.
#[test]
fn a_swapped_parent_never_leads_out() {
    let host = Scratch::new();
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["true"]);
        config["root"]["readonly"] = json!(false);
        let mounts = config["mounts"].as_array_mut().expect("an array");
        // Two lookups of their own: of a place whose parent is there, and of one whose parent is not.
        for destination in ["/vol/a/made/deep", "/vol/a/point"] {
            mounts.push(json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"}));
        }
    });
    if !requires(
        container.runtime().is("keel"),
        "the packaged runc and crun are older than CVE-2024-45310",
    ) {
        return;
    }
    let volume = container.rootfs().join("vol");
    fs::create_dir_all(volume.join("a")).expect("a folder");
    symlink(&*host, volume.join("b")).expect("a link");
    let stop = AtomicBool::new(false);
    let mut succeeded = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (a, b) = (volume.join("a"), volume.join("b"));
            while !stop.load(Ordering::Relaxed) {
                let _ = renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE);
            }
        });
        for _ in 0..rounds() {
            if container.run().status == 0 {
                succeeded += 1;
            }
            // Before the tidying, which goes through the link, too.
            if !listing(&host).is_empty() {
                break;
            }
            // What was made inside is taken away, so that each round has something to make.
            for name in ["a", "b"] {
                let _ = fs::remove_dir_all(volume.join(name).join("made"));
                let _ = fs::remove_dir(volume.join(name).join("point"));
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(listing(&host), Vec::<String>::new(), "the host was written to");
    container.assert_nothing_left();
    assert!(succeeded > 0, "no round ran to its end, so nothing was proved");
}

/// SEC-RACE-02: nor does a mount of a file, whose mount point is made (CVE-2024-45310), with /dev/null exchanged
/// for a link at the same time (CVE-2025-31133).
///
/// Seen to fail with the two lookups of SEC-RACE-01, which made a file on the host, and with masks from the image's
/// /dev/null in `cover::mask`: the program read the file of the attacker's choice.
#[test]
fn a_swapped_parent_of_a_file_never_leads_out() {
    let host = Scratch::new();
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["cat", "/etc/secret"]);
        config["root"]["readonly"] = json!(false);
        config["linux"]["maskedPaths"] = json!(["/etc/secret"]);
        let mounts = config["mounts"].as_array_mut().expect("an array");
        mounts.retain(|mount| !mount["destination"].as_str().unwrap_or("").starts_with("/dev"));
        for destination in ["/vol/a/made/file", "/vol/a/file"] {
            mounts.push(json!({"destination": destination, "type": "bind", "source": "/etc/passwd", "options": ["bind"]}));
        }
    });
    if !requires(
        container.runtime().is("keel"),
        "the packaged runc and crun are older than CVE-2024-45310",
    ) {
        return;
    }
    let rootfs = container.rootfs();
    fs::write(rootfs.join("etc/secret"), "secret").expect("a file");
    fs::write(rootfs.join("etc/chosen"), "chosen").expect("a file");
    fs::create_dir_all(rootfs.join("vol/a")).expect("a folder");
    symlink(&*host, rootfs.join("vol/b")).expect("a link");
    let null = rootfs.join("dev/null");
    let made = Command::new("mknod").arg(null).args(["c", "1", "3"]).status().expect("mknod");
    assert!(made.success());
    symlink("/etc/chosen", rootfs.join("dev/other")).expect("a link");
    let stop = AtomicBool::new(false);
    let (mut succeeded, mut last, mut unmasked) = (0, String::new(), None);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let exchange = |one: &str, other: &str| {
                let (one, other) = (rootfs.join(one), rootfs.join(other));
                let _ = renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE);
            };
            while !stop.load(Ordering::Relaxed) {
                exchange("vol/a", "vol/b");
                exchange("dev/null", "dev/other");
            }
        });
        // There are two of these tests, and a bound on their time.
        for _ in 0..rounds() / 2 {
            let outcome = container.run();
            if outcome.status == 0 {
                succeeded += 1;
                // A panic in here would wait for the attacker for ever.
                unmasked = (!outcome.stdout.is_empty()).then(|| outcome.report());
            } else {
                last = outcome.report();
            }
            if unmasked.is_some() || !listing(&host).is_empty() {
                break;
            }
            for name in ["vol/a", "vol/b"] {
                let _ = fs::remove_dir_all(rootfs.join(name).join("made"));
                let _ = fs::remove_file(rootfs.join(name).join("file"));
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(listing(&host), Vec::<String>::new(), "the host was written to");
    assert_eq!(unmasked, None, "the mask is not the null device");
    assert_eq!(fs::read_to_string(rootfs.join("etc/chosen")).expect("a file"), "chosen");
    container.assert_nothing_left();
    assert!(succeeded > 0, "no round ran to its end, so nothing was proved: {last}");
}
