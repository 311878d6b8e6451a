//! Images in and out of archives; and archives that are damaged or made to harm: each is refused
//! with the place named, and nothing of it is left.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod scene;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;

use keel_image::archive::{
    ArchiveError, ImportOptions, Loaded, import, load, load_directory, load_file, save,
};
use keel_image::blob::Compression;
use keel_image::identity::{DiffId, Digest};
use keel_image::layer;
use keel_image::spec::{Descriptor, ImageConfig, Index, Platform, RootFs, media_type};
use keel_image::store::{Silent, Store};
use keel_image::tar::{self, Entry, EntryKind};
use scene::{
    Folder, archive_of, assert_empty, chain, compress, directory, file, files_in, layout, link, tar,
};

fn good_layers() -> Vec<(Vec<u8>, DiffId)> {
    let first = tar(&[directory("d", 0o755), file("d/a", &"content ".repeat(1000))]);
    let second = tar(&[file("b", "other")]);
    [(first, Compression::Gzip), (second, Compression::Zstd)]
        .map(|(bytes, c)| (compress(&bytes, c), DiffId::new(Digest::of(&bytes))))
        .to_vec()
}

/// Loads `archive` and expects the error to say `expected`, and nothing to be left.
fn refuses(store: &Store, archive: &[u8], expected: &[&str], case: &str) {
    let check = |way: &str, loaded: Result<Vec<Loaded>, ArchiveError>| {
        let text = chain(&loaded.expect_err(case));
        for part in expected {
            assert!(text.contains(part), "{case} as a {way}: {text:?} does not say {part:?}");
        }
        assert_empty(store);
    };
    check("stream", load(store, archive, &Silent));
    check("file", load_file(store, in_a_file(store, archive), None, &Silent));
}

/// The archive as a file beside the store.
fn in_a_file(store: &Store, archive: &[u8]) -> fs::File {
    let path = store.path().with_file_name("archive.tar");
    fs::write(&path, archive).unwrap();
    fs::File::open(path).unwrap()
}

/// Gives one byte at a time, as a slow pipe may.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = buffer.len().min(self.0.len()).min(1 + self.0.len() % 3);
        buffer[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

#[test]
fn loads_what_it_saves() {
    let folder = Folder::new("roundtrip");
    let store = folder.store();
    let archive = archive_of(&layout(&good_layers(), "example/a:1"));
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let loaded = load(&store, Trickle(&compress(&archive, compression)), &Silent).unwrap();
        assert_eq!(loaded[0].references[0].familiar(), "example/a:1");
    }
    let image = store.resolve("example/a:1").unwrap();
    let images = vec![(image.clone(), store.references(&image).unwrap())];
    let mut saved = Vec::new();
    save(&store, &images, &mut saved).unwrap();
    let mut again = Vec::new();
    save(&store, &images, &mut again).unwrap();
    assert_eq!(saved, again);

    let other = Folder::new("roundtrip-other");
    let second = other.store();
    assert_eq!(load(&second, &saved[..], &Silent).unwrap()[0].id, *image.id());
    let same = second.resolve("example/a:1").unwrap();
    assert_eq!(same.manifest().bytes(), image.manifest().bytes());
    assert_eq!(same.config().bytes(), image.config().bytes());
    assert_eq!(files_in(&second, "tmp"), Vec::<String>::new());

    // The store is itself a layout that can be loaded.
    let third = Folder::new("roundtrip-third");
    let loaded = load_directory(&third.store(), store.path(), None, &Silent).unwrap();
    assert_eq!(loaded[0].references[0].familiar(), "example/a:1");
}

#[test]
fn refuses_a_flipped_byte_in_any_blob() {
    let folder = Folder::new("flip");
    let store = folder.store();
    let files = layout(&good_layers(), "a:1");
    let blobs: Vec<&String> = files.keys().filter(|name| name.starts_with("blobs")).collect();
    assert_eq!(blobs.len(), 4);
    for blob in blobs {
        let digest = blob.rsplit('/').next().unwrap();
        for at in [0, files[blob].len() / 2, files[blob].len() - 1] {
            let mut damaged = files.clone();
            damaged.get_mut(blob).unwrap()[at] ^= 1;
            refuses(&store, &archive_of(&damaged), &[digest, "is damaged"], blob);
        }
        let mut missing = files.clone();
        missing.remove(blob);
        refuses(&store, &archive_of(&missing), &[digest, "not in"], blob);
    }
}

#[test]
fn refuses_truncation_and_wrong_sizes() {
    let folder = Folder::new("truncated");
    let store = folder.store();
    let files = layout(&good_layers(), "a:1");
    let archive = archive_of(&files);
    for cut in [archive.len() / 4, archive.len() / 2, archive.len() - 1535] {
        refuses(&store, &archive[..cut], &[], &format!("cut at {cut}"));
    }
    let packed = compress(&archive, Compression::Gzip);
    refuses(&store, &packed[..packed.len() / 2], &[], "compressed and cut");
    let index = String::from_utf8(files["index.json"].clone()).unwrap();
    let at = index.find("\"size\":").unwrap();
    let mut wrong = files.clone();
    let longer = format!("{}\"size\":9{}", &index[..at], &index[at + 7..]);
    wrong.insert("index.json".into(), longer.into_bytes());
    refuses(&store, &archive_of(&wrong), &["bytes"], "a wrong size");
    refuses(&store, b"", &["manifest.json"], "nothing");
    refuses(&store, &vec![7; 4096], &["checksum"], "garbage");
    refuses(&store, b"\xfd7zXZ\0......", &["XZ"], "a broken xz stream");
}

#[test]
fn refuses_a_wrong_diff_id() {
    let folder = Folder::new("diff-id");
    let store = folder.store();
    let mut layers = good_layers();
    let wrong = Digest::of(b"something else");
    layers[1].1 = DiffId::new(wrong.clone());
    let blob = Digest::of(&layers[1].0).to_string();
    let archive = archive_of(&layout(&layers, "a:1"));
    refuses(&store, &archive, &[&blob, "diff id", &wrong.to_string()], "a wrong diff id");
}

/// An archive with one index of two images: one for this machine, one of `others` for another platform.
fn of_two_platforms(others: &[(Vec<u8>, DiffId)]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut entries = Vec::new();
    for (layers, platform) in [(&good_layers()[..], Platform::host()), (others, other_platform())] {
        files.extend(layout(layers, "a:1"));
        let index: Index = serde_json::from_slice(&files["index.json"]).unwrap();
        let mut entry = index.manifests[0].clone();
        entry.annotations.clear();
        entry.platform = Some(platform);
        entries.push(entry);
    }
    let index = serde_json::to_vec(&Index::new(entries)).unwrap();
    let digest = Digest::of(&index);
    let mut root = Descriptor::new(media_type::OCI_INDEX, digest.clone(), index.len() as u64);
    root.annotations.insert("org.opencontainers.image.ref.name".into(), "a:1".into());
    files.insert(format!("blobs/sha256/{}", digest.hex()), index);
    files.insert("index.json".into(), serde_json::to_vec(&Index::new(vec![root])).unwrap());
    files
}

fn other_platform() -> Platform {
    "plan9/mips".parse().unwrap()
}

#[test]
fn verifies_the_images_of_other_platforms() {
    let folder = Folder::new("others");
    let store = folder.store();
    let wrong = Digest::of(b"something else");
    let mut layers = good_layers();
    layers[1].1 = DiffId::new(wrong.clone());
    let archive = archive_of(&of_two_platforms(&layers));
    refuses(&store, &archive, &["diff id", &wrong.to_string()], "a wrong diff id of another");

    // What the archive leaves out of another platform's image cannot be looked at.
    let other = tar(&[file("other", "x")]);
    let blob = compress(&other, Compression::Gzip);
    let mut files = of_two_platforms(&[(blob.clone(), DiffId::new(Digest::of(&other)))]);
    files.remove(&format!("blobs/sha256/{}", Digest::of(&blob).hex())).unwrap();
    assert_eq!(load(&store, &archive_of(&files)[..], &Silent).unwrap().len(), 1);
}

/// What the store has is not read again: damage in it is passed over, and the image is the right one.
#[test]
fn uses_what_the_store_has() {
    let folder = Folder::new("known");
    let store = folder.store();
    let files = layout(&good_layers(), "a:1");
    load(&store, &archive_of(&files)[..], &Silent).unwrap();
    let blobs = files_in(&store, "blobs/sha256");
    let mut damaged = files.clone();
    for (layer, _) in good_layers() {
        let name = format!("blobs/sha256/{}", Digest::of(&layer).hex());
        damaged.get_mut(&name).unwrap().fill(b'x');
    }
    let archive = archive_of(&damaged);
    for loaded in [
        load(&store, &archive[..], &Silent).unwrap(),
        load_file(&store, in_a_file(&store, &archive), None, &Silent).unwrap(),
    ] {
        assert_eq!(loaded[0].references[0].familiar(), "a:1");
    }
    assert_eq!(files_in(&store, "blobs/sha256"), blobs);
    let image = store.resolve("a:1").unwrap();
    // A layer that the store has in no blob any more comes from the archive, and is looked at.
    fs::remove_file(
        store.path().join("blobs/sha256").join(image.layers()[0].descriptor.digest.hex()),
    )
    .unwrap();
    let archive = archive_of(&damaged);
    assert!(load(&store, &archive[..], &Silent).is_err());
    assert!(load_file(&store, in_a_file(&store, &archive), None, &Silent).is_err());
    load_file(&store, in_a_file(&store, &archive_of(&files)), None, &Silent).unwrap();
    assert_eq!(files_in(&store, "blobs/sha256"), blobs);
}

/// A layer that is unpacked does not vouch for another blob that an archive has for it.
#[test]
fn does_not_take_a_tree_for_its_blob() {
    let folder = Folder::new("pairs");
    let store = folder.store();
    load(&store, &archive_of(&layout(&good_layers(), "a:1"))[..], &Silent).unwrap();
    let before = files_in(&store, "blobs/sha256");
    let mut layers = good_layers();
    layers[0].0 = compress(&tar(&[file("evil", "x")]), Compression::Gzip);
    let archive = archive_of(&layout(&layers, "b:1"));
    for error in [
        load(&store, &archive[..], &Silent).unwrap_err(),
        load_file(&store, in_a_file(&store, &archive), None, &Silent).unwrap_err(),
    ] {
        assert!(chain(&error).contains("diff id"), "{}", chain(&error));
    }
    assert_eq!(files_in(&store, "blobs/sha256"), before);
    // The same layer, compressed otherwise, is one more blob.
    let bytes = tar(&[directory("d", 0o755), file("d/a", &"content ".repeat(1000))]);
    layers[0].0 = compress(&bytes, Compression::Zstd);
    load(&store, &archive_of(&layout(&layers, "b:1"))[..], &Silent).unwrap();
    assert_eq!(store.resolve("b:1").unwrap().id(), store.resolve("a:1").unwrap().id());
}

/// Layers of Docker's old form are known by the configuration's diff ids, whatever lies in the archive.
#[test]
fn knows_layers_of_the_old_form_by_their_diff_ids() {
    let folder = Folder::new("diff-ids");
    let store = folder.store();
    let archive = old_form(false);
    load(&store, &archive[..], &Silent).unwrap();
    let before = (files_in(&store, "blobs/sha256"), store.records().unwrap());
    // The compressed one is altered, too: it is known by the image that was loaded.
    let marks: [&[u8]; 2] = [b"d/a\0", &[0x1f, 0x8b]];
    let mut altered = archive.clone();
    for mark in marks {
        let at = altered.windows(mark.len()).position(|part| part == mark).unwrap();
        altered[at] ^= 1;
    }
    let loaded = load_file(&store, in_a_file(&store, &altered), None, &Silent).unwrap();
    assert_eq!(loaded[0].references[0].familiar(), "old/form:3");
    assert_eq!((files_in(&store, "blobs/sha256"), store.records().unwrap()), before);
    // Where the store does not know them, they are read.
    let other = Folder::new("diff-ids-none");
    let store = other.store();
    assert!(load_file(&store, in_a_file(&store, &altered), None, &Silent).is_err());
    assert_empty(&store);
}

#[test]
fn refuses_entries_that_leave_the_root() {
    let folder = Folder::new("escape");
    let outside = folder.0.join("outside");
    fs::write(&outside, "untouched").unwrap();
    let store = folder.store();
    let target = outside.to_str().unwrap();
    let cases = [
        ("dotdot", vec![file("../outside", "x")], "../outside"),
        ("inner", vec![directory("a", 0o755), file("a/../../outside", "x")], "a/../../outside"),
        ("hard link", vec![link(EntryKind::HardLink, "h", "../../outside")], "../../outside"),
        ("absolute hard link", vec![link(EntryKind::HardLink, "h", target)], "outside"),
        ("whiteout", vec![file("../.wh.outside", "")], "../.wh.outside"),
        ("empty whiteout", vec![file("a/.wh.", "")], "a/.wh."),
        ("hidden parent", vec![file(".wh...", "")], ".wh..."),
        ("magic device", vec![(Entry::new(b"w", EntryKind::CharacterDevice, 0), vec![])], "\"w\""),
    ];
    for (case, entries, named) in cases {
        let bytes = tar(&entries);
        let blob = compress(&bytes, Compression::Gzip);
        let digest = Digest::of(&blob).to_string();
        let layers = vec![(blob, DiffId::new(Digest::of(&bytes)))];
        refuses(&store, &archive_of(&layout(&layers, "a:1")), &[&digest, named], case);
        let error = import(&store, &bytes[..], &ImportOptions::default()).expect_err(case);
        assert!(chain(&error).contains(named), "{case}: {}", chain(&error));
        assert_empty(&store);
    }
    assert_eq!(fs::read_to_string(&outside).unwrap(), "untouched");
}

#[test]
fn follows_links_inside_the_root_only() {
    let folder = Folder::new("links");
    let outside = folder.0.join("outside");
    fs::create_dir(&outside).unwrap();
    let store = folder.store();
    let entries = [
        link(EntryKind::Symlink, "absolute", outside.to_str().unwrap()),
        file("absolute/x", "inside"),
        link(EntryKind::Symlink, "up", "../../../../../../../../../.."),
        file("up/y", "inside"),
        link(EntryKind::Symlink, "self", "/proc/self/root"),
        file("self/z", "inside"),
    ];
    let id = import(&store, &tar(&entries)[..], &ImportOptions::default()).unwrap();
    let image = store.resolve(&id.to_string()).unwrap();
    let trees = store.unpack(image.layers(), &Silent).unwrap();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert_eq!(fs::read_to_string(trees[0].join("y")).unwrap(), "inside");
    assert!(trees[0].join("proc/self/root/z").exists());
}

#[test]
fn stops_bombs() {
    let folder = Folder::new("bombs");
    let small = layer::Limits {
        archive: tar::Limits { entries_max: 10, content_bytes_max: 1 << 20, ..Default::default() },
        expanded_bytes_max: 2 << 20,
        ratio_max: 50,
        ratio_from_bytes: 64 << 10,
        ..layer::Limits::default()
    };
    let store = folder.store().with_limits(small);
    let many: Vec<_> = (0..20).map(|n| file(&format!("f{n}"), "")).collect();
    let zeros = "\0".repeat(900 << 10);
    let cases = [
        ("entries", tar(&many)),
        ("content", tar(&[file("a", &zeros), file("b", &zeros)])),
        ("ratio", tar(&[file("a", &zeros)])),
    ];
    for (case, bytes) in cases {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let layers = vec![(compress(&bytes, compression), DiffId::new(Digest::of(&bytes)))];
            refuses(&store, &archive_of(&layout(&layers, "a:1")), &["limit"], case);
        }
    }
    // The archive around the layers is bounded, too.
    let around = compress(&tar(&[file("a", &zeros)]), Compression::Gzip);
    refuses(&store, &around, &["limit"], "around");
    let mut behind = tar(&[file("a", "x")]);
    behind.resize(3 << 20, 0);
    let layers = vec![(compress(&behind, Compression::Gzip), DiffId::new(Digest::of(&behind)))];
    refuses(&store, &archive_of(&layout(&layers, "a:1")), &["limit"], "behind the end");
}

/// A `docker save` archive as before version 25, in which two layers are equal and stored once.
fn old_form(manifest_first: bool) -> Vec<u8> {
    let bytes = tar(&[directory("d", 0o755), file("d/a", "x")]);
    let other = tar(&[file("b", "y")]);
    let mut config = ImageConfig::new(&Platform::host());
    let diff_ids = [&bytes, &other, &bytes].map(|b| DiffId::new(Digest::of(b)));
    config.rootfs = RootFs { diff_ids: diff_ids.to_vec(), ..RootFs::default() };
    let manifest = r#"[{"Config":"c.json","RepoTags":["old/form:3","Not A Name"],
        "Layers":["one/layer.tar","two/layer.tar","three/layer.tar"]}]"#;
    let mut entries = vec![
        directory("one", 0o755),
        file("one/VERSION", "1.0"),
        link(EntryKind::Symlink, "three/layer.tar", "../one/layer.tar"),
    ];
    for (name, content) in [
        ("one/layer.tar", &bytes),
        ("two/layer.tar", &compress(&other, Compression::Gzip)),
        ("c.json", &serde_json::to_vec(&config).unwrap()),
        ("manifest.json", &manifest.as_bytes().to_vec()),
    ] {
        let size = content.len() as u64;
        let entry = Entry { size, ..Entry::new(name.as_bytes(), EntryKind::File, 0o644) };
        entries.push((entry, content.clone()));
    }
    if manifest_first {
        entries.reverse();
    }
    tar(&entries)
}

#[test]
fn loads_the_old_form_in_any_order() {
    let folder = Folder::new("old");
    let store = folder.store();
    for (manifest_first, is_file) in [(false, false), (true, false), (false, true), (true, true)] {
        let archive = old_form(manifest_first);
        let loaded = match is_file {
            true => load_file(&store, in_a_file(&store, &archive), None, &Silent).unwrap(),
            false => load(&store, &archive[..], &Silent).unwrap(),
        };
        assert_eq!(loaded.len(), 1);
        let names: Vec<String> = loaded[0].references.iter().map(|r| r.familiar()).collect();
        assert_eq!(names, ["old/form:3"]);
    }
    let image = store.resolve("old/form:3").unwrap();
    let types: Vec<&str> =
        image.layers().iter().map(|l| l.descriptor.media_type.as_str()).collect();
    assert_eq!(types, [media_type::OCI_LAYER, media_type::OCI_LAYER_GZIP, media_type::OCI_LAYER]);
    assert_eq!(store.unpack(image.layers(), &Silent).unwrap().len(), 3);
    assert_eq!(store.records().unwrap().len(), 1);
}

#[test]
fn takes_the_image_for_this_host_from_an_index() {
    let folder = Folder::new("platforms");
    let store = folder.store();
    let mut files = layout(&good_layers(), "unused:1");
    let index: Index = serde_json::from_slice(&files["index.json"]).unwrap();
    let mut own = index.manifests[0].clone();
    own.annotations.clear();
    own.platform = Some(Platform::host());
    let absent = |platform: &str| {
        let digest = Digest::of(platform.as_bytes());
        let mut entry = Descriptor::new(media_type::OCI_MANIFEST, digest, 9);
        entry.platform = Some(platform.parse().unwrap());
        entry
    };
    // What the archive leaves out, and an attestation, are not taken.
    let nested = Index::new(vec![absent("linux/s390x"), absent("unknown/unknown"), own]);
    let nested = serde_json::to_vec(&nested).unwrap();
    let mut root = Descriptor::new(media_type::OCI_INDEX, Digest::of(&nested), nested.len() as u64);
    root.annotations.insert("io.containerd.image.name".into(), "docker.io/many/hosts:1".into());
    files.insert(format!("blobs/sha256/{}", Digest::of(&nested).hex()), nested.clone());
    files.insert("index.json".into(), serde_json::to_vec(&Index::new(vec![root])).unwrap());
    load(&store, &archive_of(&files)[..], &Silent).unwrap();
    let image = store.resolve("many/hosts:1").unwrap();
    assert_eq!(image.root().digest, Digest::of(&nested));
    assert_ne!(image.descriptor().digest, image.root().digest);
    store.collect().unwrap().unwrap();
    assert!(store.is_unpacked(store.resolve("many/hosts:1").unwrap().layers()).unwrap());

    let other = Folder::new("platforms-none");
    let none = Index::new(vec![absent("linux/s390x")]);
    let none = serde_json::to_vec(&none).unwrap();
    let root = Descriptor::new(media_type::OCI_INDEX, Digest::of(&none), none.len() as u64);
    files.insert(format!("blobs/sha256/{}", Digest::of(&none).hex()), none);
    files.insert("index.json".into(), serde_json::to_vec(&Index::new(vec![root])).unwrap());
    refuses(&other.store(), &archive_of(&files), &["no image for the platform"], "no platform");
    let old = Descriptor::new(media_type::DOCKER_SCHEMA1, Digest::of(b"{}"), 2);
    files.insert(format!("blobs/sha256/{}", Digest::of(b"{}").hex()), b"{}".to_vec());
    files.insert("index.json".into(), serde_json::to_vec(&Index::new(vec![old])).unwrap());
    refuses(&other.store(), &archive_of(&files), &["schema 1"], "schema 1");
}
