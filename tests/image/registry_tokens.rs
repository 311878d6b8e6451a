//! Tokens: every way in which a token server is asked, and where secrets go and do not go.

use std::fs;

use keel_tests::{Fault, FaultyRegistry, Guard, ImageStore, Outcome, noisy_layout};
use serde_json::{Value, json};

struct Scene {
    store: ImageStore,
    registry: FaultyRegistry,
    layers: Vec<String>,
}

impl Scene {
    fn new(guard: Guard) -> Self {
        let store = ImageStore::new();
        let layers = noisy_layout(&store, &[1000, 2000, 3000]);
        let registry = FaultyRegistry::serve(&store.beside("layout"));
        registry.guard(guard);
        Self { store, registry, layers }
    }

    /// Pulls with an entry for the registry in a file of credentials.
    fn pull(&self, entry: Value) -> Outcome {
        let path = self.store.beside("auth.json");
        let auths = json!({ "auths": { self.registry.address(): entry } });
        fs::write(&path, auths.to_string()).expect("a file");
        let name = self.registry.name("team/app:app");
        let path = path.to_str().expect("text");
        self.store.call(&["pull", "-q", "--retry-delay=0.01", "--authfile", path, &name])
    }
}

/// DIST-TOKEN-01: an anonymous token is fetched once for all that needs it, with the challenge's service and scope.
#[test]
fn fetches_an_anonymous_token_once() {
    let scene = Scene::new(Guard::default());
    scene.pull(json!({})).succeeds();
    let asked = scene.registry.seen_of("/token");
    assert_eq!(asked.len(), 1, "{asked:#?}");
    assert!(asked[0].line.contains("service=tests,%20inc."), "{asked:#?}");
    assert!(asked[0].line.contains("scope=repository:team/app:pull"), "{asked:#?}");
    assert!(!asked[0].headers.contains_key("authorization"), "{asked:#?}");
}

/// DIST-TOKEN-02: a password goes to the token server as Basic, and never to the registry itself.
#[test]
fn changes_a_password_for_a_token() {
    let guard = Guard { password: Some("ann:sea:shell"), ..Guard::default() };
    let scene = Scene::new(guard);
    scene.pull(json!({ "auth": "YW5uOnNlYTpzaGVsbA==" })).succeeds();
    assert_eq!(scene.registry.seen_of("/token").len(), 1);
    for seen in scene.registry.seen_of("/v2/") {
        let sent = seen.headers.get("authorization").cloned().unwrap_or_default();
        assert!(!sent.starts_with("Basic"), "{seen:?}");
    }
    let scene = Scene::new(Guard { password: Some("ann:sea:shell"), ..Guard::default() });
    let refused = scene.pull(json!({ "auth": "YW5uOndyb25n" }));
    assert!(!refused.stderr.contains("wrong"), "{}", refused.report());
    refused.fails_naming(&["401", "token", "incorrect username or password", "login"]);
}

/// DIST-TOKEN-03: an identity token is posted as OAuth 2 has it.
#[test]
fn changes_an_identity_token() {
    let scene = Scene::new(Guard { identity: Some("long-lived"), ..Guard::default() });
    scene.pull(json!({ "identitytoken": "long-lived" })).succeeds();
    let asked = scene.registry.seen_of("/token");
    assert!(asked.iter().all(|seen| seen.line == "POST /token"), "{asked:#?}");
    assert!(asked[0].body.contains("grant_type=refresh_token"), "{asked:#?}");
}

/// DIST-TOKEN-04: a token that the registry takes back in the middle is replaced.
#[test]
fn replaces_a_token_that_has_ended() {
    let scene = Scene::new(Guard { uses: Some(2), ..Guard::default() });
    scene.pull(json!({})).succeeds();
    assert!(scene.registry.seen_of("/token").len() >= 2);
}

/// DIST-TOKEN-05: no proof goes along to another server when a blob is elsewhere, and whatever that one asks for, it gets none
/// (CVE-2020-15157).
#[test]
fn sends_no_proof_elsewhere() {
    let scene = Scene::new(Guard { password: Some("ann:sea:shell"), ..Guard::default() });
    let other = FaultyRegistry::serve(&scene.store.beside("layout"));
    for layer in &scene.layers {
        let to = format!("http://{}/elsewhere/{layer}?signature=x", other.address());
        let found = Fault::Status(307, vec![("Location", to)], String::new());
        scene.registry.fails(&format!("blobs/{layer}"), [Fault::None, found]);
        // The first answer is the one that asks for a token.
    }
    let entry = json!({ "auth": "YW5uOnNlYTpzaGVsbA==" });
    scene.pull(entry.clone()).succeeds();
    for layer in &scene.layers {
        let to = format!("http://{}/elsewhere/{layer}", other.address());
        let found = Fault::Status(302, vec![("Location", to)], String::new());
        scene.registry.fails(&format!("blobs/{layer}"), vec![found; 8]);
    }
    fs::remove_dir_all(scene.store.path()).expect("a store");
    scene.pull(entry.clone()).succeeds();
    assert_eq!(other.seen_of("/elsewhere/").len(), 3, "{:#?}", other.seen());
    for seen in other.seen() {
        assert!(!seen.headers.contains_key("authorization"), "{seen:?}");
    }
    // Now the other server asks for the password itself.
    other.guard(Guard { password: Some("ann:sea:shell"), ..Guard::default() });
    fs::remove_dir_all(scene.store.path()).expect("a store");
    scene.pull(entry).fails_naming(&["401", "elsewhere"]);
    assert!(other.seen().iter().all(|seen| !seen.headers.contains_key("authorization")));
    assert!(other.seen_of("/token").is_empty());
}

/// DIST-TOKEN-06: credentials do not go to a token server without TLS, unless it is on this machine.
#[test]
fn keeps_passwords_off_plain_http() {
    let realm = Some("http://tokens.invalid/token".to_owned());
    let scene = Scene::new(Guard { realm, password: Some("ann:sea:shell"), ..Guard::default() });
    scene
        .pull(json!({ "auth": "YW5uOnNlYTpzaGVsbA==" }))
        .fails_naming(&["tokens.invalid", "not protected by TLS"]);
}
