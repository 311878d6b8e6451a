//! Registries that fail while an image is pushed: what is gone on with, what begins anew, what is told.

use std::fs;

use keel_tests::{Fault, FaultyRegistry, Guard, ImageStore, Outcome, noisy_layout};

struct Scene {
    store: ImageStore,
    registry: FaultyRegistry,
    layers: Vec<String>,
}

impl Scene {
    /// A store that has pulled the image, and the registry, which has forgotten its blobs.
    fn new(sizes: &[usize]) -> Self {
        let store = ImageStore::new();
        let layers = noisy_layout(&store, sizes);
        let registry = FaultyRegistry::serve(&store.beside("layout"));
        store.call(&["pull", "-q", &registry.name("app:app")]).succeeds();
        registry.forget_blobs();
        Self { store, registry, layers }
    }

    fn push(&self) -> Outcome {
        self.push_with(&[])
    }

    fn push_with(&self, more: &[&str]) -> Outcome {
        let name = self.registry.name("app:app");
        let mut words = vec!["push", "--retry-delay=0.01", "--jobs=1"];
        words.extend(more);
        words.push(&name);
        self.store.call(&words)
    }

    fn blob(&self, digest: &str) -> Vec<u8> {
        let path = self.store.beside("layout/blobs").join(digest.replace(':', "/"));
        fs::read(path).expect("a blob")
    }

    /// The registry has got the layers and the manifest, and no upload is left open.
    #[track_caller]
    fn is_pushed(&self) {
        for layer in &self.layers {
            assert!(self.registry.received(layer) == Some(self.blob(layer)), "{layer}");
        }
        let manifest = self.store.tool("skopeo", &["inspect", "--raw", "oci:layout:app"]).stdout;
        assert_eq!(self.registry.received("app"), Some(manifest.into_bytes()));
        assert_eq!(self.registry.open_uploads(), 0);
    }

    /// The bytes of the bodies that came with a method.
    fn lines(&self, method: &str) -> Vec<String> {
        let seen = self.registry.seen().into_iter().map(|seen| seen.line);
        seen.filter(|line| line.starts_with(method)).collect()
    }
}

/// DIST-PUSH-10: an upload that was cut is gone on with from where the registry says it is.
#[test]
fn goes_on_with_a_cut_upload() {
    let scene = Scene::new(&[3_000_000]);
    scene.registry.fails("PUT /v2/app/blobs/uploads/1?", [Fault::CutRequestAt(700_000)]);
    scene.registry.fails("PATCH /v2/app/blobs/uploads/1?", [Fault::CutRequestAt(500_000)]);
    scene.push().succeeds();
    scene.is_pushed();
    let patches: Vec<_> = scene
        .registry
        .seen_of("PATCH")
        .iter()
        .map(|s| s.headers["content-range"].clone())
        .collect();
    let last = scene.blob(&scene.layers[0]).len() - 1;
    assert_eq!(patches, [format!("700000-{last}"), format!("1200000-{last}")]);
}

/// DIST-PUSH-11: an upload that the registry has forgotten begins anew; the old one is given back.
#[test]
fn begins_a_forgotten_upload_anew() {
    let scene = Scene::new(&[1_000_000]);
    scene.registry.fails("PUT /v2/app/blobs/uploads/1?", [Fault::CutRequestAt(700_000)]);
    scene
        .registry
        .fails("GET /v2/app/blobs/uploads/1?", [Fault::Status(404, Vec::new(), String::new())]);
    scene.push().succeeds();
    scene.is_pushed();
    assert_eq!(scene.lines("DELETE").len(), 1);
}

/// DIST-PUSH-12: a registry that knows the other repository mounts; one that does not answers with an upload,
/// which is used.
#[test]
fn uses_the_upload_in_place_of_a_mount() {
    let scene = Scene::new(&[100_000]);
    let name = scene.registry.name("app:app");
    let other = scene.registry.name("other:app");
    scene.store.call(&["tag", &name, &other]).succeeds();
    scene.push().succeeds();
    scene.is_pushed();
    let posts = scene.lines("POST");
    assert_eq!(posts.len(), 2, "{posts:?}");
    assert!(posts.iter().all(|line| line.ends_with("&from=other")), "{posts:?}");
    scene.registry.mounts_from("other");
    let pushed = scene.push().succeeds();
    assert!(pushed.stdout.contains(": Mounted from other"), "{pushed:?}");
}

/// DIST-PUSH-13: chunks are not smaller than the registry wants them.
#[test]
fn sends_chunks_as_large_as_wanted() {
    let scene = Scene::new(&[1_000_000]);
    scene.registry.wants_chunks_of(300_000);
    scene.push_with(&["--chunk-size=1000"]).succeeds();
    scene.is_pushed();
    assert_eq!(scene.lines("PATCH").len(), 4);
}

/// DIST-PUSH-14: 429 and 503 are tried again; 403 and 413 are told with the registry's words, and the upload is
/// given back.
#[test]
fn tries_again_and_tells() {
    let scene = Scene::new(&[100_000]);
    let wait = || vec![("Retry-After", "0".to_owned())];
    scene.registry.fails("POST", [Fault::Status(429, wait(), String::new())]);
    scene.registry.fails("PUT /v2/app/blobs/", [Fault::Status(503, wait(), String::new())]);
    scene.registry.fails("PUT /v2/app/manifests/", [Fault::Status(429, wait(), String::new())]);
    scene.push().succeeds();
    scene.is_pushed();
    let denied = r#"{"errors":[{"code":"DENIED","message":"the quota is used up"}]}"#;
    for (status, words) in [(403, ["403", "the quota is used up"]), (413, ["413", "--chunk-size"])]
    {
        scene.registry.fails("PUT", [Fault::Status(status, Vec::new(), denied.to_owned())]);
        scene.push().fails_naming(&words);
        assert_eq!(scene.registry.open_uploads(), 0);
    }
}

/// DIST-PUSH-15: one token permits reading and writing; one that is taken back in the middle is replaced.
#[test]
fn replaces_a_token_in_the_middle() {
    let scene = Scene::new(&[100_000, 50_000]);
    scene.registry.guard(Guard { uses: Some(4), ..Guard::default() });
    scene.push().succeeds();
    scene.is_pushed();
    let tokens = scene.registry.seen_of("/token");
    assert!(tokens.len() > 1, "{tokens:?}");
    assert!(tokens.iter().all(|seen| seen.line.contains("repository:app:pull,push")), "{tokens:?}");
}

/// DIST-PUSH-16: an upload that goes on at another host goes there without the registry's proof, and whatever that host asks
/// for, it gets none.
#[test]
fn sends_no_proof_to_another_host() {
    let scene = Scene::new(&[100_000]);
    scene.registry.guard(Guard { password: Some("ann:sea"), ..Guard::default() });
    let other = FaultyRegistry::serve(&scene.store.beside("layout"));
    let elsewhere = format!("http://{}/bucket/upload?signature=x", other.address());
    let taken = Fault::Status(201, Vec::new(), String::new());
    scene.registry.fails("POST", vec![Fault::Header("Location", elsewhere.clone()); 2]);
    other.fails("PUT /bucket/upload", vec![taken; 2]);
    let creds = ["--creds", "ann:sea"];
    scene.push_with(&creds).succeeds();
    let puts = other.seen_of("PUT /bucket/upload?signature=x&digest=sha256:");
    assert_eq!(puts.len(), 2, "{:?}", other.seen());
    assert!(other.seen().iter().all(|seen| !seen.headers.contains_key("authorization")));
    let own = scene.registry.seen_of("POST");
    assert!(own.iter().any(|seen| seen.headers.contains_key("authorization")));
    // One that asks for a proof is told of, and gets none either.
    let challenge = vec![("WWW-Authenticate", "Basic realm=\"x\"".to_owned())];
    scene.registry.fails("POST", vec![Fault::Header("Location", elsewhere); 2]);
    other.fails("PUT /bucket/upload", vec![Fault::Status(401, challenge, String::new()); 4]);
    scene.push_with(&creds).fails_naming(&["401", &other.address()]);
    assert!(other.seen().iter().all(|seen| !seen.headers.contains_key("authorization")));
}
