//! Archives that are damaged or hostile: one error that names the place, and a store as it was.

use std::fs;
use std::path::PathBuf;

use keel_tests::{
    ImageStore, Layout, Outcome, Protection, Registry, TarEntry, digest, fixture, listing, tarball,
};
use serde_json::{Value, json};

/// A store with one good image, and a good archive of it in the OCI form, unpacked in `parts`.
fn prepared() -> (ImageStore, Vec<String>) {
    let store = ImageStore::new();
    store.import(&fixture("busybox.tar"), "good:1").succeeds();
    store.call(&["save", "-o", "good.tar", "good:1"]).succeeds();
    store.tool("skopeo", &["copy", "-q", "docker-archive:good.tar", "oci:parts:bad"]);
    let before = listing(&store.path());
    (store, before)
}

/// The largest blob of the layout in `parts`, which is the layer.
fn layer(store: &ImageStore) -> PathBuf {
    let blobs = fs::read_dir(store.beside("parts/blobs/sha256")).expect("blobs");
    let mut blobs: Vec<PathBuf> = blobs.flatten().map(|entry| entry.path()).collect();
    blobs.sort_by_key(|path| fs::metadata(path).map(|meta| meta.len()).unwrap_or(0));
    blobs.pop().expect("a blob")
}

fn load_parts(store: &ImageStore) -> Outcome {
    store.tool("tar", &["-C", "parts", "-cf", "bad.tar", "."]);
    store.call(&["load", "-i", "bad.tar"])
}

#[track_caller]
fn refused(store: &ImageStore, before: &[String], outcome: Outcome, words: &[&str]) {
    let outcome = outcome.fails_naming(words);
    assert_eq!(
        outcome.stderr.matches("rror").count().min(2),
        outcome.stderr.matches("rror").count()
    );
    let after = listing(&store.path());
    assert_eq!(after, before, "the store has changed");
}

/// IMG-BAD-01: a flipped byte in a layer is refused by the layer's digest.
#[test]
fn a_flipped_byte_is_named_by_digest() {
    let (store, before) = prepared();
    let layer = layer(&store);
    let mut bytes = fs::read(&layer).expect("a blob");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x20;
    fs::write(&layer, bytes).expect("a blob");
    let digest = layer.file_name().expect("a name").to_string_lossy().into_owned();
    let outcome = load_parts(&store);
    refused(&store, &before, outcome, &[&digest]);
}

/// IMG-BAD-02: a blob that is cut short is refused by its digest.
#[test]
fn a_short_blob_is_named_by_digest() {
    let (store, before) = prepared();
    let layer = layer(&store);
    let bytes = fs::read(&layer).expect("a blob");
    fs::write(&layer, &bytes[..bytes.len() - 100]).expect("a blob");
    let digest = layer.file_name().expect("a name").to_string_lossy().into_owned();
    let outcome = load_parts(&store);
    refused(&store, &before, outcome, &[&digest]);
}

/// IMG-BAD-03: a missing blob is refused by its digest.
#[test]
fn a_missing_blob_is_named_by_digest() {
    let (store, before) = prepared();
    let layer = layer(&store);
    fs::remove_file(&layer).expect("a blob");
    let digest = layer.file_name().expect("a name").to_string_lossy().into_owned();
    let outcome = load_parts(&store);
    refused(&store, &before, outcome, &[&digest]);
}

/// IMG-BAD-04: an archive that ends in the middle is refused.
#[test]
fn a_truncated_archive_is_refused() {
    let (store, before) = prepared();
    let bytes = fs::read(store.beside("good.tar")).expect("an archive");
    fs::write(store.beside("short.tar"), &bytes[..bytes.len() / 3]).expect("an archive");
    let outcome = store.call(&["load", "-i", "short.tar"]);
    refused(&store, &before, outcome, &[]);
}

/// IMG-BAD-05: an entry with `..` in its path is refused by that path, and nothing is written outside.
#[test]
fn a_climbing_path_is_named() {
    let (store, before) = prepared();
    fs::create_dir(store.beside("in")).expect("a folder");
    fs::write(store.beside("escaped"), "x").expect("a file");
    store.tool("tar", &["-C", "in", "-P", "-cf", "climb.tar", "../escaped"]);
    fs::remove_file(store.beside("escaped")).expect("a file");
    let outcome = store.import(&store.beside("climb.tar"), "evil:1");
    refused(&store, &before, outcome, &["../escaped"]);
    assert!(!store.beside("escaped").exists());
}

/// IMG-BAD-06: a link that leads out and a file through it stay inside the layer, or are refused.
#[test]
fn a_file_through_a_link_stays_inside() {
    let (store, _) = prepared();
    let outside = store.beside("outside");
    fs::create_dir(&outside).expect("a folder");
    let script = format!(
        "mkdir t && cd t && ln -s {} link && tar -cf ../evil.tar link && rm link && mkdir link && echo x > link/file && tar -rf ../evil.tar link/file",
        outside.display()
    );
    store.tool("sh", &["-c", &script]);
    store.import(&store.beside("evil.tar"), "evil:2");
    assert_eq!(listing(&outside), Vec::<String>::new());
}

/// IMG-BAD-07: a file that is no archive at all is refused by its name.
#[test]
fn no_archive_is_refused() {
    let (store, before) = prepared();
    fs::write(store.beside("text"), "no archive\n".repeat(200)).expect("a file");
    let outcome = store.call(&["load", "-i", "text"]);
    refused(&store, &before, outcome, &[]);
    let outcome = store.call(&["load", "-i", "nosuchfile.tar"]);
    refused(&store, &before, outcome, &["nosuchfile.tar"]);
}

/// Writes a blob of the layout in `bomb`; its descriptor.
fn blob(store: &ImageStore, kind: &str, value: &Value) -> Value {
    let bytes = value.to_string().into_bytes();
    let name = digest(&bytes);
    let path = store.beside("bomb/blobs").join(name.replace(':', "/"));
    fs::write(path, &bytes).expect("a blob");
    let kind = format!("application/vnd.oci.image.{kind}.v1+json");
    json!({ "mediaType": kind, "digest": name, "size": bytes.len() })
}

/// IMG-BAD-08: indexes that list one another again and again keep no command busy; each is looked into once.
#[test]
fn a_bomb_of_indexes_is_looked_into_once() {
    // Eight thousand million ways lead to the image.
    const ENTRIES: usize = 300;
    let store = ImageStore::new();
    fs::create_dir_all(store.beside("bomb/blobs/sha256")).expect("a folder");
    let config = json!({ "architecture": "mips", "os": "plan9", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [] } });
    let config = blob(&store, "config", &config);
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [] });
    let mut entry = blob(&store, "manifest", &manifest);
    for _ in 0..4 {
        let index = json!({ "schemaVersion": 2, "manifests": vec![entry; ENTRIES] });
        entry = blob(&store, "index", &index);
    }
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": "bomb:1" });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();
    fs::write(store.beside("bomb/index.json"), index).expect("an index");
    let version = json!({ "imageLayoutVersion": "1.0.0" }).to_string();
    fs::write(store.beside("bomb/oci-layout"), version).expect("a file");

    store.call(&["load", "-i", "bomb"]).succeeds();
    store.call(&["load", "-i", "bomb", "--platform", "linux/arm64"]).fails_naming(&["plan9/mips"]);
    assert!(store.call(&["images"]).succeeds().stdout.contains("bomb"));
    store.call(&["inspect", "bomb:1"]).succeeds();
    store.call(&["fsck"]).succeeds();
    store.call(&["save", "-o", "bomb.tar", "bomb:1"]).succeeds();
    store.call(&["copy", "oci:bomb:bomb:1", "dir:out"]).succeeds();
    store.call(&["rmi", "bomb:1"]).succeeds();
}

/// Two layers: one deep, one of a file that gzip makes less than a thousandth of.
fn costly(store: &ImageStore) {
    let mut layout = Layout::new(&store.beside("costly"));
    let names = ["a", "a/b", "a/b/c", "a/b/c/d"];
    layout.layer(&tarball(&names.map(|name| TarEntry::directory(name, 0o755))));
    layout.layer(&tarball(&[TarEntry::file("zeros", vec![0; 300 << 20])]));
    layout.finish("image");
}

/// What is refused by each bound, and the words that say so.
const BOUNDS: [(&str, &str); 5] = [
    ("bytes=200m", "209715200 bytes"),
    ("entries=3", "3 entries"),
    ("depth=3", "3 components of a path"),
    ("ratio=100", "100 times its compressed size"),
    ("layers=1", "more than the 1 that are taken"),
];

/// IMG-BAD-09: `--limit` bounds what `load`, `unpack` and `import` take, says how it is raised, and leaves nothing.
#[test]
fn limits_are_set_by_flags() {
    let store = ImageStore::new();
    costly(&store);
    store.import(&fixture("busybox.tar"), "good:1").succeeds();
    let before = listing(&store.path());
    for (limit, words) in BOUNDS {
        let outcome = store.call(&["--limit", limit, "load", "-i", "costly"]);
        refused(&store, &before, outcome, &[words]);
    }
    let outcome = store.call(&["--limit", "depth=3", "load", "-i", "costly"]);
    outcome.fails_naming(&["a/b/c/d", "hint: ", "--limit"]);
    fs::write(store.beside("deep.tar"), tarball(&[TarEntry::directory("a/b/c/d", 0o755)]))
        .expect("a file");
    store
        .call(&["--limit", "depth=3", "import", "deep.tar", "deep:1"])
        .fails_naming(&["3 components"]);
    assert_eq!(listing(&store.path()), before, "the store has changed");
    store.call(&["--limit", "ratio=2000", "load", "-i", "costly"]).succeeds();
    fs::remove_dir_all(store.path().join("layers")).expect("unpacked layers");
    for (limit, words) in BOUNDS {
        store.call(&["--limit", limit, "unpack", "image"]).fails_naming(&[words]);
    }
    assert_eq!(listing(&store.path().join("layers")), Vec::<String>::new());
    // Without the flag the library's own bounds hold.
    store.call(&["unpack", "image"]).fails_naming(&["1000 times", "hint: ", "--limit"]);
    store.call(&["--limit", "ratio=2000", "unpack", "image"]).succeeds();
    for wrong in ["bytes", "bytes=0", "inodes=1"] {
        store.call(&["--limit", wrong, "images"]).exits(125).says(&["--limit"]);
    }
}

/// IMG-BAD-10: `--limit` bounds what `pull` takes.
#[test]
fn limits_hold_for_pull() {
    let store = ImageStore::new();
    costly(&store);
    let registry = Registry::start(Protection::None);
    registry.push(&format!("oci:{}:image", store.beside("costly").display()), "costly:1");
    let name = registry.name("costly:1");
    for (limit, words) in BOUNDS {
        store.call(&["--limit", limit, "pull", "-q", &name]).fails_naming(&[words]);
        let (layers, images) =
            (listing(&store.path().join("layers")), store.call(&["images", "-q"]));
        assert_eq!((layers, images.stdout), (Vec::new(), String::new()), "{limit}");
    }
    store.call(&["pull", "-q", &name]).fails_naming(&["1000 times", "hint: ", "--limit"]);
    store.call(&["--limit", "ratio=2000", "pull", "-q", &name]).succeeds();
}
