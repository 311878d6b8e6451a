//! The store as several processes use it: names, garbage, abandoned work.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod scene;

use std::fs;

use keel_image::archive::{ImportOptions, import, load};
use keel_image::blob::Compression;
use keel_image::identity::{DiffId, Digest};
use keel_image::reference::Reference;
use keel_image::spec::Timestamp;
use keel_image::store::{Silent, Store, StoreError};
use scene::{Folder, archive_of, compress, file, files_in, layout, put_layer, tar};

fn named(text: &str) -> Reference {
    text.parse::<Reference>().unwrap().or_latest()
}

fn add(store: &Store, name: &str, content: &str) -> String {
    // A fixed time, so that the ids are always the same ones.
    let created = Some(Timestamp::from_seconds(0));
    let options =
        ImportOptions { reference: Some(named(name)), created, ..ImportOptions::default() };
    import(store, &tar(&[file("f", content)])[..], &options).unwrap().to_string()
}

#[test]
fn finds_images_by_every_name() {
    let folder = Folder::new("names");
    let store = folder.store();
    let id = add(&store, "a/b:1", "x");
    let image = store.resolve("a/b:1").unwrap();
    let by_digest = format!("a/b@{}", image.root().digest);
    for name in ["docker.io/a/b:1", &id, &id[..20], &id[7..19], &by_digest] {
        assert_eq!(store.resolve(name).unwrap().id().to_string(), id, "{name}");
    }
    for name in ["a/b", "a/b:2", "xyz", "sha256:0000", &format!("c@{}", image.root().digest)] {
        assert!(matches!(store.resolve(name), Err(StoreError::NoSuchImage { .. })), "{name}");
    }
    // A name moves to another image; the first one stays without a name.
    add(&store, "a/b:1", "y");
    assert_eq!(store.records().unwrap().len(), 2);
    assert_eq!(store.references(&image).unwrap(), []);
    assert!(matches!(store.resolve("sha256:"), Err(StoreError::NoSuchImage { .. })));
}

#[test]
fn collects_what_nothing_needs() {
    let folder = Folder::new("garbage");
    let store = folder.store();
    add(&store, "kept", "x");
    add(&store, "gone", "y");
    let retained = put_layer(&store, &tar(&[file("r", "z")]), Compression::Gzip);
    store.unpack(std::slice::from_ref(&retained), &Silent).unwrap();
    let digests = [retained.descriptor.digest.clone(), retained.diff_id.digest().clone()];
    store.retain("cache", &digests).unwrap();
    let gone = store.resolve("gone").unwrap();
    let scratch = store.scratch().unwrap();
    store.protect(&scratch, &[gone.layers()[0].diff_id.digest().clone()]).unwrap();
    store.forget(gone.root()).unwrap();

    let hold = store.hold().unwrap();
    assert_eq!(store.collect().unwrap(), None);
    drop(hold);
    let collected = store.collect().unwrap().unwrap();
    // The layer's blob is not compressed, so that its digest is the protected one, too.
    assert_eq!((collected.blobs.len(), collected.layers.len()), (2, 0));
    drop(scratch);
    let collected = store.collect().unwrap().unwrap();
    assert_eq!(collected.layers, [gone.layers()[0].diff_id.clone()]);
    store.release("cache").unwrap();
    let collected = store.collect().unwrap().unwrap();
    assert_eq!((collected.blobs.len(), collected.layers.len()), (1, 1));
    let kept = store.resolve("kept").unwrap();
    assert!(store.is_unpacked(kept.layers()).unwrap());
    assert_eq!(files_in(&store, "blobs/sha256").len(), 3);
    assert!(store.retain("../x", &digests).is_err());
}

#[test]
fn removes_abandoned_work() {
    let folder = Folder::new("abandoned");
    let store = folder.store();
    let alive = store.scratch().unwrap();
    // As a process that was killed leaves it.
    let dead = store.path().join("tmp/dead/layer/fs");
    fs::create_dir_all(&dead).unwrap();
    fs::write(dead.join("x"), "half").unwrap();
    Store::open(store.path()).unwrap();
    assert!(alive.path().exists());
    assert!(!store.path().join("tmp/dead").exists());
}

#[test]
fn unpacks_again_what_may_not_have_reached_the_disk() {
    let folder = Folder::new("power-cut");
    let store = folder.store();
    let layer = put_layer(&store, &tar(&[file("f", "content")]), Compression::Gzip);
    let layers = [layer];
    let tree = store.unpack(&layers, &Silent).unwrap().remove(0);
    // Another running time of the machine, and a file that lost its content.
    let note = tree.parent().unwrap().join("layer.json");
    let mut value: serde_json::Value = serde_json::from_slice(&fs::read(&note).unwrap()).unwrap();
    value["boot"] = "earlier".into();
    fs::write(&note, value.to_string()).unwrap();
    fs::write(tree.join("f"), "").unwrap();
    let tree = store.unpack(&layers, &Silent).unwrap().remove(0);
    assert_eq!(fs::read_to_string(tree.join("f")).unwrap(), "content");
}

#[test]
fn refuses_a_damaged_blob_of_its_own() {
    let folder = Folder::new("damaged");
    let store = folder.store();
    let layer = put_layer(&store, &tar(&[file("f", &"x".repeat(9000))]), Compression::Gzip);
    let path = store.path().join("blobs/sha256").join(layer.descriptor.digest.hex());
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = store.unpack(&[layer], &Silent).unwrap_err();
    assert!(matches!(error, StoreError::Mismatch(_)), "{error:?}");
    assert_eq!(files_in(&store, "layers"), Vec::<String>::new());
    assert_eq!(files_in(&store, "tmp"), Vec::<String>::new());
}

#[test]
fn many_writers_lose_nothing() {
    let folder = Folder::new("writers");
    let path = folder.store().path().to_owned();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let path = &path;
            scope.spawn(move || {
                let store = Store::open(path).unwrap();
                for round in 0..4 {
                    let bytes = tar(&[file("f", &format!("{}", round % 2))]);
                    let layers = vec![(
                        compress(&bytes, Compression::Gzip),
                        DiffId::new(Digest::of(&bytes)),
                    )];
                    let name = format!("image-{thread}:{round}");
                    load(&store, &archive_of(&layout(&layers, &name))[..], &Silent).unwrap();
                    store.collect().unwrap();
                }
            });
        }
    });
    let store = Store::open(&path).unwrap();
    assert_eq!(store.records().unwrap().len(), 32);
    for record in store.records().unwrap() {
        let image = store.read(&record.descriptor).unwrap();
        assert!(store.is_unpacked(image.layers()).unwrap());
    }
    assert_eq!(files_in(&store, "tmp"), Vec::<String>::new());
}
