//! One store and many processes at once, each of which loads, tags, builds, removes and prunes.

use std::fs;
use std::process::Stdio;

use keel_tests::{ImageStore, fixture, listing};

const PROCESSES: usize = 16;
const ROUNDS: usize = 6;

/// What one of the many does in a round; which images there are is decided by luck.
fn steps(worker: usize, round: usize) -> Vec<Vec<String>> {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<String>>();
    let shared = format!("shared:{}", (worker + round) % 3);
    let own = format!("own-{worker}:{round}");
    let archive = (worker + round) % 4;
    match (worker + round) % 4 {
        0 => vec![
            words(&format!("load -q -i in-{archive}.tar")),
            words(&format!("tag in:{archive} {own}")),
            words(&format!("tag {own} {shared}")),
            words("prune -f"),
        ],
        1 => vec![
            words(&format!("build -q -t {own} --build-arg N={round} context-{}", worker % 2)),
            words(&format!("tag {own} {shared}")),
            words(&format!("rmi in:{archive}")),
        ],
        2 => vec![
            words(&format!("load -q -i in-{archive}.tar")),
            words(&format!("rmi -f {shared}")),
            words("prune -f --grace 0s"),
            words(&format!("save -o out-{worker}.tar in:{archive}")),
        ],
        _ => vec![
            words(&format!("import -m {round} root-{}.tar {own}", worker % 2)),
            words("images"),
            words(&format!("rmi {own}")),
            words(&format!("load -q -i in-{archive}.tar")),
        ],
    }
}

/// IMG-STORE-02: sixteen processes load, tag, build, remove and prune at once; afterwards the store is whole.
#[test]
fn many_processes_leave_a_whole_store() {
    let store = ImageStore::new();
    for number in 0..4 {
        let name = format!("in:{number}");
        fs::create_dir(store.beside("root")).expect("a folder");
        fs::write(store.beside("root/number"), format!("{number}")).expect("a file");
        fs::copy(fixture("busybox"), store.beside("root/busybox")).expect("a program");
        let tar = format!("root-{number}.tar");
        store.tool("tar", &["-C", "root", "-cf", &tar, "."]);
        store.import(&store.beside(&tar), &name).succeeds();
        store.call(&["save", "-o", &format!("in-{number}.tar"), &name]).succeeds();
        fs::remove_dir_all(store.beside("root")).expect("a folder");
    }
    for number in 0..2 {
        let context = store.beside(&format!("context-{number}"));
        fs::create_dir(&context).expect("a folder");
        let text = format!("FROM scratch\nARG N\nLABEL n=$N\nCOPY file /file-{number}\n");
        fs::write(context.join("Dockerfile"), text).expect("a Dockerfile");
        fs::write(context.join("file"), format!("{number}")).expect("a file");
    }
    std::thread::scope(|scope| {
        for worker in 0..PROCESSES {
            let store = &store;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    for words in steps(worker, round) {
                        let mut command = store.command(&words);
                        let output = command.stdin(Stdio::null()).output().expect("keel-image");
                        let text = String::from_utf8_lossy(&output.stderr).into_owned();
                        // An image may have been removed by another, and the store be busy; nothing else
                        // may go wrong.
                        let expected = ["No such image", "in use by another program"];
                        let fine = output.status.success()
                            || expected.iter().any(|expected| text.contains(expected));
                        assert!(fine, "{words:?}: {text}");
                    }
                }
            });
        }
    });
    let checked = store.call(&["fsck", "--json"]).succeeds().json();
    assert_eq!(checked["Clean"], true, "{checked:#}");
    assert!(checked["Images"].as_u64() > Some(0), "{checked:#}");
    let images = store.call(&["images", "--json"]).succeeds().json();
    for image in images.as_array().expect("a list") {
        store.call(&["inspect", image["ID"].as_str().expect("an id")]).succeeds();
    }
    // All that is left is needed: without images and a cache nothing is.
    store.call(&["prune", "-af", "--grace", "0s"]).succeeds();
    fs::remove_dir_all(store.path().join("retained")).expect("the cache's leases");
    store.call(&["prune", "-af", "--grace", "0s"]).succeeds();
    for folder in ["blobs/sha256", "layers", "tmp"] {
        let left = listing(&store.path().join(folder));
        assert!(left.is_empty(), "{folder}: {left:#?}");
    }
}
