//! What can be seen of an image that a build has made, from the image's own bytes: GNU tar reads the layers,
//! and neither builder's code takes part.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::digest;
use crate::portrait::attributes;

/// What stands at a path: everything but the path itself.
pub(super) type Tree = BTreeMap<String, String>;

/// A file of a context has this time unless the case sets another.
pub(super) const CONTEXT_TIME: i64 = 1_000_000_000;
/// Times from here on are those of the test run.
const RECENT_TIME: i64 = 1_400_000_000;
/// How many bytes of a file are shown; of others size and digest.
const SHOWN_BYTES: usize = 200;

/// An image, as a case describes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Built {
    /// A key and its JSON to a line, sorted.
    pub(super) config: String,
    /// What differs from the base, an entry to a line, sorted.
    pub(super) files: String,
    /// `created_by`, above the base's.
    pub(super) history: String,
}

/// Looks at the image of a manifest whose blobs `blob` finds; `base` is the tree it was built on.
pub(super) fn look(
    manifest: &Value,
    blob: &dyn Fn(&str) -> PathBuf,
    base: &Tree,
    scratch: &Path,
) -> Built {
    let path = |descriptor: &Value| blob(descriptor["digest"].as_str().expect("a digest"));
    let config = fs::read(path(&manifest["config"])).expect("a configuration");
    let config: Value = serde_json::from_slice(&config).expect("JSON");
    let history = config["history"].as_array().into_iter().flatten();
    let history: Vec<&str> = history
        .filter_map(|entry| entry["created_by"].as_str())
        .filter(|by| *by != IMPORT)
        .collect();
    let layers = manifest["layers"].as_array().into_iter().flatten();
    let tree = tree(layers.map(path), scratch);
    // Cases tell what they add to what they are built on: the base, or nothing.
    let nothing = Tree::new();
    let base = if tree.contains_key(BASE_FILE) { base } else { &nothing };
    Built {
        config: configuration(&config["config"]),
        files: changes(base, &tree),
        history: history.join("\n"),
    }
}

/// What only images that are built on the base have.
const BASE_FILE: &str = "/bin/busybox";
/// How `keel-image import` is named in the history of the base.
const IMPORT: &str = "keel-image import";

/// The `config` object without what every image has: an empty value, the default search path, and what a
/// builder says of itself.
pub(super) fn configuration(config: &Value) -> String {
    let mut lines = Vec::new();
    for (key, value) in config.as_object().into_iter().flatten() {
        let mut value = value.clone();
        match &mut value {
            Value::Array(items) if key == "Env" => items.retain(|item| *item != DEFAULT_PATH),
            Value::Object(labels) if key == "Labels" => {
                labels.remove("io.buildah.version");
            }
            _ => {}
        }
        let is_empty = match &value {
            Value::Null | Value::Bool(false) => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty() && key != "Cmd",
            Value::Object(items) => items.is_empty(),
            _ => false,
        };
        if !is_empty && !["Hostname", "Image", "ArgsEscaped"].contains(&key.as_str()) {
            lines.push(format!("{key} {value}"));
        }
    }
    lines.sort();
    lines.join("\n")
}

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The merged tree of layers, lowest first.
pub(super) fn tree(layers: impl Iterator<Item = PathBuf>, scratch: &Path) -> Tree {
    let mut merged = Tree::new();
    let folder = scratch.join("layer");
    for layer in layers {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).expect("a folder");
        let mut tar = Command::new("tar");
        // The clock of a virtual machine may be behind the files that were just made.
        tar.args([
            "--warning=no-timestamp",
            "--xattrs",
            "--xattrs-include=*",
            "--numeric-owner",
            "-xpf",
        ])
        .arg(&layer);
        let status = tar.arg("-C").arg(&folder).status().expect("tar starts");
        assert!(status.success(), "tar reads {}", layer.display());
        lay_over(&mut merged, describe(&folder));
    }
    let _ = fs::remove_dir_all(&folder);
    merged
}

/// Lays a layer over those below: whiteouts take away, the rest replaces.
fn lay_over(merged: &mut Tree, layer: Tree) {
    for path in layer.keys() {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        match name.strip_prefix(".wh.") {
            Some(".wh..opq") => take_away(merged, &format!("{above}/"), false),
            Some(name) => take_away(merged, &format!("{above}/{name}"), true),
            None => {}
        }
    }
    for (path, line) in layer {
        if path.contains("/.wh.") {
            continue;
        }
        match path.strip_suffix('/') {
            // A directory over a directory keeps what is in it.
            Some(file) => take_away_alone(merged, file),
            None => take_away(merged, &path, true),
        }
        merged.insert(path, line);
    }
}

/// Takes away what is below a path, and the path itself if `whole`.
fn take_away(merged: &mut Tree, path: &str, whole: bool) {
    let folder = format!("{}/", path.trim_end_matches('/'));
    let from = merged.range(folder.clone()..).map(|(path, _)| path);
    let below: Vec<String> = from.take_while(|path| path.starts_with(&folder)).cloned().collect();
    for path in below.iter().filter(|path| whole || **path != folder) {
        take_away_alone(merged, path);
    }
    if whole {
        take_away_alone(merged, path);
    }
}

/// Takes away one entry. Further names of a file that go on are those of the first of them then.
fn take_away_alone(merged: &mut Tree, path: &str) {
    let Some(line) = merged.remove(path) else { return };
    let link = format!("= {path}");
    let is_link = |seen: &str| seen == link || seen.ends_with(&format!(" {link}"));
    let names: Vec<String> =
        merged.iter().filter(|(_, seen)| is_link(seen)).map(|(name, _)| name.clone()).collect();
    let Some((first, others)) = names.split_first() else { return };
    for name in others {
        if let Some(seen) = merged.get_mut(name) {
            *seen = seen.replace(&link, &format!("= {first}"));
        }
    }
    merged.insert(first.clone(), line);
}

/// All entries below a folder. A directory's path ends with a slash.
fn describe(folder: &Path) -> Tree {
    let mut seen = Tree::new();
    let mut first: BTreeMap<(u64, u64), String> = BTreeMap::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(path) = pending.pop() {
        let here = folder.join(&path);
        let meta = fs::symlink_metadata(&here).expect("an entry has metadata");
        let kind = meta.file_type();
        let name = format!("/{}", path.display());
        if kind.is_dir() {
            let mut names: Vec<PathBuf> = fs::read_dir(&here)
                .expect("a folder is read")
                .map(|entry| path.join(entry.expect("an entry").file_name()))
                .collect();
            names.sort();
            pending.extend(names.into_iter().rev());
            if name == "/" {
                continue;
            }
        }
        let mut words = Vec::new();
        let usual = if kind.is_dir() { 0o755 } else { 0o644 };
        let mode = meta.mode() & 0o7777;
        if mode != usual && !kind.is_symlink() {
            words.push(format!("{mode:o}"));
        }
        if (meta.uid(), meta.gid()) != (0, 0) {
            words.push(format!("{}:{}", meta.uid(), meta.gid()));
        }
        let known = (meta.nlink() > 1 && !kind.is_dir())
            .then(|| first.entry((meta.dev(), meta.ino())).or_insert_with(|| name.clone()).clone());
        let device = || (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
        match known.filter(|known| *known != name) {
            Some(known) => words.push(format!("= {known}")),
            None if kind.is_file() => words.push(content(&here)),
            None if kind.is_symlink() => {
                words.push(format!("-> {}", fs::read_link(&here).expect("a target").display()));
            }
            None if kind.is_fifo() => words.push("fifo".to_owned()),
            None if kind.is_char_device() => {
                words.push(format!("character device {}:{}", device().0, device().1));
            }
            None => {}
        }
        words.extend(attributes(&here));
        let time = meta.mtime();
        if !kind.is_dir() && time < RECENT_TIME && time != CONTEXT_TIME {
            words.push(format!("@{time}"));
        }
        let slash = if kind.is_dir() { "/" } else { "" };
        seen.insert(format!("{name}{slash}"), words.join(" "));
    }
    seen
}

fn content(path: &Path) -> String {
    let bytes = fs::read(path).expect("a file is read");
    if bytes.len() > SHOWN_BYTES {
        return format!("{} bytes {}", bytes.len(), &digest(&bytes)[..23]);
    }
    format!("\"{}\"", bytes.escape_ascii().to_string().replace("\\'", "'"))
}

/// What `tree` has that `base` has not or otherwise, and what it lacks.
fn changes(base: &Tree, tree: &Tree) -> String {
    let mut lines = Vec::new();
    for (path, line) in tree {
        if base.get(path) != Some(line) {
            lines.push(format!("{path} {line}").trim_end().to_owned());
        }
    }
    for path in base.keys().filter(|path| !tree.contains_key(*path)) {
        let above = path.trim_end_matches('/').rsplit_once('/').map_or("", |(above, _)| above);
        // Of a directory that is gone only itself is told.
        if above.is_empty() || tree.contains_key(&format!("{above}/")) {
            lines.push(format!("{path} gone"));
        }
    }
    lines.sort();
    lines.join("\n")
}
