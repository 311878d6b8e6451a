//! Registries that fail: what is tried again, what is refused by name, and what a killed pull leaves to the next.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use keel_tests::{
    Child, Fault, FaultyRegistry, ImageStore, Outcome, eventually, listing, noisy_layout,
};

const MIB: u64 = 1 << 20;

struct Scene {
    store: ImageStore,
    registry: FaultyRegistry,
    layers: Vec<String>,
}

impl Scene {
    fn new(sizes: &[usize]) -> Self {
        let store = ImageStore::new();
        let layers = noisy_layout(&store, sizes);
        let registry = FaultyRegistry::serve(&store.beside("layout"));
        Self { store, registry, layers }
    }

    fn pull(&self) -> Outcome {
        self.pull_with(&[])
    }

    fn pull_with(&self, more: &[&str]) -> Outcome {
        let name = self.registry.name("app:app");
        let mut words = vec!["pull", "-q", "--retry-delay=0.01"];
        words.extend(more);
        words.push(&name);
        self.store.call(&words)
    }

    fn blob(&self, digest: &str) -> PathBuf {
        self.store.beside("layout/blobs").join(digest.replace(':', "/"))
    }

    fn size(&self, digest: &str) -> u64 {
        fs::metadata(self.blob(digest)).expect("a blob").len()
    }

    /// The pull fails with these words, and nothing of the image is visible.
    #[track_caller]
    fn refuses(&self, words: &[&str]) {
        self.pull().fails_naming(words);
        let left = listing(&self.store.path());
        let visible =
            |line: &String| line.starts_with("blobs/sha256/") || line.starts_with("layers/");
        assert!(!left.iter().any(visible), "{left:#?}");
        assert!(self.store.call(&["images", "-q"]).succeeds().stdout.is_empty());
    }
}

/// A command whose words are nobody's.
fn silent(mut command: Command) -> Command {
    command.stdout(Stdio::null());
    command
}

/// DIST-RETRY-01: refusals that pass are tried again, after the time that the server asks for.
#[test]
fn tries_again_when_refused() {
    let scene = Scene::new(&[1000]);
    let wait = || vec![("Retry-After", "0".to_owned())];
    let faults = [
        Fault::Status(503, wait(), String::new()),
        Fault::Status(429, wait(), String::new()),
        Fault::Status(408, Vec::new(), String::new()),
        Fault::Status(502, Vec::new(), String::new()),
    ];
    scene.registry.fails("manifests/", faults.clone());
    scene.registry.fails(&scene.layers[0], faults);
    scene.pull().succeeds();
    assert_eq!(scene.registry.seen_of("manifests/app").len(), 5);
    assert_eq!(scene.registry.seen_of(&scene.layers[0]).len(), 5);
    // Answers whose head alone comes; and what does not pass is asked for as often as was said.
    fs::remove_dir_all(scene.store.path()).expect("a store");
    scene.registry.fails("manifests/", [Fault::CutAt(100), Fault::CutAt(0)]);
    scene.pull().succeeds();
    fs::remove_dir_all(scene.store.path()).expect("a store");
    let before = scene.registry.seen_of("manifests/").len();
    scene.registry.fails("manifests/", vec![Fault::Status(503, Vec::new(), String::new()); 9]);
    scene.pull_with(&["--retry=2"]).fails_naming(&["503", "manifests/app"]);
    assert_eq!(scene.registry.seen_of("manifests/").len() - before, 3);
}

/// DIST-RETRY-02: what does not pass is not tried again, and a limit of the rate is told with what the registry says about it.
#[test]
fn tells_a_limit_of_the_rate() {
    let scene = Scene::new(&[1000]);
    let limits = vec![
        ("Retry-After", "3600".to_owned()),
        ("RateLimit-Limit", "100;w=21600".to_owned()),
        ("RateLimit-Remaining", "0;w=21600".to_owned()),
    ];
    let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"you have reached your limit"}]}"#;
    scene.registry.fails("manifests/", [Fault::Status(429, limits, body.to_owned())]);
    scene.refuses(&[
        "429",
        "TOOMANYREQUESTS",
        "0 of 100 requests within 21600 s",
        "3600 s",
        "login",
    ]);
    scene.registry.fails("manifests/", [Fault::Status(403, Vec::new(), String::new())]);
    scene.refuses(&["403", "manifests/app"]);
    assert_eq!(scene.registry.seen_of("manifests/app").len(), 2);
}

/// DIST-RETRY-03: a connection that ends in the middle is gone on with from where it ended, once and again.
#[test]
fn goes_on_where_a_connection_ended() {
    let scene = Scene::new(&[3_000_000]);
    let layer = &scene.layers[0];
    scene.registry.fails(layer, [Fault::CutAt(700_000), Fault::CutAt(700_000), Fault::CutAt(1)]);
    scene.pull().succeeds();
    assert_eq!(scene.registry.sent(layer), scene.size(layer), "no byte came twice");
    let ranges: Vec<_> =
        scene.registry.seen_of(layer).iter().map(|s| s.headers.get("range").cloned()).collect();
    assert_eq!(ranges[1].as_deref(), Some("bytes=700000-"), "{ranges:?}");
    assert_eq!(ranges.len(), 4);
}

/// DIST-RETRY-04: a server that knows no ranges sends all again, and what is there already is passed over.
#[test]
fn does_without_ranges() {
    let scene = Scene::new(&[3_000_000]);
    let layer = &scene.layers[0];
    scene.registry.fails(layer, [Fault::CutAt(700_000), Fault::WithoutRange]);
    scene.pull().succeeds();
    assert_eq!(scene.registry.sent(layer), scene.size(layer) + 700_000);
}

/// DIST-RETRY-05: a blob that has another entity tag meanwhile is not put together from two states.
#[test]
fn does_not_mix_two_states() {
    let scene = Scene::new(&[3_000_000]);
    let layer = &scene.layers[0];
    scene.registry.fails(layer, [Fault::CutAt(700_000)]);
    scene.registry.fails(layer, [Fault::Header("ETag", "\"other\"".to_owned())]);
    scene.pull().succeeds();
    let seen = scene.registry.seen_of(layer);
    assert_eq!(seen[1].headers["if-range"], format!("\"{layer}\""));
}

/// DIST-RETRY-06: a server that is silent is left, and gone on with.
#[test]
fn leaves_a_silent_server() {
    let scene = Scene::new(&[1_000_000]);
    scene.registry.fails(&scene.layers[0], [Fault::SilentAt(300_000)]);
    scene.pull_with(&["--timeout=1"]).succeeds();
    scene.registry.fails("manifests/", [Fault::SilentAt(10), Fault::SilentAt(10)]);
    fs::remove_dir_all(scene.store.path()).expect("a store");
    scene.pull_with(&["--timeout=1", "--retry=1"]).fails_naming(&["manifests/app", "timed out"]);
}

/// DIST-RETRY-07: a connection that always ends is given up, and the error says how far it came.
#[test]
fn gives_up_at_last() {
    let scene = Scene::new(&[1_000_000]);
    let layer = &scene.layers[0];
    scene.registry.fails(layer, vec![Fault::CutAt(1000); 4]);
    scene.pull_with(&["--retry=3"]).fails_naming(&[layer, "4000 of", "4 attempts"]);
    // What came is kept.
    scene.pull().succeeds();
    assert_eq!(scene.registry.sent(layer), scene.size(layer));
}

/// DIST-BAD-01: a blob with other bytes, too few or too many, is refused by its digest, whichever it is.
#[test]
fn refuses_altered_blobs_by_name() {
    let scene = Scene::new(&[200_000, 1000]);
    let mut blobs = scene.layers.clone();
    let config = scene.store.tool("skopeo", &["inspect", "--raw", "oci:layout:app"]).json();
    blobs.push(config["config"]["digest"].as_str().expect("a digest").to_owned());
    for blob in &blobs {
        let whole = fs::read(scene.blob(blob)).expect("a blob");
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        let short = whole[..whole.len() - 1].to_vec();
        let long = [whole.as_slice(), b"x"].concat();
        for bytes in [flipped, short, long] {
            scene.registry.fails(&format!("blobs/{blob}"), [Fault::Bytes(bytes)]);
            scene.refuses(&[blob, "app@sha256:"]);
            // What came of the others need not come again.
            fs::remove_dir_all(scene.store.path()).expect("a store");
        }
    }
    scene.pull().succeeds();
}

/// DIST-BAD-02: a manifest that is altered, cut short or of another kind than it says is refused (CVE-2021-41190).
#[test]
fn refuses_altered_manifests() {
    let scene = Scene::new(&[1000]);
    let whole = scene.store.tool("skopeo", &["inspect", "--raw", "oci:layout:app"]).stdout;
    let digest =
        scene.store.tool("skopeo", &["inspect", "--format", "{{.Digest}}", "oci:layout:app"]);
    let digest = digest.stdout.trim();
    let cut = whole.as_bytes()[..whole.len() / 2].to_vec();
    for bytes in [cut, whole.replacen('{', "{ ", 1).into_bytes()] {
        scene.registry.fails("manifests/", [Fault::Bytes(bytes)]);
        scene.refuses(&["app:app", digest]);
    }
    let index = "application/vnd.oci.image.index.v1+json";
    scene.registry.fails("manifests/", [Fault::Header("Content-Type", index.to_owned())]);
    scene.refuses(&["app:app", index]);
    let schema1 = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    scene.registry.fails("manifests/", [Fault::Header("Content-Type", schema1.to_owned())]);
    scene.refuses(&["image is Docker schema 1, re-push with a tool newer than 2017"]);
    scene.registry.fails("manifests/", [Fault::Bytes(vec![b' '; 5 << 20])]);
    scene.refuses(&["4194304 bytes"]);
}

/// DIST-BAD-03: redirections are followed for a while, to http and https only.
#[test]
fn follows_no_endless_redirection() {
    let scene = Scene::new(&[1000]);
    let to = |place: String| Fault::Status(307, vec![("Location", place)], String::new());
    let layer = &scene.layers[0];
    let own = format!("/v2/app/blobs/{layer}");
    scene.registry.fails(layer, vec![to(own.clone()); 3]);
    scene.pull().succeeds();
    fs::remove_dir_all(scene.store.path()).expect("a store");
    scene.registry.fails(layer, vec![to(own); 20]);
    scene.refuses(&[layer, "too many redirections"]);
    for place in ["file:///etc/passwd", "http://elsewhere.invalid/x", "https://u:p@127.0.0.1/", ""]
    {
        let scene = Scene::new(&[1000]);
        scene.registry.fails(&scene.layers[0], [to(place.to_owned())]);
        scene.refuses(&[&scene.layers[0], "not followed"]);
    }
}

/// DIST-RESUME-01: after kill -9 in the middle of a pull the next one fetches no more than 1 MiB of a layer twice.
#[test]
fn goes_on_after_a_kill() {
    let scene = Scene::new(&[6_000_000, 4_000_000]);
    let held = [3_000_000, 2_500_000];
    for (layer, at) in scene.layers.iter().zip(held) {
        scene.registry.fails(layer, [Fault::HeldAt(at)]);
    }
    let name = scene.registry.name("app:app");
    let first = Child::start(silent(scene.store.command(&["pull", "-q", &name])));
    let partial = |layer: &str| scene.store.path().join("partial").join(layer.replace(':', "-"));
    for (layer, at) in scene.layers.iter().zip(held) {
        eventually("half of the layer has come", || {
            let length = fs::metadata(partial(layer)).ok()?.len();
            (length >= u64::try_from(at).ok()?).then_some(())
        });
    }
    // Killed by its pid.
    drop(first);
    scene.pull().succeeds();
    for layer in &scene.layers {
        let twice = scene.registry.sent(layer) - scene.size(layer);
        assert!(twice <= MIB, "{layer}: {twice} bytes were fetched twice");
    }
    assert!(listing(&scene.store.path().join("partial")).is_empty());
    assert!(listing(&scene.store.path().join("tmp")).is_empty());
}

/// DIST-RESUME-02: what a killed pull has left is not believed: altered bytes are found, and fetched anew.
#[test]
fn does_not_believe_what_was_left() {
    let scene = Scene::new(&[3_000_000]);
    let layer = &scene.layers[0];
    scene.registry.fails(layer, vec![Fault::CutAt(500_000); 2]);
    scene.pull_with(&["--retry=1"]).fails_naming(&[layer]);
    let partial = scene.store.path().join("partial").join(layer.replace(':', "-"));
    let mut bytes = fs::read(&partial).expect("what came");
    bytes[1000] ^= 1;
    fs::write(&partial, bytes).expect("a file");
    scene.pull().succeeds();
    let path = scene.store.path().join("blobs").join(layer.replace(':', "/"));
    assert_eq!(fs::read(path).expect("a blob"), fs::read(scene.blob(layer)).expect("a blob"));
}

/// DIST-RESUME-03: of two pulls of the same blob one waits for the other and uses what it fetched; when the other is
/// killed, it goes on in its place.
#[test]
fn two_pulls_share_a_blob() {
    let (scene, first) = held_pull(1_000_000);
    with_second_pull(&scene, || scene.registry.release());
    assert_eq!(scene.registry.seen_of(&scene.layers[0]).len(), 1, "fetched once for both");
    drop(first);
    let (scene, first) = held_pull(2_000_000);
    with_second_pull(&scene, || drop(first));
    assert_eq!(scene.registry.seen_of(&scene.layers[0]).len(), 2);
}

/// A pull of a layer of which so many bytes come at first.
fn held_pull(bytes: usize) -> (Scene, Child) {
    let scene = Scene::new(&[3_000_000]);
    let layer = &scene.layers[0];
    scene.registry.fails(layer, [Fault::HeldAt(bytes)]);
    let name = scene.registry.name("app:app");
    let first = Child::start(silent(scene.store.command(&["pull", "-q", &name])));
    eventually("the first one fetches", || {
        (scene.registry.seen_of(layer).len() == 1).then_some(())
    });
    (scene, first)
}

/// A second pull of the same, during which something happens as soon as it waits; it succeeds.
fn with_second_pull(scene: &Scene, happens: impl FnOnce()) {
    let second = scene.store.command(&["pull", "-q", &scene.registry.name("app:app")]);
    std::thread::scope(|scope| {
        let second = scope.spawn(|| scene.store.finish(second));
        eventually("the second one has the manifest", || {
            (scene.registry.seen_of("manifests/").len() >= 2).then_some(())
        });
        happens();
        second.join().expect("a thread").succeeds();
    });
}
