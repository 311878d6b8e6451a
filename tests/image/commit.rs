//! `commit`: what a container has changed becomes a layer.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use keel_tests::{ImageStore, OrdinaryUser, eventually, fixture, program};
use rustix::process::{Pid, Signal, kill_process};

const SCRIPT: &str = "echo new > /etc/new && mkdir /etc/d && echo x > /etc/d/x && ln /etc/new /etc/hard && \
                      chmod 700 /home && rm -r /var /bin/vi && chown 5:6 /etc/new";
const CHANGES: [&str; 9] = [
    "C /bin",
    "D /bin/vi",
    "C /etc",
    "A /etc/d",
    "A /etc/d/x",
    "A /etc/hard",
    "A /etc/new",
    "C /home",
    "D /var",
];

fn with_box() -> ImageStore {
    let store = ImageStore::new();
    store.import(&fixture("busybox.tar"), "box:1").succeeds();
    store
}

#[track_caller]
fn changed(store: &ImageStore, image: &str) {
    let seen = store.call(&["diff", "box:1", image]).succeeds().stdout;
    for line in CHANGES {
        assert!(seen.lines().any(|own| own == line), "{line}: {seen}");
    }
}

/// IMG-COMMIT-01: a bundle that a runtime has run becomes an image with one layer more, which has only what was
/// changed; author, message and instructions are docker's.
#[test]
fn a_bundle_becomes_an_image() {
    let store = with_box();
    let bundle = store.bundle("box:1", &["/bin/sh", "-c", SCRIPT]);
    let mut command = keel_tests::Runtime::named("keel").command();
    command
        .arg("--root")
        .arg(store.beside("state"))
        .arg("run")
        .arg("-b")
        .arg(&bundle)
        .arg(store.name());
    store.finish(command).succeeds();
    let path = bundle.to_str().expect("a path");
    let id = store
        .call(&[
            "commit",
            "-a",
            "me",
            "-m",
            "why",
            "-c",
            "CMD [\"/bin/cat\", \"/etc/hard\"]",
            "-c",
            "ENV A=b",
            path,
            "app:1",
        ])
        .succeeds()
        .stdout;
    changed(&store, "app:1");
    let seen = store.call(&["inspect", "app:1"]).succeeds().json();
    assert_eq!(seen[0]["Id"], id.trim(), "{seen:#}");
    assert_eq!(seen[0]["Author"], "me");
    assert_eq!(seen[0]["Comment"], "why");
    assert_eq!(seen[0]["RootFS"]["Layers"].as_array().map(Vec::len), Some(2));
    assert!(seen[0]["Config"]["Env"].to_string().contains("A=b"), "{seen:#}");
    assert_eq!(store.call(&["run", "app:1"]).succeeds().stdout, "new\n");
    let layer = seen[0]["RootFS"]["Layers"][1].as_str().expect("a layer")[7..].to_owned();
    let tree = store.path().join("layers").join(layer).join("fs");
    assert!(!tree.join("bin/busybox").exists(), "only what was changed");
    store.call(&["fsck"]).succeeds();
    // Nothing was changed: no layer, and the step says so.
    let same = store.bundle("box:1", &["/bin/true"]);
    store.call(&["commit", same.to_str().expect("a path"), "same:1"]).succeeds();
    let seen = store.call(&["inspect", "same:1"]).succeeds().json();
    assert_eq!(seen[0]["RootFS"]["Layers"].as_array().map(Vec::len), Some(1));
}

/// IMG-COMMIT-02: a container that runs is committed by its name, and goes on.
#[test]
fn a_running_container_becomes_an_image() {
    let store = with_box();
    let name = format!("{}-c", store.name());
    // It ends by itself where the test fails before it.
    let wait = "for i in $(seq 600); do [ ! -e /end ] || exit 0; sleep 0.1; done; exit 1";
    let script = format!("{SCRIPT} && touch /ready && {wait}");
    let mut command = store.command(&["run", "--name", &name, "box:1", "/bin/sh", "-c", &script]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("keel-image");
    let tmp = store.path().join("tmp");
    let upper = || {
        let bundles = fs::read_dir(&tmp).into_iter().flatten().flatten();
        bundles.map(|entry| entry.path().join("upper")).find(|upper| upper.join("ready").exists())
    };
    eventually("the container is ready", upper);
    store.call(&["commit", &name, "live:1"]).succeeds();
    changed(&store, "live:1");
    let rootfs = upper().expect("it runs").with_file_name("rootfs");
    fs::write(rootfs.join("end"), "").expect("a file");
    assert!(child.wait().expect("an end").success());
    store.call(&["fsck"]).succeeds();
    store.call(&["commit", "nosuch", "x:1"]).fails_naming(&["nosuch"]);
}

/// A runtime that does what keel does, and `around` it.
fn wrapped(store: &ImageStore, around: &str) -> PathBuf {
    let path = store.beside("wrapped");
    let script = format!("#!/bin/sh\nkeel={}\n{around}\n", program("keel").display());
    fs::write(&path, script).expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    path
}

fn end_of(child: &mut Child) -> std::process::ExitStatus {
    eventually("the command has ended", || child.try_wait().expect("a child"))
}

/// IMG-COMMIT-03: a signal ends `commit` while the container is paused; it goes on, and nothing is left.
#[test]
fn a_signal_does_not_leave_it_paused() {
    let store = with_box();
    let name = format!("{}-c", store.name());
    // The pause is long enough for a signal, and has an end.
    let hold = "case \" $* \" in *' pause '*) $keel \"$@\" && : > paused\n\
                i=0; while [ ! -e over ] && [ $i -lt 600 ]; do sleep 0.1; i=$((i + 1)); done;;\n\
                *) exec $keel \"$@\";; esac";
    let runtime = wrapped(&store, hold).display().to_string();
    let script = "touch /ready; i=0; while [ $i -lt 600 ]; do [ ! -e /end ] || exit 7; sleep 0.1; \
                  i=$((i + 1)); done";
    let mut command = store.command(&["run", "--runtime", &runtime, "--name", &name, "box:1"]);
    command.args(["/bin/sh", "-c", script]).stdin(Stdio::null()).stdout(Stdio::null());
    let mut container = command.spawn().expect("keel-image");
    let tmp = store.path().join("tmp");
    let rootfs = eventually("the container is ready", || {
        let bundles = fs::read_dir(&tmp).into_iter().flatten().flatten();
        let mut rootfs = bundles.map(|entry| entry.path().join("rootfs"));
        rootfs.find(|rootfs| rootfs.join("ready").exists())
    });
    let mut commit = store.command(&["commit", &name, "live:1"]);
    let mut commit = commit.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("keel-image");
    eventually("it is paused", || store.beside("paused").exists().then_some(()));
    kill_process(Pid::from_child(&commit), Signal::TERM).expect("a signal can be sent");
    let status = end_of(&mut commit);
    fs::write(store.beside("over"), "").expect("a file");
    let state = keel_tests::Runtime::named("keel").command().args(["state", &name]).output();
    let state = String::from_utf8_lossy(&state.expect("keel").stdout).into_owned();
    // Whatever is so: it must be able to end.
    let _ = keel_tests::Runtime::named("keel").command().args(["resume", &name]).output();
    fs::write(rootfs.join("end"), "").expect("a file");
    assert_eq!(end_of(&mut container).code(), Some(7));
    assert_eq!(status.code(), Some(143), "commit ends as by the signal");
    assert!(state.contains("\"running\""), "{state}");
    store.call(&["fsck"]).succeeds();
    let left = keel_tests::listing(&store.path().join("tmp"));
    assert!(left.is_empty(), "{left:#?}");
    store.call(&["inspect", "live:1"]).fails_naming(&["live:1"]);
}

/// IMG-COMMIT-04: an ordinary user's container is paused where its runtime keeps it.
#[test]
fn a_users_container_is_asked_to_pause() {
    let (store, user) = (ImageStore::new(), OrdinaryUser::of_the_machine());
    let log = store.beside("log");
    fs::write(&log, "").expect("a file");
    user.owns(&log);
    let script = format!("echo \"$@\" >> {}\nexec $keel \"$@\"", log.display());
    let runtime = wrapped(&store, &script).display().to_string();
    let archive = fixture("busybox.tar").display().to_string();
    store.finish(store.command_of(&user, &["import", &archive, "box:1"])).succeeds();
    let name = format!("{}-c", store.name());
    let script = "touch /shared/ready; i=0; while [ $i -lt 600 ] && [ ! -e /shared/end ]; do sleep 0.1; \
                  i=$((i + 1)); done";
    let words = ["run", "--runtime", &runtime, "--name", &name, "-v"];
    let shared = store.beside("shared");
    fs::create_dir(&shared).expect("a folder");
    user.owns(&shared);
    let mut command = store.command_of(&user, &words);
    command.arg(format!("{}:/shared", shared.display()));
    command.args(["box:1", "/bin/sh", "-c", script]);
    let mut container = command.stdin(Stdio::null()).spawn().expect("keel-image");
    eventually("the container is ready", || shared.join("ready").exists().then_some(()));
    let committed = store.finish(store.command_of(&user, &["commit", &name, "live:1"]));
    fs::write(shared.join("end"), "").expect("a file");
    assert!(end_of(&mut container).success());
    committed.succeeds();
    let seen = fs::read_to_string(&log).expect("a log");
    let pause = seen.lines().find(|line| line.ends_with(&format!(" pause {name}")));
    let pause = pause.unwrap_or_else(|| panic!("it was not asked to pause: {seen}"));
    let state = pause.strip_prefix("--root ").and_then(|rest| rest.split(' ').next());
    assert!(state.is_some_and(|state| state.ends_with("/state")), "{seen}");
}
