//! The build cache: what is reused, and what is not.

use std::fs;
use std::path::{Path, PathBuf};

use keel_tests::{ImageStore, Outcome, fixture};

const DOCKERFILE: &str = "FROM busybox:1
WORKDIR /w
COPY a.txt .
RUN cat a.txt > copied && echo run-one
COPY b.txt .
RUN cat b.txt >> copied && echo run-two
";

fn prepared() -> (ImageStore, PathBuf) {
    let store = ImageStore::new();
    store.import(&fixture("busybox.tar"), "busybox:1").succeeds();
    let context = store.beside("context");
    fs::create_dir(&context).expect("a folder");
    fs::write(context.join("a.txt"), "a\n").expect("a file");
    fs::write(context.join("b.txt"), "b\n").expect("a file");
    fs::write(context.join("Dockerfile"), DOCKERFILE).expect("a file");
    (store, context)
}

#[track_caller]
fn build(store: &ImageStore, context: &Path, flags: &[&str]) -> String {
    let mut words = vec!["build", "-t", "app:1"];
    words.extend_from_slice(flags);
    let context = context.display().to_string();
    words.push(&context);
    said(&store.call(&words).succeeds())
}

fn said(outcome: &Outcome) -> String {
    format!("{}{}", outcome.stdout, outcome.stderr)
}

fn cached(text: &str) -> usize {
    text.matches("CACHED").count()
}

fn id(store: &ImageStore) -> String {
    store.call(&["inspect", "app:1"]).succeeds().json()[0]["Id"].to_string()
}

/// DF-CACHE-01: the second build takes every step from the cache, says so, and gives the same image.
#[test]
fn a_second_build_is_all_cached() {
    let (store, context) = prepared();
    let first = build(&store, &context, &[]);
    assert_eq!(cached(&first), 0, "{first}");
    let before = id(&store);
    let second = build(&store, &context, &[]);
    assert_eq!(cached(&second), 5, "{second}");
    assert!(!second.contains("run-one\n") || second.contains("CACHED"), "{second}");
    assert_eq!(id(&store), before);
}

/// DF-CACHE-02: a changed file redoes its COPY and what follows, and nothing before.
#[test]
fn a_changed_file_redoes_what_follows() {
    let (store, context) = prepared();
    build(&store, &context, &[]);
    fs::write(context.join("b.txt"), "changed\n").expect("a file");
    let text = build(&store, &context, &[]);
    assert_eq!(cached(&text), 3, "{text}");
    let outcome = store.run_on("keel", "app:1", &["/bin/cat", "/w/copied"]).succeeds();
    assert_eq!(outcome.stdout, "a\nchanged\n");
}

/// DF-CACHE-03: a new time of an unchanged file does not matter.
#[test]
fn times_do_not_matter() {
    let (store, context) = prepared();
    build(&store, &context, &[]);
    store.tool("touch", &["-d", "2001-02-03", "context/a.txt"]);
    assert_eq!(cached(&build(&store, &context, &[])), 5);
}

/// DF-CACHE-04: `--no-cache` redoes everything.
#[test]
fn no_cache_redoes_everything() {
    let (store, context) = prepared();
    build(&store, &context, &[]);
    assert_eq!(cached(&build(&store, &context, &["--no-cache"])), 0);
}

/// DF-IGNORE-01: `.dockerignore` keeps files out of the context, and exceptions bring them back.
#[test]
fn dockerignore_keeps_files_out() {
    let (store, context) = prepared();
    fs::create_dir_all(context.join("logs/deep")).expect("a folder");
    for name in ["secret.key", "keep.key", "logs/x.log", "logs/deep/y.log", "logs/keep.txt"] {
        fs::write(context.join(name), name).expect("a file");
    }
    fs::write(context.join(".dockerignore"), "# comment\n*.key\n!keep.key\n**/*.log\n")
        .expect("a file");
    fs::write(context.join("Dockerfile"), "FROM busybox:1\nCOPY . /all/\n").expect("a file");
    build(&store, &context, &[]);
    let outcome = store.run_on("keel", "app:1", &["/bin/find", "/all", "-type", "f"]).succeeds();
    let mut seen: Vec<&str> = outcome.stdout.lines().collect();
    seen.sort_unstable();
    let wanted = [
        "/all/.dockerignore",
        "/all/Dockerfile",
        "/all/a.txt",
        "/all/b.txt",
        "/all/keep.key",
        "/all/logs/keep.txt",
    ];
    assert_eq!(seen, wanted);
}

/// DF-IGNORE-02: an ignored file that changes does not touch the cache.
#[test]
fn ignored_files_do_not_touch_the_cache() {
    let (store, context) = prepared();
    fs::write(context.join(".dockerignore"), "noise\n").expect("a file");
    fs::write(context.join("noise"), "1").expect("a file");
    fs::write(context.join("Dockerfile"), "FROM busybox:1\nCOPY . /all/\n").expect("a file");
    build(&store, &context, &[]);
    fs::write(context.join("noise"), "2").expect("a file");
    assert_eq!(cached(&build(&store, &context, &[])), 1);
}
