//! The two builders: keel-image with a store, and buildah with a storage of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::built::{Built, Tree, look, tree};
use super::case::Case;
use crate::{ImageStore, Outcome, fixture};

/// The base that cases build on, beside `scratch`: busybox, and the users `app` and `daemon`.
const BASE: &str = "FROM busybox\n\
    COPY <<passwd <<group /etc/\n\
    root:x:0:0:root:/root:/bin/sh\n\
    daemon:x:1:1::/:/bin/false\n\
    app:x:1000:1001:An app:/home/app:/bin/sh\n\
    passwd\n\
    root:x:0:\n\
    daemon:x:1:\n\
    staff:x:50:app\n\
    app:x:1001:\n\
    group\n";

/// Both builders with their bases, for the cases of one file.
pub(super) struct Builders {
    store: ImageStore,
    base: Tree,
}

impl Builders {
    pub(super) fn new() -> Self {
        let store = ImageStore::new();
        store.import(&fixture("busybox.tar"), "busybox").succeeds();
        fs::create_dir(store.beside("base")).expect("a folder");
        fs::write(store.beside("base/Dockerfile"), BASE).expect("a Dockerfile");
        let mut ids = (0..100).map(|_| {
            store.call(&["build", "-q", "--no-cache", "-t", "base", "base"]).succeeds().stdout
        });
        // Buildah would take a stage's number for the beginning of the id of an image.
        let letter = |id: &str| hex(id).starts_with(|first: char| first.is_ascii_alphabetic());
        assert!(ids.any(|id| letter(&id)), "an id that begins with a letter");
        store.call(&["save", "-o", "base.tar", "base"]).succeeds();
        let mut builders = Self { store, base: Tree::new() };
        builders.finish(builders.buildah(&["pull", "-q", "docker-archive:base.tar"])).succeeds();
        let id = builders.finish(builders.buildah(&["images", "-q"])).succeeds().stdout;
        builders.finish(builders.buildah(&["tag", id.trim(), "localhost/base"])).succeeds();
        let (manifest, blobs) = manifest(&builders.store, "docker.io/library/base:latest");
        let layers = manifest["layers"].as_array().into_iter().flatten();
        let layers = layers.map(|layer| blob(&blobs, layer["digest"].as_str().expect("a digest")));
        builders.base = tree(layers, &builders.store.beside(""));
        builders
    }

    fn finish(&self, command: Command) -> Outcome {
        self.store.finish(command)
    }

    fn buildah(&self, args: &[&str]) -> Command {
        buildah(&self.store, args)
    }

    /// Fills the context of a case, afresh.
    pub(super) fn prepare(&self, case: &Case) -> PathBuf {
        let context = self.store.beside("context");
        let _ = fs::remove_dir_all(&context);
        fs::create_dir(&context).expect("a folder");
        fs::write(context.join("Dockerfile"), &case.dockerfile).expect("a Dockerfile");
        if let Some(script) = &case.context {
            let script = format!("set -e; umask 022; . /dev/stdin <<'KEEL'\n{script}KEEL\n{TIMES}");
            let mut command = Command::new("sh");
            command.arg("-c").arg(script).current_dir(&context);
            self.finish(command).succeeds();
        }
        context
    }

    /// Builds with keel-image, and looks at what came of it.
    pub(super) fn keel(&self, case: &Case) -> (Outcome, Option<Built>) {
        let flags = case.flags.iter().map(String::as_str);
        let words = ["build", "--progress", "plain", "--explain=json", "-t", "case"].into_iter();
        let words: Vec<&str> = words.chain(flags).chain(["context"]).collect();
        let mut command = self.store.command(&words);
        surround(&mut command);
        let outcome = self.finish(command);
        if outcome.status != 0 {
            return (outcome, None);
        }
        let (manifest, blobs) = manifest(&self.store, "docker.io/library/case:latest");
        let built = self.look(&manifest, &|digest| blob(&blobs, digest));
        (outcome, Some(built))
    }

    /// Builds with buildah, and looks at what came of it.
    pub(super) fn peer(&self, case: &Case) -> (Outcome, Option<Built>) {
        let out = self.store.beside("buildah-out");
        let _ = fs::remove_dir_all(&out);
        let place = format!("dir:{}", out.display());
        let mut command = self.buildah(&BUD);
        command.args(["-t", &place]).args(&case.flags).arg("context");
        surround(&mut command);
        let outcome = self.finish(command);
        if outcome.status != 0 {
            return (outcome, None);
        }
        let manifest = read_json(&out.join("manifest.json"));
        let built = self.look(&manifest, &|digest| out.join(hex(digest)));
        (outcome, Some(built))
    }

    fn look(&self, manifest: &Value, blob: &dyn Fn(&str) -> PathBuf) -> Built {
        look(manifest, blob, &self.base, &self.store.beside(""))
    }
}

/// How buildah builds: without a base from elsewhere, in a sandbox that needs no runtime, to one layer.
pub(super) const BUD: [&str; 8] =
    ["bud", "-q", "--pull-never", "--isolation", "chroot", "--layers=false", "--format", "docker"];

/// A command of buildah, with a storage of its own beside the store.
pub(super) fn buildah(store: &ImageStore, args: &[&str]) -> Command {
    let mut command = Command::new("buildah");
    command.arg("--root").arg(store.beside("buildah"));
    command.arg("--runroot").arg(store.beside("buildah-run"));
    command.args(["--storage-driver", "overlay"]).args(args);
    command.current_dir(store.beside(""));
    command
}

/// The manifest of an image of a store, which is an OCI image layout, and where the blobs are.
pub(super) fn manifest(store: &ImageStore, name: &str) -> (Value, PathBuf) {
    let index = read_json(&store.path().join("index.json"));
    let entry = index["manifests"].as_array().into_iter().flatten().find(|entry| {
        let annotations = entry["annotations"].as_object().into_iter().flatten();
        annotations.into_iter().any(|(_, value)| value == name)
    });
    let digest = entry.and_then(|entry| entry["digest"].as_str()).expect("the image has a name");
    let blobs = store.path().join("blobs");
    (read_json(&blob(&blobs, digest)), blobs)
}

/// Every file of a context has one time, but for those to which the script gave one of the last century.
const TIMES: &str = "find . -newermt 2002-01-01 -exec touch -h -d @1000000000 {} +";

/// What secrets and arguments of cases are taken from. Registries are not to be reached.
fn surround(command: &mut Command) {
    command.env("HTTPS_PROXY", "http://127.0.0.1:1");
    command.env("CASE_VARIABLE", "from the environment").env_remove("SOURCE_DATE_EPOCH");
}

pub(super) fn blob(blobs: &Path, digest: &str) -> PathBuf {
    let (algorithm, hex) = digest.split_once(':').expect("a digest");
    blobs.join(algorithm).join(hex)
}

/// The name of a blob in a folder of skopeo's form `dir:`.
pub(super) fn hex(digest: &str) -> &str {
    digest.split_once(':').map_or(digest, |(_, hex)| hex)
}

pub(super) fn read_json(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).expect("JSON")
}
