//! Which image of an index is read: by platform, in nested indexes, without a stated platform.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod scene;

use keel_image::spec::{
    Descriptor, ImageConfig, Index, Manifest, Platform, Preferences, media_type,
};
use keel_image::store::{Store, StoreError};
use scene::{Folder, chain};

fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

fn put(store: &Store, media_type: &str, value: &impl serde::Serialize) -> Descriptor {
    store.put_bytes(media_type, &serde_json::to_vec(value).unwrap()).unwrap()
}

/// An image without layers; its entry says its platform or leaves that to the configuration.
fn image(store: &Store, of: &str, says_so: bool) -> Descriptor {
    let config = put(store, media_type::OCI_CONFIG, &ImageConfig::new(&platform(of)));
    let mut entry = put(store, media_type::OCI_MANIFEST, &Manifest::new(config, Vec::new()));
    entry.platform = says_so.then(|| platform(of));
    entry
}

fn index(store: &Store, entries: &[Descriptor]) -> Descriptor {
    put(store, media_type::OCI_INDEX, &Index::new(entries.to_vec()))
}

fn chosen(store: &Store, root: &Descriptor, host: &str) -> String {
    let read = store.read_for(root, &Preferences::of(&platform(host)));
    read.unwrap().config().value().platform().to_string()
}

#[test]
fn reads_the_best_of_several() {
    let folder = Folder::new("platforms");
    let store = folder.store();
    let inner =
        index(&store, &[image(&store, "linux/arm64", true), image(&store, "linux/386", true)]);
    let silent = index(&store, &[image(&store, "linux/s390x", false)]);
    let absent = Descriptor {
        platform: Some(platform("linux/amd64/v3")),
        ..Descriptor::new(media_type::OCI_MANIFEST, keel_image::identity::Digest::of(b"x"), 1)
    };
    let root = index(
        &store,
        &[
            absent,
            inner,
            image(&store, "linux/amd64", true),
            silent,
            image(&store, "linux/amd64/v2", true),
        ],
    );
    for (host, expected) in [
        ("linux/amd64/v3", "linux/amd64/v2"),
        ("linux/amd64", "linux/amd64"),
        ("linux/386", "linux/386"),
        ("linux/arm64/v8.2", "linux/arm64"),
        ("linux/s390x", "linux/s390x"),
    ] {
        assert_eq!(chosen(&store, &root, host), expected, "{host}");
    }
    let error = store.read_for(&root, &Preferences::of(&platform("linux/riscv64"))).unwrap_err();
    assert!(matches!(error, StoreError::Platform { .. }), "{error:?}");
    let text = chain(&error);
    for word in ["linux/riscv64", "linux/amd64/v2", "linux/arm64", "linux/s390x"] {
        assert!(text.contains(word), "{text}");
    }
    let all = store.platforms(&root).unwrap();
    let all: Vec<String> = all.iter().map(|(_, platform)| platform.to_string()).collect();
    assert_eq!(all, ["linux/arm64", "linux/386", "linux/amd64", "linux/s390x", "linux/amd64/v2"]);
}

#[test]
fn reads_another_platform_where_there_is_nothing_else() {
    let folder = Folder::new("foreign");
    let store = folder.store();
    let root = index(&store, &[image(&store, "plan9/mips", true)]);
    assert_eq!(store.read(&root).unwrap().config().value().os, "plan9");
    let empty = index(&store, &[]);
    assert!(matches!(store.read(&empty), Err(StoreError::Platform { .. })));
}

#[test]
fn bounds_how_deep_indexes_lie() {
    let folder = Folder::new("deep");
    let store = folder.store();
    let mut root = image(&store, "linux/amd64", true);
    for _ in 0..4 {
        root = index(&store, &[root]);
    }
    assert_eq!(chosen(&store, &root, "linux/amd64"), "linux/amd64");
    root = index(&store, &[root]);
    assert!(matches!(store.read(&root), Err(StoreError::MediaType { .. })));
}
