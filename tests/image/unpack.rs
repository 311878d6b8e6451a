//! Layers as files: every rule of layer.md, seen as umoci's result where umoci follows it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use keel_tests::{
    Containerd, ImageStore, Layout, TarEntry, differences, fixture, gzip, listing, portrait,
    tarball,
};

/// What keel-image and umoci make of an image of these archives, lowest first.
struct Unpacked {
    seen: BTreeMap<String, String>,
    wanted: BTreeMap<String, String>,
}

fn layout(store: &ImageStore, archives: &[Vec<u8>]) {
    let mut layout = Layout::new(&store.beside("layout"));
    for archive in archives {
        layout.layer(archive);
    }
    layout.finish("image");
}

fn unpack(archives: &[Vec<u8>]) -> Unpacked {
    let store = ImageStore::new();
    layout(&store, archives);
    store.tool("umoci", &["unpack", "--image", "layout:image", "umoci"]);
    store.call(&["load", "-i", "layout"]).succeeds();
    let bundle = store.bundle("image", &[]);
    let seen = portrait(&bundle.join("rootfs"));
    let wanted = portrait(&store.beside("umoci/rootfs"));
    Unpacked { seen, wanted }
}

#[track_caller]
fn as_umoci(archives: &[Vec<u8>]) -> Unpacked {
    let unpacked = unpack(archives);
    let differences = differences(&unpacked.wanted, &unpacked.seen);
    assert!(differences.is_empty(), "{differences:#?}");
    unpacked
}

/// A layer on top of Debian.
fn debian_changed() -> Vec<TarEntry> {
    vec![
        TarEntry::directory("etc", 0o755),
        TarEntry::file("etc/.wh.passwd", ""),
        TarEntry::file("etc/group", "root:x:0:\n").owner(0, 42),
        TarEntry::directory("var", 0o755),
        TarEntry::directory("var/lib", 0o755),
        TarEntry::file("var/lib/.wh.dpkg", ""),
        TarEntry::directory("usr", 0o755),
        TarEntry::directory("usr/bin", 0o755),
        TarEntry::file("usr/bin/new", "#!/bin/sh\n").mode(0o6755),
    ]
}

/// IMG-LAYER-01: a real distribution in several layers is unpacked as umoci does.
#[test]
fn debian_is_what_umoci_unpacks() {
    let base = fs::read(fixture("debian.tar")).expect("a fixture");
    let mut change = debian_changed();
    change.push(TarEntry::hard_link("usr/bin/linked", "usr/bin/dpkg"));
    let unpacked = as_umoci(&[base, tarball(&change)]);
    assert!(unpacked.seen.len() > 3000, "{} entries", unpacked.seen.len());
}

/// A lower layer that the next ones change.
fn lower() -> Vec<u8> {
    tarball(&[
        TarEntry::directory("./", 0o751).owner(3, 4),
        TarEntry::directory("d", 0o750).owner(5, 6),
        TarEntry::file("d/x", "1"),
        TarEntry::file("d/y", "1"),
        TarEntry::directory("d/sub", 0o711),
        TarEntry::file("d/sub/deep", "1"),
        TarEntry::directory("o", 0o700),
        TarEntry::file("o/old", "1"),
        TarEntry::directory("o/older", 0o700),
        TarEntry::file("f", "1").mode(0o600),
        TarEntry::symlink("l", "d"),
        TarEntry::file("kept", "1"),
    ])
}

/// IMG-LAYER-02: whiteouts and opaque markers hold wherever they stand in the archive.
#[test]
fn whiteouts_in_any_order() {
    let whiteouts = [
        TarEntry::file("d/.wh.x", ""),
        TarEntry::file(".wh.f", ""),
        TarEntry::file("d/.wh.sub", ""),
        TarEntry::file(".wh.nothing", ""),
        TarEntry::file("o/.wh..wh..opq", ""),
    ];
    let others = [
        TarEntry::directory("d", 0o755),
        TarEntry::directory("o", 0o755),
        TarEntry::file("o/new", "2"),
        TarEntry::file("d/z", "2"),
    ];
    let mut first = whiteouts.to_vec();
    first.extend(others.iter().cloned());
    let mut last = others.to_vec();
    last.extend(whiteouts.iter().cloned());
    let one = as_umoci(&[lower(), tarball(&first)]);
    let other = as_umoci(&[lower(), tarball(&last)]);
    assert_eq!(differences(&one.seen, &other.seen), Vec::<String>::new());
    let has = |name: &str| one.seen.contains_key(&format!("{name:?}"));
    assert!(has("o/new") && has("d/y") && has("d/z"), "{:#?}", one.seen);
    assert!(!has("f") && !has("d/x") && !has("d/sub/deep") && !has("o/old"), "{:#?}", one.seen);
}

/// IMG-LAYER-03: a whiteout does not hide what its own layer has, and hides all that is below of it.
#[test]
fn whiteouts_spare_their_own_layer() {
    for first in [true, false] {
        let mut entries = vec![
            TarEntry::file("f", "2"),
            TarEntry::directory("d", 0o701),
            TarEntry::file("d/new", "2"),
        ];
        let at = if first { 0 } else { entries.len() };
        entries.splice(at..at, [TarEntry::file(".wh.f", ""), TarEntry::file(".wh.d", "")]);
        let unpacked = unpack(&[lower(), tarball(&entries)]);
        let mut names: Vec<&str> =
            unpacked.seen.keys().map(|name| name.trim_matches('"')).collect();
        names.retain(|name| name.starts_with('d') || name.starts_with('f'));
        assert_eq!(names, ["d", "d/new", "f"], "whiteouts first: {first}");
    }
}

/// IMG-LAYER-04: `.wh.` alone is refused by its path.
#[test]
fn an_empty_whiteout_is_named() {
    let store = ImageStore::new();
    layout(&store, &[tarball(&[TarEntry::file("a/.wh.", "")])]);
    store.call(&["load", "-i", "layout"]).fails_naming(&["a/.wh.", "whiteout must name"]);
    assert_eq!(listing(&store.path().join("layers")), Vec::<String>::new());
}

/// IMG-LAYER-05: the other names of aufs mean nothing and are never made.
#[test]
fn names_of_aufs_are_skipped() {
    let archive = tarball(&[
        TarEntry::directory(".wh..wh.plnk", 0o700),
        TarEntry::file(".wh..wh.aufs", ""),
        TarEntry::file(".wh..wh.orph", "x"),
        TarEntry::file("a", "1"),
    ]);
    let unpacked = unpack(&[archive]);
    assert_eq!(unpacked.seen.keys().collect::<Vec<_>>(), ["\".\"", "\"a\""]);
}

/// A layer on top of [`lower`], whose entries are of other kinds.
fn other_kinds() -> Vec<TarEntry> {
    vec![
        // A file over a folder that is not empty, a folder over a file, a folder over a link to one, a link over a
        // folder.
        TarEntry::file("d", "2"),
        TarEntry::directory("f", 0o710),
        TarEntry::file("f/in", "2"),
        TarEntry::directory("l", 0o701),
        TarEntry::file("l/in", "2"),
        TarEntry::symlink("o", "f"),
        TarEntry::symlink("kept", "nowhere"),
    ]
}

/// IMG-LAYER-06: what replaces something of another kind replaces all of it; a directory over a link to a directory
/// too.
#[test]
fn kinds_replace_each_other() {
    let change = other_kinds();
    let across = as_umoci(&[lower(), tarball(&change)]);
    let mut one = lower();
    one.truncate(one.len() - 1024);
    one.extend(tarball(&change));
    let within = as_umoci(&[one]);
    assert_eq!(differences(&across.seen, &within.seen), Vec::<String>::new());
}

/// IMG-LAYER-07: hard links: to a file of a lower layer, to a link, and of links of links.
#[test]
fn hard_links_across_layers() {
    let below = tarball(&[
        TarEntry::directory("a", 0o750).owner(7, 8),
        TarEntry::file("a/file", "shared").mode(0o4711).owner(9, 10).xattr("user.x", "y"),
        TarEntry::symlink("a/link", "/nowhere"),
    ]);
    let above = tarball(&[
        TarEntry::directory("b", 0o755),
        TarEntry::hard_link("b/file", "a/file"),
        TarEntry::hard_link("b/again", "b/file"),
        TarEntry::hard_link("b/link", "./a/link"),
    ]);
    let unpacked = as_umoci(&[below, above]);
    assert!(unpacked.seen["\"b/again\""].contains("same as \"a/file\""), "{:#?}", unpacked.seen);
}

/// IMG-LAYER-08: a hard link may stand before its target, and may not lead out or to nothing.
#[test]
fn hard_links_before_their_targets() {
    let archive = tarball(&[
        TarEntry::hard_link("early", "middle"),
        TarEntry::hard_link("middle", "late"),
        TarEntry::file("late", "1"),
    ]);
    let store = ImageStore::new();
    layout(&store, &[archive]);
    store.call(&["load", "-i", "layout"]).succeeds();
    let seen = portrait(&store.bundle("image", &[]).join("rootfs"));
    for name in ["\"late\"", "\"middle\""] {
        assert!(seen[name].contains("same as \"early\""), "{seen:#?}");
    }
    for target in ["../outside", "/etc/../../x", "missing", "self"] {
        let store = ImageStore::new();
        layout(&store, &[tarball(&[TarEntry::hard_link("self", target)])]);
        store.call(&["load", "-i", "layout"]).fails_naming(&["self", target]);
    }
}

/// A capability set of version 2 and one of version 3, whose last number is the root of its namespace.
const CAPABILITY_2: &[u8] = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
const CAPABILITY_3: &[u8] = b"\x01\0\0\x03\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xe8\x03\0\0";

fn attributed() -> Vec<TarEntry> {
    vec![
        TarEntry::directory("d", 0o2775).owner(1, 2).xattr("user.d", "of a folder"),
        TarEntry::file("d/inherits", "no group"),
        TarEntry::file("two", "x")
            .mode(0o755)
            .owner(11, 12)
            .xattr("security.capability", CAPABILITY_2),
        TarEntry::file("three", "x").mode(0o755).xattr("security.capability", CAPABILITY_3),
        TarEntry::file("setuid", "x").mode(0o6755).owner(11, 12).xattr("user.a", "b\n\0=c"),
        TarEntry::file("many", "x").xattr("user.1", "1").xattr("user.3", "3"),
    ]
}

/// IMG-LAYER-09: extended attributes of files and directories, capabilities of both versions among them; a change of
/// owner takes neither them nor set-user-id away.
#[test]
fn extended_attributes() {
    as_umoci(&[tarball(&attributed())]);
}

/// IMG-LAYER-10: attributes in libarchive's form are read; labels of the host are dropped; what cannot be kept is told;
/// what would speak to overlayfs is an ordinary attribute in the image.
#[test]
fn attributes_that_umoci_has_not() {
    let store = ImageStore::new();
    let below = tarball(&[TarEntry::directory("d", 0o755), TarEntry::file("d/lower", "1")]);
    let above = tarball(&[
        TarEntry::file("archive", "x").pax("LIBARCHIVE.xattr.user.a%3Db", "AAEC/w=="),
        TarEntry::file("label", "x").xattr("security.selinux", "system_u:object_r:x:s0"),
        TarEntry::symlink("link", "x").xattr("user.impossible", "1"),
        TarEntry::directory("d", 0o755)
            .xattr("trusted.overlay.opaque", "y")
            .xattr("user.overlay.opaque", "y"),
    ]);
    layout(&store, &[below, above]);
    let outcome = store.call(&["load", "-i", "layout"]).succeeds();
    assert!(
        outcome.stderr.contains("link") && outcome.stderr.contains("user.impossible"),
        "{}",
        outcome.report()
    );
    let seen = portrait(&store.bundle("image", &[]).join("rootfs"));
    assert!(seen["\"archive\""].contains(r#"user.a=b="\x00\x01\x02\xff""#), "{seen:#?}");
    assert!(!seen["\"label\""].contains("selinux"), "{seen:#?}");
    assert!(seen.contains_key("\"d/lower\""), "the directory has become opaque: {seen:#?}");
    assert!(seen["\"d\""].contains("user.overlay.opaque"), "{seen:#?}");
}

/// IMG-LAYER-11: access lists; those for new files of a directory do not change the files of the archive.
#[test]
fn access_lists() {
    let list = |tags: &[(u16, u16, u32)]| -> Vec<u8> {
        let mut bytes = 2_u32.to_le_bytes().to_vec();
        for (tag, permissions, id) in tags {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(permissions.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    };
    let none = u32::MAX;
    let value = list(&[(1, 7, none), (2, 7, 1000), (4, 5, none), (16, 7, none), (32, 5, none)]);
    let archive = tarball(&[
        TarEntry::directory("d", 0o775).xattr("system.posix_acl_default", &value),
        TarEntry::file("d/file", "x").mode(0o640),
        TarEntry::directory("d/sub", 0o700),
        TarEntry::file("listed", "x").mode(0o674).xattr("system.posix_acl_access", &value),
    ]);
    let store = ImageStore::new();
    layout(&store, &[archive]);
    store.call(&["load", "-i", "layout"]).succeeds();
    let seen = portrait(&store.bundle("image", &[]).join("rootfs"));
    assert!(seen["\"d\""].contains("system.posix_acl_default"), "{seen:#?}");
    assert!(
        !seen["\"d/file\""].contains("acl") && seen["\"d/file\""].contains(" 640 "),
        "{seen:#?}"
    );
    assert!(!seen["\"d/sub\""].contains("acl") && seen["\"d/sub\""].contains(" 700 "), "{seen:#?}");
    assert!(seen["\"listed\""].contains("system.posix_acl_access"), "{seen:#?}");
}

fn odd() -> Vec<TarEntry> {
    let long = format!("{}/{}", "d".repeat(200), "n".repeat(255));
    let deep = |depth: usize| vec!["deep"; depth].join("/");
    let mut entries: Vec<TarEntry> =
        (1..60).map(|depth| TarEntry::directory(deep(depth), 0o755)).collect();
    entries.extend([
        TarEntry::file(deep(60), "1"),
        TarEntry::directory("dev", 0o755),
        TarEntry::device(b'3', "dev/null", (1, 3)).mode(0o666).owner(1, 2),
        TarEntry::device(b'4', "dev/disk", (259, 300)).mode(0o660),
        TarEntry::new(b'6', "dev/fifo", 0o622).owner(3, 4),
        TarEntry::directory("d".repeat(200), 0o755),
        TarEntry::file(&long, "1"),
        TarEntry::symlink("to", "t".repeat(300)),
        TarEntry::hard_link("short", &long),
        TarEntry::file(b"new\nline \xff\xfe", "1"),
        TarEntry::file(" spaces ", "1"),
        TarEntry::file("big id", "1").owner(3_000_000, 4_000_000_000),
        TarEntry::file("past", "1").mtime(-86_400),
        TarEntry::file("nano", "1").pax("mtime", "1234567890.123456789"),
        TarEntry::file("before", "1").pax("mtime", "-1.25"),
        TarEntry::file("ids", "1").pax("uid", "2500000").pax("gid", "70000"),
        TarEntry::new(b'\0', "old", 0o640),
        TarEntry::file("././/plain", "1"),
        TarEntry::file("/absolute", "1"),
    ]);
    entries
}

/// IMG-LAYER-12: devices, fifos, odd names, long paths, ids beyond 2^21, times before 1970 and to the nanosecond.
#[test]
fn odd_entries() {
    as_umoci(&[tarball(&odd())]);
}

/// IMG-LAYER-19: whatever containerd unpacks is unpacked as containerd does, entry by entry: a distribution, changes of
/// every kind, whiteouts, odd entries, attributes.
#[test]
fn layers_are_what_containerd_unpacks() {
    let containerd = Containerd::start();
    let debian = fs::read(fixture("debian.tar")).expect("a fixture");
    let whiteouts = [
        TarEntry::directory("d", 0o755).owner(1, 2),
        TarEntry::file("d/.wh.x", ""),
        TarEntry::file("d/.wh.sub", ""),
        TarEntry::file("o/.wh..wh..opq", ""),
        TarEntry::directory("o", 0o711),
        TarEntry::file("o/new", "2"),
        TarEntry::file(".wh.f", ""),
        TarEntry::file("d/z", "2"),
    ];
    let mut odd = odd();
    // Times before 1970 are the beginning of 1970 in containerd.
    odd.retain(|entry| !["past", "before"].map(str::as_bytes).contains(&&entry.path[..]));
    for (number, archives) in [
        vec![debian, tarball(&debian_changed())],
        vec![lower(), tarball(&whiteouts)],
        vec![lower(), tarball(&other_kinds())],
        vec![tarball(&odd)],
        vec![tarball(&attributed()), tarball(&[TarEntry::file("more", "1")])],
    ]
    .into_iter()
    .enumerate()
    {
        let (store, name) = (ImageStore::new(), format!("image{number}"));
        let mut written = Layout::new(&store.beside("layout"));
        for archive in &archives {
            written.layer(archive);
        }
        written.finish(&name);
        store.call(&["load", "-i", "layout"]).succeeds();
        let mut seen = portrait(&store.bundle(&name, &[]).join("rootfs"));
        store.tool("tar", &["-C", "layout", "-cf", "layout.tar", "."]);
        let archive = store.beside("layout.tar").display().to_string();
        containerd.ctr(&["images", "import", &archive], None).succeeds();
        let tree = containerd.tree(&format!("docker.io/library/{name}:latest"));
        let mut wanted = portrait(&tree);
        // Containerd leaves the root as it has made it, whatever the layer says.
        let (own, other) = (seen.remove("\".\""), wanted.remove("\".\""));
        assert!(own.is_some() && other.is_some(), "{name}");
        let differences = differences(&wanted, &seen);
        assert!(differences.is_empty() && wanted.len() > 5, "{name}: {differences:#?}");
    }
}

/// IMG-LAYER-17: entries of old archives: a file of the type 7, a directory by its last slash, a volume's label; an
/// attribute without a value.
#[test]
fn old_entries() {
    let archive = tarball(&[
        TarEntry::new(b'V', "label", 0o600),
        TarEntry { kind: b'7', ..TarEntry::file("contiguous", "1") },
        TarEntry::new(b'\0', "directory/", 0o750),
        TarEntry::file("directory/in", "1").xattr("user.empty", ""),
    ]);
    let store = ImageStore::new();
    fs::write(store.beside("old.tar"), &archive).expect("an archive");
    fs::create_dir(store.beside("gnu")).expect("a folder");
    store.tool("tar", &["-C", "gnu", "--xattrs", "-xpf", "old.tar"]);
    layout(&store, &[archive]);
    store.call(&["load", "-i", "layout"]).succeeds();
    let mut seen = portrait(&store.bundle("image", &[]).join("rootfs"));
    let mut wanted = portrait(&store.beside("gnu"));
    // The archive says nothing of the root.
    seen.remove("\".\"");
    wanted.remove("\".\"");
    assert_eq!(differences(&wanted, &seen), Vec::<String>::new());
    assert!(seen["\"directory/in\""].contains("user.empty"), "{seen:#?}");
}

/// IMG-LAYER-13: of several entries with one path the last one counts, whatever the kinds.
#[test]
fn the_last_of_equal_paths_counts() {
    as_umoci(&[tarball(&[
        TarEntry::file("a", "1").mode(0o600).xattr("user.first", "1"),
        TarEntry::file("a", "two").mode(0o755),
        TarEntry::directory("b", 0o700).owner(1, 1),
        TarEntry::file("b/kept", "1"),
        TarEntry::directory("b", 0o755).owner(2, 2),
        TarEntry::symlink("c", "a"),
        TarEntry::file("c", "3"),
        TarEntry::hard_link("h", "a"),
        TarEntry::file("h", "4"),
    ])]);
}

/// IMG-LAYER-14: files with holes, in all four forms of GNU tar; on the disk they stay holes.
#[test]
fn sparse_files() {
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};
    for form in ["gnu", "0.0", "0.1", "1.0"] {
        let store = ImageStore::new();
        let file = fs::File::create(store.beside("sparse")).expect("a file");
        for number in 0..30_u64 {
            file.write_all_at(&[b'x'; 5000], number << 20).expect("a file");
        }
        file.set_len(40 << 20).expect("a file");
        drop(file);
        let flags = match form {
            "gnu" => vec!["--format=gnu".to_owned()],
            version => vec!["--format=pax".to_owned(), format!("--sparse-version={version}")],
        };
        let mut words = vec!["--sparse".to_owned(), "-cf".to_owned(), "sparse.tar".to_owned()];
        words.extend(flags);
        words.push("sparse".to_owned());
        store.tool("tar", &words);
        let archive = fs::read(store.beside("sparse.tar")).expect("an archive");
        assert!(archive.len() < 1 << 20, "{form}: {} bytes", archive.len());
        layout(&store, &[archive]);
        // Umoci knows none of the four.
        fs::create_dir(store.beside("gnu")).expect("a folder");
        store.tool("tar", &["-C", "gnu", "-xpf", "sparse.tar"]);
        store.call(&["load", "-i", "layout"]).succeeds();
        let layers = store.call(&["unpack", "image"]).succeeds().stdout;
        let (wanted, tree) = (portrait(&store.beside("gnu")), Path::new(layers.trim()));
        let seen = portrait(tree);
        assert_eq!(seen["\"sparse\""], wanted["\"sparse\""], "{form}");
        let blocks = fs::metadata(tree.join("sparse")).expect("a file").blocks();
        assert!(blocks * 512 < 1 << 20, "{form}: {blocks} blocks");
    }
}

/// IMG-LAYER-15: an archive without its end blocks, or ending with the last byte of content, with garbage behind them,
/// in several gzip members or zstd frames, with skippable frames and under a wrong media type is the same layer.
#[test]
fn archives_in_odd_wrappings() {
    let entries = [TarEntry::directory("d", 0o755), TarEntry::file("d/f", "content")];
    let whole = tarball(&entries);
    let endless = whole[..whole.len() - 1024].to_vec();
    // As umoci's insert writes it.
    let unpadded = whole[..whole.len() - 1024 - (512 - "content".len())].to_vec();
    let garbage = [&whole[..], b"garbage".repeat(1000).as_slice()].concat();
    let members = |bytes: &[u8]| [gzip(&bytes[..700]), gzip(&bytes[700..]), gzip(b"")].concat();
    let store = ImageStore::new();
    fs::write(store.beside("one"), &whole[..700]).expect("a file");
    fs::write(store.beside("two"), &whole[700..]).expect("a file");
    store.tool("zstd", &["-q", "one", "two"]);
    let zstd = |name: &str| fs::read(store.beside(name)).expect("a file");
    let skipped = b"\x50\x2a\x4d\x18\x05\0\0\0hello";
    let frames =
        [&skipped[..], &zstd("one.zst"), &skipped[..], &zstd("two.zst"), &skipped[..]].concat();
    let (gz, plain) =
        ("application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.oci.image.layer.v1.tar");
    let zst = "application/vnd.oci.image.layer.v1.tar+zstd";
    let mut wanted = None;
    for (number, (archive, blob, media_type)) in [
        (&whole, gzip(&whole), gz),
        (&endless, gzip(&endless), gz),
        (&unpadded, gzip(&unpadded), gz),
        (&garbage, gzip(&garbage), gz),
        (&whole, members(&whole), gz),
        (&garbage, members(&garbage), gz),
        (&whole, frames.clone(), zst),
        (&whole, frames, gz),
        (&whole, whole.clone(), gz),
        (&whole, gzip(&whole), plain),
    ]
    .into_iter()
    .enumerate()
    {
        let mut layout = Layout::new(&store.beside(&format!("layout{number}")));
        layout.layer_of(archive, &blob, media_type).finish(&format!("image{number}"));
        store.call(&["load", "-i", &format!("layout{number}")]).succeeds();
        let seen = portrait(&store.bundle(&format!("image{number}"), &[]).join("rootfs"));
        assert_eq!(wanted.get_or_insert_with(|| seen.clone()), &seen, "{number}");
    }
}

/// IMG-LAYER-21: a large layer, which several threads read, is what a small one is; a damaged one is named, and nothing
/// of it is kept.
#[test]
fn large_layers_are_read_by_several_threads() {
    let mut noise = vec![0_u8; 6 << 20];
    fs::File::open("/dev/urandom").expect("a device").read_exact(&mut noise).expect("noise");
    let archive = tarball(&[
        TarEntry::file("first", "1"),
        TarEntry::file("noise", &noise[..]),
        TarEntry::file("last", "1"),
    ]);
    as_umoci(std::slice::from_ref(&archive));
    let mut blob = gzip(&archive);
    let middle = blob.len() / 2;
    blob[middle] ^= 0x10;
    let store = ImageStore::new();
    let gz = "application/vnd.oci.image.layer.v1.tar+gzip";
    Layout::new(&store.beside("layout")).layer_of(&archive, &blob, gz).finish("image");
    store.call(&["load", "-i", "layout"]).fails_naming(&["sha256:"]);
    assert_eq!(listing(&store.path().join("layers")), Vec::<String>::new());
    assert_eq!(listing(&store.path().join("tmp")), Vec::<String>::new());
}

/// IMG-LAYER-18: an owner of 2^32 - 1, which chown(2) takes for none, is refused by its entry.
#[test]
fn no_owner_is_named() {
    for entry in [
        TarEntry::file("nobody", "1").owner(u64::from(u32::MAX), 7),
        TarEntry::symlink("nobody", "x").owner(7, u64::from(u32::MAX)),
    ] {
        let store = ImageStore::new();
        layout(&store, &[tarball(&[entry])]);
        store.call(&["load", "-i", "layout"]).fails_naming(&["nobody", "change owner"]);
        assert_eq!(listing(&store.path().join("layers")), Vec::<String>::new());
    }
}

/// IMG-CLI-08: `unpack` prints the directories of the layers, lowest first; overlayfs shows them as the image.
#[test]
fn prints_the_layers() {
    let store = ImageStore::new();
    let lower = tarball(&[TarEntry::file("gone", "1"), TarEntry::file("kept", "1")]);
    let upper = tarball(&[TarEntry::file(".wh.gone", ""), TarEntry::file("new", "2")]);
    layout(&store, &[lower, upper]);
    store.call(&["load", "-i", "layout"]).succeeds();
    let printed = store.call(&["unpack", "image"]).succeeds().stdout;
    let layers: Vec<&str> = printed.lines().collect();
    let [lower, upper] = layers[..] else { panic!("{printed}") };
    let view = store.beside("view");
    fs::create_dir(&view).expect("a folder");
    let options = format!("ro,lowerdir={upper}:{lower}");
    let view = view.display().to_string();
    store.tool("mount", &["-t", "overlay", "overlay", "-o", &options, &view]);
    let mut names: Vec<_> =
        fs::read_dir(&view).expect("a folder").flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    store.tool("umount", &[&view]);
    assert_eq!(names, ["kept", "new"]);
    let json = store.call(&["unpack", "--json", "image"]).succeeds().json();
    assert_eq!(json["Layers"].as_array().map(Vec::len), Some(2), "{json}");
}
