//! What is about an image at a registry: listed by registries that do, and under a tag at those that do not.

use std::fs;

use keel_tests::{
    Fault, FaultyRegistry, ImageStore, Outcome, Protection, Registry, digest, noisy_layout,
    put_blob,
};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A store beside the layout with the image `app`; the image's digest and size.
fn scene() -> (ImageStore, String, usize) {
    let store = ImageStore::new();
    noisy_layout(&store, &[1000]);
    let raw = store.tool("skopeo", &["inspect", "--raw", "oci:layout:app"]).stdout;
    (store, digest(raw.as_bytes()), raw.len())
}

/// Puts an artifact of a kind about a manifest into the layout, under the tag `kind`; its digest.
fn artifact(store: &ImageStore, kind: &str, about: (&str, usize)) -> String {
    let empty = put_blob(store, b"{}");
    let content = put_blob(store, kind.as_bytes());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": format!("application/{kind}"),
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2 },
        "layers": [{ "mediaType": "text/plain", "digest": content, "size": kind.len() }],
        "subject": { "mediaType": MANIFEST, "digest": about.0, "size": about.1 },
        "annotations": { "made.of": kind },
    })
    .to_string();
    let digest = put_blob(store, manifest.as_bytes());
    let path = store.beside("layout/index.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
    index["manifests"].as_array_mut().expect("a list").push(json!({
        "mediaType": MANIFEST, "digest": digest, "size": manifest.len(),
        "annotations": { "org.opencontainers.image.ref.name": kind },
    }));
    fs::write(path, index.to_string()).expect("a file");
    digest
}

#[track_caller]
fn copy(store: &ImageStore, tag: &str, to: &str) -> Outcome {
    store.call(&[
        "copy",
        "--retry-delay=0.01",
        &format!("oci:layout:{tag}"),
        &format!("docker://{to}"),
    ])
}

#[track_caller]
fn listed(store: &ImageStore, words: &[&str]) -> Vec<String> {
    let json = store.call(&[&["remote", "referrers", "--json"], words].concat()).succeeds().json();
    let list = json["Referrers"].as_array().cloned().expect("a list");
    let mut digests: Vec<String> =
        list.iter().map(|entry| entry["digest"].as_str().expect("a digest").to_owned()).collect();
    digests.sort();
    digests
}

fn sorted(digests: &[&String]) -> Vec<String> {
    let mut digests: Vec<String> = digests.iter().map(|digest| (*digest).clone()).collect();
    digests.sort();
    digests
}

/// DIST-REFERRERS-01: at a registry without the list (Debian's) an artifact that is pushed is entered in the index under the
/// tag of its subject once, with its kind and texts; what is deleted leaves it.
#[test]
fn keeps_the_list_under_a_tag() {
    let (store, subject, size) = scene();
    let registry = Registry::start(Protection::None);
    registry.push(&format!("oci:{}:app", store.beside("layout").display()), "app:1");
    let name = registry.name("app:1");
    assert!(listed(&store, &[&name]).is_empty());
    let signature = artifact(&store, "signature", (&subject, size));
    let parts = artifact(&store, "parts", (&subject, size));
    copy(&store, "signature", &registry.name("app:sig")).succeeds();
    let under_tag = registry.name(&format!("app:{}", subject.replace(':', "-")));
    let raw = ["inspect", "--raw", "--tls-verify=false", &format!("docker://{under_tag}")];
    let index = store.tool("skopeo", &raw).json();
    assert_eq!(index["mediaType"], INDEX);
    let entry = &index["manifests"][0];
    assert_eq!(entry["digest"], signature.as_str());
    assert_eq!(entry["artifactType"], "application/signature");
    assert_eq!(entry["annotations"], json!({ "made.of": "signature" }));
    // By push, too, and a second time.
    store.call(&["copy", "oci:layout:app", "x:1"]).succeeds();
    copy(&store, "parts", &registry.name("app:parts")).succeeds();
    copy(&store, "parts", &registry.name("app:parts-again")).succeeds();
    assert_eq!(listed(&store, &[&name]), sorted(&[&signature, &parts]));
    let by_digest = format!("{}@{subject}", registry.name("app"));
    let only = listed(&store, &["--artifact-type", "application/parts", &by_digest]);
    assert_eq!(only, std::slice::from_ref(&parts));
    let table = store.call(&["remote", "discover", &name]).succeeds().stdout;
    assert!(table.contains("application/signature") && table.starts_with("DIGEST"), "{table}");
    let gone = format!("{}@{signature}", registry.name("app"));
    store.call(&["remote", "delete", &gone]).succeeds();
    assert_eq!(listed(&store, &[&name]), [parts]);
    store.call(&["remote", "referrers", &registry.name("app:nosuch")]).fails_naming(&["404"]);
}

/// DIST-REFERRERS-02: a registry that keeps the list says so with `OCI-Subject`, and no tag is written; all pages of its
/// list are read, and filtered where it does not.
#[test]
fn reads_the_registrys_own_list() {
    let (store, subject, size) = scene();
    let kinds = ["one", "two", "three"];
    let digests: Vec<String> =
        kinds.iter().map(|kind| artifact(&store, kind, (&subject, size))).collect();
    let registry = FaultyRegistry::serve(&store.beside("layout"));
    registry.lists_referrers();
    for kind in kinds {
        copy(&store, kind, &registry.name(&format!("app:{kind}"))).succeeds();
    }
    let tag = subject.replace(':', "-");
    assert!(registry.seen_of(&tag).is_empty(), "the tag is not needed");
    let name = registry.name("app:app");
    registry.fails("page=1", [Fault::CutAt(20)]);
    let words = ["--retry-delay=0.01", &name];
    assert_eq!(listed(&store, &words), sorted(&digests.iter().collect::<Vec<_>>()));
    let filtered = listed(&store, &["--artifact-type", "application/two", &name]);
    assert_eq!(filtered, [digests[1].clone()]);
    assert!(!registry.seen_of("artifactType=application/two").is_empty());
    // What is deleted there leaves the list by the registry's own doing.
    store
        .call(&["remote", "delete", &format!("{}@{}", registry.name("app"), digests[0])])
        .succeeds();
    assert_eq!(listed(&store, &[&name]).len(), 2);
    assert!(registry.seen_of(&tag).is_empty());
    registry.fails("referrers/", [Fault::Status(500, Vec::new(), String::new())]);
    store.call(&["remote", "referrers", "--retry=0", &name]).fails_naming(&["500"]);
}

/// DIST-REFERRERS-03: several who write the list under the tag at the same time lose nothing where the registry minds
/// conditions; what stands there and is no list is left alone.
#[test]
fn loses_no_entry_of_others() {
    let (store, subject, size) = scene();
    let kinds = ["one", "two", "three", "four"];
    let digests: Vec<String> =
        kinds.iter().map(|kind| artifact(&store, kind, (&subject, size))).collect();
    let registry = FaultyRegistry::serve(&store.beside("layout"));
    let tag = subject.replace(':', "-");
    let put = format!("PUT /v2/app/manifests/{tag}");
    registry.fails(&put, [Fault::Status(412, Vec::new(), String::new())]);
    std::thread::scope(|scope| {
        for kind in kinds {
            let (store, to) = (&store, registry.name(&format!("app:{kind}")));
            let words = ["copy".to_owned(), format!("oci:layout:{kind}"), format!("docker://{to}")];
            let mut command = store.command(&words);
            scope.spawn(move || {
                // The harness's streams are one command's at a time.
                let output = command.output().expect("keel-image");
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{said}");
            });
        }
    });
    let name = registry.name("app:app");
    assert_eq!(listed(&store, &[&name]), sorted(&digests.iter().collect::<Vec<_>>()));
    let conditions = registry.seen_of(&put);
    let has = |name: &str| conditions.iter().any(|seen| seen.headers.contains_key(name));
    assert!(has("if-match") && has("if-none-match"), "{conditions:?}");
    // An image that somebody has given that tag.
    let registry = FaultyRegistry::serve(&store.beside("layout"));
    let squatter = registry.name(&format!("app:{tag}"));
    copy(&store, "app", &squatter).succeeds();
    copy(&store, "one", &registry.name("app:one")).fails_naming(&[&tag]);
    let now = registry.received(&tag).expect("an image");
    assert_eq!(digest(&now), subject);
}
