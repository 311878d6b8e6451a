//! Images of an ordinary user: nothing here is done by root but the preparation and the comparison.

use std::collections::BTreeMap;
use std::fs;

use keel_tests::{
    ImageStore, Layout, OrdinaryUser, Outcome, Runtime, TarEntry, differences, fixture, listing,
    portrait, portrait_as, program, tarball,
};

const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
const WAYS: [&str; 2] = ["subordinate", "single"];

/// An image with owners, whiteouts, links across layers and devices.
fn make_layout(store: &ImageStore) {
    let lower = tarball(&[
        TarEntry::directory("./", 0o755),
        TarEntry::directory("d", 0o750).owner(5, 6),
        TarEntry::file("d/x", "1").owner(1000, 1001).mode(0o4711),
        TarEntry::file("d/y", "1"),
        TarEntry::directory("o", 0o700).owner(65534, 65534),
        TarEntry::file("o/old", "1"),
        TarEntry::file("shadow", "1").mode(0o640).owner(0, 42),
        TarEntry::file("secret", "1").mode(0),
        TarEntry::symlink("link", "d/x"),
        TarEntry::new(b'6', "fifo", 0o622),
    ]);
    let upper = tarball(&[
        TarEntry::file("d/.wh.y", ""),
        TarEntry::directory("o", 0o711).owner(7, 7),
        TarEntry::file("o/.wh..wh..opq", ""),
        TarEntry::file("o/new", "2").owner(300, 0).xattr("user.note", "n"),
        TarEntry::hard_link("linked", "d/x"),
    ]);
    Layout::new(&store.beside("layout")).layer(&lower).layer(&upper).finish("image");
}

fn call(store: &ImageStore, user: &OrdinaryUser, way: &str, words: &[&str]) -> Outcome {
    let mut command = store.command_of(user, &["--ids", way]);
    command.args(words);
    store.finish(command)
}

fn bundle(
    store: &ImageStore,
    user: &OrdinaryUser,
    way: &str,
    image: &str,
    words: &[&str],
) -> String {
    let path = store.beside("home").join(format!("bundle-{way}"));
    let path = path.display().to_string();
    let mut all = vec!["bundle", image, &path];
    all.extend(words);
    call(store, user, way, &all).succeeds();
    path
}

/// IMG-USER-01: with subordinate ids a user's bundle is what root's is, in the ids of its namespace; devices are
/// placeholders with a record.
#[test]
fn subordinate_ids_unpack_as_root() {
    let (store, user) = (ImageStore::new(), OrdinaryUser::of_the_machine());
    make_layout(&store);
    let devices = tarball(&[
        TarEntry::directory("dev", 0o755),
        TarEntry::device(b'3', "dev/null", (1, 3)).mode(0o666).owner(1, 2),
        TarEntry::device(b'4', "dev/disk", (8, 0)),
        TarEntry::file("capable", "x").mode(0o755).xattr("security.capability", CAPABILITY),
    ]);
    store.tool("umoci", &["unpack", "--image", "layout:image", "umoci"]);
    call(&store, &user, "auto", &["load", "-i", "layout"]).succeeds();
    let path = bundle(&store, &user, "auto", "image", &[]);
    let inside = |id: u32, own: u32, first: u32| match id {
        id if id == own => 0,
        id => id - first + 1,
    };
    let owner = |(uid, gid)| {
        (inside(uid, user.uid, user.first_subuid), inside(gid, user.gid, user.first_subgid))
    };
    let seen = portrait_as(format!("{path}/rootfs").as_ref(), owner);
    let wanted = portrait(&store.beside("umoci/rootfs"));
    assert_eq!(differences(&wanted, &seen), Vec::<String>::new());

    Layout::new(&store.beside("devices")).layer(&devices).finish("devices");
    call(&store, &user, "auto", &["load", "-i", "devices"]).succeeds();
    let layers = call(&store, &user, "auto", &["unpack", "devices"]).succeeds().stdout;
    let seen = portrait_as(layers.trim().as_ref(), owner);
    assert!(seen["\"dev/null\""].contains("666 1:2"), "{seen:#?}");
    assert!(seen["\"dev/null\""].contains("user.keel.device=\"c 1:3\""), "{seen:#?}");
    assert!(seen["\"dev/disk\""].contains("user.keel.device=\"b 8:0\""), "{seen:#?}");
    // The kernel notes whose root may use the capability: version 3, with the user's id.
    let root = user.uid.to_le_bytes().escape_ascii().to_string();
    assert!(
        seen["\"capable\""].contains("security.capability=\"\\x01\\x00\\x00\\x03"),
        "{seen:#?}"
    );
    assert!(seen["\"capable\""].contains(&root), "{root}: {seen:#?}");
}

/// IMG-USER-02: with a single id all files are the user's, and the real owners of files and folders are recorded as
/// umoci records them.
#[test]
fn a_single_id_records_owners() {
    let (store, user) = (ImageStore::new(), OrdinaryUser::of_the_machine());
    make_layout(&store);
    call(&store, &user, "single", &["load", "-i", "layout"]).succeeds();
    let path = bundle(&store, &user, "single", "image", &[]);
    let mut umoci = user.runs("/usr/bin/umoci".as_ref());
    let target = store.beside("home/umoci");
    umoci.args(["unpack", "--rootless", "--image", "layout:image"]).arg(&target);
    umoci.current_dir(store.beside(""));
    user.owns_folders(&store.beside("layout"));
    store.finish(umoci).succeeds();
    let seen = portrait(format!("{path}/rootfs").as_ref());
    let wanted = portrait(&target.join("rootfs"));
    let owned = |seen: &BTreeMap<String, String>| {
        let own = format!(" {}:{} ", user.uid, user.gid);
        seen.values().all(|line| line.contains(&own))
    };
    assert!(owned(&seen) && owned(&wanted), "{seen:#?}");
    assert!(seen["\"d/x\""].contains("user.rootlesscontainers"), "{seen:#?}");
    assert_eq!(differences(&wanted, &seen), Vec::<String>::new());
}

/// IMG-USER-03: the bundle of an ordinary user runs by the same user on keel and on runc, both ways.
#[test]
fn bundles_run() {
    let (store, user) = (ImageStore::new(), OrdinaryUser::of_the_machine());
    let archive = fixture("busybox.tar").display().to_string();
    for way in WAYS {
        call(&store, &user, way, &["import", &archive, "busybox:1"]).succeeds();
        let script = "id -u; touch /new && ls /new; stat -c %u:%g /bin/busybox; ls /sys | wc -l";
        let path = bundle(&store, &user, way, "busybox:1", &["/bin/sh", "-c", script]);
        for runtime in ["keel", "runc"] {
            let mut command = user.command(&Runtime::named(runtime));
            command.arg("--root").arg(store.beside("home/state")).args(["run", "-b", &path]);
            command.arg(format!("{}-{way}", store.name())).current_dir(store.beside("home"));
            let outcome = store.finish(command).succeeds();
            let report = format!("{way} {runtime}: {}", outcome.report());
            assert!(outcome.stdout.starts_with("0\n/new\n0:0\n"), "{report}");
        }
    }
}

/// IMG-USER-04: `run` shows the image by overlayfs, lets it be written, and leaves nothing, both ways, on keel and on
/// runc.
#[test]
fn images_run() {
    let (store, user) = (ImageStore::new(), OrdinaryUser::of_the_machine());
    let archive = fixture("busybox.tar").display().to_string();
    for way in WAYS {
        call(&store, &user, way, &["import", &archive, "busybox:1"]).succeeds();
        let before = listing(&store.beside("home/store"));
        for runtime in ["runc".into(), program("keel")] {
            let runtime = runtime.display().to_string();
            let script = "rm -r /home && mkdir /home && touch /home/x; grep ' / / .* overlay ' /proc/self/mountinfo | wc -l; ls /home; exit 7";
            let words = ["run", "--runtime", &runtime, "busybox:1", "/bin/sh", "-c", script];
            let outcome = call(&store, &user, way, &words).exits(7);
            let report = format!("{way} {runtime}: {}", outcome.report());
            assert!(outcome.stdout.ends_with("1\nx\n"), "{report}");
        }
        assert_eq!(listing(&store.beside("home/store")), before, "{way}");
    }
}

/// IMG-USER-05: an owner beyond the subordinate ids is named with the file that gives too few.
#[test]
fn an_unmapped_owner_is_named() {
    let (store, user) = (ImageStore::new(), OrdinaryUser::of_the_machine());
    let archive = tarball(&[TarEntry::file("far", "1").owner(3_000_000, 0)]);
    Layout::new(&store.beside("layout")).layer(&archive).finish("image");
    let outcome = call(&store, &user, "subordinate", &["load", "-i", "layout"]);
    outcome.fails_naming(&["far", "3000000:0", "/etc/subuid"]);
    call(&store, &user, "single", &["load", "-i", "layout"]).succeeds();
}

/// IMG-USER-06: `unshare` runs a command as root of the user's namespace, with its exit code.
#[test]
fn unshare_sees_the_users_ids() {
    let (store, user) = (ImageStore::new(), OrdinaryUser::of_the_machine());
    let words = ["unshare", "sh", "-c", "id -u; cat /proc/self/uid_map; exit 5"];
    let seen = call(&store, &user, "subordinate", &words).exits(5).stdout;
    let words: Vec<&str> = seen.split_whitespace().collect();
    let (own, first) = (user.uid.to_string(), user.first_subuid.to_string());
    assert_eq!(words, ["0", "0", &own, "1", "1", &first, "65536"]);
    let words = ["unshare", "cat", "/proc/self/uid_map"];
    let seen = call(&store, &user, "single", &words).succeeds().stdout;
    assert_eq!(seen.split_whitespace().collect::<Vec<_>>(), ["0", &own, "1"]);
}

/// IMG-USER-07: the two ways and root's do not take each other's layers.
#[test]
fn forms_are_kept_apart() {
    let (store, user) = (ImageStore::new(), OrdinaryUser::of_the_machine());
    make_layout(&store);
    let mut trees = Vec::new();
    for way in WAYS {
        call(&store, &user, way, &["load", "-i", "layout"]).succeeds();
        let layers = call(&store, &user, way, &["unpack", "image"]).succeeds().stdout;
        trees.extend(layers.lines().map(str::to_owned));
    }
    let mut root = std::process::Command::new(program("keel-image"));
    root.arg("--root").arg(store.beside("home/store")).args(["unpack", "image"]);
    let layers = store.finish(root).succeeds().stdout;
    trees.extend(layers.lines().map(str::to_owned));
    let different: std::collections::BTreeSet<&String> = trees.iter().collect();
    assert_eq!(different.len(), 6, "{trees:#?}");
    assert!(trees.iter().all(|tree| fs::metadata(tree).is_ok()), "{trees:#?}");
}
