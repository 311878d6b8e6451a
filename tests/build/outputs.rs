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
        ("type=image,compresion=zstd", "known:"),
        ("type=oci,dest=x,compression-level=12", "most is 9"),
        ("type=image,compression=zstd,oci-mediatypes=false", "zstd"),
        ("type=image,name=a:1,push=true,push-by-digest=true", "tag"),
        ("type=tar,dest=x,compression=gzip", "type=tar"),
    ] {
        store.build(&["-o", output]).exits(125).says(&[word]);
    }
    let two = ["--platform", "linux/amd64,linux/arm64"];
    store.build(&[two[0], two[1], "-o", "type=tar,dest=x"]).exits(125).says(&["one platform"]);
    let both = store.build(&["-o", "-", "-o", "type=oci"]);
    both.exits(125).says(&["standard output"]);
}

/// The manifest of the only image of a layout beside the store.
fn manifest(store: &ImageStore, layout: &str) -> serde_json::Value {
    store.tool("skopeo", &["inspect", "--raw", &format!("oci:{layout}")]).json()
}

fn media_types(manifest: &serde_json::Value) -> Vec<&str> {
    let layers = manifest["layers"].as_array().expect("layers").iter();
    layers.map(|layer| layer["mediaType"].as_str().expect("a type")).collect()
}

/// The first bytes of a layer of a layout.
fn magic(store: &ImageStore, layout: &str, layer: &serde_json::Value) -> Vec<u8> {
    let name = layer["digest"].as_str().expect("a digest").replace(':', "/");
    let bytes = fs::read(store.beside(layout).join("blobs").join(name)).expect("a blob");
    bytes[..4].to_vec()
}

/// DF-OUT-06: `compression` and `compression-level` hold for the layers of the build, with
/// `force-compression` for those of the base, too; the files are the same, and the same again from the cache.
#[test]
fn layers_are_compressed_as_asked() {
    let store = ImageStore::with_dockerfile("FROM busybox:1\nRUN seq 1 100000 > /numbers\n");
    let build = |to: &str, settings: &str| {
        let output = format!("type=oci,dest={to},tar=false{settings}");
        store.build(&["-o", &output]).succeeds();
        manifest(&store, to)
    };
    let tar = "application/vnd.oci.image.layer.v1.tar";
    let (gzip, zstd) = (format!("{tar}+gzip"), format!("{tar}+zstd"));
    let plain = build("plain", "");
    assert_eq!(media_types(&plain), [tar, &gzip]);
    let own = build("zstd", ",compression=zstd,compression-level=19");
    assert_eq!(media_types(&own), [tar, &zstd], "the base's layer stays");
    assert_eq!(own["layers"][0], plain["layers"][0]);
    assert_eq!(magic(&store, "zstd", &own["layers"][1]), [0x28, 0xb5, 0x2f, 0xfd]);
    let all = build("all", ",compression=zstd,force-compression=true");
    assert_eq!(media_types(&all), [&zstd, &zstd]);
    assert_ne!(own["layers"][1], all["layers"][1], "the level shows");
    let none = build("none", ",compression=uncompressed,force-compression=true");
    assert_eq!(media_types(&none), [tar, tar]);
    let best = build("best", ",compression-level=9");
    assert_eq!(media_types(&best), [tar, &gzip]);
    assert_ne!(best["layers"][1]["digest"], plain["layers"][1]["digest"]);
    for other in [&own, &all, &none, &best] {
        assert_eq!(
            other["config"], plain["config"],
            "the diff ids, and so the image's id, are the same"
        );
    }
    assert_eq!(build("again", ",compression=zstd,force-compression=true"), all);
    for layout in ["zstd", "all", "none", "best"] {
        store.tool(
            "skopeo",
            &["copy", "-q", &format!("oci:{layout}"), &format!("dir:{layout}.copy")],
        );
        let name = format!("{layout}:1");
        store.call(&["copy", "-q", &format!("oci:{layout}"), &name]).succeeds();
        let numbers = store.run_on("keel", &name, &["tail", "-n1", "/numbers"]).succeeds();
        assert_eq!(numbers.stdout, "100000\n");
    }
}

/// DF-OUT-07: `oci-mediatypes=false` gives Docker's media types; `push-by-digest` pushes without a name and
/// tells the digest.
#[test]
fn registries_take_other_forms() {
    let store = ImageStore::with_dockerfile(DOCKERFILE);
    let registry = Registry::start(Protection::None);
    let name = registry.name("a/docker:1");
    store
        .build(&["-o", &format!("type=image,name={name},push=true,oci-mediatypes=false")])
        .succeeds();
    let raw = |place: &str| {
        store.tool("skopeo", &["inspect", "--raw", "--tls-verify=false", place]).json()
    };
    let docker = raw(&format!("docker://{name}"));
    assert_eq!(docker["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    assert_eq!(docker["config"]["mediaType"], "application/vnd.docker.container.image.v1+json");
    assert_eq!(media_types(&docker), ["application/vnd.docker.image.rootfs.diff.tar.gzip"]);
    let name = registry.name("a/nameless");
    let output =
        format!("type=image,name={name},push=true,push-by-digest=true,name-canonical=true");
    store.build(&["-o", &output, "--metadata-file", "facts"]).succeeds();
    let facts: serde_json::Value =
        serde_json::from_slice(&fs::read(store.beside("facts")).expect("a file")).expect("JSON");
    let full = facts["image.name"].as_str().expect("a name");
    assert_eq!(
        full,
        format!("{name}@{}", facts["containerimage.digest"].as_str().expect("a digest"))
    );
    assert_eq!(media_types(&raw(&format!("docker://{full}"))).len(), 1);
    let words = ["inspect", "--tls-verify=false", &format!("docker://{name}:latest")];
    let mut latest = std::process::Command::new("skopeo");
    let status = latest.args(words).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(!status.expect("skopeo").success(), "there is no tag");
}

/// DF-OUT-08: annotations stand where they are asked for; every name stands in a layout and in both archives;
/// the files of platforms have directories of their own, or not.
#[test]
fn names_and_annotations_and_platforms() {
    let store = ImageStore::with_dockerfile(DOCKERFILE);
    let noted = "annotation.a=1,annotation-index.b=2,annotation-manifest-descriptor.c=3";
    let output = format!("type=oci,dest=noted,tar=false,{noted}");
    let more = ["--provenance=true", "--annotation", "manifest,index:d=4"];
    store.build(&[&more[..], &["-o", &output]].concat()).succeeds();
    let index = manifest(&store, "noted");
    assert_eq!(index["annotations"], serde_json::json!({ "b": "2", "d": "4" }));
    assert_eq!(index["manifests"][0]["annotations"], serde_json::json!({ "c": "3" }));
    let digest = index["manifests"][0]["digest"].as_str().expect("a digest").replace(':', "/");
    let bytes = fs::read(store.beside("noted/blobs").join(digest)).expect("a manifest");
    let image: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    assert_eq!(image["annotations"], serde_json::json!({ "a": "1", "d": "4" }));
    store.build(&["-o", &output]).exits(125).says(&["index"]);
    let names = ["-t", "app:1", "-t", "app:2"];
    let outputs = [
        "-o",
        "type=oci,dest=layout,tar=false",
        "-o",
        "type=oci,dest=o.tar",
        "-o",
        "type=docker,dest=d.tar",
    ];
    store.build(&[&names[..], &outputs].concat()).succeeds();
    let config = |place: &str| store.tool("skopeo", &["inspect", "--config", place]).json();
    let one = config("oci:layout:1");
    for place in [
        "oci:layout:2",
        "oci-archive:o.tar:1",
        "oci-archive:o.tar:2",
        "docker-archive:d.tar:app:1",
        "docker-archive:d.tar:app:2",
    ] {
        assert_eq!(config(place), one, "{place}");
    }
    store.build(&["-o", "type=oci,name=other:7,dest=named,tar=false"]).succeeds();
    assert_eq!(config("oci:named:7"), one);
    store.build(&["-o", "type=local,dest=split,platform-split=true"]).succeeds();
    let folders: Vec<_> =
        fs::read_dir(store.beside("split")).expect("a folder").flatten().collect();
    assert!(
        matches!(&folders[..], [only] if only.file_name().to_string_lossy().starts_with("linux_"))
    );
    fs::write(
        store.beside("context/Dockerfile"),
        "FROM scratch\nARG TARGETARCH\nCOPY f /$TARGETARCH\n",
    )
    .expect("a file");
    fs::write(store.beside("context/f"), "").expect("a file");
    let two = [
        "--platform",
        "linux/amd64,linux/arm64",
        "-o",
        "type=local,dest=whole,platform-split=false",
    ];
    store.build(&two).succeeds();
    assert!(store.beside("whole/amd64").exists() && store.beside("whole/arm64").exists());
}
