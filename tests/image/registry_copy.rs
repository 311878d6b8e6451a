//! `copy` between registries, and between a registry and every other place: byte for byte, as skopeo sees it.

use std::fs;

use keel_tests::{
    Fault, FaultyRegistry, ImageStore, Outcome, Protection, Registry, noisy_layout,
    platforms_layout,
};

/// The bytes of a manifest at a place, as skopeo reads them.
#[track_caller]
fn raw(store: &ImageStore, place: &str) -> String {
    store.tool("skopeo", &["inspect", "--raw", "--tls-verify=false", place]).stdout
}

fn docker(registry: &Registry, name: &str) -> String {
    format!("docker://{}", registry.name(name))
}

fn layout(store: &ImageStore, tag: &str) -> String {
    format!("oci:{}:{tag}", store.beside("layout").display())
}

/// DIST-COPY-01: an index with all its images, and one image of it, go from registry to registry and between a registry
/// and each other kind of place, and skopeo reads the same bytes there as before.
#[test]
fn no_byte_changes_between_registries() {
    let store = ImageStore::new();
    let digest = platforms_layout(&store);
    let (one, two) = (Registry::start(Protection::None), Registry::start(Protection::None));
    one.push(&layout(&store, "both"), "team/app:v1");
    let original = raw(&store, &docker(&one, "team/app:v1"));
    assert_eq!(original, raw(&store, &layout(&store, "both")), "skopeo has kept the bytes");
    let mut from = docker(&one, "team/app:v1");
    for place in [
        docker(&two, "mine/app:v2"),
        "oci:copied:x".to_owned(),
        docker(&two, "from/layout:1"),
        "oci-archive:copied.tar:x".to_owned(),
        docker(&two, "from/archive"),
        "dir:copied-dir".to_owned(),
        docker(&one, "from/directory:1"),
        "kept:1".to_owned(),
        docker(&two, "from/store:1"),
    ] {
        let copied = store.call(&["copy", &from, &place]).succeeds().stdout;
        assert_eq!(copied.trim(), digest, "{from} to {place}");
        if place.contains(':') && !place.starts_with("kept") {
            assert_eq!(raw(&store, &place), original, "{place}");
        }
        from = place;
    }
    // All of it is there: skopeo takes every image along.
    let last = docker(&two, "from/store:1");
    store.tool("skopeo", &["copy", "-q", "--all", "--src-tls-verify=false", &last, "dir:all"]);
    // The same as what skopeo itself copies.
    let by_skopeo = docker(&two, "by/skopeo:1");
    let tls = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    let words = [&["copy", "-q", "--all"], &tls[..], &[&from, &by_skopeo]].concat();
    store.tool("skopeo", &words);
    assert_eq!(raw(&store, &by_skopeo), original);
    let from = docker(&one, "team/app:v1");
    let only = docker(&two, "only/arm:1");
    let arm = if cfg!(target_arch = "aarch64") { "linux/amd64" } else { "linux/arm64" };
    store.call(&["copy", "--platform", arm, &from, &only]).succeeds();
    assert_eq!(raw(&store, &only), raw(&store, &layout(&store, "arm")));
    let named = format!("{}@{digest}", docker(&two, "by/digest"));
    store.call(&["copy", "-a", &from, &named]).succeeds();
    store.call(&["copy", &named, "oci:by-digest:x"]).succeeds();
    store.call(&["copy", "--platform", arm, &from, &named]).fails_naming(&["digest"]);
    store
        .call(&["copy", &docker(&one, "nosuch/app:1"), "x:1"])
        .fails_naming(&["404", "nosuch/app"]);
    store.call(&["run", "kept:1"]).succeeds();
}

/// DIST-COPY-02: what the destination has is not read, and what another repository of the same registry has is mounted:
/// only documents travel then.
#[test]
fn reads_only_what_is_missing() {
    let store = ImageStore::new();
    noisy_layout(&store, &[100_000, 200_000]);
    let source = FaultyRegistry::serve(&store.beside("layout"));
    let target = Registry::start(Protection::None);
    let from = format!("docker://{}", source.name("app:app"));
    let blobs = || source.seen_of("GET /v2/app/blobs/").len();
    store.call(&["copy", &from, &docker(&target, "app:1")]).succeeds();
    assert_eq!(blobs(), 3, "two layers and a configuration");
    store.call(&["copy", &from, &docker(&target, "app:2")]).succeeds();
    assert_eq!(blobs(), 3);
    // Within one registry that cannot even send blobs.
    source.forget_blobs();
    source.mounts_from("app");
    let to = format!("docker://{}", source.name("other/app:new"));
    store.call(&["copy", &from, &to]).succeeds();
    assert_eq!(source.seen_of("POST").len(), 3);
    assert!(source.seen_of("POST").iter().all(|seen| seen.line.contains("&from=app")));
    assert_eq!((blobs(), source.open_uploads()), (3, 0));
    let manifest = store.tool("skopeo", &["inspect", "--raw", "oci:layout:app"]).stdout;
    assert_eq!(source.received("new"), Some(manifest.into_bytes()));
    // docker-registry does so, too.
    store.call(&["copy", &docker(&target, "app:1"), &docker(&target, "other:1")]).succeeds();
    assert_eq!(raw(&store, &docker(&target, "other:1")), raw(&store, &docker(&target, "app:1")));
}

/// DIST-COPY-03: either side has credentials, certificates and TLS of its own, by flags or by files; what is for one
/// side is not used at the other.
#[test]
fn has_credentials_for_both_sides() {
    let store = ImageStore::new();
    noisy_layout(&store, &[10_000]);
    let (one, two) =
        (Registry::start(Protection::TlsAndPassword), Registry::start(Protection::TlsAndPassword));
    one.push(&layout(&store, "app"), "app:1");
    let (from, to) = (docker(&one, "app:1"), docker(&two, "app:1"));
    let certificates = two.certificates().display().to_string();
    let copy = |flags: &[&str]| -> Outcome {
        store.call(&[&["copy", "--retry=0"], flags, &[&from, &to]].concat())
    };
    let authority = ["--src-tls-verify=false", "--dest-cert-dir", &certificates];
    let creds = ["--src-creds", "ann:sea:shell", "--dest-creds", "ann:sea:shell"];
    copy(&authority).fails_naming(&["401", &one.address()]);
    copy(&[&authority[..], &creds[..2]].concat()).fails_naming(&["401", &two.address()]);
    copy(&[&authority[..], &creds[2..]].concat()).fails_naming(&["401", &one.address()]);
    copy(&creds).fails_naming(&["unknown authority"]);
    copy(&[&["--dest-tls-verify=false"], &creds[..]].concat()).fails_naming(&[&one.address()]);
    copy(&[&authority[..], &creds[..]].concat()).succeeds();
    copy(&["--tls-verify=false", "--src-creds=ann", "--dest-no-creds"])
        .fails_naming(&["no password"]);
    let inspect = ["inspect", "--raw", "--tls-verify=false", "--creds", "ann:sea:shell", &to];
    let manifest = store.tool("skopeo", &["inspect", "--raw", "oci:layout:app"]).stdout;
    assert_eq!(store.tool("skopeo", &inspect).stdout, manifest);
    // By a file of one side.
    let auth = store.beside("auth.json").display().to_string();
    let address = one.address();
    let login =
        ["login", "--authfile", &auth, "--tls-verify=false", "-u", "ann", "-p", "sea:shell"];
    store.call(&[&login[..], &[&address]].concat()).succeeds();
    let flags = ["--tls-verify=false", "--src-authfile", &auth, "--dest-creds", "ann:sea:shell"];
    copy(&flags).succeeds();
    store
        .call(&["pull", "-q", "--tls-verify=false", "--creds", "ann:sea:shell", &one.name("app:1")])
        .succeeds();
}

/// DIST-COPY-04: a source whose connections end is gone on with by ranges, and an upload that was cut goes on too:
/// the right bytes arrive.
#[test]
fn goes_on_after_cuts_at_both_ends() {
    let store = ImageStore::new();
    let layers = noisy_layout(&store, &[3_000_000]);
    let source = FaultyRegistry::serve(&store.beside("layout"));
    let target = FaultyRegistry::serve(&store.beside("layout"));
    target.forget_blobs();
    source.fails(&layers[0], [Fault::CutAt(1_000_000), Fault::CutAt(700_000)]);
    // The layer comes before the configuration.
    target.fails("PUT /v2/app/blobs/uploads/1?", [Fault::CutRequestAt(2_500_000)]);
    let from = format!("docker://{}", source.name("app:app"));
    let to = format!("docker://{}", target.name("app:new"));
    store.call(&["copy", "--jobs=1", "--retry-delay=0.01", &from, &to]).succeeds();
    let patches = target.seen_of("PATCH");
    assert!(patches[0].headers["content-range"].starts_with("2500000-"), "{patches:?}");
    let path = store.beside("layout/blobs").join(layers[0].replace(':', "/"));
    let bytes = fs::read(path).expect("a blob");
    assert!(target.received(&layers[0]) == Some(bytes), "the layer");
    assert_eq!(target.open_uploads(), 0);
    let ranges: Vec<String> = source
        .seen_of(&format!("blobs/{}", layers[0]))
        .iter()
        .filter_map(|seen| seen.headers.get("range").cloned())
        .collect();
    assert_eq!(ranges[..2], ["bytes=1000000-", "bytes=1700000-"]);
    // One that always ends is given up.
    source.fails(&layers[0], vec![Fault::CutAt(10); 20]);
    let target = Registry::start(Protection::None);
    let to = docker(&target, "app:1");
    store
        .call(&["copy", "--retry-delay=0.01", &from, &to])
        .fails_naming(&[&layers[0], "bytes came"]);
    store.call(&["copy", &to, "x:1"]).fails_naming(&["404"]);
}

/// DIST-COPY-05: a blob that is damaged or missing at its source is named, the destination never has all of it, and no
/// image appears there.
#[test]
fn damage_does_not_arrive() {
    let store = ImageStore::new();
    let layers = noisy_layout(&store, &[300_000, 400_000]);
    let source = FaultyRegistry::serve(&store.beside("layout"));
    let target = Registry::start(Protection::None);
    let (from, to) = (format!("docker://{}", source.name("app:app")), docker(&target, "app:1"));
    let path = store.beside("layout/blobs").join(layers[1].replace(':', "/"));
    let good = fs::read(&path).expect("a blob");
    let mut flipped = good.clone();
    flipped[200_000] ^= 1;
    for bytes in [flipped, good[1..].to_vec(), [&good[..], b"x"].concat()] {
        source.fails(&format!("GET /v2/app/blobs/{}", layers[1]), [Fault::Bytes(bytes)]);
        let hex = layers[1].trim_start_matches("sha256:");
        store.call(&["copy", "--retry=0", &from, &to]).fails_naming(&[hex]);
        store.call(&["copy", "--retry=0", &to, "x:1"]).fails_naming(&["404"]);
    }
    let gone = Fault::Status(404, Vec::new(), String::new());
    source.fails(&format!("GET /v2/app/blobs/{}", layers[1]), [gone]);
    store.call(&["copy", &from, &to]).fails_naming(&[&layers[1], "missing"]);
    store.call(&["copy", &from, &to]).succeeds();
    let manifest = store.tool("skopeo", &["inspect", "--raw", "oci:layout:app"]).stdout;
    assert_eq!(raw(&store, &to), manifest);
}
