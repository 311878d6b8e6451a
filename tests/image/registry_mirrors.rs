//! What the files of this machine and its environment say about registries: mirrors, other places, blocked ones, proxies; and
//! all tags at once.

use std::fs;

use keel_tests::{Fault, FaultyRegistry, ImageStore, Outcome, Proxy, noisy_layout};
use serde_json::json;

struct Scene {
    store: ImageStore,
    registry: FaultyRegistry,
}

impl Scene {
    fn new() -> Self {
        let store = ImageStore::new();
        noisy_layout(&store, &[1000]);
        let registry = FaultyRegistry::serve(&store.beside("layout"));
        Self { store, registry }
    }

    fn mirror(&self) -> FaultyRegistry {
        FaultyRegistry::serve(&self.store.beside("layout"))
    }

    /// Pulls with this text as registries.conf.
    fn pull(&self, conf: &str, name: &str) -> Outcome {
        let path = self.store.beside("registries.conf");
        fs::write(&path, conf).expect("a file");
        let mut command = self.store.command(&["pull", "-q", "--retry=0", name]);
        command.env("CONTAINERS_REGISTRIES_CONF", path);
        self.store.finish(command)
    }
}

/// DIST-MIRROR-01: mirrors of registries.conf are asked first, each for what it may be asked; what none has comes from the
/// registry itself, whose credentials no mirror gets.
#[test]
fn asks_mirrors_first() {
    let scene = Scene::new();
    let (broken, digests) = (scene.mirror(), scene.mirror());
    let (address, name) = (scene.registry.address(), scene.registry.name("team/app:app"));
    broken.fails("manifests/", vec![Fault::Status(500, Vec::new(), String::new()); 9]);
    broken.fails("blobs/", vec![Fault::Status(404, Vec::new(), String::new()); 9]);
    let conf = format!(
        "[[registry]]\nlocation = '{address}'\n[[registry.mirror]]\nlocation = '{}'\n\
         [[registry.mirror]]\nlocation = '{}/below'\npull-from-mirror = 'digest-only'\n",
        broken.address(),
        digests.address()
    );
    let auth = scene.store.beside("auth.json");
    let auths = json!({ "auths": { address.as_str(): { "auth": "YW5uOnNlYTpzaGVsbA==" } } });
    fs::write(&auth, auths.to_string()).expect("a file");
    scene.pull(&conf, &name).succeeds();
    assert_eq!(broken.seen_of("manifests/app").len(), 1);
    assert!(digests.seen_of("manifests/app").is_empty(), "it is not asked for tags");
    assert!(!digests.seen_of("/v2/below/team/app/blobs/").is_empty());
    assert_eq!(scene.registry.seen_of("manifests/app").len(), 1);
    assert!(scene.registry.seen_of("blobs/").is_empty());
    for seen in [broken.seen(), digests.seen()].concat() {
        assert!(!seen.headers.contains_key("authorization"), "{seen:?}");
    }
    // The error is the registry's own, and does not hide what the mirrors said.
    let absent = scene.pull(&conf, &scene.registry.name("team/app:absent"));
    absent.fails_naming(&[
        "MANIFEST_UNKNOWN",
        &address,
        "mirrors failed before",
        &broken.address(),
    ]);
}

/// DIST-MIRROR-02: a name may lead elsewhere, and may be blocked.
#[test]
fn names_lead_elsewhere() {
    let scene = Scene::new();
    let place = scene.registry.name("moved");
    let conf = format!(
        "[[registry]]\nprefix = 'example.com/team'\nlocation = '{place}'\n\
         [[registry]]\nprefix = 'example.com/team/secret'\nblocked = true\n"
    );
    scene.pull(&conf, "example.com/team/app:app").succeeds();
    assert!(!scene.registry.seen_of("/v2/moved/app/manifests/app").is_empty());
    scene.store.call(&["inspect", "example.com/team/app:app"]).succeeds();
    scene.pull(&conf, "example.com/team/secret:1").fails_naming(&[
        "example.com/team/secret",
        "blocked",
        "registries.conf",
    ]);
    scene
        .pull("[[registry", "example.com/team/app:app")
        .fails_naming(&["registries.conf", "line 1"]);
}

/// DIST-MIRROR-03: containerd's hosts.toml: servers in the order of the file, each for what it is able to, told for which
/// registry it stands.
#[test]
fn reads_hosts_toml() {
    let scene = Scene::new();
    let (first, second) = (scene.mirror(), scene.mirror());
    let folder = scene.store.beside("home/.config/containerd/certs.d/example.com");
    fs::create_dir_all(&folder).expect("a folder");
    let text = format!(
        "server = 'http://{}'\n[host.'http://{}']\ncapabilities = ['pull']\n\
         [host.'http://{}/under']\ncapabilities = ['pull', 'resolve']\noverride_path = true\n\
         [host.'http://{}/under'.header]\nx-own = 'yes'\n",
        scene.registry.address(),
        first.address(),
        second.address(),
        second.address()
    );
    fs::write(folder.join("hosts.toml"), text).expect("a file");
    second.fails("manifests/", vec![Fault::Status(404, Vec::new(), String::new()); 3]);
    let mut command = scene.store.command(&["pull", "-q", "--retry=0", "example.com/app:app"]);
    command.env("HOME", scene.store.beside("home"));
    scene.store.finish(command).succeeds();
    assert!(first.seen_of("manifests/").is_empty(), "it may not resolve");
    let asked = second.seen();
    assert_eq!(asked[0].line, "GET /under/app/manifests/app?ns=example.com");
    assert_eq!(asked[0].headers["x-own"], "yes");
    assert_eq!(scene.registry.seen_of("GET /v2/app/manifests/app").len(), 1);
    assert!(!first.seen_of("blobs/").is_empty() && scene.registry.seen_of("blobs/").is_empty());
}

/// DIST-PROXY-01: the proxy of the environment is used, by CONNECT and by SOCKS 5; NO_PROXY, with networks too, makes exceptions, and this
/// machine is one.
#[test]
fn goes_through_proxies() {
    let scene = Scene::new();
    for scheme in ["http", "socks5"] {
        let proxy = Proxy::to(&scene.registry.address());
        let url = format!("{scheme}://{}", proxy.address());
        let pull = |name: &str, except: &str| {
            let args = ["pull", "-q", "--plain-http", "--retry=0", "--timeout=2", name];
            let mut command = scene.store.command(&args);
            for name in ["http_proxy", "HTTPS_PROXY", "ALL_PROXY", "no_proxy"] {
                command.env_remove(name);
            }
            command.env("HTTP_PROXY", &url).env("NO_PROXY", except);
            scene.store.finish(command)
        };
        pull("registry.invalid/app:app", "other.invalid, 10.0.0.0/8").succeeds();
        let wanted = proxy.wanted();
        assert!(
            !wanted.is_empty() && wanted.iter().all(|w| w == "registry.invalid:80"),
            "{wanted:?}"
        );
        pull("registry.invalid/app:app", ".invalid,registry.invalid")
            .fails_naming(&["registry.invalid"]);
        pull("198.51.100.7/app:app", "198.51.100.0/24").fails_naming(&["198.51.100.7"]);
        pull(&scene.registry.name("app:app"), "").succeeds();
        assert_eq!(proxy.wanted().len(), wanted.len(), "only the first pull went through it");
    }
}

/// DIST-TAGS-01: all tags are found, page by page, and pulled; a tag beside `--all-tags` is an error.
#[test]
fn pulls_all_tags() {
    let scene = Scene::new();
    for tag in ["one", "two"] {
        scene.store.tool("umoci", &["tag", "--image", "layout:app", tag]);
    }
    let name = scene.registry.name("app");
    let pulled = scene.store.call(&["pull", "--all-tags", &name]).succeeds();
    assert_eq!(pulled.stdout.matches("Digest: sha256:").count(), 3, "{}", pulled.report());
    let end = format!("Status: Downloaded newer image for {name}\n{name}\n");
    assert!(pulled.stdout.ends_with(&end), "{}", pulled.report());
    assert_eq!(scene.registry.seen_of("tags/list").len(), 3, "a page for each");
    for tag in ["app", "one", "two"] {
        scene.store.call(&["inspect", &format!("{name}:{tag}")]).succeeds();
    }
    scene.store.call(&["pull", "-a", &format!("{name}:one")]).fails_naming(&["--all-tags"]);
    let elsewhere = r#"<http://127.0.0.1:1/v2/app/tags/list>; rel="next""#;
    scene.registry.fails("tags/list", [Fault::Header("Link", elsewhere.to_owned())]);
    scene.store.call(&["pull", "-a", &name]).fails_naming(&["not followed", "127.0.0.1:1"]);
}

/// DIST-FOREIGN-01: a layer that the registry does not have is fetched from where its descriptor says, without credentials.
#[test]
fn fetches_foreign_layers() {
    let scene = Scene::new();
    let other = scene.mirror();
    let raw = scene.store.tool("skopeo", &["inspect", "--raw", "oci:layout:app"]);
    let mut manifest = raw.json();
    let digest = manifest["layers"][0]["digest"].as_str().expect("a digest").to_owned();
    manifest["layers"][0]["urls"] =
        json!(["ftp://x/", format!("http://{}/elsewhere/{digest}", other.address())]);
    let text = manifest.to_string();
    fs::write(scene.store.beside("manifest"), &text).expect("a file");
    let sum = scene.store.tool("sha256sum", &["manifest"]).stdout[..64].to_owned();
    let blobs = scene.store.beside("layout/blobs/sha256");
    fs::write(blobs.join(&sum), text).expect("a blob");
    let missing = vec![Fault::Status(404, Vec::new(), String::new()); 3];
    scene.registry.fails(&format!("blobs/{digest}"), missing);
    other.fails(
        "elsewhere",
        [Fault::Status(401, vec![("WWW-Authenticate", "Basic realm=x".to_owned())], String::new())],
    );
    let name = scene.registry.name(&format!("app@sha256:{sum}"));
    let auth = scene.store.beside("auth.json");
    let entry = json!({ "auth": "YW5uOnNlYTpzaGVsbA==" });
    let auths = json!({ "auths": { scene.registry.address(): entry, other.address(): entry } });
    fs::write(&auth, auths.to_string()).expect("a file");
    let args = ["pull", "-q", "--retry=0", "--authfile", auth.to_str().expect("text"), &name];
    scene.store.call(&args).fails_naming(&["404", &digest]);
    scene.store.call(&args).succeeds();
    assert_eq!(other.seen_of("elsewhere").len(), 2);
    assert!(other.seen().iter().all(|seen| !seen.headers.contains_key("authorization")));
}
