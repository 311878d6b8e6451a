//! TLS, passwords, `login` and `logout`, against Debian's docker-registry.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use keel_tests::{ImageStore, Outcome, Protection, Registry, busybox_layout};
use serde_json::{Value, json};

/// A store, a registry with its image as `app:v1`, and a folder for docker's configuration.
struct Scene {
    store: ImageStore,
    registry: Registry,
}

impl Scene {
    fn new(protection: Protection) -> Self {
        let store = ImageStore::new();
        busybox_layout(&store);
        let registry = Registry::start(protection);
        registry.push(&format!("oci:{}:app", store.beside("layout").display()), "app:v1");
        Self { store, registry }
    }

    fn config(&self) -> PathBuf {
        self.store.beside("docker/config.json")
    }

    fn call(&self, args: &[&str]) -> Outcome {
        let mut command = self.store.command(args);
        command.env("DOCKER_CONFIG", self.store.beside("docker")).env_remove("REGISTRY_AUTH_FILE");
        command.env("HOME", self.store.beside("home")).env_remove("XDG_RUNTIME_DIR");
        self.store.finish(command)
    }

    fn login(&self, password: &str) -> Outcome {
        let certificates = self.registry.certificates();
        let mut command =
            self.store.command(&["login", "-u", "ann", "--password-stdin", "--cert-dir"]);
        command.arg(certificates).arg(self.registry.address());
        command.env("DOCKER_CONFIG", self.store.beside("docker"));
        keel_tests::output_within(command, &self.store.beside("io"), Some(password))
    }

    fn pull(&self, more: &[&str]) -> Outcome {
        let certificates = self.registry.certificates();
        let name = self.registry.name("app:v1");
        let mut words = vec!["pull", "-q", "--cert-dir", certificates.to_str().expect("text")];
        words.extend(more);
        words.push(&name);
        self.call(&words)
    }
}

/// DIST-TLS-01: a certificate of an unknown authority is refused, and the error says where to put the authority's.
#[test]
fn refuses_an_unknown_authority() {
    let scene = Scene::new(Protection::Tls);
    let address = scene.registry.address();
    scene.call(&["pull", &scene.registry.name("app:v1")]).fails_naming(&[
        "unknown authority",
        &format!("certs.d/{address}/ca.crt"),
        &address,
    ]);
    scene.call(&["pull", "-q", "--tls-verify=false", &scene.registry.name("app:v1")]).succeeds();
}

/// DIST-TLS-02: an authority in a folder of certs.d, in the one that is named, or in SSL_CERT_FILE is trusted.
#[test]
fn trusts_a_custom_authority() {
    let scene = Scene::new(Protection::Tls);
    scene.pull(&[]).succeeds();
    let store = ImageStore::new();
    let folder = store.beside("home/.config/containers/certs.d").join(scene.registry.address());
    fs::create_dir_all(&folder).expect("a folder");
    fs::copy(scene.registry.certificates().join("ca.crt"), folder.join("own.crt")).expect("a copy");
    let mut command = store.command(&["pull", "-q", &scene.registry.name("app:v1")]);
    command.env("HOME", store.beside("home"));
    store.finish(command).succeeds();
    let store = ImageStore::new();
    let mut command = store.command(&["pull", "-q", &scene.registry.name("app:v1")]);
    command.env("SSL_CERT_FILE", scene.registry.certificates().join("ca.crt"));
    store.finish(command).succeeds();
}

/// DIST-TLS-03: a client's certificate is shown where certs.d has one; one without its key is an error that names it.
#[test]
fn shows_a_client_certificate() {
    let scene = Scene::new(Protection::ClientCertificate);
    let refused = scene.pull(&["--retry=0"]);
    assert_ne!(refused.status, 0, "{refused:?}");
    let (certificate, key) = scene.registry.client_certificate();
    fs::copy(certificate, scene.registry.certificates().join("own.cert")).expect("a copy");
    scene.pull(&[]).fails_naming(&["own.cert", "key"]);
    fs::copy(key, scene.registry.certificates().join("own.key")).expect("a copy");
    scene.pull(&[]).succeeds();
    let other = Registry::start(Protection::Tls).client_certificate().1;
    assert!(!other.exists(), "its folder went with it");
    fs::write(scene.registry.certificates().join("own.key"), "nonsense").expect("a file");
    scene.pull(&[]).fails_naming(&["own.key"]);
}

/// DIST-TLS-04: plain http is never fallen back to, but on this machine.
#[test]
fn does_not_fall_back_to_plain_http() {
    let scene = Scene::new(Protection::None);
    scene.pull(&[]).succeeds();
    // 127.0.0.1 under a name that does not look like it.
    let address = scene.registry.address().replace("127.0.0.1", "keel-tests.invalid");
    let mut command = scene.store.command(&["pull", "--retry=0", &format!("{address}/app:v1")]);
    command.env("HTTPS_PROXY", "http://127.0.0.1:1").env("NO_PROXY", "none.invalid");
    let refused = scene.store.finish(command);
    assert!(refused.status != 0 && refused.stderr.contains("https://"), "{}", refused.report());
}

/// DIST-AUTH-01: without credentials the error says 401 and how to log in; with wrong ones `login` fails and keeps
/// nothing.
#[test]
fn asks_to_log_in() {
    let scene = Scene::new(Protection::TlsAndPassword);
    scene.pull(&[]).fails_naming(&["401", &format!("login {}", scene.registry.address())]);
    scene.login("sea:bell").fails_naming(&["401", &scene.registry.address()]);
    assert!(!scene.config().exists());
}

/// DIST-AUTH-02: `login` keeps what the registry takes, for the user's eyes only, beside all that was there; `logout` takes it
/// away again.
#[test]
fn logs_in_and_out() {
    let scene = Scene::new(Protection::TlsAndPassword);
    let address = scene.registry.address();
    fs::create_dir_all(scene.store.beside("docker")).expect("a folder");
    let before = json!({ "psFormat": "table", "auths": { "other.example": { "auth": "YTpi" } } });
    fs::write(scene.config(), before.to_string()).expect("a file");
    let said = scene.login("sea:shell\n").succeeds();
    assert_eq!(said.stdout, "Login Succeeded\n");
    assert!(!said.stderr.contains("shell"), "{}", said.stderr);
    let read = || -> Value {
        serde_json::from_slice(&fs::read(scene.config()).expect("a file")).expect("JSON")
    };
    let after = read();
    assert_eq!(after["psFormat"], "table");
    assert_eq!(after["auths"]["other.example"]["auth"], "YTpi");
    assert_eq!(after["auths"][&address]["auth"], "YW5uOnNlYTpzaGVsbA==");
    let mode = fs::metadata(scene.config()).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    scene.pull(&[]).succeeds();
    assert_eq!(
        scene.call(&["logout", &address]).succeeds().stdout,
        format!("Removing login credentials for {address}\n")
    );
    assert_eq!(read(), before);
    fs::remove_dir_all(scene.store.path()).expect("a store");
    scene.pull(&[]).fails_naming(&["401"]);
    assert_eq!(
        scene.call(&["logout", &address]).succeeds().stdout,
        format!("Not logged in to {address}\n")
    );
}

/// DIST-AUTH-03: credentials are found in containers' auth.json too, the most specific entry first, and skopeo reads
/// what `login --authfile` wrote.
#[test]
fn shares_files_with_other_tools() {
    let scene = Scene::new(Protection::Password);
    let address = scene.registry.address();
    let file = scene.store.beside("auth.json");
    let path = file.to_str().expect("text");
    let auth = json!({ "auths": { address.as_str(): { "auth": "YW5uOndyb25n" },
                                  format!("{address}/app"): { "auth": "YW5uOnNlYTpzaGVsbA==" } } });
    fs::write(&file, auth.to_string()).expect("a file");
    scene.pull(&["--authfile", path]).succeeds();
    fs::remove_file(&file).expect("a file");
    let mut command =
        scene.store.command(&["login", "-u", "ann", "-p", "sea:shell", "--authfile", path]);
    command.arg(&address);
    scene.store.finish(command).succeeds();
    let source = format!("docker://{}", scene.registry.name("app:v1"));
    scene.store.tool("skopeo", &["inspect", "--tls-verify=false", "--authfile", path, &source]);
}

/// DIST-AUTH-04: a credential helper is asked, and told what `login` and `logout` want; one that fails is named, and its secret is not
/// told.
#[test]
fn asks_credential_helpers() {
    let scene = Scene::new(Protection::Password);
    let address = scene.registry.address();
    let (programs, kept) = (scene.store.beside("bin"), scene.store.beside("kept"));
    fs::create_dir_all(&programs).expect("a folder");
    let program = programs.join("docker-credential-tests");
    let text = format!(
        "#!/bin/sh\ncase $1 in\nget) read server; [ -e {0} ] || {{ echo 'credentials not found in native keychain'; exit 1; }}\n  \
         cat {0};;\nstore) cat > {0};;\nerase) rm {0};;\nesac\n",
        kept.display()
    );
    fs::write(&program, text).expect("a program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a mode");
    fs::create_dir_all(scene.store.beside("docker")).expect("a folder");
    let config = json!({ "credHelpers": { address.as_str(): "tests" } });
    fs::write(scene.config(), config.to_string()).expect("a file");
    let call = |args: &[&str]| {
        let mut command = scene.store.command(args);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", programs.display()));
        command.env("DOCKER_CONFIG", scene.store.beside("docker"));
        scene.store.finish(command)
    };
    let name = scene.registry.name("app:v1");
    call(&["pull", &name]).fails_naming(&["401"]);
    call(&["login", "-u", "ann", "-p", "sea:shell", &address]).succeeds();
    let stored: Value = serde_json::from_slice(&fs::read(&kept).expect("kept")).expect("JSON");
    assert_eq!((&stored["ServerURL"], &stored["Secret"]), (&json!(address), &json!("sea:shell")));
    let config = fs::read_to_string(scene.config()).expect("a file");
    assert!(!config.contains("YW5u") && !config.contains("shell"), "{config}");
    call(&["pull", "-q", &name]).succeeds();
    call(&["logout", &address]).succeeds();
    assert!(!kept.exists());
    fs::write(&program, "#!/bin/sh\necho 'no such keyring: sea:shell'\nexit 1\n")
        .expect("a program");
    let failed = call(&["login", "-u", "ann", "-p", "sea:shell", &address]);
    assert!(!failed.stderr.contains("sea:shell"), "{}", failed.report());
    failed.fails_naming(&["docker-credential-tests", "no such keyring"]);
}
