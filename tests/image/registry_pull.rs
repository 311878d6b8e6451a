//! `pull` from Debian's docker-registry: names, digests, platforms, words and what lies in the store afterwards.

use std::fs;

use keel_tests::{
    Containerd, ImageStore, Layout, Protection, Registry, TarEntry, busybox_layout, differences,
    fixture, listing, portrait, tarball,
};

/// A store with a layout beside it, and a registry that has its image as `team/app:v1`.
fn scene() -> (ImageStore, Registry) {
    let store = ImageStore::new();
    busybox_layout(&store);
    let registry = Registry::start(Protection::None);
    registry.push(&layout(&store), "team/app:v1");
    (store, registry)
}

fn layout(store: &ImageStore) -> String {
    format!("oci:{}:app", store.beside("layout").display())
}

/// DIST-PULL-01: an image is pulled by its tag, in docker's words, and runs on two runtimes.
#[test]
fn pulls_by_tag() {
    let (store, registry) = scene();
    let name = registry.name("team/app:v1");
    let pulled = store.call(&["pull", &name]).succeeds();
    let digest = store.tool("skopeo", &["inspect", "--format", "{{.Digest}}", "oci:layout:app"]);
    let wanted = format!(
        "v1: Pulling from team/app\nDigest: {}\nStatus: Downloaded newer image for {name}\n{name}\n",
        digest.stdout.trim()
    );
    assert_eq!(pulled.stdout, wanted);
    for runtime in ["runc", "keel"] {
        assert_eq!(store.run_on(runtime, &name, &[]).succeeds().stdout, "new", "{runtime}");
    }
}

/// DIST-PULL-02: a tag beside a digest names only; the digest decides what is pulled.
#[test]
fn pulls_by_digest() {
    let (store, registry) = scene();
    let digest = store.tool("skopeo", &["inspect", "--format", "{{.Digest}}", "oci:layout:app"]);
    let digest = digest.stdout.trim();
    let name = registry.name("team/app");
    store.call(&["pull", "-q", &format!("{name}@{digest}")]).succeeds();
    store.call(&["inspect", &format!("{name}@{digest}")]).succeeds();
    store.call(&["pull", "-q", &format!("{name}:other@{digest}")]).succeeds();
    store.call(&["inspect", &format!("{name}:other")]).succeeds();
    let absent = digest.replace(&digest[7..11], "0000");
    store.call(&["pull", &format!("{name}@{absent}")]).fails_naming(&[&absent, "404", "GET"]);
}

/// DIST-PULL-03: what lies in the store is what the registry has, byte for byte.
#[test]
fn keeps_every_byte() {
    let (store, registry) = scene();
    store.call(&["pull", "-q", &registry.name("team/app:v1")]).succeeds();
    let of = |folder: &str| {
        let lines = listing(&store.beside(folder).join("blobs/sha256"));
        lines.into_iter().map(|line| line.split(' ').next().map(str::to_owned)).collect::<Vec<_>>()
    };
    store.tool("skopeo", &["copy", "-q", "--preserve-digests", "oci:layout:app", "oci:copy:app"]);
    assert_eq!(of("store"), of("copy"));
    for entry in fs::read_dir(store.path().join("blobs/sha256")).expect("blobs").flatten() {
        let sum = store.tool("sha256sum", &[entry.path()]).stdout;
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(sum.starts_with(&name), "{name}: {sum}");
    }
    assert!(listing(&store.path().join("partial")).is_empty());
}

/// DIST-PULL-04: what is there is not pulled again, and what is missing is.
#[test]
fn pulls_what_is_missing_only() {
    let (store, registry) = scene();
    let name = registry.name("team/app:v1");
    store.call(&["pull", &name]).succeeds();
    let before = listing(&store.path());
    let again = store.call(&["pull", &name]).succeeds();
    assert!(
        again.stdout.contains(&format!("Status: Image is up to date for {name}\n")),
        "{again:?}"
    );
    assert_eq!(listing(&store.path()), before);
    // A blob that has gone comes back.
    let layers = fs::read_dir(store.path().join("blobs/sha256")).expect("blobs").flatten();
    let largest =
        layers.max_by_key(|e| e.metadata().map(|m| m.len()).unwrap_or(0)).expect("a blob");
    fs::remove_file(largest.path()).expect("a blob");
    store.call(&["pull", &name]).succeeds();
    assert_eq!(
        listing(&store.path().join("blobs")).len() + 1,
        before.iter().filter(|l| l.starts_with("blobs")).count()
    );
}

/// DIST-PULL-05: without a tag `latest` is meant, and said so.
#[test]
fn the_default_tag_is_latest() {
    let (store, registry) = scene();
    let missing = store.call(&["pull", &registry.name("team/app")]);
    assert!(
        missing.stdout.starts_with("Using default tag: latest\nlatest: Pulling"),
        "{missing:?}"
    );
    missing.fails_naming(&["team/app:latest", "404", "MANIFEST_UNKNOWN"]);
    registry.push(&layout(&store), "team/app:latest");
    let name = registry.name("team/app");
    let quiet = store.call(&["pull", "-q", &name]).succeeds();
    assert_eq!(quiet.stdout, format!("{name}:latest\n"));
}

/// DIST-PULL-06: of an index the image for this machine is taken, or the one that is asked for; attestations
/// are none, and a platform that is not there is an error that names those that are.
#[test]
fn chooses_by_platform() {
    let store = ImageStore::new();
    busybox_layout(&store);
    for (tag, platform) in [("arm", "arm64"), ("riscv", "riscv64")] {
        store.tool(
            "umoci",
            &["config", "--image", "layout:app", "--tag", tag, "--architecture", platform],
        );
    }
    let registry = Registry::start(Protection::None);
    let mut entries = Vec::new();
    let own = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    for (tag, architecture) in
        [("riscv", "riscv64"), ("app", own), ("arm", if own == "arm64" { "arm" } else { "arm64" })]
    {
        registry.push(
            &format!("oci:{}:{tag}", store.beside("layout").display()),
            &format!("app:{tag}"),
        );
        let raw = store.tool("skopeo", &["inspect", "--raw", &format!("oci:layout:{tag}")]);
        let digest = store.tool(
            "skopeo",
            &[
                "inspect",
                "--format",
                "{{.Digest}}",
                "--override-arch",
                architecture,
                &format!("oci:layout:{tag}"),
            ],
        );
        entries.push(serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest.stdout.trim(), "size": raw.stdout.len(),
            "platform": { "os": "linux", "architecture": architecture },
        }));
    }
    let mut attestation = entries[0].clone();
    attestation["platform"] = serde_json::json!({ "os": "unknown", "architecture": "unknown" });
    attestation["annotations"] =
        serde_json::json!({ "vnd.docker.reference.type": "attestation-manifest" });
    entries.insert(0, attestation);
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries,
    });
    fs::write(store.beside("index"), index.to_string()).expect("an index");
    let url = format!("http://{}/v2/app/manifests/all", registry.address());
    let kind = "Content-Type: application/vnd.oci.image.index.v1+json";
    store.tool("curl", &["-sf", "-X", "PUT", "-H", kind, "--data-binary", "@index", &url]);
    let name = registry.name("app:all");
    let architecture = |store: &ImageStore| {
        let inspected = store.call(&["inspect", &name]).succeeds().json();
        inspected[0]["Architecture"].as_str().unwrap_or_default().to_owned()
    };
    store.call(&["pull", &name]).succeeds();
    assert_eq!(architecture(&store), own);
    store.call(&["pull", "--platform", "linux/riscv64", &name]).succeeds();
    assert_eq!(architecture(&store), "riscv64");
    store.call(&["pull", "--platform", "linux/s390x", &name]).fails_naming(&[
        "app:all",
        "linux/s390x",
        "linux/riscv64",
        "--platform",
    ]);
}

/// DIST-PULL-07: what is pulled has the files that containerd's pull has: modes, owners, times, links, attributes and
/// contents.
#[test]
fn pulls_what_containerd_pulls() {
    let store = ImageStore::new();
    let debian = fs::read(fixture("debian.tar")).expect("a fixture");
    let change = tarball(&[
        TarEntry::directory("etc", 0o750).owner(1, 2),
        TarEntry::file("etc/.wh.passwd", ""),
        // Containerd gives folders that have no entry the time of the pull.
        TarEntry::directory("opt", 0o755),
        TarEntry::file("opt/new", "2").mode(0o4755).owner(3, 4).xattr("user.a", "b"),
        // And to a file what the entry of a link to it says.
        TarEntry::hard_link("opt/again", "opt/new").mode(0o4755).owner(3, 4),
        TarEntry::directory("usr", 0o755),
        TarEntry::directory("usr/share", 0o755),
        TarEntry::file("usr/share/.wh..wh..opq", ""),
    ]);
    Layout::new(&store.beside("layout")).layer(&debian).layer(&change).finish("app");
    let registry = Registry::start(Protection::None);
    registry.push(&layout(&store), "team/debian:v1");
    let name = registry.name("team/debian:v1");
    store.call(&["pull", "-q", &name]).succeeds();
    let mut seen = portrait(&store.bundle(&name, &[]).join("rootfs"));
    let containerd = Containerd::start();
    containerd.ctr(&["images", "pull", "--plain-http", &name], None).succeeds();
    let mut wanted = portrait(&containerd.tree(&name));
    // Containerd leaves the root as it has made it.
    let (own, other) = (seen.remove("\".\""), wanted.remove("\".\""));
    assert!(own.is_some() && other.is_some());
    let differences = differences(&wanted, &seen);
    assert!(differences.is_empty() && wanted.len() > 1000, "{differences:#?}");
}

/// DIST-OBTAIN-01: `run` fetches an image that the store does not have, in docker's words on the standard error; one
/// that is there is used without a word to anybody, also with other layers gone and fetched again.
#[test]
fn run_fetches_what_is_missing() {
    let (store, registry) = scene();
    let name = registry.name("team/app:v1");
    let first = store.call(&["run", &name]).succeeds();
    assert_eq!(first.stdout, "new");
    first.says(&[
        &format!(
            "Unable to find image '{name}' locally\nv1: Pulling from team/app\nDigest: sha256:"
        ),
        &format!("Status: Downloaded newer image for {name}\n"),
    ]);
    // What the store lacks of it comes again.
    for entry in fs::read_dir(store.path().join("layers")).expect("layers").flatten() {
        fs::remove_dir_all(entry.path()).expect("a layer");
    }
    let blobs = fs::read_dir(store.path().join("blobs/sha256")).expect("blobs").flatten();
    let largest = blobs.max_by_key(|e| e.metadata().map(|m| m.len()).unwrap_or(0)).expect("a blob");
    fs::remove_file(largest.path()).expect("a blob");
    let again = store.call(&["run", "-q", &name]).succeeds();
    assert_eq!((again.stdout.as_str(), again.stderr.as_str()), ("new", ""));
    // Nobody answers any more.
    drop(registry);
    let offline = store.call(&["run", &name]).succeeds();
    assert_eq!((offline.stdout.as_str(), offline.stderr.as_str()), ("new", ""));
}

/// DIST-OBTAIN-02: `run --pull`: never asks no registry, always takes what the registry has now; a platform is
/// fetched, or refused by name.
#[test]
fn run_follows_the_policy() {
    let (store, registry) = scene();
    let name = registry.name("team/app:v1");
    let refused = store.call(&["run", "--pull", "never", &name]).exits(125);
    refused.says(&["No such image", &name]);
    store.call(&["run", "-q", &name]).succeeds();
    store.tool(
        "umoci",
        &["config", "--image", "layout:app", "--config.cmd", "echo", "--config.cmd", "second"],
    );
    registry.push(&layout(&store), "team/app:v1");
    assert_eq!(store.call(&["run", &name]).succeeds().stdout, "new");
    let always = store.call(&["run", "--pull", "always", &name]).succeeds();
    assert_eq!(always.stdout, "second\n");
    assert!(!always.stderr.contains("Unable to find"), "{always:?}");
    let again = store.call(&["run", "--pull=always", &name]).succeeds();
    again.says(&[&format!("Status: Image is up to date for {name}\n")]);
    for policy in ["never", "missing"] {
        let words = ["run", "--pull", policy, "--platform", "linux/riscv64", &name];
        store.call(&words).exits(125).says(&[&name, "linux/riscv64"]);
    }
    store.call(&["run", "--pull", "sometimes", &name]).exits(125).says(&["sometimes", "missing"]);
    // What cannot be the name of a repository is not asked for.
    let id = "0123456789abcdef".repeat(4);
    for name in [id.clone(), format!("sha256:{id}")] {
        store.call(&["run", &name]).exits(125).says(&["No such image", &name]);
    }
}
