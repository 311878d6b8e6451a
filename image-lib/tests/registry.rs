//! The library's client, against a registry in this process: cancellation, progress, what is shared.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says what went wrong by ending"
)]

#[path = "../../tests/harness/faulty_registry/mod.rs"]
#[allow(dead_code, unreachable_pub, clippy::pedantic, reason = "the harness of the other tests")]
mod faulty_registry;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use faulty_registry::{Fault, FaultyRegistry};
use keel_image::cancel::Cancellation;
use keel_image::identity::Digest;
use keel_image::reference::Reference;
use keel_image::registry::{Client, Options, PullOptions, RegistryError};
use keel_image::spec::{Descriptor, ImageConfig, Manifest, Platform, media_type};
use keel_image::store::{Event, Progress, Store};

/// What the harness calls so.
fn digest(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}

/// A layout with an image `app` of one layer that is `bytes` long, in a new folder.
fn layout(name: &str, bytes: usize) -> (PathBuf, Digest) {
    let folder = std::env::temp_dir().join(format!("keel-registry-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("layout/blobs/sha256")).unwrap();
    let put = |kind: &str, bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(folder.join("layout/blobs/sha256").join(digest.hex()), bytes).unwrap();
        Descriptor::new(kind, digest, bytes.len() as u64)
    };
    // An archive without an entry; what stands behind its end belongs to the digests.
    let layer = put(media_type::OCI_LAYER, &vec![0; bytes]);
    let mut config = ImageConfig::new(&Platform::host());
    config.rootfs.diff_ids = vec![keel_image::identity::DiffId::new(layer.digest.clone())];
    let config = put(media_type::OCI_CONFIG, &serde_json::to_vec(&config).unwrap());
    let blob = layer.digest.clone();
    let manifest = serde_json::to_vec(&Manifest::new(config, vec![layer])).unwrap();
    let mut entry = put(media_type::OCI_MANIFEST, &manifest);
    entry.annotations =
        BTreeMap::from([("org.opencontainers.image.ref.name".to_owned(), "app".to_owned())]);
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [entry] });
    fs::write(folder.join("layout/index.json"), index.to_string()).unwrap();
    (folder, blob)
}

fn client(cancellation: &Cancellation) -> Client {
    let options = Options { cancellation: cancellation.clone(), ..Options::default() };
    Client::new(options).unwrap()
}

fn pull(
    client: &Client,
    folder: &Path,
    name: &str,
    progress: &dyn Progress,
) -> Result<(), RegistryError> {
    let store = Store::open(&folder.join("store")).unwrap();
    let reference: Reference = name.parse().unwrap();
    client.pull(&store, &reference, &PullOptions::default(), progress).map(drop)
}

/// Cancels when so many bytes have come, and counts them.
struct Watch {
    cancellation: Cancellation,
    after: u64,
    seen: Mutex<u64>,
}

impl Progress for Watch {
    fn note(&self, event: Event<'_>) {
        if let Event::AdvanceFetch { bytes, .. } = event {
            let mut seen = self.seen.lock().unwrap();
            *seen += bytes;
            if *seen >= self.after {
                let cancellation = self.cancellation.clone();
                // Whoever fetches is not held up.
                std::thread::spawn(move || cancellation.cancel());
            }
        }
    }
}

#[test]
fn a_cancelled_pull_ends_at_once_and_keeps_what_has_come() {
    let (folder, blob) = layout("cancel", 3 << 20);
    let registry = FaultyRegistry::serve(&folder.join("layout"));
    registry.fails(&blob.to_string(), [Fault::HeldAt(1 << 20)]);
    let cancellation = Cancellation::default();
    let watch =
        Watch { cancellation: cancellation.clone(), after: 1 << 20, seen: Mutex::default() };
    let before = Instant::now();
    let name = registry.name("app:app");
    let result = pull(&client(&cancellation), &folder, &name, &watch);
    assert!(matches!(result, Err(RegistryError::Cancelled)), "{result:?}");
    assert!(before.elapsed() < Duration::from_secs(30), "the silent server was waited for");
    let after = Cancellation::default();
    let watch = Watch { cancellation: after.clone(), after: u64::MAX, seen: Mutex::default() };
    pull(&client(&after), &folder, &name, &watch).unwrap();
    assert_eq!(*watch.seen.lock().unwrap(), 2 << 20, "the rest alone came");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_cancelled_client_asks_nothing() {
    let (folder, _) = layout("cancelled", 1024);
    let registry = FaultyRegistry::serve(&folder.join("layout"));
    registry.fails("manifests/", vec![Fault::Status(503, Vec::new(), String::new()); 3]);
    let cancellation = Cancellation::default();
    cancellation.cancel();
    let result = pull(
        &client(&cancellation),
        &folder,
        &registry.name("app:app"),
        &keel_image::store::Silent,
    );
    assert!(matches!(result, Err(RegistryError::Cancelled)), "{result:?}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn clones_share_what_was_learnt() {
    let (folder, _) = layout("clones", 1024);
    let registry = FaultyRegistry::serve(&folder.join("layout"));
    registry.guard(faulty_registry::Guard::default());
    let client = client(&Cancellation::default());
    let name = registry.name("app:app");
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (client, folder, name) = (client.clone(), folder.join(number.to_string()), &name);
            scope.spawn(move || {
                fs::create_dir_all(&folder).unwrap();
                pull(&client, &folder, name, &keel_image::store::Silent).unwrap();
            });
        }
    });
    assert_eq!(registry.seen_of("/token").len(), 1, "one token for all");
    fs::remove_dir_all(folder).unwrap();
}
