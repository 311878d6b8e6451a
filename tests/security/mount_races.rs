//! A folder of the image that becomes a link while the runtime mounts there.

use std::fs;
use std::os::unix::fs::symlink;
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
#[test]
fn a_swapped_parent_never_leads_out() {
    let host = Scratch::new();
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["true"]);
        config["root"]["readonly"] = json!(false);
        let mounts = config["mounts"].as_array_mut().expect("an array");
        mounts.push(json!({"destination": "/vol/a/made/deep", "type": "tmpfs", "source": "tmpfs"}));
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
            // What was made inside is taken away, so that each round has something to make.
            for name in ["a", "b"] {
                let _ = fs::remove_dir_all(volume.join(name).join("made"));
            }
            if !listing(&host).is_empty() {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(listing(&host), Vec::<String>::new(), "the host was written to");
    container.assert_nothing_left();
    assert!(succeeded > 0, "no round ran to its end, so nothing was proved");
}
