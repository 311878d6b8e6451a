//! Images for several platforms under one name: `manifest`, and `--platform` of `save` and `load`.

use std::fs;

use keel_tests::{ImageStore, fixture};

/// `both:1`, made of an image for amd64 and one for arm64.
fn prepared() -> ImageStore {
    let store = ImageStore::new();
    fs::create_dir(store.beside("root")).expect("a folder");
    fs::write(store.beside("root/file"), "arm").expect("a file");
    store.tool("tar", &["-C", "root", "-cf", "arm.tar", "."]);
    store.call(&["import", "--platform", "linux/arm64", "arm.tar", "arm:1"]).succeeds();
    let archive = fixture("busybox.tar").display().to_string();
    store.call(&["import", "--platform", "linux/amd64", &archive, "amd:1"]).succeeds();
    store.call(&["manifest", "create", "both:1", "amd:1", "arm:1"]).succeeds();
    store
}

fn id(store: &ImageStore, name: &str) -> String {
    store.call(&["inspect", "-f", "{{.Id}}", name]).succeeds().stdout
}

/// IMG-INDEX-01: `manifest create` puts images together, skopeo sees each platform, and `manifest inspect` prints the
/// index's own document; `--amend` adds to it.
#[test]
fn puts_platforms_together() {
    let store = prepared();
    let index = store.call(&["manifest", "inspect", "both:1"]).succeeds().json();
    let seen: Vec<&str> = index["manifests"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| entry["platform"]["architecture"].as_str().expect("an architecture"))
        .collect();
    assert_eq!(seen, ["amd64", "arm64"], "{index:#}");
    store.call(&["copy", "both:1", "oci:layout:both"]).succeeds();
    for (platform, name) in [("amd64", "amd:1"), ("arm64", "arm:1")] {
        let words =
            ["--override-arch", platform, "inspect", "--config", "--raw", "oci:layout:both"];
        fs::write(store.beside("config"), store.tool("skopeo", &words).stdout).expect("a file");
        let sum = store.tool("sha256sum", &["config"]).stdout;
        let sum = sum.split_whitespace().next().expect("a sum");
        assert_eq!(id(&store, name).trim(), format!("sha256:{sum}"), "{platform}");
    }
    let archive = fixture("busybox.tar").display().to_string();
    store.call(&["import", "--platform", "linux/s390x", &archive, "big:1"]).succeeds();
    store.call(&["manifest", "create", "--amend", "both:1", "big:1"]).succeeds();
    let verbose = store.call(&["manifest", "inspect", "-v", "both:1"]).succeeds().json();
    assert_eq!(verbose.as_array().map(Vec::len), Some(3), "{verbose:#}");
    store.call(&["fsck"]).succeeds();
}

/// IMG-INDEX-02: `save`, `load` and `inspect` take the image for a platform out of several, and name what there is
/// when it is not among them.
#[test]
fn saves_and_loads_one_of_several() {
    let store = prepared();
    store.call(&["save", "--platform", "linux/arm64", "-o", "arm-only.tar", "both:1"]).succeeds();
    let other = ImageStore::new();
    let path = store.beside("arm-only.tar").display().to_string();
    other.call(&["load", "-i", &path]).succeeds();
    assert_eq!(id(&other, "both:1"), id(&store, "arm:1"));
    store.call(&["copy", "both:1", "oci-archive:both.tar:both:1"]).succeeds();
    let path = store.beside("both.tar").display().to_string();
    for (platform, name) in [("linux/arm64", "arm:1"), ("linux/amd64", "amd:1")] {
        let fresh = ImageStore::new();
        fresh.call(&["load", "--platform", platform, "-i", &path]).succeeds();
        assert_eq!(id(&fresh, "both:1"), id(&store, name), "{platform}");
        let blobs = fs::read_dir(fresh.path().join("blobs/sha256")).expect("blobs").count();
        assert_eq!(blobs, 3, "a manifest, a configuration, a layer");
    }
    for (platform, name) in [("linux/arm64", "arm:1"), ("linux/amd64", "amd:1")] {
        let words = ["inspect", "--platform", platform, "-f", "{{.Id}}", "both:1"];
        assert_eq!(store.call(&words).succeeds().stdout, id(&store, name), "{platform}");
    }
    store.call(&["inspect", "--platform", "linux/s390x", "arm:1"]).fails_naming(&["linux/arm64"]);
    for words in [
        &["save", "--platform", "linux/s390x", "-o", "none.tar", "both:1"][..],
        &["load", "--platform", "linux/s390x", "-i", &path],
        &["inspect", "--platform", "linux/s390x", "both:1"],
    ] {
        store.call(words).fails_naming(&["linux/s390x", "linux/amd64", "linux/arm64"]);
    }
    assert!(!store.beside("none.tar").exists());
}

/// IMG-LOAD-05: archives that xz, bzip2, zstd or gzip have compressed are known by their bytes.
#[test]
fn knows_compressed_archives() {
    let store = prepared();
    store.call(&["save", "-o", "plain.tar", "amd:1"]).succeeds();
    for tool in ["xz", "bzip2", "zstd", "gzip"] {
        store.tool("sh", &["-c", &format!("{tool} -c < plain.tar > packed")]);
        let fresh = ImageStore::new();
        let path = store.beside("packed").display().to_string();
        fresh.call(&["load", "-q", "-i", &path]).succeeds();
        assert_eq!(id(&fresh, "amd:1"), id(&store, "amd:1"), "{tool}");
        let archive = fixture("busybox.tar").display().to_string();
        store.tool("sh", &["-c", &format!("{tool} -c < {archive} > root.packed")]);
        fresh.import(&store.beside("root.packed"), "again:1").succeeds();
        assert_eq!(fresh.call(&["diff", "amd:1", "again:1"]).succeeds().stdout, "", "{tool}");
    }
}
