//! Images of a checkpoint that come from somebody who is not trusted.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use keel_tests::counter::{call, checkpoint, command, counting, counts_to, restore, run};
use keel_tests::{Scratch, eventually, requires};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};

/// SEC-CKPT-01: what lies beside the images and speaks of the container is not believed (CVE-2026-53492,
/// CVE-2026-50195): no configuration, annotation, hook, mount or setting of criu comes from there.
///
/// Seen to fail with a `restore` that prefers the `config.json` of the images to the bundle's.
#[test]
fn what_images_say_is_not_believed() {
    let container = counting(|config| config["annotations"] = json!({"of": "the bundle"}));
    run(&container);
    let before = counts_to(&container, 3);
    checkpoint(&container, &[]).succeeds();
    let (told, log) = (container.path("told"), container.path("other.log"));
    let images = container.path("checkpoint");
    let text = fs::read_to_string(container.bundle().join("config.json")).expect("a file");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    let script = format!("cat > {}", told.display());
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
    config["hooks"] =
        json!({"prestart": hook, "createRuntime": hook, "poststart": hook, "poststop": hook});
    config["annotations"] = json!({
        "cdi.k8s.io/attack": "vendor.com/device=all",
        "org.criu.config": images.join("criu.conf").display().to_string()});
    config["mounts"]
        .as_array_mut()
        .expect("an array")
        .push(json!({"destination": "/host", "type": "bind", "source": "/", "options": ["rbind"]}));
    for name in ["config.json", "config.dump", "spec.dump"] {
        fs::write(images.join(name), config.to_string()).expect("a file");
    }
    for name in ["criu.conf", "default.conf", "runc.conf"] {
        fs::write(images.join(name), format!("log-file={}\n", log.display())).expect("a file");
    }
    fs::write(images.join("state.json"), json!({"id": "other", "config": config}).to_string())
        .expect("a file");
    restore(&container, &[]);
    counts_to(&container, before + 1);
    assert_eq!(container.state()["annotations"], json!({"of": "the bundle"}));
    let table = container.exec(&["cat", "/proc/1/mountinfo"]).succeeds().stdout;
    assert!(!table.contains(" /host "), "{table}");
    container.delete(&["--force"]).succeeds();
    assert!(!told.exists(), "a hook of the images was run");
    assert!(!log.exists(), "criu was set up by the images");
    container.assert_nothing_left();
}

/// SEC-CKPT-02: the one file beside criu's that is read is that file: a link to the host is refused, a pipe does not
/// make the restore wait, and what it says of streams opens nothing of the host.
///
/// Seen to fail where `read_descriptors` opens without `O_NOFOLLOW` (the link), and without `O_NONBLOCK` (the pipe:
/// the restore waited until the test ended it).
#[test]
fn the_file_of_descriptors_is_not_trusted() {
    let host = Scratch::new();
    let container = counting(|_| ());
    if !requires(container.runtime().is("keel"), "the packaged runc follows the link") {
        return;
    }
    run(&container);
    checkpoint(&container, &[]).succeeds();
    let file = container.path("checkpoint/descriptors.json");
    let true_one = fs::read_to_string(&file).expect("a file");
    fs::write(host.join("secret"), &true_one).expect("a file");
    let refused = || {
        call(&container, &["restore", "--detach", container.id()])
            .fails_naming(&["descriptors.json"]);
        container.assert_nothing_left();
        fs::remove_file(&file).expect("a file");
    };
    fs::remove_file(&file).expect("a file");
    symlink(host.join("secret"), &file).expect("a link");
    refused();
    mknodat(CWD, &file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    refused();
    fs::write(&file, "[".repeat(1 << 20)).expect("a file");
    refused();
    // Paths of the host, which would be opened if a text were taken for one.
    let secret = host.join("secret").display().to_string();
    fs::write(
        &file,
        json!([secret, "/etc/shadow", format!("/proc/self/root{secret}")]).to_string(),
    )
    .expect("a file");
    let mut command = command(&container, &["restore", "--detach", container.id()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the runtime starts");
    let status = eventually("the restore ends", || child.try_wait().expect("a child"));
    // That criu lacks a stream is as good as one that is the caller's.
    if status.success() {
        let open = container.exec(&["ls", "-l", "/proc/1/fd"]).succeeds().stdout;
        assert!(!open.contains("secret") && !open.contains("shadow"), "{open}");
    } else {
        container.assert_nothing_left();
    }
}
