//! Secrets of RUN: while it runs and afterwards, no file of the disk has them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keel_tests::{ImageStore, OrdinaryUser, Runtime, eventually, program};

const VALUE: &str = "value-that-no-disk-may-see";

/// Ends when `go` is in the cache. What it prints is no secret any more.
const TEXT: &str = "FROM busybox:1
RUN --mount=type=secret,id=s,env=TOKEN --mount=type=secret,id=s --mount=type=cache,id=gate,target=/gate \
    echo \"$TOKEN\" | rev > /gate/there; [ \"$(rev /run/secrets/s)\" = \"$(cat /gate/there)\" ] && until [ -e /gate/go ]; do sleep 0.1; done
RUN env > /env
";

/// The files below `folder` on its own file system whose content has the value.
fn files_with_value(folder: &Path) -> Vec<PathBuf> {
    let device = fs::metadata(folder).expect("a folder").dev();
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        // Others make and remove files meanwhile.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(metadata) = fs::symlink_metadata(entry.path()) else { continue };
            if metadata.dev() != device {
                continue;
            }
            if metadata.is_dir() {
                folders.push(entry.path());
            }
            let content = if metadata.is_file() { fs::read(entry.path()) } else { continue };
            let content = content.unwrap_or_default();
            if content.windows(VALUE.len()).any(|part| part == VALUE.as_bytes()) {
                found.push(entry.path());
            }
        }
    }
    found
}

/// Where the command has said that it runs.
fn gate(store: &Path) -> PathBuf {
    eventually("the command runs", || {
        let caches = fs::read_dir(store.join("cache/mounts")).ok()?.flatten();
        let mut caches = caches.map(|entry| entry.path());
        caches.find(|path| fs::metadata(path.join("there")).is_ok_and(|file| file.size() > 0))
    })
}

/// Runs a build, looks while its command waits, and when it has ended.
#[track_caller]
fn keeps_it_off_the_disk(store: &ImageStore, folder: &Path, mut command: Command) {
    let log = fs::File::create(store.beside("log")).expect("a file");
    command.env("CASE_TOKEN", VALUE).stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.stderr(log).spawn().expect("a build");
    let gate = gate(folder);
    let while_it_runs = files_with_value(&store.beside(""));
    fs::write(gate.join("go"), "").expect("a file");
    let status = child.wait().expect("its end");
    let said = fs::read_to_string(store.beside("log")).unwrap_or_default();
    assert!(status.success(), "{said}");
    assert_eq!(while_it_runs, Vec::<PathBuf>::new(), "while it ran");
    assert_eq!(files_with_value(&store.beside("")), Vec::<PathBuf>::new(), "when it had ended");
    let left = fs::read_dir(folder.join("tmp")).expect("a folder").count();
    assert_eq!(left, 0, "a folder is left");
}

const FLAGS: [&str; 5] =
    ["build", "--progress=plain", "--explain", "--secret", "id=s,env=CASE_TOKEN"];

/// DF-SECRET-01: the value of a secret, as a file and as a variable, is in no file of the disk while the command runs:
/// neither in the bundle nor in the runtime's state, whichever runtime it is; nor later in logs, layers, history and
/// records.
#[test]
fn secrets_are_in_memory_alone() {
    for name in ["keel", "runc", "crun"] {
        let store = ImageStore::with_dockerfile(TEXT);
        // crun starts nothing where cgroups of both versions are.
        let script = "umount /sys/fs/cgroup/unified 2>/dev/null; exec \"$0\" \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script]).arg(program("keel-image"));
        command.arg("--root").arg(store.path()).args(FLAGS);
        command.arg("--runtime").arg(Runtime::named(name).path());
        command.args(["-t", "app:1", "context"]).current_dir(store.beside(""));
        println!("{name}");
        keeps_it_off_the_disk(&store, &store.path(), command);
        store.call(&["save", "-o", "app.tar", "app:1"]).succeeds();
        assert_eq!(files_with_value(&store.beside("")), Vec::<PathBuf>::new(), "in the image");
    }
}

/// DF-SECRET-02: the same for an ordinary user.
#[test]
fn secrets_of_an_ordinary_user_are_in_memory_alone() {
    let store = ImageStore::with_dockerfile(TEXT);
    store.call(&["save", "-o", "base.tar", "busybox:1"]).succeeds();
    let user = OrdinaryUser::of_the_machine();
    store.finish(store.command_of(&user, &["load", "-i", "base.tar"])).succeeds();
    let mut command = store.command_of(&user, &FLAGS);
    command.arg("--runtime").arg(Runtime::named("keel").path()).arg("context");
    keeps_it_off_the_disk(&store, &store.beside("home/store"), command);
}
