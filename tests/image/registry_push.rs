//! `push` to Debian's docker-registry: words, digests, platforms, credentials; skopeo reads what has come.

use std::fs;

use keel_tests::{ImageStore, Protection, Registry, busybox_layout, platforms_layout};

/// A store that has pulled the image `team/app:v1` of a registry.
fn scene() -> (ImageStore, Registry) {
    let store = ImageStore::new();
    busybox_layout(&store);
    let registry = Registry::start(Protection::None);
    registry.push(&layout(&store), "team/app:v1");
    store.call(&["pull", "-q", &registry.name("team/app:v1")]).succeeds();
    (store, registry)
}

fn layout(store: &ImageStore) -> String {
    format!("oci:{}:app", store.beside("layout").display())
}

fn layout_digest(store: &ImageStore) -> String {
    let inspected = store.tool("skopeo", &["inspect", "--format", "{{.Digest}}", "oci:layout:app"]);
    inspected.stdout.trim().to_owned()
}

/// What skopeo says that the registry has.
#[track_caller]
fn digest_at(store: &ImageStore, name: &str) -> String {
    let from = format!("docker://{name}");
    let words = ["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &from];
    store.tool("skopeo", &words).stdout.trim().to_owned()
}

/// DIST-PUSH-01: a pulled image is pushed with docker's words and the digest that it had.
#[test]
fn pushes_what_was_pulled() {
    let (store, _) = scene_apart();
    let other = Registry::start(Protection::None);
    let name = other.name("mine/app:v2");
    store.call(&["tag", "source", &name]).succeeds();
    let pushed = store.call(&["push", &name]).succeeds();
    let digest = layout_digest(&store);
    let raw = store.tool("skopeo", &["inspect", "--raw", "oci:layout:app"]).stdout;
    let lines: Vec<&str> = pushed.stdout.lines().collect();
    assert_eq!(lines[0], format!("The push refers to repository [{}]", other.name("mine/app")));
    assert_eq!(lines.iter().filter(|line| line.ends_with(": Pushed")).count(), 3, "{lines:#?}");
    assert_eq!(*lines.last().expect("a line"), format!("v2: digest: {digest} size: {}", raw.len()));
    assert_eq!(digest_at(&store, &name), digest);
    let from = format!("docker://{name}");
    store.tool("skopeo", &["copy", "-q", "--src-tls-verify=false", &from, "oci:back:app"]);
    let again = store.call(&["push", &name]).succeeds();
    assert_eq!(again.stdout.matches(": Layer already exists").count(), 3, "{again:?}");
}

/// A store with the image as `source`, and the registry that it came from, which has gone.
fn scene_apart() -> (ImageStore, String) {
    let (store, registry) = scene();
    let name = registry.name("team/app:v1");
    store.call(&["tag", &name, "source"]).succeeds();
    store.call(&["rmi", &name]).succeeds();
    (store, name)
}

/// DIST-PUSH-02: blobs that another repository of the registry has are mounted, not sent.
#[test]
fn mounts_from_another_repository() {
    let (store, registry) = scene();
    let name = registry.name("other/app:v1");
    store.call(&["tag", &registry.name("team/app:v1"), &name]).succeeds();
    let pushed = store.call(&["push", &name]).succeeds();
    assert_eq!(pushed.stdout.matches(": Mounted from team/app").count(), 3, "{pushed:?}");
    assert_eq!(digest_at(&store, &name), layout_digest(&store));
}

/// DIST-PUSH-03: `-q` prints the name alone, `-a` pushes all tags, and without a tag `latest` is meant.
#[test]
fn pushes_all_tags() {
    let (store, _) = scene_apart();
    let registry = Registry::start(Protection::None);
    let name = registry.name("app");
    for tag in ["latest", "one"] {
        store.call(&["tag", "source", &format!("{name}:{tag}")]).succeeds();
    }
    let quiet = store.call(&["push", "-q", &name]).succeeds();
    assert_eq!(quiet.stdout, format!("{name}:latest\n"));
    let all = store.call(&["push", "-a", &name]).succeeds();
    assert!(all.stdout.contains("\nlatest: digest: sha256:"), "{all:?}");
    assert!(all.stdout.contains("\none: digest: sha256:"), "{all:?}");
    let listed =
        store.tool("skopeo", &["list-tags", "--tls-verify=false", &format!("docker://{name}")]);
    let mut tags: Vec<String> =
        serde_json::from_value(listed.json()["Tags"].clone()).expect("a list of tags");
    tags.sort();
    assert_eq!(tags, ["latest", "one"]);
    store.call(&["push", "-a", &format!("{name}:one")]).fails_naming(&["--all-tags"]);
    store.call(&["push", &registry.name("absent")]).fails_naming(&["absent:latest"]);
    let json = store.call(&["push", "--json", &name]).succeeds().json();
    assert_eq!(json["Digest"].as_str(), Some(layout_digest(&store).as_str()));
}

/// DIST-PUSH-04: over TLS with a password: refused without, taken after `login`.
#[test]
fn pushes_with_credentials() {
    let (store, _) = scene_apart();
    let registry = Registry::start(Protection::TlsAndPassword);
    let name = registry.name("private/app:v1");
    store.call(&["tag", "source", &name]).succeeds();
    let auth = store.beside("auth.json").display().to_string();
    let certificates = registry.certificates().display().to_string();
    let flags = ["--authfile", &auth, "--cert-dir", &certificates];
    let push = [&["push"], &flags[..], &[&name]].concat();
    store.call(&push).fails_naming(&["401", "private/app", "keel-image login"]);
    let server = registry.address();
    let login =
        [&["login", "-u", "ann", "-p", "sea:shell"], &flags[..], &[server.as_str()]].concat();
    store.call(&login).succeeds();
    store.call(&push).succeeds();
    let from = format!("docker://{name}");
    let inspect = [
        "inspect",
        "--tls-verify=false",
        "--creds",
        "ann:sea:shell",
        "--format",
        "{{.Digest}}",
        &from,
    ];
    assert_eq!(store.tool("skopeo", &inspect).stdout.trim(), layout_digest(&store));
}

/// DIST-PUSH-05: in chunks the same bytes arrive.
#[test]
fn pushes_in_chunks() {
    let (store, _) = scene_apart();
    let registry = Registry::start(Protection::None);
    let name = registry.name("app:chunks");
    store.call(&["tag", "source", &name]).succeeds();
    store.call(&["push", "--chunk-size=100000", &name]).succeeds();
    assert_eq!(digest_at(&store, &name), layout_digest(&store));
    let from = format!("docker://{name}");
    store.tool("skopeo", &["copy", "-q", "--src-tls-verify=false", &from, "oci:back:app"]);
}

/// DIST-PUSH-06: a blob that is damaged in the store is not taken for the registry's fault.
#[test]
fn names_a_damaged_blob() {
    let (store, _) = scene_apart();
    let registry = Registry::start(Protection::None);
    let name = registry.name("app:v1");
    store.call(&["tag", "source", &name]).succeeds();
    let blobs = fs::read_dir(store.path().join("blobs/sha256")).expect("blobs").flatten();
    let largest = blobs.max_by_key(|e| e.metadata().map_or(0, |m| m.len())).expect("a blob").path();
    let mut bytes = fs::read(&largest).expect("a blob");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&largest, bytes).expect("a file");
    let digest = largest.file_name().expect("a name").to_string_lossy().into_owned();
    store.call(&["push", &name]).fails_naming(&[&digest, "damaged"]);
    store.call(&["pull", &name]).fails_naming(&["404"]);
}

/// DIST-PUSH-07: an index for several platforms is pushed with all its images, or with `--platform` one of them alone;
/// skopeo takes all of it back.
#[test]
fn pushes_several_platforms() {
    let store = ImageStore::new();
    let digest = platforms_layout(&store);
    let registry = Registry::start(Protection::None);
    let name = registry.name("app:both");
    store.call(&["copy", "oci:layout:both", &name]).succeeds();
    let pushed = store.call(&["push", "--json", &name]).succeeds().json();
    assert_eq!(pushed["Digest"], digest.as_str());
    assert_eq!(pushed["NarrowedFrom"], serde_json::Value::Null);
    let from = format!("docker://{name}");
    store.tool("skopeo", &["copy", "-q", "--all", "--src-tls-verify=false", &from, "dir:all"]);
    let raw = |place: &str| {
        store.tool("skopeo", &["inspect", "--raw", "--tls-verify=false", place]).stdout
    };
    assert_eq!(raw("dir:all"), raw("oci:layout:both"));
    let only = registry.name("other:one");
    store.call(&["tag", &name, &only]).succeeds();
    let arm = if cfg!(target_arch = "aarch64") { "linux/amd64" } else { "linux/arm64" };
    store.call(&["push", "--platform", arm, &only]).succeeds();
    assert_eq!(raw(&format!("docker://{only}")), raw("oci:layout:arm"));
    let refused = store.call(&["push", "--platform", "linux/s390x", &only]);
    refused.fails_naming(&["linux/s390x", arm]);
}

/// DIST-PUSH-08: of an index of which the store has one image alone, that image is pushed and said to be; where the
/// repository has the rest, the index is.
#[test]
fn pushes_what_the_store_has_of_an_index() {
    let store = ImageStore::new();
    let digest = platforms_layout(&store);
    let (one, two) = (Registry::start(Protection::None), Registry::start(Protection::None));
    one.push(&format!("oci:{}:both", store.beside("layout").display()), "app:both");
    let pulled = one.name("app:both");
    store.call(&["pull", "-q", &pulled]).succeeds();
    let narrow = two.name("app:1");
    store.call(&["tag", &pulled, &narrow]).succeeds();
    let pushed = store.call(&["push", &narrow]).succeeds().stdout;
    assert!(pushed.contains(&format!("the store has not all images of {digest}")), "{pushed}");
    assert_eq!(digest_at(&store, &narrow), layout_digest(&store));
    let json = store.call(&["push", "--json", &narrow]).succeeds().json();
    assert_eq!(json["NarrowedFrom"], digest.as_str());
    let whole = one.name("app:again");
    store.call(&["tag", &pulled, &whole]).succeeds();
    let json = store.call(&["push", "--json", &whole]).succeeds().json();
    assert_eq!((&json["Digest"], &json["NarrowedFrom"]), (&digest.as_str().into(), &().into()));
}

/// DIST-PUSH-09: a registry behind a proxy that ends TLS names places of plain http; they are asked over TLS all the same,
/// with the credentials.
#[test]
fn stays_on_tls() {
    let (store, _) = scene_apart();
    let registry = Registry::start_unaware(Protection::TlsAndPassword);
    let name = registry.name("app:v1");
    store.call(&["tag", "source", &name]).succeeds();
    let certificates = registry.certificates().display().to_string();
    let flags = ["push", "--cert-dir", &certificates, "--creds", "ann:sea:shell"];
    let pushed = store.call(&[&flags[..], &[&name]].concat()).succeeds();
    assert_eq!(pushed.stdout.matches(": Pushed").count(), 3, "{pushed:?}");
    let place = format!("docker://{name}");
    let inspect = ["inspect", "--tls-verify=false", "--creds", "ann:sea:shell", "--raw", &place];
    let raw = store.tool("skopeo", &["inspect", "--raw", "oci:layout:app"]).stdout;
    assert_eq!(store.tool("skopeo", &inspect).stdout, raw);
}
