//! The files of an image: `diff`, `export`, `cp`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use keel_tests::{ImageStore, fixture, listing};

/// `box:1`, and `app:1`, whose only further layer adds, changes and removes.
fn prepared() -> ImageStore {
    let store = ImageStore::new();
    store.import(&fixture("busybox.tar"), "box:1").succeeds();
    fs::create_dir(store.beside("context")).expect("a folder");
    let text = "FROM box:1\nRUN [\"/bin/sh\", \"-c\", \"echo new > /etc/new && mkdir /etc/d && echo x > /etc/d/x && \
                ln -s new /etc/link && chmod 700 /home && rm -r /var /bin/vi && chown 5:6 /etc/new\"]\n";
    fs::write(store.beside("context/Dockerfile"), text).expect("a Dockerfile");
    store.call(&["build", "-q", "-t", "app:1", "context"]).succeeds();
    store
}

/// IMG-DIFF-01: `diff` prints docker's letters for what a layer, or one image beside another, has different.
#[test]
fn shows_what_changed() {
    let store = prepared();
    let wanted = "C /bin\nD /bin/vi\nC /etc\nA /etc/d\nA /etc/d/x\nA /etc/link\nA /etc/new\nC /home\nD /var\n";
    assert_eq!(store.call(&["diff", "box:1", "app:1"]).succeeds().stdout, wanted);
    assert_eq!(store.call(&["diff", "app:1"]).succeeds().stdout, wanted);
    let back = store.call(&["diff", "app:1", "box:1"]).succeeds().stdout;
    for line in ["A /bin/vi", "D /etc/d", "D /etc/new", "C /home", "A /var"] {
        assert!(back.lines().any(|own| own == line), "{line}: {back}");
    }
    assert!(!back.contains("/etc/d/x"), "what is below something deleted is not told: {back}");
    assert_eq!(store.call(&["diff", "app:1", "app:1"]).succeeds().stdout, "");
    let json = store.call(&["diff", "--json", "app:1"]).succeeds().json();
    assert_eq!(json[1], serde_json::json!({ "Kind": "D", "Path": "/bin/vi" }), "{json}");
}

/// IMG-EXPORT-01: `export` writes what GNU tar unpacks to the tree of the bundle, without a whiteout; imported
/// again it is the same tree.
#[test]
fn exports_the_tree() {
    let store = prepared();
    store.call(&["export", "-o", "flat.tar", "app:1"]).succeeds();
    fs::create_dir(store.beside("flat")).expect("a folder");
    store.tool("tar", &["-C", "flat", "--same-owner", "--numeric-owner", "-xpf", "flat.tar"]);
    let wanted = listing(&store.bundle("app:1", &["/bin/true"]).join("rootfs"));
    let seen: BTreeSet<String> = listing(&store.beside("flat")).into_iter().collect();
    let wanted: BTreeSet<String> = wanted.into_iter().collect();
    let differs: Vec<&String> = wanted.symmetric_difference(&seen).take(20).collect();
    assert!(wanted.len() > 100 && differs.is_empty(), "{differs:#?}");
    store.tool("sh", &["-c", "! tar -tf flat.tar | grep -q '\\.wh\\.'"]);
    store.import(&store.beside("flat.tar"), "flat:1").succeeds();
    assert_eq!(store.call(&["diff", "app:1", "flat:1"]).succeeds().stdout, "");
    let mut command = store.command(&["export", "app:1"]);
    command.stdout(fs::File::create(store.beside("piped.tar")).expect("a file"));
    assert!(command.status().expect("keel-image").success());
    store.tool("cmp", &["flat.tar", "piped.tar"]);
}

/// IMG-CP-01: `cp` follows docker's rules: into a directory, under a new name, contents only, as a tar.
#[test]
fn copies_files_out() {
    let store = prepared();
    let at = |name: &str| store.beside(name);
    store.call(&["cp", "app:1:/etc/new", "single"]).succeeds();
    assert_eq!(fs::read_to_string(at("single")).expect("a file"), "new\n");
    assert_eq!(fs::metadata(at("single")).expect("metadata").uid(), 0, "the caller's");
    fs::create_dir(at("into")).expect("a folder");
    store.call(&["cp", "-a", "app:1:/etc/new", "into"]).succeeds();
    assert_eq!(fs::metadata(at("into/new")).expect("metadata").uid(), 5);
    store.call(&["cp", "app:1:/etc/d", "into"]).succeeds();
    assert_eq!(fs::read_to_string(at("into/d/x")).expect("a file"), "x\n");
    store.call(&["cp", "app:1:/etc/d/.", "into"]).succeeds();
    assert!(at("into/x").exists());
    store.call(&["cp", "app:1:/etc/d", "fresh"]).succeeds();
    assert!(at("fresh/x").exists());
    store.call(&["cp", "app:1:/etc/link", "link"]).succeeds();
    assert_eq!(fs::read_link(at("link")).expect("a link").to_str(), Some("new"));
    store.call(&["cp", "-L", "app:1:/etc/link", "followed"]).succeeds();
    assert_eq!(fs::read_to_string(at("followed")).expect("a file"), "new\n");
    store.call(&["cp", "app:1:/home", "home"]).succeeds();
    assert_eq!(fs::metadata(at("home")).expect("metadata").permissions().mode() & 0o777, 0o700);
    let tar = store.tool(
        "sh",
        &[
            "-c",
            &format!(
                "{} --root store cp app:1:/etc/d - | tar -t",
                keel_tests::program("keel-image").display()
            ),
        ],
    );
    assert_eq!(tar.stdout, "d/\nd/x\n");
    store.call(&["cp", "app:1:/etc/nothing", "x"]).fails_naming(&["/etc/nothing"]);
    store.call(&["cp", "app:1:/etc/d", "single"]).fails_naming(&["single"]);
    store.call(&["cp", "nosuch:1:/etc", "x"]).fails_naming(&["nosuch"]);
}
