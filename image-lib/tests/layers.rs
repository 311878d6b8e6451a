//! Layers on real overlayfs: what the image-spec says about changesets, seen through the mount.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod scene;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use keel_image::blob::Compression;
use keel_image::snapshot::Overlay;
use keel_image::spec::Timestamp;
use keel_image::store::{CommitOptions, Layer, Silent, Store};
use keel_image::tar::{Entry, EntryKind};
use scene::{Folder, describe, directory, file, is_whiteout, link, put_layer, tar};

type Archive = Vec<(Entry, Vec<u8>)>;

/// Unpacks `archives` (lowest first) and looks at them together.
fn with_view(name: &str, archives: &[Archive], look: impl FnOnce(&Path)) {
    let folder = Folder::new(name);
    let store = folder.store();
    let layers: Vec<Layer> =
        archives.iter().map(|a| put_layer(&store, &tar(a), Compression::Gzip)).collect();
    let trees = store.unpack(&layers, &Silent).unwrap();
    assert!(store.is_unpacked(&layers).unwrap());
    let target = folder.0.join("view");
    fs::create_dir(&target).unwrap();
    let mount = Overlay { lowers: &trees, upper: None }.mount(&target).unwrap();
    look(&target);
    mount.unmount().unwrap();
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn hides_what_whiteouts_name_in_lower_layers_only() {
    let base = vec![
        directory("d", 0o755),
        file("d/a", "1"),
        file("d/b", "1"),
        file("d/c", "1"),
        directory("e", 0o755),
        file("e/a", "1"),
        directory("f", 0o755),
        file("f/a", "1"),
    ];
    let upper = vec![
        directory("d", 0o755),
        file("d/.wh.a", ""),
        // The layer's own file stays, whatever the order.
        file("d/b", "2"),
        file("d/.wh.b", ""),
        // The opaque mark works also after what it stands beside.
        directory("e", 0o755),
        file("e/new", "2"),
        file("e/.wh..wh..opq", ""),
        // Hidden and made anew: nothing of the old directory shows.
        file(".wh.f", ""),
        directory("f", 0o755),
        file("f/new", "2"),
        file("d/.wh..wh.plnk", ""),
    ];
    with_view("whiteouts", &[base, upper], |view| {
        assert_eq!(names(&view.join("d")), ["b", "c"]);
        assert_eq!(read(&view.join("d/b")), "2");
        assert_eq!(names(&view.join("e")), ["new"]);
        assert_eq!(names(&view.join("f")), ["new"]);
    });
}

#[test]
fn takes_over_what_it_only_passes_through() {
    let mut tmp = directory("tmp", 0o1777);
    (tmp.0.uid, tmp.0.gid) = (7, 8);
    let base = vec![
        tmp,
        directory("usr", 0o755),
        directory("usr/lib", 0o750),
        link(EntryKind::Symlink, "lib", "usr/lib"),
        file("usr/lib/old", "1"),
        file("data", "shared"),
    ];
    // Neither tmp nor lib has an entry of its own here.
    let upper =
        vec![file("tmp/x", "2"), file("lib/new", "2"), link(EntryKind::HardLink, "linked", "data")];
    with_view("inherit", &[base.clone(), upper.clone()], |view| {
        let tmp = fs::metadata(view.join("tmp")).unwrap();
        assert_eq!((tmp.mode() & 0o7777, tmp.uid(), tmp.gid()), (0o1777, 7, 8));
        assert_eq!((tmp.mtime(), tmp.mtime_nsec()), (1000, 7));
        // The link is still one, and the file lies behind it.
        assert!(fs::symlink_metadata(view.join("lib")).unwrap().is_symlink());
        assert_eq!(names(&view.join("usr/lib")), ["new", "old"]);
        assert_eq!(fs::metadata(view.join("usr/lib")).unwrap().mode() & 0o7777, 0o750);
        let (linked, data) = (view.join("linked"), view.join("data"));
        assert_eq!(read(&linked), "shared");
        assert_eq!(fs::metadata(linked).unwrap().ino(), fs::metadata(data).unwrap().ino());
    });
    // On another base the same layer has another tree.
    let other = vec![directory("tmp", 0o700), file("data", "other")];
    with_view("inherit-other", &[other, upper], |view| {
        assert_eq!(fs::metadata(view.join("tmp")).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(read(&view.join("linked")), "other");
        assert!(fs::symlink_metadata(view.join("lib")).unwrap().is_dir());
    });
}

#[test]
fn keeps_every_attribute() {
    let mut program = file("setuid", "x");
    program.0.mode = 0o6755;
    (program.0.uid, program.0.gid) = (3_000_000, 4_000_000_000);
    program.0.mtime = Timestamp { seconds: -5, nanoseconds: 999_999_999 };
    program.0.xattrs = vec![
        (
            b"security.capability".to_vec(),
            vec![1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
        (b"user.note".to_vec(), b"a\nb".to_vec()),
    ];
    let mut device = Entry::new(b"null", EntryKind::CharacterDevice, 0o666);
    device.device = (1, 3);
    let fifo = Entry::new(b"fifo", EntryKind::Fifo, 0o620);
    let mut unusual = file("x", "y");
    unusual.0.path = b"new\nline \xff".to_vec();
    let base = vec![
        directory("./", 0o711),
        // A hard link before its target.
        link(EntryKind::HardLink, "early", "late"),
        file("late", "1"),
        program,
        (device, vec![]),
        (fifo, vec![]),
        unusual,
        link(EntryKind::Symlink, "dangling", "/no/where"),
        directory("dir", 0o755),
        file("dir/late", "2"),
        // A directory replaces a link and a file replaces a directory.
        link(EntryKind::Symlink, "swap", "dir"),
        directory("swap", 0o700),
        file("swap/in", "3"),
        directory("gone", 0o700),
        file("gone/x", "4"),
        file("gone", "5"),
        // Through a link of the layer itself.
        link(EntryKind::Symlink, "bin", "usr/bin"),
        file("bin/sh", "6"),
    ];
    with_view("attributes", &[base], |view| {
        let setuid = fs::metadata(view.join("setuid")).unwrap();
        assert_eq!(setuid.mode() & 0o7777, 0o6755);
        assert_eq!((setuid.uid(), setuid.gid()), (3_000_000, 4_000_000_000));
        assert_eq!((setuid.mtime(), setuid.mtime_nsec()), (-5, 999_999_999));
        let lines = describe(view);
        let of = |name: &str| lines.iter().find(|line| line.starts_with(name)).unwrap().clone();
        assert!(of("setuid").contains("security.capability=[1, 0, 0, 2"));
        assert!(of("setuid").contains("user.note=[97, 10, 98]"));
        assert!(of("null").contains("CharacterDevice 666") && of("null").contains("(1, 3)"));
        assert!(of("fifo").contains("Fifo 620"));
        assert_eq!(fs::metadata(view.join("early")).unwrap().nlink(), 2);
        assert_eq!(fs::metadata(view.join("dir")).unwrap().mtime(), 1000);
        assert!(fs::symlink_metadata(view.join("swap")).unwrap().is_dir());
        assert_eq!(names(&view.join("dir")), ["late"]);
        assert_eq!(read(&view.join("gone")), "5");
        assert_eq!(read(&view.join("usr/bin/sh")), "6");
        assert_eq!(fs::metadata(view).unwrap().mode() & 0o7777, 0o711);
        assert!(names(view).iter().any(|name| name.starts_with("new\nline ")));
    });
}

#[test]
fn stacks_many_layers() {
    let layers: Vec<Archive> = (0..150).map(|n| vec![file(&format!("f{n}"), "x")]).collect();
    with_view("many", &layers, |view| assert_eq!(names(view).len(), 150));
}

#[test]
fn stacks_a_layer_that_is_there_twice() {
    let twice = vec![file("a", "1"), file(".wh.b", "")];
    let between = vec![file("a", "2"), file("b", "2"), file("c", "2")];
    with_view("twice", &[twice.clone(), between, twice], |view| {
        assert_eq!(names(view), ["a", "c"]);
        assert_eq!(read(&view.join("a")), "1");
    });
}

/// Mounts `layers` with an upper directory, lets `change` work in it, and makes a layer of that.
fn commit(
    store: &Store,
    layers: &[Layer],
    options: &CommitOptions,
    change: impl FnOnce(&Path),
) -> Option<Layer> {
    let trees = store.unpack(layers, &Silent).unwrap();
    let scratch = store.scratch().unwrap();
    let place = |name: &str| {
        fs::create_dir(scratch.path().join(name)).unwrap();
        scratch.path().join(name)
    };
    let (upper, work, target) = (place("upper"), place("work"), place("target"));
    let overlay = Overlay { lowers: &trees, upper: Some((&upper, &work)) };
    let mount = overlay.mount(&target).unwrap();
    change(&target);
    mount.unmount().unwrap();
    store.commit_upper(&upper, options).unwrap()
}

#[test]
fn makes_a_layer_of_what_changed() {
    let folder = Folder::new("commit");
    let store = folder.store();
    let base = vec![
        directory("d", 0o755),
        file("d/gone", "1"),
        directory("replaced", 0o755),
        file("replaced/old", "1"),
        file("kept", "1"),
    ];
    let base = put_layer(&store, &tar(&base), Compression::Zstd);
    let options =
        CommitOptions { epoch: Some(Timestamp::from_seconds(5000)), ..Default::default() };
    let change = |view: &Path| {
        fs::remove_file(view.join("d/gone")).unwrap();
        fs::remove_dir_all(view.join("replaced")).unwrap();
        fs::create_dir(view.join("replaced")).unwrap();
        fs::write(view.join("replaced/new"), "2").unwrap();
        fs::hard_link(view.join("replaced/new"), view.join("also")).unwrap();
        std::os::unix::fs::symlink("new", view.join("link")).unwrap();
        std::os::unix::fs::chown(view.join("d"), Some(5), Some(6)).unwrap();
    };
    let layer = commit(&store, std::slice::from_ref(&base), &options, change).unwrap();
    let both = [base.clone(), layer.clone()];
    let trees = store.unpack(&both, &Silent).unwrap();
    assert!(is_whiteout(&trees[1].join("d/gone")));
    let before = describe(&trees[1]);
    assert!(before.iter().all(|line| !line.contains("Timestamp { seconds: 1")), "{before:#?}");

    // The blob says the same as the directory that became the layer.
    let other = Folder::new("commit-other");
    let second = other.store();
    for layer in &both {
        let mut blob = store.open_blob(&layer.descriptor).unwrap();
        second.put_blob(&mut blob).unwrap();
    }
    let again = second.unpack(&both, &Silent).unwrap();
    assert_eq!(describe(&again[1]), before);

    // The same change gives the same layer, and no change none.
    let same = commit(&store, std::slice::from_ref(&base), &options, change).unwrap();
    assert_eq!(same, layer);
    assert_eq!(commit(&store, &both, &options, |_| {}), None);
}
