//! OCI layouts that umoci makes, to be put into registries.

use std::fs;

use serde_json::{Value, json};

use crate::{ImageStore, digest, fixture};

/// Bytes that no compression makes fewer.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    noise.truncate(bytes);
    noise
}

/// A layout `layout` beside the store with the image `app`: busybox, and on top of it a layer that changes
/// and deletes.
pub fn busybox_layout(store: &ImageStore) {
    let busybox = fixture("busybox.tar").display().to_string();
    store.tool("umoci", &["init", "--layout", "layout"]);
    store.tool("umoci", &["new", "--image", "layout:app"]);
    store.tool("umoci", &["unpack", "--image", "layout:app", "one"]);
    store.tool("tar", &["-C", "one/rootfs", "-xpf", &busybox]);
    let rootfs = store.beside("one/rootfs");
    fs::create_dir_all(rootfs.join("data/gone")).expect("a folder");
    fs::write(rootfs.join("data/gone/file"), "x").expect("a file");
    fs::write(rootfs.join("data/deleted"), "x").expect("a file");
    fs::write(rootfs.join("data/changed"), "old").expect("a file");
    store.tool("umoci", &["repack", "--image", "layout:app", "one"]);
    store.tool("umoci", &["unpack", "--image", "layout:app", "two"]);
    let rootfs = store.beside("two/rootfs");
    fs::remove_dir_all(rootfs.join("data/gone")).expect("a folder");
    fs::remove_file(rootfs.join("data/deleted")).expect("a file");
    fs::write(rootfs.join("data/added"), "added").expect("a file");
    fs::write(rootfs.join("data/changed"), "new").expect("a file");
    store.tool("umoci", &["repack", "--image", "layout:app", "two"]);
    store.tool(
        "umoci",
        &[
            "config",
            "--image",
            "layout:app",
            "--config.cmd",
            "cat",
            "--config.cmd",
            "/data/changed",
        ],
    );
}

/// A layout `layout` beside the store with the image `app`, whose layers have each a file of so many bytes of
/// noise. Returns the digests of the layers, lowest first.
pub fn noisy_layout(store: &ImageStore, sizes: &[usize]) -> Vec<String> {
    store.tool("umoci", &["init", "--layout", "layout"]);
    store.tool("umoci", &["new", "--image", "layout:app"]);
    for (number, size) in sizes.iter().enumerate() {
        let bundle = format!("bundle{number}");
        store.tool("umoci", &["unpack", "--image", "layout:app", &bundle]);
        let mut bytes = noise(*size);
        // Layers differ.
        bytes.extend(number.to_le_bytes());
        let path = store.beside(&format!("{bundle}/rootfs/noise{number}"));
        fs::write(path, bytes).expect("a file");
        store.tool("umoci", &["repack", "--image", "layout:app", &bundle]);
    }
    let manifest = store.tool("skopeo", &["inspect", "--raw", "oci:layout:app"]).json();
    let layers = manifest["layers"].as_array().cloned().unwrap_or_default();
    layers.iter().map(|layer| layer["digest"].as_str().unwrap_or_default().to_owned()).collect()
}

/// A layout as [`busybox_layout`] makes it, with the image `arm` for another architecture, too, and the index `both`
/// of the two. Returns the index's digest.
pub fn platforms_layout(store: &ImageStore) -> String {
    busybox_layout(store);
    let own = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let other = if own == "arm64" { "amd64" } else { "arm64" };
    let words = ["config", "--image", "layout:app", "--tag", "arm", "--architecture", other];
    store.tool("umoci", &words);
    let path = store.beside("layout/index.json");
    let mut index: Value =
        serde_json::from_slice(&fs::read(&path).expect("index.json")).expect("JSON");
    let name = "org.opencontainers.image.ref.name";
    let mut entries = Vec::new();
    for (tag, architecture) in [("arm", other), ("app", own)] {
        let listed = index["manifests"].as_array().expect("a list");
        let entry = listed.iter().find(|m| m["annotations"][name] == tag).expect("an image");
        entries.push(json!({
            "mediaType": entry["mediaType"], "digest": entry["digest"], "size": entry["size"],
            "platform": { "os": "linux", "architecture": architecture },
        }));
    }
    let kind = "application/vnd.oci.image.index.v1+json";
    let both = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": entries }).to_string();
    let digest = put_blob(store, both.as_bytes());
    index["manifests"].as_array_mut().expect("a list").push(json!({
        "mediaType": kind, "digest": digest, "size": both.len(), "annotations": { name: "both" },
    }));
    fs::write(path, index.to_string()).expect("index.json");
    digest
}

/// Puts bytes among the blobs of the layout `layout`; their digest.
pub fn put_blob(store: &ImageStore, bytes: &[u8]) -> String {
    let digest = digest(bytes);
    fs::write(store.beside("layout/blobs").join(digest.replace(':', "/")), bytes).expect("a blob");
    digest
}
