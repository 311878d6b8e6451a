//! `save`: archives that other tools read.

use std::collections::BTreeSet;

use keel_tests::{ImageStore, fixture, listing};

fn id(store: &ImageStore, image: &str) -> String {
    let inspected = store.call(&["inspect", image]).succeeds().json();
    inspected[0]["Id"].as_str().expect("an id").to_owned()
}

/// IMG-SAVE-01: a saved image is read by skopeo, unpacked by umoci, and its tree is the bundle's.
#[test]
fn skopeo_and_umoci_read_it() {
    let store = ImageStore::new();
    store.import(&fixture("busybox.tar"), "box:1").succeeds();
    store.call(&["save", "-o", "box.tar", "box:1"]).succeeds();
    let inspected = store.tool("skopeo", &["inspect", "docker-archive:box.tar"]).json();
    assert_eq!(inspected["Layers"].as_array().map(Vec::len), Some(1), "{inspected}");
    store.tool("skopeo", &["copy", "-q", "docker-archive:box.tar", "oci:out:box"]);
    store.tool("umoci", &["unpack", "--image", "out:box", "unpacked"]);
    let wanted: BTreeSet<String> = listing(&store.beside("unpacked/rootfs")).into_iter().collect();
    let seen: BTreeSet<String> =
        listing(&store.bundle("box:1", &["/bin/true"]).join("rootfs")).into_iter().collect();
    let differs: Vec<&String> = wanted.symmetric_difference(&seen).take(20).collect();
    assert!(wanted.len() > 100 && differs.is_empty(), "{differs:#?}");
}

/// IMG-SAVE-02: what is saved and loaded into another store is the same image.
#[test]
fn the_id_survives() {
    let store = ImageStore::new();
    store.import(&fixture("busybox.tar"), "box:1").succeeds();
    store.call(&["save", "-o", "box.tar", "box:1"]).succeeds();
    let other = ImageStore::new();
    let archive = store.beside("box.tar").display().to_string();
    other.call(&["load", "-i", &archive]).succeeds();
    assert_eq!(id(&other, "box:1"), id(&store, "box:1"));
}

/// IMG-SAVE-03: saving twice gives the same bytes.
#[test]
fn saving_is_reproducible() {
    let store = ImageStore::new();
    store.import(&fixture("busybox.tar"), "box:1").succeeds();
    store.call(&["save", "-o", "a.tar", "box:1"]).succeeds();
    store.call(&["save", "-o", "b.tar", "box:1"]).succeeds();
    store.tool("cmp", &["a.tar", "b.tar"]);
}

/// IMG-STORE-01: the store is an OCI image layout that skopeo reads as it lies.
#[test]
fn the_store_is_a_layout() {
    let store = ImageStore::new();
    store.import(&fixture("busybox.tar"), "box:1").succeeds();
    let path = store.path();
    let layout = std::fs::read_to_string(path.join("oci-layout")).expect("oci-layout");
    assert!(layout.contains("imageLayoutVersion"), "{layout}");
    let index = std::fs::read_to_string(path.join("index.json")).expect("index.json");
    let index: serde_json::Value = serde_json::from_str(&index).expect("JSON");
    let name = index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"]
        .as_str()
        .expect("a reference name");
    let words = ["inspect".to_owned(), format!("oci:{}:{name}", path.display())];
    let inspected = store.tool("skopeo", &words).json();
    assert_eq!(inspected["Layers"].as_array().map(Vec::len), Some(1), "{inspected}");
}

/// IMG-SAVE-04: `save` and `export` write through no link that somebody has put where they write before all is
/// there.
#[test]
fn writes_through_no_link() {
    let store = ImageStore::new();
    store.import(&fixture("busybox.tar"), "box:1").succeeds();
    std::fs::write(store.beside("victim"), "whole").expect("a file");
    for verb in ["save", "export"] {
        // The command has the number of the process that made the link.
        let script = format!(
            "ln -s victim out.$$.partial; exec {} --root {} {verb} -o out box:1",
            keel_tests::program("keel-image").display(),
            store.path().display()
        );
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &script]).current_dir(store.beside(""));
        store.finish(command).fails_naming(&["out"]);
        let victim = std::fs::read_to_string(store.beside("victim")).expect("a file");
        assert_eq!(victim, "whole", "{verb}");
        assert!(!store.beside("out").exists(), "{verb}");
    }
}
