//! Symbolic links that an image puts where the runtime writes.

use std::fs;
use std::os::unix::fs::symlink;

use keel_tests::{ConsoleSocket, Container, Scratch, listing, requires};
use serde_json::{Value, json};

/// Takes out everything that would cover the image's own /dev.
fn bare_dev(config: &mut Value) {
    dev_with(&[], config);
}

/// The image's own /dev, with only these mounts in it.
fn dev_with(kept: &[&str], config: &mut Value) {
    let mounts = config["mounts"].as_array_mut().expect("an array");
    mounts.retain(|mount| {
        let destination = mount["destination"].as_str().unwrap_or("");
        !destination.starts_with("/dev") || kept.contains(&destination)
    });
    config["root"]["readonly"] = json!(false);
}

/// A folder of the host with what a runtime would replace: `ptmx` and `fd`.
fn decoy() -> Scratch {
    let decoy = Scratch::new();
    for name in ["ptmx", "fd", "stdin", "console"] {
        fs::write(decoy.join(name), "of the host").expect("a file");
    }
    decoy
}

/// SEC-LINK-01: /dev of the image as a link to a folder of the host (CVE-2026-41579, CVE-2026-47766).
///
/// Seen to fail where `Root::lookup` resolves without RESOLVE_IN_ROOT: devices were made on the host.
#[test]
fn dev_may_not_lead_to_the_host() {
    let decoy = decoy();
    let before = listing(&decoy);
    for target in
        [decoy.display().to_string(), format!("../../../../../../../..{}", decoy.display())]
    {
        let container = Container::new(|config| {
            bare_dev(config);
            config["process"]["args"] = json!(["true"]);
        });
        if !requires(
            container.runtime().is("keel"),
            "the packaged runc and crun are older than the fix",
        ) {
            return;
        }
        fs::remove_dir(container.rootfs().join("dev")).expect("an empty folder");
        symlink(&target, container.rootfs().join("dev")).expect("a link");
        container.run();
        assert_eq!(listing(&decoy), before, "{target}");
        container.assert_nothing_left();
    }
}

/// SEC-LINK-02: the same with a mount over /dev: the mount lands inside (CVE-2026-41579).
///
/// Seen to fail in the same way: no mount was inside.
#[test]
fn a_mount_on_a_linked_dev_lands_inside() {
    let decoy = decoy();
    let before = listing(&decoy);
    let container = Container::new(|config| {
        config["process"]["args"] = json!(["cat", "/proc/self/mountinfo"]);
    });
    if !requires(
        container.runtime().is("keel"),
        "the packaged runc and crun are older than the fix",
    ) {
        return;
    }
    fs::remove_dir(container.rootfs().join("dev")).expect("an empty folder");
    symlink(&*decoy, container.rootfs().join("dev")).expect("a link");
    let outcome = container.run();
    assert_eq!(listing(&decoy), before);
    // A mount over the host's folder would be seen by nobody but the container, where it would be missing.
    if outcome.status == 0 {
        let inside = format!(" / {} ", decoy.display());
        assert!(outcome.stdout.contains(&inside), "{}", outcome.report());
    }
    container.assert_nothing_left();
}

/// SEC-LINK-03: /dev/pts, /dev/ptmx and the default links of the image as links to the host.
#[test]
fn entries_of_dev_may_not_lead_to_the_host() {
    for name in ["ptmx", "fd", "stdin", "stdout", "stderr", "null", "console"] {
        let decoy = decoy();
        let before = listing(&decoy);
        let container = Container::new(|config| {
            bare_dev(config);
            config["process"]["args"] = json!(["true"]);
        });
        symlink(decoy.join("ptmx"), container.rootfs().join("dev").join(name)).expect("a link");
        container.run();
        assert_eq!(listing(&decoy), before, "{name}");
        container.assert_nothing_left();
    }
}

/// SEC-LINK-04: /proc or /sys of the image as a link is refused: labels and masks would miss (CVE-2019-19921,
/// CVE-2023-27561, CVE-2023-28642, CVE-2025-54867).
///
/// Seen to fail where `Step::Mount` follows links for /proc and /sys, too.
#[test]
fn proc_and_sys_may_not_be_links() {
    for name in ["proc", "sys"] {
        let container = Container::new(|config| config["process"]["args"] = json!(["true"]));
        if !requires(!container.runtime().is("crun"), "crun follows the link inside the root") {
            return;
        }
        fs::remove_dir(container.rootfs().join(name)).expect("an empty folder");
        fs::create_dir(container.rootfs().join("evil")).expect("a folder");
        symlink("/evil", container.rootfs().join(name)).expect("a link");
        let outcome = container.run();
        assert_ne!(outcome.status, 0, "{name}\n{}", outcome.report());
        container.assert_nothing_left();
    }
}

/// SEC-LINK-05: a masked file stays masked when /dev/null of the image is a link (CVE-2025-31133,
/// CVE-2025-62161).
#[test]
fn masks_do_not_use_the_images_dev_null() {
    let container = Container::new(|config| {
        bare_dev(config);
        config["linux"]["maskedPaths"] = json!(["/etc/secret"]);
        config["process"]["args"] = json!(["cat", "/etc/secret"]);
    });
    if !requires(
        container.runtime().is("keel"),
        "the packaged runc and crun are older than the fix",
    ) {
        return;
    }
    fs::write(container.rootfs().join("etc/secret"), "secret").expect("a file");
    fs::write(container.rootfs().join("etc/target"), "the attacker's choice").expect("a file");
    symlink("/etc/target", container.rootfs().join("dev/null")).expect("a link");
    let outcome = container.run();
    // Refusing the image is as good as masking with the real device.
    if outcome.status == 0 {
        assert_eq!(outcome.stdout, "", "{}", outcome.report());
    }
    assert_eq!(
        fs::read_to_string(container.rootfs().join("etc/target")).expect("a file"),
        "the attacker's choice"
    );
}

/// SEC-LINK-06: files that /etc/passwd of the image leads to are read inside the container only.
#[test]
fn passwd_is_read_inside() {
    let host = Scratch::new();
    let passwd = host.join("passwd");
    fs::write(&passwd, "root:x:0:0:root:/stolen:/bin/sh\n").expect("a file");
    let container = Container::new(|_| ());
    fs::remove_file(container.rootfs().join("etc/passwd")).expect("a file");
    symlink(&passwd, container.rootfs().join("etc/passwd")).expect("a link");
    let outcome = container.run();
    if outcome.status == 0 {
        assert_ne!(outcome.json()["env"]["HOME"], "/stolen");
    }
}

/// SEC-LINK-07: a working directory of the image that is a link to the host is made inside, if at all.
#[test]
fn cwd_is_made_inside() {
    let host = Scratch::new();
    let container = Container::new(|config| config["process"]["cwd"] = json!("/link/new"));
    symlink(&*host, container.rootfs().join("link")).expect("a link");
    container.run();
    assert_eq!(listing(&host), Vec::<String>::new());
}

/// SEC-LINK-08: a terminal is never taken from, nor put at, what the image has at /dev/pts/N and /dev/console
/// (CVE-2025-52565).
///
/// Without a devpts keel refuses before it comes to the console, so this does not fail with `Links::Follow` in
/// `cover_console`: SEC-LINK-10 does.
#[test]
fn the_console_does_not_follow_the_image() {
    let host = decoy();
    let before = listing(&host);
    let container = Container::new(|config| {
        bare_dev(config);
        config["process"]["terminal"] = json!(true);
        config["process"]["args"] = json!(["sleep", "100000"]);
    });
    if !requires(
        container.runtime().is("keel"),
        "the packaged runc and crun are older than the fix",
    ) {
        return;
    }
    let dev = container.rootfs().join("dev");
    fs::create_dir(dev.join("pts")).expect("a folder");
    for number in 0..64 {
        symlink(host.join("console"), dev.join("pts").join(number.to_string())).expect("a link");
    }
    symlink(host.join("console"), dev.join("console")).expect("a link");
    let socket = ConsoleSocket::listen(container.path("console.sock"));
    let socket_path = socket.path().display().to_string();
    let created = container.call(&["create", "--console-socket", &socket_path, container.id()]);
    assert_eq!(listing(&host), before, "{}", created.report());
    let table = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    assert!(!table.contains(&host.display().to_string()), "mounted on the host: {table}");
    if created.status == 0 {
        let seen = format!("/proc/{}/mountinfo", container.pid());
        let table = fs::read_to_string(seen).expect("mountinfo");
        assert!(!table.contains("/console") || table.contains(" /dev/console "), "{table}");
    }
}

/// SEC-LINK-10: nor does the terminal cover the file that /dev/console of the image leads to, inside either
/// (CVE-2025-52565): the image has its own /dev, with only a devpts in it.
///
/// Seen to fail with `Links::Follow` in `cover_console`.
#[test]
fn the_console_covers_what_it_is_meant_to() {
    let container = Container::new(|config| {
        dev_with(&["/dev/pts"], config);
        config["process"]["terminal"] = json!(true);
        config["process"]["args"] = json!(["sleep", "100000"]);
    });
    if !requires(
        container.runtime().is("keel"),
        "the packaged runc and crun are older than the fix",
    ) {
        return;
    }
    let dev = container.rootfs().join("dev");
    fs::create_dir(dev.join("pts")).expect("a folder");
    let create = || {
        let socket = ConsoleSocket::listen(container.path("console.sock"));
        let path = socket.path().display().to_string();
        (container.call(&["create", "--console-socket", &path, container.id()]), socket)
    };
    // Without the link it works, or the attack would prove nothing.
    create().0.succeeds();
    container.delete(&["--force"]).succeeds();
    fs::remove_file(container.path("console.sock")).expect("a socket");
    let _ = fs::remove_file(dev.join("console"));
    fs::write(container.rootfs().join("etc/covered"), "").expect("a file");
    symlink("/etc/covered", dev.join("console")).expect("a link");
    // The end of the socket would end the terminal, and so the container.
    let (created, _socket) = create();
    if created.status == 0 {
        let table = format!("/proc/{}/mountinfo", container.pid());
        let table = fs::read_to_string(table).expect("mountinfo");
        assert!(!table.contains(" /etc/covered "), "{table}");
    }
}

/// SEC-LINK-09: a file that is made for a mount is made inside, whatever links its path goes through
/// (CVE-2024-45310): links that are absolute, that climb, that dangle, and one to procfs.
///
/// Seen to fail where `Root::lookup` resolves without RESOLVE_IN_ROOT.
#[test]
fn mount_points_are_made_inside() {
    let host = Scratch::new();
    let climbing = format!("../../../../../../../..{}", host.display());
    for target in
        [host.display().to_string(), climbing, format!("/proc/self/root{}", host.display())]
    {
        for (kind, source, point) in [
            ("bind", "/etc/passwd", "new/point"),
            ("tmpfs", "tmpfs", "new/point"),
            ("tmpfs", "tmpfs", "point"),
        ] {
            let container = Container::new(|config| {
                config["process"]["args"] = json!(["true"]);
                config["root"]["readonly"] = json!(false);
                let options = if kind == "bind" { json!(["bind"]) } else { json!([]) };
                config["mounts"].as_array_mut().expect("an array").push(json!(
                    {"destination": format!("/etc/link/{point}"), "type": kind, "source": source, "options": options}));
            });
            symlink(&target, container.rootfs().join("etc/link")).expect("a link");
            container.run();
            assert_eq!(listing(&host), Vec::<String>::new(), "{target} {kind}");
            container.assert_nothing_left();
        }
    }
}
