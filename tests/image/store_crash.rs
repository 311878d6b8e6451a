//! `keel-image` is killed at any moment: no image that is not whole is ever seen, the work can be done
//! again, and what was left is removed by the next who comes.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use keel_tests::{ImageStore, listing, program};

/// A generator of numbers that are the same in every run (Knuth's MMIX constants).
struct Luck(u64);

impl Luck {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

const KILLS: u64 = 200;
const CALLS: &str = "openat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,flock,write,\
    fsync,fdatasync,symlinkat,linkat,fchmodat,fchownat,utimensat,syncfs,copy_file_range";

/// The commands that are killed, and what makes the store ready for each.
const CASES: [(&[&str], &[&[&str]]); 7] = [
    (&["load", "-q", "-i", "two.tar"], &[&["rmi", "-f", "box:1", "small:1"]]),
    (&["import", "box.tar", "box:2"], &[&["rmi", "-f", "box:2"]]),
    (&["tag", "box:1", "box:3"], &[&["load", "-q", "-i", "two.tar"], &["rmi", "-f", "box:3"]]),
    (&["rmi", "box:1", "small:1"], &[&["load", "-q", "-i", "two.tar"]]),
    (
        &["build", "-q", "-t", "built:1", "context"],
        &[&["rmi", "-f", "built:1"], &["prune", "-f", "--grace", "0s"]],
    ),
    (
        &["commit", "-m", "why", "bundle", "committed:1"],
        &[&["load", "-q", "-i", "two.tar"], &["rmi", "-f", "committed:1"]],
    ),
    (&["prune", "-af", "--grace", "0s"], &[&["load", "-q", "-i", "two.tar"]]),
];

fn prepared() -> ImageStore {
    let store = ImageStore::new();
    fs::create_dir_all(store.beside("box/a/b")).expect("folders");
    for number in 0..20 {
        let text = format!("{number}").repeat(1000);
        fs::write(store.beside(&format!("box/a/b/{number}")), text).expect("a file");
    }
    store.tool("tar", &["-C", "box", "-cf", "box.tar", "."]);
    fs::create_dir(store.beside("small")).expect("a folder");
    fs::write(store.beside("small/file"), "small").expect("a file");
    store.tool("tar", &["-C", "small", "-cf", "small.tar", "."]);
    fs::create_dir(store.beside("context")).expect("a folder");
    let text = "FROM scratch\nCOPY Dockerfile /a\nCOPY Dockerfile /b/c\n";
    fs::write(store.beside("context/Dockerfile"), text).expect("a Dockerfile");
    store.import(&store.beside("box.tar"), "box:1").succeeds();
    store.import(&store.beside("small.tar"), "small:1").succeeds();
    store.call(&["save", "-o", "two.tar", "box:1", "small:1"]).succeeds();
    // What a container has changed.
    store.call(&["bundle", "box:1", "bundle", "/bin/true"]).succeeds();
    fs::write(store.beside("bundle/rootfs/a/new"), "new").expect("a file");
    fs::remove_file(store.beside("bundle/rootfs/a/b/3")).expect("a file");
    store
}

/// Runs the command and kills it after `delay`; false if it was faster.
fn killed_after(store: &ImageStore, words: &[&str], delay: Duration) -> bool {
    let mut command = store.command(words);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("keel-image");
    let end = Instant::now() + delay;
    // A wait that is shorter than the scheduler's; the loop ends by the clock.
    while Instant::now() < end {
        std::hint::spin_loop();
    }
    child.kill().expect("a signal can be sent");
    child.wait().expect("the child can be waited for").code().is_none()
}

/// The command under strace, which sees the calls that change something on the disk.
fn traced(store: &ImageStore, words: &[&str], more: &[&str]) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "calls", "-e", &format!("trace={CALLS}")]);
    command.args(more).arg(program("keel-image")).arg("--root").arg(store.path()).args(words);
    command.current_dir(store.beside("")).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The calls that the command makes, each with its number among those of its name in its thread.
fn calls(store: &ImageStore, words: &[&str]) -> Vec<(String, u64)> {
    let status = traced(store, words, &[]).status().expect("strace");
    assert!(status.success(), "{words:?} under strace");
    let text = fs::read_to_string(store.beside("calls")).expect("calls");
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let (thread, call) = line.split_once(' ').expect("a thread and a call");
        let Some((name, _)) = call.trim_start().split_once('(') else { continue };
        let count = counts.entry((thread, name)).or_default();
        *count += 1;
        calls.push((name.to_owned(), *count));
    }
    calls
}

/// Runs the command until one of its threads makes this call for the so many-th time, and kills it there.
fn killed_at_call(store: &ImageStore, words: &[&str], (name, count): &(String, u64)) -> bool {
    let inject = format!("inject={name}:signal=SIGKILL:when={count}");
    !traced(store, words, &["-e", &inject]).status().expect("strace").success()
}

/// What must be so whenever one looks: all images are whole, and nothing of the dead is left.
fn assert_whole(store: &ImageStore, case: &str) {
    let checked = store.call(&["fsck", "--json"]);
    let checked = checked.succeeds().json();
    assert_eq!(checked["Clean"], true, "{case}: {checked:#}");
    let left = listing(&store.path().join("tmp"));
    assert!(left.is_empty(), "{case}: {left:#?}");
}

/// IMG-STORE-03: killed at 200 moments, the store is whole each time, and the work can be done again.
#[test]
fn no_kill_leaves_a_broken_image() {
    let store = prepared();
    let mut luck = Luck(20_260_101);
    let (mut kills, mut attempts) = (0, 0);
    let mut spans = Vec::new();
    for (words, before) in CASES {
        for ready in before {
            store.call(ready);
        }
        let begin = Instant::now();
        store.call(words).succeeds();
        let span = begin.elapsed();
        for ready in before {
            store.call(ready);
        }
        spans.push((span, calls(&store, words)));
    }
    while kills < KILLS {
        attempts += 1;
        assert!(attempts < 3 * KILLS, "{kills} of {attempts} commands were killed");
        let number = usize::try_from(luck.below(CASES.len() as u64)).expect("a small number");
        let (words, before) = CASES[number];
        for ready in before {
            store.call(ready);
        }
        let (span, calls) = &spans[number];
        let (case, was_killed) = if luck.below(4) == 0 {
            let delay = span.mul_f64(luck.below(1000) as f64 / 1000.0);
            (format!("{words:?} after {delay:?}"), killed_after(&store, words, delay))
        } else {
            let call = &calls[usize::try_from(luck.below(calls.len() as u64)).expect("a number")];
            (format!("{words:?} at {call:?}"), killed_at_call(&store, words, call))
        };
        kills += u64::from(was_killed);
        assert_whole(&store, &case);
        // What cannot be removed because it has been removed already is no failure of the store.
        let again = store.call(words);
        assert!(
            again.status == 0 || again.stderr.contains("No such image"),
            "{case}: {}",
            again.report()
        );
    }
    assert_whole(&store, "at the end");
}
