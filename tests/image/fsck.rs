//! `fsck`: every kind of damage is found, named, and removed where that helps.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use keel_tests::{ImageStore, fixture, listing};
use serde_json::Value;

/// A store with an image of two layers.
fn prepared() -> ImageStore {
    let store = ImageStore::new();
    store.import(&fixture("busybox.tar"), "box:1").succeeds();
    fs::create_dir(store.beside("context")).expect("a folder");
    let text = "FROM box:1\nCOPY file /etc/file\nRUN [\"/bin/rm\", \"/bin/vi\"]\n";
    fs::write(store.beside("context/Dockerfile"), text).expect("a Dockerfile");
    fs::write(store.beside("context/file"), "content").expect("a file");
    store.call(&["build", "-q", "-t", "app:1", "context"]).succeeds();
    let checked = store.call(&["fsck", "--json"]).succeeds().json();
    assert_eq!(checked["Clean"], true, "{checked:#}");
    assert_eq!(checked["Images"], 2, "{checked:#}");
    assert_eq!(checked["Layers"], 3, "{checked:#}");
    store
}

fn found(store: &ImageStore, words: &[&str]) -> Value {
    let mut all = vec!["fsck", "--json"];
    all.extend_from_slice(words);
    let outcome = store.call(&all).exits(1);
    let checked = outcome.json();
    assert_eq!(checked["Clean"], false, "{checked:#}");
    checked
}

fn blobs(store: &ImageStore) -> Vec<PathBuf> {
    let folder = fs::read_dir(store.path().join("blobs/sha256")).expect("blobs");
    let mut blobs: Vec<PathBuf> = folder.flatten().map(|entry| entry.path()).collect();
    blobs.sort();
    blobs
}

/// IMG-FSCK-01: every blob of an image, flipped, cut short or made longer, is found and named with the
/// images that need it; a repair removes it, and loading the image again makes the store whole.
#[test]
fn finds_every_damaged_blob() {
    let store = prepared();
    store.call(&["save", "-o", "all.tar", "app:1", "box:1"]).succeeds();
    let blobs = blobs(&store);
    assert_eq!(blobs.len(), 7, "two manifests, two configurations, three layers");
    for (number, blob) in blobs.iter().enumerate() {
        let digest = blob.file_name().expect("a name").to_string_lossy().into_owned();
        let good = fs::read(blob).expect("a blob");
        for case in ["flipped", "cut", "longer"] {
            let mut bad = good.clone();
            match case {
                "flipped" => bad[good.len() / 2] ^= 1,
                "cut" => bad.truncate(good.len() - 1),
                _ => bad.push(b' '),
            }
            fs::write(blob, &bad).expect("a blob");
            let checked = found(&store, &[]);
            let text = checked.to_string();
            assert!(text.contains(&digest), "{case} {digest}: {checked:#}");
            let names = checked["FetchAgain"].to_string();
            assert!(names.contains("app:1") || names.contains("box:1"), "{case}: {checked:#}");
            // What only looks at sizes sees two of the three.
            if case != "flipped" {
                found(&store, &["--quick"]);
            }
            // Whoever uses the image is told, too.
            let saved = store.call(&["save", "-o", "bad.tar", "app:1", "box:1"]);
            if case == "flipped" && saved.status == 0 {
                // Layers are copied unread; whoever loads them reads them.
                let bad = store.beside("bad.tar");
                let words = ["load", "-q", "-i", bad.to_str().expect("a path")];
                ImageStore::new().call(&words).fails_naming(&[&digest]);
                fs::remove_file(bad).expect("an archive");
            } else {
                saved.fails_naming(&[&digest]);
            }
            assert!(!store.beside("bad.tar").exists());
            fs::write(blob, &good).expect("a blob");
        }
        if number == 0 {
            fs::remove_file(blob).expect("a blob");
            let checked = found(&store, &["--quick"]);
            assert_eq!(checked["Findings"][0]["Kind"], "missing", "{checked:#}");
            fs::write(blob, &good).expect("a blob");
        }
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 1;
        fs::write(blob, &bad).expect("a blob");
        let repaired = found(&store, &["--repair"]);
        assert_eq!(repaired["Findings"][0]["Repaired"], true, "{repaired:#}");
        assert!(
            !blob.exists(),
            "a damaged blob of the right size would be taken for the right one"
        );
        store.call(&["load", "-q", "-i", "all.tar"]).succeeds();
        store.call(&["fsck"]).succeeds();
    }
}

/// IMG-FSCK-02: a change in any unpacked layer is found by the file's name; a repair removes the layer, which
/// is unpacked again when it is needed.
#[test]
fn finds_changed_layers() {
    let store = prepared();
    let layers = store.path().join("layers");
    let trees =
        fs::read_dir(&layers).expect("layers").flatten().map(|entry| entry.path().join("fs"));
    let tree = trees.into_iter().find(|tree| tree.join("bin/busybox").exists()).expect("the base");
    let program = tree.join("bin/busybox");
    let spoil: [(&str, &dyn Fn()); 5] = [
        ("bin/busybox", &|| {
            let mut bytes = fs::read(&program).expect("a file");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            let before = fs::metadata(&program).expect("metadata").modified().expect("a time");
            let mut file = File::options().write(true).open(&program).expect("a file");
            file.write_all(&bytes).expect("a file");
            file.set_modified(before).expect("a time");
        }),
        ("bin/busybox", &|| {
            fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("chmod");
        }),
        ("bin/cat", &|| fs::remove_file(tree.join("bin/cat")).expect("a link")),
        ("bin/aaa", &|| fs::write(tree.join("bin/aaa"), "new").expect("a file")),
        ("layer.json", &|| {
            fs::remove_file(tree.with_file_name("layer.json")).expect("a note");
        }),
    ];
    for (name, spoil) in spoil {
        spoil();
        let checked = found(&store, &[]);
        let finding = &checked["Findings"][0];
        assert_eq!(finding["Kind"], "layer", "{checked:#}");
        let message = finding["Message"].as_str().expect("a message");
        assert!(message.contains(name) || name == "layer.json", "{name}: {message}");
        assert_eq!(checked["FetchAgain"], serde_json::json!([]), "{checked:#}");
        let repaired = store.call(&["fsck", "--repair"]).succeeds();
        assert!(repaired.stdout.contains("(removed)"), "{}", repaired.report());
        assert!(!tree.exists());
        let ran = store.call(&["run", "app:1", "/bin/cat", "/etc/file"]).succeeds();
        assert_eq!(ran.stdout, "content");
        store.call(&["fsck"]).succeeds();
    }
}

/// IMG-FSCK-03: files that are no blobs, and an index that cannot be read, are named and left.
#[test]
fn names_what_belongs_to_nothing() {
    let store = prepared();
    let odd = store.path().join("blobs/sha256/odd");
    fs::write(&odd, "odd").expect("a file");
    let checked = found(&store, &["--repair"]);
    assert_eq!(checked["Findings"][0]["Kind"], "orphan", "{checked:#}");
    fs::remove_file(&odd).expect("another's file stays");
    let index = store.path().join("index.json");
    let good = fs::read(&index).expect("index.json");
    fs::write(&index, "{").expect("index.json");
    let checked = found(&store, &["--repair"]);
    assert_eq!(checked["Findings"][0]["Kind"], "index", "{checked:#}");
    // Nothing is collected as long as nobody knows what is needed.
    let before = listing(&store.path().join("blobs"));
    store.call(&["prune", "-f", "--grace", "0s"]).fails_naming(&["index.json"]);
    assert_eq!(listing(&store.path().join("blobs")), before);
    fs::write(&index, good).expect("index.json");
    store.call(&["fsck"]).succeeds();
}

/// IMG-LEASE-01: a lease keeps what no image has any more until it is over or taken back; without one, blobs
/// that a killed command left stay for the time of grace only.
#[test]
fn leases_and_grace_keep_blobs() {
    let store = prepared();
    let count = || blobs(&store).len();
    store.call(&["lease", "create", "--expires", "1h", "mine", "app:1"]).succeeds();
    let names = store.call(&["lease", "ls"]).succeeds().stdout;
    assert!(names.contains("\nmine "), "{names}");
    store.call(&["rmi", "-f", "app:1", "box:1"]).succeeds();
    assert_eq!(count(), 5, "app:1 is kept whole, with the layer of box:1");
    store.call(&["lease", "rm", "mine"]).succeeds();
    store.call(&["prune", "-f"]).succeeds();
    assert_eq!(count(), 5, "they are young, and no image was removed just now");
    let cached = store.path().join("retained");
    fs::remove_dir_all(&cached).expect("the build cache's leases");
    store.call(&["prune", "-f", "--grace", "0s"]).succeeds();
    assert_eq!(count(), 0);

    store.import(&fixture("busybox.tar"), "box:1").succeeds();
    store.call(&["lease", "create", "--expires", "1ms", "over", "box:1"]).succeeds();
    assert_eq!(store.call(&["lease", "ls", "-q"]).succeeds().stdout, "over\n");
    store.call(&["rmi", "box:1"]).succeeds();
    assert_eq!(count(), 0, "a lease that is over keeps nothing");
    let names = store.call(&["lease", "ls", "-q"]).succeeds().stdout;
    assert!(names.is_empty(), "{names}");
}
