//! `build --read-sets`: a `RUN` comes from the cache where all that its command read is as it was.

use std::fs;
use std::process::Command;

use keel_tests::{ImageStore, OrdinaryUser, Outcome, Runtime, fixture, program, requires};

/// Fills `in`, a folder of the context.
const FILL: &str = "mkdir -p d/e && echo 1 > a && echo 1 > b && echo 1 > d/f && ln -s a l && \
    printf '#!/in/second\\n' > first && printf '#!/bin/sh\\necho ran > /ran\\n' > second && chmod 755 first second";

struct Case {
    store: ImageStore,
}

impl Case {
    fn new(command: &str) -> Self {
        Self::from("busybox:1", command)
    }

    fn from(base: &str, command: &str) -> Self {
        let text = format!("FROM {base}\nCOPY in /in\nRUN {command}\n");
        let store = ImageStore::with_dockerfile(&text);
        fs::create_dir(store.beside("context/in")).expect("a folder");
        let case = Self { store };
        case.change(FILL);
        case
    }

    /// Runs a script in the folder `in` of the context.
    fn change(&self, script: &str) {
        let mut shell = Command::new("sh");
        let status = shell.args(["-e", "-c", script]).current_dir(self.folder()).status();
        assert!(status.expect("a shell").success(), "{script}");
    }

    fn folder(&self) -> std::path::PathBuf {
        self.store.beside("context/in")
    }

    #[track_caller]
    fn build(&self, flags: &[&str]) -> Outcome {
        let runtime = program("keel").display().to_string();
        self.store.build(&[&["--explain=json", "--runtime", &runtime], flags].concat()).succeeds()
    }

    /// What became of the `RUN`, and the last reason.
    #[track_caller]
    fn fate(&self, flags: &[&str]) -> (String, String) {
        fate(&self.build(flags))
    }
}

fn fate(outcome: &Outcome) -> (String, String) {
    let answer = outcome.json();
    let step = answer["steps"].as_array().and_then(|steps| steps.last()).expect("steps").clone();
    let reason = step["reasons"].as_array().and_then(|reasons| reasons.last()).cloned();
    let reason = reason.unwrap_or_default();
    let word = |name: &str| reason[name].as_str().unwrap_or_default().to_owned();
    let reason = format!("{} {}: {}", word("component"), word("name"), word("change"));
    (step["status"].as_str().expect("a status").to_owned(), reason)
}

const FLAG: &[&str] = &["--read-sets"];

/// DF-READS-01: with `--read-sets` a file below that the command did not ask for makes it not run again, one that it
/// read does, and `--explain` says which; without the flag each does.
#[test]
fn what_was_not_read_does_not_count() {
    let case = Case::new("cat /in/a > /out");
    assert_eq!(case.fate(FLAG).0, "ran");
    case.change("echo 2 > b; mkdir new; chmod 700 d");
    let (status, reason) = case.fate(FLAG);
    assert_eq!(status, "hit", "{reason}");
    assert!(reason.starts_with("read set : all ") && reason.ends_with(" as they were"), "{reason}");
    // From then on it has a key of its own there.
    assert_eq!(case.fate(&[]), ("hit".to_owned(), " : ".to_owned()));
    case.change("echo 3 > b");
    assert_eq!(case.fate(&[]).0, "ran", "nobody asked for it");
    case.change("echo 2 > a");
    assert_eq!(case.fate(FLAG), ("ran".to_owned(), "file read /in/a: content".to_owned()));
    // Branches take turns.
    case.change("echo 1 > a; echo 4 > b");
    assert_eq!(case.fate(FLAG).0, "hit");
    case.store.build(&["--read-sets", "-t", "app:1"]).succeeds();
    let seen = case.store.run_on("keel", "app:1", &["cat", "/out", "/in/b"]);
    assert_eq!(seen.succeeds().stdout, "1\n4\n");
}

/// DF-READS-02: whatever a command can learn of the tree counts: contents, attributes, names in a directory, what is not
/// there, where links lead, who runs a script, what it appends to or moves; by whichever way it asks.
#[test]
fn whatever_was_learnt_counts() {
    for (command, change, expected) in [
        ("cat /in/../in/./a", "echo 2 > a", "/in/a: content"),
        ("test -e /in/new || true", "echo > new", "/in/new: was not there"),
        ("cat /in/new/below || true", "mkdir new", "/in/new: was not there"),
        ("ls /in/d", "echo > d/g", "/in/d: entries"),
        ("ls -d /in/d", "echo > d/g", ""),
        ("test -x /in/a || true", "chmod 755 a", "/in/a: mode"),
        ("test -f /in/a", "echo 2 > a", ""),
        ("test -s /in/a || true", "rm a", "/in/a: is gone"),
        ("readlink /in/l", "ln -sf b l", "/in/l: target"),
        ("cat /in/l", "ln -sf b l", "/in/l: target"),
        ("cat /in/l", "echo 2 > a", "/in/a: content"),
        ("cat /in/l", "rm l; echo 1 > l", "/in/l: another kind of file"),
        ("cd /in/d; cat f", "echo 2 > d/f", "/in/d/f: content"),
        ("cd /in/d; cat f", "chmod 711 d", "/in/d: mode"),
        ("ln -s /in/d /own; cat /own/f", "echo 2 > d/f", "/in/d/f: content"),
        ("mkdir /jail; cd /jail; ln -s /in/a x; cat < x", "echo 2 > a", "/in/a: content"),
        ("cat /proc/self/root/in/a", "echo 2 > a", "/in/a: content"),
        ("cd /proc/self/root/in/d; cat f", "echo 2 > d/f", "/in/d/f: content"),
        ("exec 3< /in; cat /dev/fd/3/a", "echo 2 > a", "/in/a: content"),
        ("cat < /in/a > /x; cat /dev/stdin < /in/b", "echo 2 > b", "/in/b: content"),
        ("/in/first", "echo 'echo more' >> second", "/in/second: content"),
        ("/in/first", "echo 2 > a", ""),
        ("echo x >> /in/a", "echo 2 > a", "/in/a: content"),
        ("chmod 700 /in/a", "echo 2 > a", "/in/a: content"),
        ("mv /in/a /moved", "echo 2 > a", "/in/a: content"),
        ("ln /in/a /linked", "echo 2 > a", "/in/a: content"),
        ("rm /in/a", "echo 2 > a", ""),
        ("rmdir /in/d/e || true", "echo > d/e/x", "/in/d/e: entries"),
        ("mkdir -p /in/d/x", "mkdir d/x", "/in/d/x: was not there"),
        ("(sh -c 'sleep 0.1; cat /in/a') & wait", "echo 2 > a", "/in/a: content"),
        ("find /in/d -type f | wc -l", "echo > d/e/x", "/in/d/e: entries"),
    ] {
        let case = Case::new(command);
        assert_eq!(case.fate(FLAG).0, "ran", "{command}");
        case.change(change);
        let (status, reason) = case.fate(FLAG);
        if expected.is_empty() {
            assert_eq!(status, "hit", "{command}; {change}: {reason}");
        } else {
            let wanted = ("ran", format!("file read {expected}"));
            assert_eq!((status.as_str(), reason), wanted, "{command}; {change}");
        }
    }
}

/// DF-READS-03: programs with a loader and libraries read these, too, and programs that are looked for on the PATH are
/// looked for again.
#[test]
fn loaders_and_the_path_count() {
    let case = Case::from("debian:1", "[\"cat\", \"/in/a\"]");
    let archive = fixture("debian.tar");
    case.store.import(&archive, "debian:1").succeeds();
    assert_eq!(case.fate(FLAG).0, "ran");
    case.change("echo 2 > b");
    assert_eq!(case.fate(FLAG).0, "hit");
    for (number, line) in [
        "RUN echo >> /lib64/ld-linux-x86-64.so.2",
        "RUN echo >> /lib/x86_64-linux-gnu/libc.so.6",
        "RUN cp /bin/cat /usr/local/bin/cat",
        "RUN echo >> /etc/passwd",
    ]
    .iter()
    .enumerate()
    {
        let text = format!("FROM debian:1\nCOPY in /in\n{line}\nRUN [\"cat\", \"/in/a\"]\n");
        fs::write(case.store.beside("context/Dockerfile"), text).expect("a file");
        let (status, reason) = case.fate(FLAG);
        assert_eq!(status, "ran", "{line}: {reason}");
        // Of the others what was tried before is another reason.
        let loader = "file read /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2: content";
        assert!(number != 0 || reason == loader, "{reason}");
    }
}

/// DF-READS-04: the flag changes nothing in what a command does and comes to, whoever runs it; and all of them find what
/// is unchanged.
#[test]
fn commands_do_not_see_it() {
    let command = "(cat /proc/self/stat | wc -w; find /etc | sort; find /in | sort | xargs stat -c %n.%a.%u.%s; id; grep Seccomp: /proc/self/status) > /out; \
        cp -r /in /copy; tar -cf /x.tar -C / in; rm -r /in/d; mv /in/a /in/c; ln /in/c /hard; mkfifo /p";
    let user = OrdinaryUser::of_the_machine();
    for (runtime, user) in
        [("keel", None), ("runc", None), ("keel", Some(&user)), ("runc", Some(&user))]
    {
        let case = Case::new(command);
        if let Some(user) = user {
            case.store.call(&["save", "-o", "base.tar", "busybox:1"]).succeeds();
            case.store.finish(case.store.command_of(user, &["load", "-i", "base.tar"])).succeeds();
        }
        let build = |flags: &[&str]| {
            let mut command = match user {
                Some(user) => case.store.command_of(user, &["build", "--explain=json"]),
                None => case.store.command(&["build", "--explain=json"]),
            };
            command.env("SOURCE_DATE_EPOCH", "1700000000").args(flags);
            command
                .arg("--runtime")
                .arg(Runtime::named(runtime).path())
                .arg(case.store.beside("context"));
            case.store.finish(command).succeeds()
        };
        let id = |outcome: &Outcome| {
            let id =
                outcome.stderr.split("writing image ").nth(1).and_then(|rest| rest.lines().next());
            id.unwrap_or_else(|| panic!("no image: {}", outcome.report())).to_owned()
        };
        let plain = build(&["--no-cache"]);
        let watched = build(&["--no-cache", "--read-sets"]);
        assert_eq!(fate(&watched).0, "ran");
        assert_eq!(id(&watched), id(&plain), "{runtime}");
        case.change("touch -d 2001-01-01 a; echo > later; rm later");
        assert_eq!(fate(&build(&["--read-sets"])).0, "hit");
    }
}

/// DF-READS-05: of a command that cannot be followed nothing is kept, and the build says so; an insecure one is not
/// watched.
#[test]
fn what_cannot_be_followed_runs_again() {
    if !requires(cfg!(target_arch = "x86_64"), "x86_64") {
        return;
    }
    // access(2) is 33 for programs of 32 bits.
    let case = Case::new("/in/probe syscall32 33 8");
    fs::copy(program("keel-probe"), case.folder().join("probe")).expect("a program");
    let first = case.build(FLAG);
    let words = "what it reads cannot be told, so --read-sets does not count for it: it runs a program for another kind";
    assert!(first.stderr.contains(words), "{}", first.report());
    case.change("echo 2 > b");
    assert_eq!(case.fate(FLAG).0, "ran");
    let case = Case::new("sleep 10 & cat /proc/$!/root/in/a");
    assert!(case.build(FLAG).stderr.contains("it goes through links of /proc"));
    let text = "FROM busybox:1\nCOPY in /in\nRUN --security=insecure cat /in/a\n";
    fs::write(case.store.beside("context/Dockerfile"), text).expect("a file");
    let flags = ["--read-sets", "--allow=security.insecure"];
    assert_eq!(case.fate(&flags).0, "ran");
    case.change("echo 3 > b");
    assert_eq!(case.fate(&flags).0, "ran");
}

/// DF-READS-06: a dry run says what would be found by it; a step that fails keeps nothing; `builder prune` takes what is
/// known away.
#[test]
fn a_dry_run_tells_it_and_prune_forgets_it() {
    let case = Case::new("cat /in/a; test ! -e /in/bad");
    assert_eq!(case.fate(FLAG).0, "ran");
    case.change("echo 2 > b");
    assert_eq!(case.fate(&["--read-sets", "--dry-run"]).0, "unknown");
    let text = "FROM busybox:1\nCOPY in /in\nCOPY in/b /b\nRUN cat /in/a; test ! -e /in/bad\n";
    fs::write(case.store.beside("context/Dockerfile"), text).expect("a file");
    case.change("echo > bad");
    case.store.build(FLAG).fails_naming(&["Dockerfile:4"]);
    case.store.build(FLAG).fails_naming(&["Dockerfile:4"]);
    case.change("rm bad");
    assert_eq!(case.fate(FLAG).0, "hit");
    let used = case.store.call(&["builder", "du", "--verbose"]).succeeds();
    assert!(used.stdout.contains("internal"), "{}", used.report());
    case.store.call(&["builder", "prune", "--force", "--filter", "type=internal"]).succeeds();
    case.change("echo 5 > b");
    assert_eq!(case.fate(FLAG).0, "ran");
}
