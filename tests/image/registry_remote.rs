//! `remote`: what registries have, looked at and deleted without fetching an image; skopeo says the same.

use keel_tests::{
    Fault, FaultyRegistry, Guard, ImageStore, Protection, Registry, busybox_layout, noisy_layout,
    platforms_layout,
};

fn layout(store: &ImageStore, tag: &str) -> String {
    format!("oci:{}:{tag}", store.beside("layout").display())
}

/// DIST-TAGS-02: `remote tags` lists what skopeo lists, page by page; a page that breaks off is asked for again, and one
/// that leads back to itself is refused.
#[test]
fn lists_tags() {
    let store = ImageStore::new();
    busybox_layout(&store);
    let registry = Registry::start(Protection::None);
    for tag in ["v1", "v2", "latest"] {
        registry.push(&layout(&store, "app"), &format!("team/app:{tag}"));
    }
    let name = registry.name("team/app");
    let place = format!("docker://{name}");
    let listed = store.tool("skopeo", &["list-tags", "--tls-verify=false", &place]).json();
    let own = store.call(&["remote", "tags", "--json", &place]).succeeds().json();
    assert_eq!(own, listed);
    let lines = store.call(&["remote", "ls", &name]).succeeds().stdout;
    let tags: Vec<&str> =
        listed["Tags"].as_array().expect("a list").iter().filter_map(|t| t.as_str()).collect();
    assert_eq!(lines.lines().collect::<Vec<_>>(), tags);
    store.call(&["remote", "tags", &registry.name("nosuch")]).fails_naming(&["404", "nosuch"]);

    for tag in ["b", "c"] {
        store.tool("umoci", &["tag", "--image", "layout:app", tag]);
    }
    let paged = FaultyRegistry::serve(&store.beside("layout"));
    let name = paged.name("app");
    let words = ["remote", "tags", "--retry-delay=0.01", &name];
    paged.fails("last=b", [Fault::CutAt(5), Fault::SilentAt(9), Fault::None]);
    let timeout = [&words[..3], &["--timeout=1", &name]].concat();
    assert_eq!(store.call(&timeout).succeeds().stdout, "app\nb\nc\n");
    assert_eq!(paged.seen_of("tags/list?n=1&last=b").len(), 3);
    for link in ["</v2/app/tags/list?n=1&last=b>; rel=next", "<http://127.0.0.2/x>; rel=next"] {
        paged.fails("last=b", [Fault::Header("Link", link.to_owned())]);
        store.call(&words).fails_naming(&["tags/list", "next"]);
    }
    paged.fails("tags/list", [Fault::Bytes(br#"["app", ["x"]]"#.to_vec())]);
    store.call(&["remote", "tags", "--retry=0", &name]).fails_naming(&["no list of tags"]);
}

/// DIST-CATALOG-01: `remote catalog` lists the repositories of a registry, page by page, with the token for it; one that does
/// not tell is named.
#[test]
fn lists_repositories() {
    let store = ImageStore::new();
    noisy_layout(&store, &[1000]);
    let registry = Registry::start(Protection::Password);
    for name in ["b/app:1", "a:1"] {
        registry.push(&layout(&store, "app"), name);
    }
    let creds = ["remote", "catalog", "--creds", "ann:sea:shell"];
    let address = registry.address();
    let listed = store.call(&[&creds[..], &[&address]].concat()).succeeds();
    assert_eq!(listed.stdout, "a\nb/app\n");
    store.call(&["remote", "catalog", "--no-creds", &address]).fails_naming(&["401"]);
    let paged = FaultyRegistry::serve(&store.beside("layout"));
    paged.guard(Guard::default());
    paged.fails("_catalog?n=2", [Fault::CutAt(5)]);
    let address = paged.address();
    let all = ["remote", "catalog", "--json", "--retry-delay=0.01", &address];
    let json = store.call(&all).succeeds().json();
    assert_eq!(json["Repositories"], serde_json::json!(["one/app", "three", "two"]));
    assert!(paged.seen_of("/token").iter().all(|s| s.line.contains("registry:catalog:%2A")));
    paged.fails("_catalog", [Fault::Status(404, Vec::new(), String::new())]);
    store.call(&["remote", "catalog", &address]).fails_naming(&["404", &address]);
}

/// DIST-INSPECT-01: `remote inspect --raw` and `--config` print what skopeo prints, byte for byte; without them what a name
/// stands for, with all platforms of an index.
#[test]
fn inspects_without_fetching() {
    let store = ImageStore::new();
    let digest = platforms_layout(&store);
    let registry = Registry::start(Protection::None);
    registry.push(&layout(&store, "both"), "app:both");
    registry.push(&layout(&store, "app"), "app:one");
    for tag in ["both", "one"] {
        let name = registry.name(&format!("app:{tag}"));
        let place = format!("docker://{name}");
        let skopeo = |flags: &[&str]| {
            let words = [&["inspect", "--tls-verify=false"], flags, &[&place]].concat();
            store.tool("skopeo", &words).stdout
        };
        let own = |flags: &[&str]| {
            let words = [&["remote", "inspect"], flags, &[&name]].concat();
            store.call(&words).succeeds().stdout
        };
        assert_eq!(own(&["--raw"]), skopeo(&["--raw"]));
        assert_eq!(own(&["--raw", "--config"]), skopeo(&["--raw", "--config"]));
        let json = |text: String| serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
        assert_eq!(json(own(&["--config"])), json(own(&["--raw", "--config"])));
        let (own, by_skopeo) = (json(own(&[])), json(skopeo(&["--no-tags"])));
        for property in ["Name", "Architecture", "Os", "Layers", "Env"] {
            assert_eq!(own[property], by_skopeo[property], "{tag} {property}");
        }
        assert_eq!(own["Digest"], by_skopeo["Digest"], "{tag}");
    }
    let both = registry.name("app:both");
    let inspect = |flags: &[&str]| {
        let words = [&["remote", "inspect"], flags, &[&both]].concat();
        store.call(&words)
    };
    assert_eq!(inspect(&["-f", "{{.Digest}}"]).succeeds().stdout.trim(), digest);
    let other = if cfg!(target_arch = "aarch64") { "amd64" } else { "arm64" };
    let shown = inspect(&["--platform", other]).succeeds().json();
    assert_eq!(
        (&shown["Architecture"], shown["Manifests"].as_array().map(Vec::len)),
        (&other.into(), Some(2))
    );
    let arm = store.tool("skopeo", &["inspect", "--raw", "oci:layout:arm"]).stdout;
    assert_eq!(inspect(&["--raw", "--platform", other]).succeeds().stdout, arm);
    inspect(&["--platform", "linux/s390x"]).fails_naming(&["linux/s390x", other]);
    assert!(!store.path().exists(), "no store was made");
}

/// DIST-DELETE-01: a manifest is deleted by its digest, or with `--manifest` by one of its tags, and is gone for skopeo; a
/// tag alone where the registry does that.
#[test]
fn deletes() {
    let store = ImageStore::new();
    platforms_layout(&store);
    let registry = Registry::start(Protection::None);
    registry.push(&layout(&store, "app"), "app:one");
    registry.push(&layout(&store, "app"), "app:two");
    registry.push(&layout(&store, "arm"), "app:arm");
    let name = registry.name("app");
    let one = format!("{name}:one");
    let tagless = store.call(&["remote", "delete", &one]);
    tagless.fails_naming(&["400", "--manifest"]);
    let digest = store.call(&["remote", "inspect", "-f", "{{.Digest}}", &one]).succeeds().stdout;
    let gone = store.call(&["remote", "delete", "--manifest", &one]).succeeds();
    assert_eq!(gone.stdout, format!("Deleted: {name}@{}\n", digest.trim()));
    for tag in ["one", "two"] {
        let words = ["remote", "inspect", &format!("{name}:{tag}")];
        store.call(&words).fails_naming(&["404", "MANIFEST_UNKNOWN"]);
    }
    let arm = format!("{name}:arm");
    let digest = store.call(&["remote", "inspect", "-f", "{{.Digest}}", &arm]).succeeds().stdout;
    let by_digest = format!("docker://{name}@{}", digest.trim());
    let json = store.call(&["remote", "rm", "--json", &by_digest]).succeeds().json();
    assert_eq!(json[0]["Deleted"], by_digest.trim_start_matches("docker://"));
    store.call(&["remote", "delete", &by_digest]).fails_naming(&["404"]);
    let raw = ["inspect", "--raw", "--tls-verify=false", &format!("docker://{arm}")];
    let mut skopeo = std::process::Command::new("skopeo");
    assert_ne!(
        store
            .finish({
                skopeo.args(raw);
                skopeo
            })
            .status,
        0
    );
    // A registry that deletes tags.
    let other = FaultyRegistry::serve(&store.beside("layout"));
    let untagged = store.call(&["remote", "delete", &other.name("app:arm")]).succeeds();
    assert_eq!(untagged.stdout, format!("Untagged: {}\n", other.name("app:arm")));
    assert_eq!(other.seen_of("DELETE")[0].line, "DELETE /v2/app/manifests/arm");
}

/// DIST-DELETE-02: a registry that refuses is told with its words and what may help; nothing is deleted that was not
/// named.
#[test]
fn tells_why_nothing_is_deleted() {
    let store = ImageStore::new();
    noisy_layout(&store, &[1000]);
    let registry = FaultyRegistry::serve(&store.beside("layout"));
    registry.guard(Guard::default());
    registry.forbids_deletion();
    let name = registry.name("app");
    store.call(&["remote", "delete", &name]).fails_naming(&["NAME:TAG"]);
    assert!(registry.seen().is_empty());
    let tagged = format!("{name}:app");
    store.call(&["remote", "delete", &tagged]).fails_naming(&["405", "unsupported", "--manifest"]);
    let with_manifest = store.call(&["remote", "delete", "--manifest", &tagged]);
    with_manifest.fails_naming(&["405", "storage.delete.enabled"]);
    let tokens = registry.seen_of("/token");
    assert!(tokens.iter().any(|seen| seen.line.contains("delete")), "{tokens:?}");
    store.call(&["remote", "delete", &format!("{name}:nosuch")]).fails_naming(&["nosuch"]);
    store.call(&["remote", "inspect", &tagged]).succeeds();
}
