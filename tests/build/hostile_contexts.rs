//! Contexts that are no well-kept folder: odd names, what cannot be read, archives that want out, more of it than
//! anybody has. buildah is asked where it can answer.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use keel_tests::sys::wait4;
use keel_tests::{ImageStore, OrdinaryUser, TarEntry, tarball};

const ALL: &str = "FROM busybox:1\nCOPY tree /all/\n";

/// A store, and the empty folder `context/tree` that the Dockerfile copies.
fn prepared() -> (ImageStore, PathBuf) {
    let store = ImageStore::with_dockerfile(ALL);
    let tree = store.beside("context/tree");
    fs::create_dir(&tree).expect("a folder");
    (store, tree)
}

/// The folder `/all` of the image that was built.
fn all(store: &ImageStore) -> PathBuf {
    store.bundle("app:1", &["/bin/true"]).join("rootfs/all")
}

fn names(folder: &Path) -> BTreeSet<OsString> {
    fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").file_name()).collect()
}

/// The same by buildah.
fn names_by_buildah(store: &ImageStore) -> BTreeSet<OsString> {
    let out = store.beside("peer");
    store.call(&["save", "-o", "base.tar", "busybox:1"]).succeeds();
    let buildah = |words: &[&str]| {
        let mut command = Command::new("buildah");
        command.arg("--root").arg(store.beside("buildah"));
        command.arg("--runroot").arg(store.beside("buildah-run"));
        command.args(["--storage-driver", "overlay"]).args(words).current_dir(store.beside(""));
        store.finish(command).succeeds().stdout
    };
    let id = buildah(&["pull", "-q", "docker-archive:base.tar"]);
    buildah(&["tag", id.trim(), "localhost/peer"]);
    let text = ALL.replace("busybox:1", "localhost/peer");
    fs::write(store.beside("Peerfile"), text).expect("a file");
    let place = format!("dir:{}", out.display());
    buildah(&["bud", "-q", "--pull-never", "-f", "Peerfile", "-t", &place, "context"]);
    let manifest = fs::read(out.join("manifest.json")).expect("a manifest");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    let layer = manifest["layers"].as_array().and_then(|layers| layers.last());
    let layer = layer.and_then(|layer| layer["digest"].as_str()).expect("a layer");
    let blob = out.join(layer.trim_start_matches("sha256:"));
    let unpacked = store.beside("unpacked");
    fs::create_dir(&unpacked).expect("a folder");
    store.tool("tar", &[OsStr::new("-xf"), blob.as_os_str(), "-C".as_ref(), unpacked.as_os_str()]);
    names(&unpacked.join("all"))
}

/// DF-CONTEXT-06: names with newlines, bytes that are no text and of 255 bytes are copied as they are, as by
/// buildah.
#[test]
fn any_name_is_copied() {
    let (store, tree) = prepared();
    let long = [b'n'; 255];
    let odd: [&[u8]; 7] = [b"two\nlines", b"\xff\xfe", b" ", b"a\\b", b"*[?", b"-rf", &long];
    for name in odd {
        fs::write(tree.join(OsStr::from_bytes(name)), name).expect("a file");
    }
    store.build(&["-t", "app:1"]).succeeds();
    let seen = all(&store);
    assert_eq!(names(&seen), names(&tree));
    assert_eq!(names(&seen), names_by_buildah(&store));
    for name in odd {
        assert_eq!(fs::read(seen.join(OsStr::from_bytes(name))).expect("a file"), name);
    }
}

/// DF-CONTEXT-07: a FIFO is copied as one and never opened, a socket is left out and refused by its own name, links that
/// lead round or out are copied as links.
#[test]
fn files_of_every_kind() {
    let (store, tree) = prepared();
    let _listener = UnixListener::bind(tree.join("socket")).expect("a socket");
    store.tool("mkfifo", &["context/tree/fifo"]);
    symlink("round", tree.join("round")).expect("a link");
    symlink("..", tree.join("up")).expect("a link");
    symlink("/etc/shadow", tree.join("out")).expect("a link");
    store.build(&["-t", "app:1"]).succeeds();
    let seen = all(&store);
    let kept = ["fifo", "out", "round", "up"].map(OsString::from);
    assert_eq!(names(&seen), BTreeSet::from(kept));
    assert_eq!(fs::read_link(seen.join("out")).expect("a link"), Path::new("/etc/shadow"));
    assert_eq!(fs::read_link(seen.join("round")).expect("a link"), Path::new("round"));
    fs::write(store.beside("context/Dockerfile"), "FROM scratch\nCOPY tree/socket /\n")
        .expect("a file");
    store.build(&[]).fails_naming(&["Dockerfile:2:1", "cannot copy the socket", "tree/socket"]);
}

/// DF-CONTEXT-08: a sparse file is copied with its content.
#[test]
fn a_sparse_file_is_copied() {
    let (store, tree) = prepared();
    File::create(tree.join("sparse")).and_then(|file| file.set_len(32 << 20)).expect("a file");
    fs::write(tree.join("one"), "same").expect("a file");
    fs::hard_link(tree.join("one"), tree.join("two")).expect("a link");
    store.build(&["-t", "app:1"]).succeeds();
    let seen = all(&store);
    assert_eq!(fs::metadata(seen.join("sparse")).expect("a file").size(), 32 << 20);
    for name in ["one", "two"] {
        assert_eq!(fs::read(seen.join(name)).expect("a file"), b"same", "{name}");
    }
}

/// DF-CONTEXT-09: a file that the caller may not read ends the build with its name, and leaves nothing in the
/// store.
#[test]
fn an_unreadable_file_is_named() {
    let (store, tree) = prepared();
    let secret = tree.join("closed");
    fs::write(&secret, "x").expect("a file");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("a mode");
    fs::write(store.beside("context/Dockerfile"), "FROM scratch\nCOPY tree /all/\n")
        .expect("a file");
    let user = OrdinaryUser::of_the_machine();
    let outcome = store.finish(store.command_of(&user, &["build", "context"]));
    outcome.exits(1).says(&["closed", "ermission denied"]);
    let left = fs::read_dir(store.beside("home/store/tmp")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "something is left");
}

/// DF-CONTEXT-10: files that come, go and grow while they are read make a build that succeeds or names one of them;
/// the next, of the quiet folder, is right.
#[test]
fn files_change_while_they_are_read() {
    let (store, tree) = prepared();
    for number in 0..300 {
        fs::write(tree.join(format!("f{number}")), "begin").expect("a file");
    }
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0_usize;
            while !is_over.load(Ordering::Relaxed) {
                let path = tree.join(format!("f{}", round % 300));
                let _ = fs::remove_file(&path);
                let _ = fs::write(&path, "x".repeat(round % 4096));
                round += 1;
            }
        });
        let outcomes: Vec<_> = (0..5).map(|_| store.build(&["--no-cache"])).collect();
        is_over.store(true, Ordering::Relaxed);
        for outcome in outcomes {
            let is_told = outcome.status == 0 || outcome.stderr.contains("tree/f");
            assert!(is_told, "{}", outcome.report());
        }
    });
    for number in 0..300 {
        fs::write(tree.join(format!("f{number}")), format!("end {number}")).expect("a file");
    }
    store.build(&["-t", "app:1"]).succeeds();
    let seen = all(&store);
    for number in 0..300 {
        let text = fs::read_to_string(seen.join(format!("f{number}"))).expect("a file");
        assert_eq!(text, format!("end {number}"));
    }
}

/// DF-CONTEXT-11: directories deeper than any path may be long are copied or refused by name; nothing overflows.
#[test]
fn very_deep_directories() {
    let (store, _) = prepared();
    let script = "cd context/tree && i=0 && while [ $i -lt 400 ]; do mkdir deep_directory && cd -P \
                  deep_directory || exit 1; i=$((i+1)); done; echo end > end";
    store.tool("sh", &["-c", script]);
    store.build(&["-t", "app:1"]).succeeds();
    let deeper =
        script.replace("context/tree", "context/tree && mkdir d && cd d").replace("400", "1200");
    store.tool("sh", &["-c", &deeper]);
    let outcome = store.build(&[]);
    outcome.exits(1).says(&["too long"]);
    store.tool("rm", &["-rf", "context"]);
}

/// DF-CONTEXT-12: ten thousand patterns of `.dockerignore` hold; the last one that matches decides.
#[test]
fn ten_thousand_patterns() {
    let (store, tree) = prepared();
    let mut patterns = String::new();
    for number in 0..10_000 {
        patterns.push_str(&format!("tree/n{number}*\n"));
    }
    patterns.push_str("!tree/n7-kept\n");
    fs::write(store.beside("context/.dockerignore"), patterns).expect("a file");
    for name in ["n7-kept", "n9999x", "n42", "other"] {
        fs::write(tree.join(name), name).expect("a file");
    }
    store.build(&["-t", "app:1"]).succeeds();
    assert_eq!(names(&all(&store)), BTreeSet::from(["n7-kept", "other"].map(OsString::from)));
}

/// DF-CONTEXT-13: no entry of an archive is written outside of the context: climbing names are refused, absolute
/// ones are below it, and links that lead out are no way.
#[test]
fn archives_with_hostile_names() {
    let (store, _) = prepared();
    let outside = store.beside("outside");
    fs::create_dir(&outside).expect("a folder");
    let place = outside.display().to_string();
    let dockerfile = TarEntry::file("Dockerfile", "FROM busybox:1\nCOPY . /all/\n");
    let hostile = [
        vec![TarEntry::file("a/../../outside/escaped", "x")],
        vec![TarEntry::file(format!("{place}/escaped"), "x")],
        vec![TarEntry::symlink("link", &place), TarEntry::file("link/escaped", "x")],
        vec![TarEntry::symlink("link", "../../outside"), TarEntry::file("link/escaped", "x")],
    ];
    for (number, entries) in hostile.into_iter().enumerate() {
        let entries = [vec![dockerfile.clone()], entries].concat();
        fs::write(store.beside("hostile.tar"), tarball(&entries)).expect("a file");
        let outcome = store.call(&["build", "hostile.tar"]);
        assert!([0, 1].contains(&outcome.status), "{number}: {}", outcome.report());
        assert_eq!(names(&outside), BTreeSet::new(), "{number}: an entry got out");
    }
    let left = fs::read_dir(store.path().join("tmp")).expect("a folder").count();
    assert_eq!(left, 0, "a context is left in the store");
}

/// DF-CONTEXT-14: a context of very many files needs memory in proportion, and not much for each.
/// `KEEL_TESTS_CONTEXT_FILES` sets their number.
#[test]
fn very_many_files() {
    const KIB_EACH: f64 = 1.0;
    let count: u32 = std::env::var("KEEL_TESTS_CONTEXT_FILES")
        .map_or(100_000, |word| word.parse().expect("a number of files"));
    let (store, tree) = prepared();
    for number in 0..count {
        let folder = tree.join(format!("d{}", number / 1000));
        if number % 1000 == 0 {
            fs::create_dir(&folder).expect("a folder");
        }
        File::create(folder.join(format!("f{number}"))).expect("a file");
    }
    for is_cached in [false, true] {
        let mut command = store.command(&["build", "-q", "-t", "app:1", "context"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        #[expect(clippy::zombie_processes, reason = "wait4 reaps it and gives its resource usage")]
        let child = command.spawn().expect("keel-image starts");
        let usage = wait4(child.id().cast_signed()).expect("an own child");
        assert_eq!(usage.status, 0, "the build failed");
        let kib = f64::from(i32::try_from(usage.rss_kib).expect("a number"));
        let bound = 32.0 * 1024.0 + f64::from(count) * KIB_EACH;
        assert!(kib < bound, "{kib} KiB for {count} files, cached {is_cached}");
        println!("{count} files, cached {is_cached}: {kib} KiB");
    }
}
