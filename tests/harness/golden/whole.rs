//! A whole image beside what buildah makes of the same Dockerfile: configuration, and every file of all layers.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use super::builder::{BUD, blob, buildah, hex, manifest, read_json};
use super::built::{Tree, configuration, tree};
use super::check::LEFT_BY_BUILDAH;
use crate::ImageStore;

/// Builds the folder `context` beside the store with buildah, too, and compares with `image` of the store.
///
/// `bases` are the images of the store that it is built on. What is below a path of `apart` is not compared.
///
/// # Panics
/// buildah fails.
#[track_caller]
pub fn differences_from_buildah(
    store: &ImageStore,
    image: &str,
    bases: &[&str],
    flags: &[&str],
    apart: &[&str],
) -> Vec<String> {
    let (own, blobs) = manifest(store, &format!("docker.io/library/{image}"));
    let own = look(&own, store, |digest| blob(&blobs, digest));
    for base in bases {
        let place = format!("oci:{}:{base}", store.path().display());
        let id = store.finish(buildah(store, &["pull", "-q", &place])).succeeds().stdout;
        let name = format!("localhost/{base}");
        store.finish(buildah(store, &["tag", id.trim(), &name])).succeeds();
    }
    let out = store.beside("buildah-out");
    let mut command = buildah(store, &BUD);
    command.arg("-t").arg(format!("dir:{}", out.display())).args(flags).arg("context");
    store.finish(command).succeeds();
    let peer = read_json(&out.join("manifest.json"));
    let peer = look(&peer, store, |digest| out.join(hex(digest)));
    let mut differences = Vec::new();
    if own.0 != peer.0 {
        differences.push(format!("configuration: buildah has\n{}\nkeel-image\n{}", peer.0, own.0));
    }
    differences.extend(compare(&own.1, &peer.1, apart));
    differences
}

/// The configuration and the files of an image.
fn look(manifest: &Value, store: &ImageStore, blob: impl Fn(&str) -> PathBuf) -> (String, Tree) {
    let path = |descriptor: &Value| blob(descriptor["digest"].as_str().expect("a digest"));
    let config: Value = read_json(&path(&manifest["config"]));
    let layers = manifest["layers"].as_array().into_iter().flatten().map(path);
    (configuration(&config["config"]), tree(layers, &store.beside("")))
}

fn compare(own: &Tree, peer: &Tree, apart: &[&str]) -> Vec<String> {
    let names: BTreeSet<&String> = own.keys().chain(peer.keys()).collect();
    let mut differences = Vec::new();
    for name in names {
        let (own, peer) = (own.get(name), peer.get(name));
        let is_left = |line| LEFT_BY_BUILDAH.contains(&format!("{name} {line}").trim_end());
        let is_same = own == peer
            || apart.iter().any(|path| name.starts_with(path))
            || (own.is_none() && peer.is_some_and(is_left));
        if !is_same {
            let line = |line: Option<&String>| line.map_or("nothing".to_owned(), Clone::clone);
            differences.push(format!("{name}: buildah {}, keel-image {}", line(peer), line(own)));
        }
    }
    differences
}
