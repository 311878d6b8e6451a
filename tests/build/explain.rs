//! `build --explain` and `--dry-run`: which component of its key made a step run, and what would run.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use keel_tests::{ImageStore, listing};
use serde_json::Value;

const DOCKERFILE: &str = "FROM busybox:1 AS one
ARG V=1
ENV E=1
RUN echo $V > /v
FROM busybox:1
COPY --from=one /v /v
COPY src /src
RUN echo made
";

fn prepared() -> ImageStore {
    let store = ImageStore::with_dockerfile(DOCKERFILE);
    fs::create_dir(store.beside("context/src")).expect("a folder");
    write(&store, "src/a", "a");
    write(&store, "src/b", "b");
    store
}

fn write(store: &ImageStore, name: &str, text: &str) {
    fs::write(store.beside("context").join(name), text).expect("a file");
}

/// `step: status` of every step, and the reasons of all.
#[track_caller]
fn told(store: &ImageStore, flags: &[&str]) -> (Vec<String>, Vec<String>) {
    let answer = store.build(&[&["--explain=json"], flags].concat()).succeeds().json();
    let steps = answer["steps"].as_array().expect("steps").clone();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let fates = steps.iter().filter(|step| step["step"] != 0);
    let fates =
        fates.map(|s| format!("{} {}: {}", word(&s["stage"]), s["step"], word(&s["status"])));
    let reasons = steps.iter().flat_map(|step| step["reasons"].as_array().expect("reasons"));
    let reasons = reasons
        .map(|r| format!("{} {}: {}", word(&r["component"]), word(&r["name"]), word(&r["change"])));
    (fates.collect(), reasons.collect())
}

#[track_caller]
fn gives(store: &ImageStore, flags: &[&str], reasons: &[&str]) {
    assert_eq!(told(store, flags).1, reasons);
    assert_eq!(
        told(store, flags).1,
        Vec::<String>::new(),
        "the second time all comes from the cache"
    );
}

/// DF-EXPLAIN-01: `--explain` names for each step that ran what of its key changed: command, argument, variable, file of
/// the context, with content, mode, what is added and removed.
#[test]
fn the_changed_component_is_named() {
    let store = prepared();
    let first = told(&store, &[]).1;
    assert_eq!(first, ["record : this step has not been built before"; 4]);
    gives(&store, &[], &[]);
    gives(
        &store,
        &["--build-arg", "V=2"],
        &[
            "build argument V: \"1\" -> \"2\"",
            "file v: content",
            "parent step : \"COPY --from=one /v /v\" has another result",
            "parent step : \"COPY --from=one /v /v\" has another result",
        ],
    );
    write(&store, "src/a", "changed");
    fs::set_permissions(store.beside("context/src/b"), fs::Permissions::from_mode(0o755))
        .expect("a mode");
    write(&store, "src/c", "c");
    let (fates, reasons) = told(&store, &["--build-arg", "V=2"]);
    assert_eq!(fates, ["one 1: hit", "1 1: hit", "1 2: ran", "1 3: ran"]);
    let wanted = [
        "file src/a: content",
        "file src/b: mode 644 -> 755",
        "file src/c: added",
        "parent step : \"COPY src /src\" has another result",
    ];
    assert_eq!(reasons, wanted);
    fs::remove_file(store.beside("context/src/c")).expect("a file");
    assert_eq!(told(&store, &["--build-arg", "V=2"]).1[0], "file src/c: removed");
    write(&store, "Dockerfile", &DOCKERFILE.replace("echo made", "echo MADE"));
    let reasons = told(&store, &["--build-arg", "V=2"]).1;
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert!(
        reasons[0].starts_with("command : ") && reasons[0].contains("echo MADE"),
        "{reasons:?}"
    );
    write(&store, "Dockerfile", &DOCKERFILE.replace("ENV E=1", "ENV E=2 TOKEN=hush"));
    let reasons = told(&store, &["--build-arg", "V=2"]).1;
    assert_eq!(
        reasons[..2],
        ["environment variable E: \"1\" -> \"2\"", "environment variable TOKEN: added"]
    );
    write(&store, "Dockerfile", &DOCKERFILE.replace("ENV E=1", "ENV E=2 TOKEN=still"));
    let reasons = told(&store, &["--build-arg", "V=2"]).1;
    assert_eq!(reasons, ["environment variable TOKEN: changed"]);
}

/// DF-EXPLAIN-02: `--explain` names another base image with its digests, `--no-cache`, and a result that was removed; it
/// is told of a build that fails, too, and in text.
#[test]
fn what_is_no_part_of_a_key_is_named_too() {
    let store = prepared();
    told(&store, &[]);
    let said = store.build(&["--explain", "--no-cache"]).succeeds().stdout;
    assert_eq!(said.matches("- --no-cache: ").count(), 4, "{said}");
    assert!(said.ends_with("steps: 4 ran\n"), "{said}");
    store.call(&["builder", "prune", "-f", "--all", "--filter", "type=regular"]).succeeds();
    let (_, reasons) = told(&store, &[]);
    assert_eq!(reasons[0], "record : its result was removed from the cache");
    fs::create_dir(store.beside("other")).expect("a folder");
    fs::write(store.beside("other/Dockerfile"), "FROM busybox:1\nRUN echo > /other\n")
        .expect("a file");
    store.call(&["build", "-t", "busybox:1", "other"]).succeeds();
    let (_, reasons) = told(&store, &[]);
    assert!(reasons[0].starts_with("base image : busybox:1 sha256:"), "{reasons:?}");
    assert!(reasons[0].contains(" -> busybox:1 sha256:"), "{reasons:?}");
    write(&store, "Dockerfile", "FROM busybox:1\nRUN exit 3\n");
    let failed = store.build(&["--explain"]).exits(1);
    assert!(failed.stdout.contains("ran        [0 1] RUN exit 3"), "{}", failed.stdout);
    store.build(&["--explain", "-o", "-"]).exits(125).says(&["--explain"]);
    store.build(&["--explain=loud"]).exits(125).says(&["loud"]);
    store.call(&["verify-rebuild", "--dry-run", "context"]).exits(125).says(&["--dry-run"]);
}

/// DF-EXPLAIN-03: `--dry-run` tells what would come from the cache and what would run and why, and what cannot be known;
/// it runs nothing and leaves everything as it was.
#[test]
fn a_dry_run_tells_and_does_nothing() {
    let store = prepared();
    let dry = |store: &ImageStore| told(store, &["--dry-run", "-t", "app:1"]);
    let before = listing(&store.path());
    let (fates, reasons) = dry(&store);
    assert_eq!(fates, ["one 1: would run", "1 1: unknown", "1 2: would run", "1 3: would run"]);
    assert!(
        reasons.iter().any(|r| r.starts_with("stage one: depends on \"RUN echo $V")),
        "{reasons:?}"
    );
    assert_eq!(listing(&store.path()), before, "the store has changed");
    store.build(&["-t", "app:1"]).succeeds();
    let before = listing(&store.path());
    let (fates, reasons) = dry(&store);
    assert!(fates.iter().all(|fate| fate.ends_with(": hit")) && reasons.is_empty(), "{fates:?}");
    write(&store, "src/a", "changed");
    let (fates, reasons) = dry(&store);
    assert_eq!(fates, ["one 1: hit", "1 1: hit", "1 2: would run", "1 3: unknown"]);
    assert_eq!(reasons[0], "file src/a: content");
    assert_eq!(reasons[1], "parent step : depends on \"COPY src /src\", which would run");
    assert_eq!(listing(&store.path()), before, "the store has changed");
    write(&store, "Dockerfile", "FROM registry.invalid/no:1\nRUN true\n");
    let (fates, reasons) = dry(&store);
    assert_eq!(fates, ["0 1: would run"]);
    assert_eq!(reasons[0], "base image : is not in the store and would be fetched");
    store.call(&["inspect", "no:1"]).exits(1);
}

/// DF-EXPLAIN-04: an instruction that is put in between is new, one that is changed is compared with what it was; what
/// is kept for it is listed and given back.
#[test]
fn an_instruction_is_known_again() {
    let store = ImageStore::with_dockerfile("FROM busybox:1\nRUN echo a\nRUN echo b\n");
    told(&store, &[]);
    write(&store, "Dockerfile", "FROM busybox:1\nRUN echo a\nRUN echo new > /new\nRUN echo b\n");
    let wanted = [
        "record : this step has not been built before",
        "parent step : \"RUN echo new > /new\" has another result",
    ];
    assert_eq!(told(&store, &[]).1, wanted);
    write(&store, "Dockerfile", "FROM busybox:1\nRUN echo a\nRUN echo newer > /new\nRUN echo b\n");
    let reasons = told(&store, &[]).1;
    assert!(reasons[0].starts_with("command : "), "{reasons:?}");
    let list = || {
        let rows = store.call(&["builder", "du", "--json", "--filter", "type=internal"]).succeeds();
        rows.json().as_array().expect("rows").len()
    };
    assert!(list() >= 4);
    store.call(&["builder", "prune", "-f", "--filter", "type=internal"]).succeeds();
    assert_eq!(list(), 0);
}
