//! `copy`: an image between store, layouts, archives and directories, byte for byte.

use std::fs;
use std::path::Path;

use keel_tests::{ImageStore, fixture};
use serde_json::Value;

/// A store with an image of two layers, one of them compressed.
fn prepared() -> ImageStore {
    let store = ImageStore::new();
    store.import(&fixture("busybox.tar"), "box:1").succeeds();
    fs::create_dir(store.beside("context")).expect("a folder");
    let text = "FROM box:1\nCOPY Dockerfile /etc/file\nCMD [\"/bin/cat\", \"/etc/file\"]\n";
    fs::write(store.beside("context/Dockerfile"), text).expect("a Dockerfile");
    store.call(&["build", "-q", "-t", "app:1", "context"]).succeeds();
    store
}

/// The manifest's digest, as skopeo computes it.
fn digest(store: &ImageStore, place: &str) -> String {
    let bytes = store.tool("skopeo", &["inspect", "--raw", place]).stdout;
    fs::write(store.beside("raw.json"), bytes).expect("a manifest");
    store.tool("skopeo", &["manifest-digest", "raw.json"]).stdout.trim().to_owned()
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
}

/// IMG-COPY-01: from place to place, each kind once in each direction, the manifest's digest stays what it was, by
/// skopeo's reckoning; and what comes back runs.
#[test]
fn no_byte_changes_on_the_way() {
    let store = prepared();
    let own =
        store.call(&["inspect", "--format", "{{.Descriptor.digest}}", "app:1"]).succeeds().stdout;
    let own = own.trim();
    let mut from = "app:1".to_owned();
    for (place, seen_by_skopeo) in [
        ("oci:layout:app:1", true),
        ("oci-archive:app-oci.tar:app:1", true),
        ("dir:loose", true),
        // Docker's form has no manifest of its own: skopeo makes one.
        ("docker-archive:app-docker.tar:app:1", false),
        ("oci:second:odd name", false),
        ("back:1", false),
    ] {
        let copied = store.call(&["copy", &from, place]).succeeds().stdout;
        assert_eq!(copied.trim(), own, "{from} to {place}");
        if seen_by_skopeo {
            assert_eq!(digest(&store, place), own, "{place}");
        }
        from = place.to_owned();
    }
    assert_eq!(store.call(&["run", "back:1"]).succeeds().stdout.lines().next(), Some("FROM box:1"));
    // Skopeo reads Docker's form, and the store takes what skopeo and umoci have written.
    store.tool("skopeo", &["copy", "-q", "docker-archive:app-docker.tar:app:1", "dir:by-skopeo"]);
    store.tool("skopeo", &["copy", "-q", "oci:layout:app:1", "oci-archive:by-skopeo.tar:x"]);
    store.call(&["copy", "dir:by-skopeo", "one:1"]).succeeds();
    store.call(&["copy", "oci-archive:by-skopeo.tar:x", "two:1"]).succeeds();
    for name in ["one:1", "two:1"] {
        store.call(&["run", name]).succeeds();
    }
    store.tool("umoci", &["unpack", "--image", "layout:app:1", "unpacked"]);
    assert!(store.beside("unpacked/rootfs/etc/file").exists());
}

/// IMG-COPY-02: what is at the destination already is not written again, and what others have there stays.
#[test]
fn only_new_blobs_are_written() {
    let store = prepared();
    store.call(&["copy", "box:1", "oci:layout:box:1"]).succeeds();
    store.tool("umoci", &["tag", "--image", "layout:box:1", "mine"]);
    fs::write(store.beside("layout/notes"), "a file of another tool").expect("a file");
    let before: Vec<(String, std::time::SystemTime)> = times(&store.beside("layout/blobs/sha256"));
    store.call(&["copy", "app:1", "oci:layout:app:1"]).succeeds();
    let after = times(&store.beside("layout/blobs/sha256"));
    assert!(before.iter().all(|blob| after.contains(blob)), "{before:?} {after:?}");
    assert_eq!(after.len(), before.len() + 3, "a manifest, a configuration, a layer");
    let index = read_json(&store.beside("layout/index.json"));
    assert_eq!(index["manifests"].as_array().map(Vec::len), Some(3), "{index}");
    assert!(store.beside("layout/notes").exists());
    // The same name a second time moves.
    store.call(&["copy", "box:1", "oci:layout:app:1"]).succeeds();
    let index = read_json(&store.beside("layout/index.json"));
    assert_eq!(index["manifests"].as_array().map(Vec::len), Some(3), "{index}");
}

fn times(folder: &Path) -> Vec<(String, std::time::SystemTime)> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    let time = |entry: fs::DirEntry| {
        let modified = entry.metadata().and_then(|metadata| metadata.modified()).expect("a time");
        (entry.file_name().to_string_lossy().into_owned(), modified)
    };
    entries.map(time).collect()
}

/// IMG-COPY-03: a damaged or missing blob is refused by its digest on every way, and nothing appears at the
/// destination.
#[test]
fn damage_is_not_copied() {
    let store = prepared();
    store.call(&["copy", "app:1", "oci:layout:app:1"]).succeeds();
    let blobs: Vec<_> =
        fs::read_dir(store.beside("layout/blobs/sha256")).expect("blobs").flatten().collect();
    assert_eq!(blobs.len(), 4);
    for blob in blobs {
        let (path, name) = (blob.path(), blob.file_name().to_string_lossy().into_owned());
        let good = fs::read(&path).expect("a blob");
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 1;
        for bytes in [Some(bad), Some([&good[..], b"x"].concat()), Some(good[1..].to_vec()), None] {
            match &bytes {
                Some(bytes) => fs::write(&path, bytes).expect("a blob"),
                None => fs::remove_file(&path).expect("a blob"),
            }
            for place in
                ["oci:new:x", "oci-archive:new.tar:x", "docker-archive:new.tar:x:1", "dir:new-dir"]
            {
                // What an earlier round has left there would not be read again.
                let _ = fs::remove_dir_all(store.beside("new"));
                let _ = fs::remove_dir_all(store.beside("new-dir"));
                store.call(&["copy", "oci:layout:app:1", place]).fails_naming(&[&name]);
                assert!(!store.beside("new.tar").exists(), "{place}");
                assert!(!store.beside("new/index.json").exists(), "{place}");
                assert!(!store.beside("new-dir/manifest.json").exists(), "{place}");
            }
            let fresh = ImageStore::new();
            let layout = format!("oci:{}:app:1", store.beside("layout").display());
            fresh.call(&["copy", &layout, "app:1"]).fails_naming(&[&name]);
            fresh.call(&["fsck"]).succeeds();
            assert_eq!(fresh.call(&["images", "-q"]).succeeds().stdout, "");
            fs::write(&path, &good).expect("a blob");
        }
    }
    for entry in fs::read_dir(store.beside("")).expect("the folder").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(!name.ends_with(".partial"), "{name}");
    }
}

/// IMG-COPY-04: of an index all images are copied, or with `--platform` the one that is asked for; what is not
/// there is named with what is.
#[test]
fn several_platforms() {
    let store = prepared();
    let folder = store.beside("layout");
    store.call(&["copy", "app:1", "oci:layout:amd"]).succeeds();
    store.call(&["copy", "box:1", "oci:layout:arm"]).succeeds();
    let mut index = read_json(&folder.join("index.json"));
    let mut entries = index["manifests"].take();
    for (entry, architecture) in
        entries.as_array_mut().expect("a list").iter_mut().zip(["amd64", "arm64"])
    {
        entry["annotations"].take();
        entry["platform"] = serde_json::json!({ "os": "linux", "architecture": architecture });
    }
    let kind = "application/vnd.oci.image.index.v1+json";
    let inner = serde_json::json!({ "schemaVersion": 2, "mediaType": kind, "manifests": entries })
        .to_string();
    fs::write(store.beside("inner.json"), &inner).expect("an index");
    let sum = store.tool("sha256sum", &["inner.json"]).stdout;
    let sum = sum.split_whitespace().next().expect("a sum");
    fs::copy(store.beside("inner.json"), folder.join("blobs/sha256").join(sum)).expect("a blob");
    index["manifests"] = serde_json::json!([{
        "mediaType": kind, "digest": format!("sha256:{sum}"), "size": inner.len(),
        "annotations": { "org.opencontainers.image.ref.name": "both" },
    }]);
    fs::write(folder.join("index.json"), index.to_string()).expect("index.json");

    store.call(&["copy", "oci:layout:both", "oci-archive:both.tar:both"]).succeeds();
    store.call(&["copy", "oci-archive:both.tar:both", "both:1"]).succeeds();
    store.tool("skopeo", &["copy", "-q", "--all", "oci-archive:both.tar:both", "dir:all"]);
    assert_eq!(store.call(&["run", "both:1"]).succeeds().stdout.lines().next(), Some("FROM box:1"));
    store.call(&["copy", "--platform", "linux/arm64/v8", "both:1", "arm:1"]).succeeds();
    let config = |name: &str| store.call(&["inspect", "-f", "{{.Id}}", name]).succeeds().stdout;
    assert_eq!(config("arm:1"), config("box:1"));
    let refused = store.call(&["copy", "--platform", "linux/s390x", "both:1", "x:1"]);
    refused.fails_naming(&["linux/s390x", "linux/amd64", "linux/arm64"]);
    store.call(&["copy", "both:1", "docker-archive:x.tar:x:1"]).fails_naming(&["--platform"]);
    store.call(&["copy", "--platform", "amd64", "both:1", "docker-archive:x.tar:x:1"]).succeeds();
    store.call(&["fsck"]).succeeds();
}

/// IMG-COPY-05: a place that there is not, and one that needs a daemon, are refused by name.
#[test]
fn names_places_that_do_not_exist() {
    let store = prepared();
    store.call(&["copy", "oci:nowhere:x", "a:1"]).fails_naming(&["nowhere"]);
    store.call(&["copy", "nosuch:1", "oci:x:x"]).fails_naming(&["nosuch"]);
    store.call(&["copy", "app:1", "oci:x:y"]).succeeds();
    store.call(&["copy", "oci:x:other", "a:1"]).fails_naming(&["other"]);
    for scheme in ["docker-daemon:a:1", "containers-storage:a"] {
        let outcome = store.call(&["copy", scheme, "a:1"]).says(&["is not supported"]);
        assert_ne!(outcome.status, 0);
    }
}
