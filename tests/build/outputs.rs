//! Where the result of a build goes: `--output`, `--push`, `--load`, and the files that tell of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use keel_tests::{ImageStore, Protection, Registry};

const DOCKERFILE: &str = "FROM busybox:1 AS made
RUN mkdir -p /out/sub && echo one > /out/one && chmod 751 /out/one && ln -s one /out/link && chown 7:8 /out/sub
FROM scratch
COPY --from=made /out /
";

fn names(store: &ImageStore) -> String {
    store.call(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).succeeds().stdout
}

/// DF-OUT-01: `-o DIR` and `type=local` copy the files into a directory, beside what is there, as the
/// caller's; no image is made.
#[test]
fn files_go_into_a_directory() {
    let store = ImageStore::with_dockerfile(DOCKERFILE);
    fs::create_dir(store.beside("two")).expect("a folder");
    fs::write(store.beside("two/old"), "old").expect("a file");
    store.build(&["-o", "one"]).succeeds();
    store.build(&["--output", "type=local,dest=two", "-t", "named"]).succeeds();
    for folder in ["one", "two"] {
        let path = store.beside(folder);
        assert_eq!(fs::read_to_string(path.join("one")).expect("a file"), "one\n");
        assert_eq!(fs::read_link(path.join("link")).expect("a link").to_str(), Some("one"));
        let mode = fs::metadata(path.join("one")).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o7777, 0o751);
        assert!(path.join("sub").is_dir());
    }
    assert!(store.beside("two/old").exists());
    assert_eq!(names(&store), "busybox:1\n");
}

/// DF-OUT-02: `type=tar` and `-o -` write the files as one tar with their owners.
#[test]
fn files_go_into_a_tar() {
    let store = ImageStore::with_dockerfile(DOCKERFILE);
    store.build(&["-o", "type=tar,dest=out.tar"]).succeeds();
    let listed = store.tool("tar", &["--numeric-owner", "-tvf", "out.tar"]).stdout;
    assert!(listed.contains("7/8") && listed.contains("link -> one"), "{listed}");
    let mut command = store.command(&["build", "-o", "-", "context"]);
    let file = fs::File::create(store.beside("std.tar")).expect("a file");
    let status = command.stdout(file).stderr(Stdio::null()).status().expect("keel-image");
    assert!(status.success());
    let read = |name: &str| fs::read(store.beside(name)).expect("a tar");
    assert!(read("std.tar") == read("out.tar"));
}

/// DF-OUT-03: `type=oci` and `type=docker` write archives that skopeo and docker's form agree on, and the
/// store gets no image.
#[test]
fn images_go_into_archives() {
    let store = ImageStore::with_dockerfile(DOCKERFILE);
    store
        .build(&["-t", "app:2", "-o", "type=oci,dest=oci.tar", "-o", "type=docker,dest=docker.tar"])
        .succeeds();
    store.build(&["-t", "app:2", "-o", "type=oci,dest=layout,tar=false"]).succeeds();
    let config = |place: &str| store.tool("skopeo", &["inspect", "--config", place]).json();
    let of_oci = config("oci-archive:oci.tar:2");
    assert_eq!(of_oci, config("docker-archive:docker.tar:app:2"));
    assert_eq!(of_oci, config("oci:layout:2"));
    assert_eq!(names(&store), "busybox:1\n");
    let other = ImageStore::new();
    let archive = store.beside("docker.tar").display().to_string();
    other.call(&["load", "-i", &archive]).succeeds();
    assert_eq!(names(&other), "app:2\n");
}

/// DF-OUT-04: `--push` and `type=registry` send the image to its registry under all its names, `type=image`
/// only puts it into the store; `--load` puts it there whatever else is asked for.
#[test]
fn images_go_to_registries() {
    let store = ImageStore::with_dockerfile(DOCKERFILE);
    let registry = Registry::start(Protection::None);
    let (one, two, three) =
        (registry.name("a/one:1"), registry.name("a/two:1"), registry.name("a/three:1"));
    store.build(&["--push", "-t", &one, "-t", &two, "--metadata-file", "facts"]).succeeds();
    let facts: serde_json::Value =
        serde_json::from_slice(&fs::read(store.beside("facts")).expect("a file")).expect("JSON");
    for name in [&one, &two] {
        let place = format!("docker://{name}");
        let words = ["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &place];
        let digest = store.tool("skopeo", &words).stdout;
        assert_eq!(facts["containerimage.digest"], digest.trim());
    }
    assert_eq!(facts["image.name"], format!("{one},{two}"));
    let output = format!("type=registry,name={three}");
    store.build(&["-o", &output]).succeeds();
    let place = format!("docker://{three}");
    store.tool("skopeo", &["inspect", "--tls-verify=false", &place]);
    store.build(&["-o", "type=image,name=kept:1"]).succeeds();
    store.build(&["-o", "type=cacheonly", "--load", "-t", "loaded:1"]).succeeds();
    let all = names(&store);
    assert!(all.contains("kept:1") && all.contains("loaded:1"), "{all}");
    store.build(&["--push"]).exits(125).says(&["tag is needed"]);
}

/// DF-OUT-05: what is not known of an output is refused by name before anything is built.
#[test]
fn unknown_outputs_are_refused() {
    let store = ImageStore::with_dockerfile("FROM nosuch\n");
    for (output, word) in [
        ("type=tarball,dest=x", "tarball"),
        ("type=local", "dest"),
        ("type=oci,dest=x,compression=estargz", "compression"),
        ("type=image,push=perhaps", "perhaps"),
    ] {
        store.build(&["-o", output]).exits(125).says(&[word]);
    }
    let two = ["--platform", "linux/amd64,linux/arm64"];
    store.build(&[two[0], two[1], "-o", "type=tar,dest=x"]).exits(125).says(&["one platform"]);
    let both = store.build(&["-o", "-", "-o", "type=oci"]);
    both.exits(125).says(&["standard output"]);
}
