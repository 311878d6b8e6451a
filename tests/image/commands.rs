//! The commands of `keel-image` for people: docker's verbs, flags and output shapes.

use keel_tests::{ImageStore, fixture, listing};

fn with_box() -> ImageStore {
    let store = ImageStore::new();
    store.import(&fixture("busybox.tar"), "box:1").succeeds();
    store
}

/// IMG-CLI-01: `images` prints docker's columns, one line for each name.
#[test]
fn images_prints_a_table() {
    let store = with_box();
    let text = store.call(&["images"]).succeeds().stdout;
    let header = text.lines().next().expect("a header");
    for column in ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"] {
        assert!(header.contains(column), "{header}");
    }
    let row: Vec<&str> = text.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!(row[1], "1", "{text}");
    assert!(row[0].ends_with("box"), "{text}");
    assert_eq!(text.lines().count(), 2, "{text}");
}

/// IMG-CLI-02: `images -q` prints ids only.
#[test]
fn images_prints_ids() {
    let store = with_box();
    let text = store.call(&["images", "-q"]).succeeds().stdout;
    assert_eq!(text.trim().len(), 12, "{text:?}");
    assert!(text.trim().bytes().all(|byte| byte.is_ascii_hexdigit()), "{text:?}");
}

/// IMG-CLI-03: `tag` gives a second name; `rmi` takes names away, and the last one takes the blobs along.
#[test]
fn tags_and_removes() {
    let store = with_box();
    store.call(&["tag", "box:1", "example.org/box:2"]).succeeds();
    assert_eq!(store.call(&["images"]).succeeds().stdout.lines().count(), 3);
    store.call(&["rmi", "box:1"]).succeeds();
    store.call(&["inspect", "example.org/box:2"]).succeeds();
    store.call(&["rmi", "example.org/box:2"]).succeeds();
    assert_eq!(store.call(&["images"]).succeeds().stdout.lines().count(), 1);
    let left: Vec<String> = listing(&store.path().join("blobs"))
        .into_iter()
        .filter(|line| line.contains(" bytes"))
        .collect();
    assert!(left.is_empty(), "{left:#?}");
}

/// IMG-CLI-04: `inspect` is a JSON array with docker's keys.
#[test]
fn inspects() {
    let store = with_box();
    let seen = store.call(&["inspect", "box:1"]).succeeds().json();
    assert!(
        seen[0]["Id"].as_str().is_some_and(|id| id.starts_with("sha256:") && id.len() == 71),
        "{seen}"
    );
    assert_eq!(seen[0]["Os"], "linux");
    assert!(seen[0]["Architecture"].is_string());
    assert!(seen[0]["Config"].is_object());
}

/// IMG-CLI-05: an image that does not exist is an error that names it, with docker's status 1.
#[test]
fn names_a_missing_image() {
    let store = ImageStore::new();
    for words in [
        &["inspect", "nosuch:1"][..],
        &["rmi", "nosuch:1"],
        &["history", "nosuch:1"],
        &["save", "-o", "x.tar", "nosuch:1"],
        &["bundle", "nosuch:1", "b"],
        &["tag", "nosuch:1", "x:1"],
    ] {
        store.call(words).fails_naming(&["nosuch"]);
    }
    assert!(!store.beside("x.tar").exists());
    assert!(!store.beside("b").exists());
}

/// IMG-CLI-06: `history` prints docker's columns.
#[test]
fn prints_history() {
    let store = with_box();
    let text = store.call(&["history", "box:1"]).succeeds().stdout;
    let header = text.lines().next().expect("a header");
    for column in ["IMAGE", "CREATED", "CREATED BY", "SIZE"] {
        assert!(header.contains(column), "{header}");
    }
    assert!(text.lines().count() >= 2, "{text}");
}

/// IMG-CLI-07: several processes may use one store at once.
#[test]
fn processes_share_a_store() {
    let store = ImageStore::new();
    std::thread::scope(|scope| {
        for number in 0..4 {
            let store = &store;
            scope.spawn(move || {
                let archive = fixture("busybox.tar").display().to_string();
                let name = format!("box:{number}");
                let output =
                    store.command(&["import", &archive, &name]).output().expect("keel-image");
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            });
        }
    });
    assert_eq!(store.call(&["images"]).succeeds().stdout.lines().count(), 5);
}

/// IMG-RUN-01: `run` starts an image and returns the program's status and output.
#[test]
fn runs_an_image() {
    let store = with_box();
    let outcome = store.call(&["run", "box:1", "/bin/sh", "-c", "echo hello; exit 5"]).exits(5);
    assert_eq!(outcome.stdout, "hello\n", "{}", outcome.report());
}

/// IMG-RUN-02: after `run` nothing is mounted and no bundle is left.
#[test]
fn run_leaves_nothing() {
    let store = with_box();
    let before = listing(&store.path());
    store.call(&["run", "box:1", "/bin/true"]).succeeds();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    assert!(!mounts.contains(store.name()), "{mounts}");
    let after: Vec<String> = listing(&store.path());
    let news: Vec<&String> =
        after.iter().filter(|line| !before.contains(line) && !line.starts_with("layers")).collect();
    assert!(news.is_empty(), "{news:#?}");
}

/// IMG-CLI-09: `images -v`, templates and JSON say how much of an image others have, too; columns are as docker's;
/// `printf` has widths.
#[test]
fn tells_what_images_share() {
    let store = with_box();
    let sizes =
        |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
    let format = "{{.Size}} {{.SharedSize}} {{.UniqueSize}}";
    let alone = store.call(&["images", "--format", format]).succeeds().stdout;
    let [all, shared, unique] = &sizes(&alone)[..] else { panic!("{alone}") };
    assert!(shared == "0B" && all == unique && all != "0B", "{alone}");
    std::fs::create_dir(store.beside("context")).expect("a folder");
    let text = "FROM box:1\nCOPY Dockerfile /\nCOPY Dockerfile /2\n";
    std::fs::write(store.beside("context/Dockerfile"), text).expect("a Dockerfile");
    store.call(&["build", "-q", "-t", "more:1", "context"]).succeeds();
    // A further name shares nothing.
    store.call(&["tag", "more:1", "more:2"]).succeeds();
    let own = format!("{}B", 2 * text.len());
    let more = store.call(&["images", "--format", format, "more:1"]).succeeds().stdout;
    assert_eq!(sizes(&more)[1..], [all.clone(), own], "{more}");
    let below = store.call(&["images", "--format", format, "box:1"]).succeeds().stdout;
    assert_eq!(sizes(&below), [all.as_str(), all, "0B"], "{below}");
    let table = store.call(&["images", "-v"]).succeeds().stdout;
    let header = table.lines().next().unwrap_or_default();
    assert!(header.starts_with("REPOSITORY   TAG       IMAGE ID       CREATED"), "{table}");
    assert!(header.ends_with("SHARED SIZE   UNIQUE SIZE"), "{table}");
    let printf = "{{printf \"%-8s|%6.2s|\" .Repository .Tag}}";
    let seen = store.call(&["images", "--format", printf, "box:1"]).succeeds().stdout;
    assert_eq!(seen, "box     |     1|\n");
}

/// IMG-CLI-10: `export`, `cp` and `lease` tell what they did as JSON.
#[test]
fn tells_in_json() {
    let store = with_box();
    let id = store.call(&["inspect", "box:1"]).succeeds().json()[0]["Id"].clone();
    let seen = store.call(&["export", "--json", "-o", "a.tar", "box:1"]).succeeds().json();
    assert_eq!(seen, serde_json::json!({ "Id": id, "Output": "a.tar" }));
    let seen = store.call(&["cp", "--json", "box:1:/bin/busybox", "copied"]).succeeds().json();
    let wanted = serde_json::json!({ "Id": id, "Path": "/bin/busybox", "Destination": "copied" });
    assert_eq!(seen, wanted);
    let made = store.call(&["lease", "create", "--json", "kept", "box:1"]).succeeds().json();
    assert_eq!(made, store.call(&["lease", "ls", "--json"]).succeeds().json()[0]);
    let ended = store.call(&["lease", "rm", "--json", "kept"]).succeeds().json();
    assert_eq!(ended, serde_json::json!([{ "Name": "kept" }]));
    for words in [&["export", "--json", "box:1"][..], &["cp", "--json", "box:1:/bin", "-"]] {
        store.call(words).fails_naming(&["--json"]);
    }
}
