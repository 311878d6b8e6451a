//! `commit`: what a container has changed becomes a layer.

use std::fs;
use std::process::Stdio;

use keel_tests::{ImageStore, eventually, fixture};

const SCRIPT: &str = "echo new > /etc/new && mkdir /etc/d && echo x > /etc/d/x && ln /etc/new /etc/hard && \
                      chmod 700 /home && rm -r /var /bin/vi && chown 5:6 /etc/new";
const CHANGES: [&str; 9] = [
    "C /bin",
    "D /bin/vi",
    "C /etc",
    "A /etc/d",
    "A /etc/d/x",
    "A /etc/hard",
    "A /etc/new",
    "C /home",
    "D /var",
];

fn with_box() -> ImageStore {
    let store = ImageStore::new();
    store.import(&fixture("busybox.tar"), "box:1").succeeds();
    store
}

#[track_caller]
fn changed(store: &ImageStore, image: &str) {
    let seen = store.call(&["diff", "box:1", image]).succeeds().stdout;
    for line in CHANGES {
        assert!(seen.lines().any(|own| own == line), "{line}: {seen}");
    }
}

/// IMG-COMMIT-01: a bundle that a runtime has run becomes an image with one layer more, which has only what was
/// changed; author, message and instructions are docker's.
#[test]
fn a_bundle_becomes_an_image() {
    let store = with_box();
    let bundle = store.bundle("box:1", &["/bin/sh", "-c", SCRIPT]);
    let mut command = keel_tests::Runtime::named("keel").command();
    command
        .arg("--root")
        .arg(store.beside("state"))
        .arg("run")
        .arg("-b")
        .arg(&bundle)
        .arg(store.name());
    store.finish(command).succeeds();
    let path = bundle.to_str().expect("a path");
    let id = store
        .call(&[
            "commit",
            "-a",
            "me",
            "-m",
            "why",
            "-c",
            "CMD [\"/bin/cat\", \"/etc/hard\"]",
            "-c",
            "ENV A=b",
            path,
            "app:1",
        ])
        .succeeds()
        .stdout;
    changed(&store, "app:1");
    let seen = store.call(&["inspect", "app:1"]).succeeds().json();
    assert_eq!(seen[0]["Id"], id.trim(), "{seen:#}");
    assert_eq!(seen[0]["Author"], "me");
    assert_eq!(seen[0]["Comment"], "why");
    assert_eq!(seen[0]["RootFS"]["Layers"].as_array().map(Vec::len), Some(2));
    assert!(seen[0]["Config"]["Env"].to_string().contains("A=b"), "{seen:#}");
    assert_eq!(store.call(&["run", "app:1"]).succeeds().stdout, "new\n");
    let layer = seen[0]["RootFS"]["Layers"][1].as_str().expect("a layer")[7..].to_owned();
    let tree = store.path().join("layers").join(layer).join("fs");
    assert!(!tree.join("bin/busybox").exists(), "only what was changed");
    store.call(&["fsck"]).succeeds();
    // Nothing was changed: no layer, and the step says so.
    let same = store.bundle("box:1", &["/bin/true"]);
    store.call(&["commit", same.to_str().expect("a path"), "same:1"]).succeeds();
    let seen = store.call(&["inspect", "same:1"]).succeeds().json();
    assert_eq!(seen[0]["RootFS"]["Layers"].as_array().map(Vec::len), Some(1));
}

/// IMG-COMMIT-02: a container that runs is committed by its name, and goes on.
#[test]
fn a_running_container_becomes_an_image() {
    let store = with_box();
    let name = format!("{}-c", store.name());
    // It ends by itself where the test fails before it.
    let wait = "for i in $(seq 600); do [ ! -e /end ] || exit 0; sleep 0.1; done; exit 1";
    let script = format!("{SCRIPT} && touch /ready && {wait}");
    let mut command = store.command(&["run", "--name", &name, "box:1", "/bin/sh", "-c", &script]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("keel-image");
    let tmp = store.path().join("tmp");
    let upper = || {
        let bundles = fs::read_dir(&tmp).into_iter().flatten().flatten();
        bundles.map(|entry| entry.path().join("upper")).find(|upper| upper.join("ready").exists())
    };
    eventually("the container is ready", upper);
    store.call(&["commit", &name, "live:1"]).succeeds();
    changed(&store, "live:1");
    let rootfs = upper().expect("it runs").with_file_name("rootfs");
    fs::write(rootfs.join("end"), "").expect("a file");
    assert!(child.wait().expect("an end").success());
    store.call(&["fsck"]).succeeds();
    store.call(&["commit", "nosuch", "x:1"]).fails_naming(&["nosuch"]);
}
