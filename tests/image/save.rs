//! `save`: archives that other tools read.

use std::collections::BTreeSet;

use keel_tests::{ImageStore, fixture, listing, noisy_layout};

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

/// IMG-SAVE-05: into a layout directory that is there, or an empty one, only what it does not have is written, and
/// what others have there stays; nothing is strewn into other directories.
#[test]
fn saves_into_a_layout() {
    const LAYER: usize = 6 << 20;
    let store = ImageStore::new();
    noisy_layout(&store, &[LAYER]);
    store.call(&["load", "-q", "-i", "layout"]).succeeds();
    let image = store.call(&["images", "-q"]).succeeds().stdout.trim().to_owned();
    store.call(&["tag", &image, "noise:1"]).succeeds();
    store.import(&fixture("busybox.tar"), "box:1").succeeds();
    std::fs::create_dir(store.beside("out")).expect("a folder");
    let first = store.moved(&["save", "-o", "out", "noise:1"]);
    assert!(first.written > LAYER as u64, "{first:?}");
    let again = store.moved(&["save", "-o", "out", "noise:1"]);
    assert!(again.read < 512 << 10 && again.written < 512 << 10, "{again:?}");
    let seen = store.call(&["save", "--json", "-o", "out", "box:1", "noise:1"]).succeeds().json();
    assert_eq!(seen[0]["RepoTags"], serde_json::json!(["box:1"]), "{seen}");
    assert_eq!(seen[1]["RepoTags"], serde_json::json!(["noise:1"]), "{seen}");
    // Others read it, and it comes back the same.
    let other = ImageStore::new();
    let path = store.beside("out").display().to_string();
    other.call(&["load", "-q", "-i", &path]).succeeds();
    for image in ["box:1", "noise:1"] {
        assert_eq!(id(&other, image), id(&store, image), "{image}");
    }
    let raw = std::fs::read_to_string(store.beside("out/index.json")).expect("an index");
    let index: serde_json::Value = serde_json::from_str(&raw).expect("JSON");
    assert_eq!(index["manifests"].as_array().map(Vec::len), Some(2), "{index:#}");
    let manifests = store.tool("umoci", &["list", "--layout", "out"]).stdout;
    assert_eq!(manifests.lines().collect::<Vec<_>>(), ["1", "1"], "umoci sees both tags");
    // A name goes to the image that has it now.
    store.call(&["tag", "box:1", "noise:1"]).succeeds();
    store.call(&["save", "-o", "out", "noise:1"]).succeeds();
    other.call(&["load", "-q", "-i", &path]).succeeds();
    assert_eq!(id(&other, "noise:1"), id(&store, "box:1"));
    std::fs::create_dir(store.beside("full")).expect("a folder");
    std::fs::write(store.beside("full/file"), "x").expect("a file");
    store.call(&["save", "-o", "full", "box:1"]).fails_naming(&["full", "no image layout"]);
    assert_eq!(listing(&store.beside("full")).len(), 1);
}

/// IMG-SAVE-06: layers go to a file and to a pipe by the kernel, and are not looked at again.
#[test]
fn the_kernel_copies_layers() {
    let store = ImageStore::new();
    noisy_layout(&store, &[6 << 20]);
    store.call(&["load", "-q", "-i", "layout"]).succeeds();
    let image = store.call(&["images", "-q"]).succeeds().stdout.trim().to_owned();
    let keel = keel_tests::program("keel-image").display().to_string();
    for target in ["> out.tar", "| cat > piped.tar", "-o named.tar"] {
        let script = format!(
            "strace -f -qq -o calls -e trace=read,pread64,copy_file_range,sendfile,splice {keel} --root {} save {image} {target}",
            store.path().display()
        );
        store.tool("sh", &["-c", &script]);
        let calls = std::fs::read_to_string(store.beside("calls")).expect("calls");
        let read: u64 = moved_by(&calls, &["read(", "pread64("]);
        let copied: u64 = moved_by(&calls, &["copy_file_range(", "sendfile(", "splice("]);
        assert!(
            copied > 6 << 20 && read < 512 << 10,
            "{target}: {copied} by the kernel, {read} read"
        );
    }
    store.tool("cmp", &["out.tar", "piped.tar"]);
    store.tool("cmp", &["out.tar", "named.tar"]);
}

/// What calls of these names returned, together.
fn moved_by(calls: &str, names: &[&str]) -> u64 {
    let lines = calls.lines().filter(|line| names.iter().any(|name| line.contains(name)));
    lines.filter_map(|line| line.rsplit("= ").next()?.trim().parse::<u64>().ok()).sum()
}
