//! The same instructions come to the same bytes, and where they do not it is said what differs.

use std::collections::BTreeSet;
use std::fs;

use keel_tests::ImageStore;

/// DF-REPRO-01: with `SOURCE_DATE_EPOCH`, from the environment or as an argument, two stores come to the same
/// image, though they build at other times.
#[test]
fn two_stores_come_to_the_same_image() {
    let text = "FROM scratch\nCOPY --from=box /bin /bin\nRUN [\"/bin/busybox\", \"mkdir\", \"-p\", \"/a/b\"]\nWORKDIR /w\n";
    let (one, other) = (ImageStore::with_dockerfile(text), ImageStore::with_dockerfile(text));
    let flags = ["build", "-q", "--build-context", "box=docker-image://busybox:1", "context"];
    let mut by_environment = one.command(&flags);
    by_environment.env("SOURCE_DATE_EPOCH", "1700000000");
    let id = one.finish(by_environment).succeeds().stdout;
    let words = [&flags[..4], &["--build-arg", "SOURCE_DATE_EPOCH=1700000000", "context"]].concat();
    assert_eq!(other.call(&words).succeeds().stdout, id);
}

/// DF-REPRO-03: the bytes of a layer's blob are the same however many processors compress it.
#[test]
fn processors_do_not_show_in_a_blob() {
    let text = "FROM scratch\nCOPY large /\n";
    let names = |store: &ImageStore| -> BTreeSet<_> {
        let names = fs::read_dir(store.path().join("blobs/sha256")).expect("blobs");
        names.flatten().map(|entry| entry.file_name()).collect()
    };
    let blobs = |first: &[&str]| {
        let store = ImageStore::with_dockerfile(text);
        // Of a size that several threads share.
        let programs = fs::read(keel_tests::program("keel-image")).expect("a program");
        fs::write(store.beside("context/large"), programs.repeat(3)).expect("a file");
        let before = names(&store);
        let mut command = std::process::Command::new(first[0]);
        command.args(&first[1..]).arg(keel_tests::program("keel-image"));
        command.arg("--root").arg(store.path()).args(["build", "-q"]);
        command.arg(store.beside("context")).env("SOURCE_DATE_EPOCH", "1700000000");
        store.finish(command).succeeds();
        names(&store).difference(&before).cloned().collect::<BTreeSet<_>>()
    };
    let one = blobs(&["taskset", "-c", "0"]);
    assert_eq!(one.len(), 3, "a layer, a configuration and a manifest: {one:?}");
    assert_eq!(one, blobs(&["env"]));
}

/// DF-REPRO-02: `verify-rebuild` builds twice without the cache and makes no image; what differs first is named
/// by its layer, its instruction, its path and both values.
#[test]
fn a_rebuild_is_verified() {
    let store = ImageStore::with_dockerfile(
        "FROM busybox:1\nCOPY Dockerfile /d/\nRUN date > /dev/null; touch /made; mkdir /dir\n",
    );
    let verify = || store.call(&["verify-rebuild", "--progress=quiet", "context"]);
    assert_eq!(verify().succeeds().stdout, "Both builds are the same: 3 layers\n");
    assert_eq!(store.call(&["images", "-q"]).succeeds().stdout.lines().count(), 1);
    let text = "FROM busybox:1\nRUN echo same > /a; cat /proc/sys/kernel/random/uuid > /b\n";
    fs::write(store.beside("context/Dockerfile"), text).expect("a file");
    let said = verify().exits(1).stdout;
    for word in ["differ", "layer 2", "RUN", "\"b\"", "content sha256:"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let text = "FROM busybox:1\nRUN f=$(cat /proc/sys/kernel/random/uuid); echo > /f-$f\n";
    fs::write(store.beside("context/Dockerfile"), text).expect("a file");
    let said = verify().exits(1).stdout;
    assert!(said.contains("stands in its place"), "{said}");
}
