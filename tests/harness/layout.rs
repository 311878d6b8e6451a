//! An OCI image layout written by hand: any bytes can be a layer.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A layout that grows.
#[derive(Debug)]
pub struct Layout {
    folder: PathBuf,
    layers: Vec<Value>,
    diff_ids: Vec<String>,
}

/// `sha256:` and the digest of some bytes.
pub fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Compresses with gzip, always to the same bytes.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(bytes).expect("memory takes all");
    encoder.finish().expect("memory takes all")
}

impl Layout {
    /// An empty layout in a folder, which is made.
    pub fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder.join("blobs/sha256")).expect("a folder");
        let version = json!({"imageLayoutVersion": "1.0.0"});
        fs::write(folder.join("oci-layout"), version.to_string()).expect("a file");
        Self { folder: folder.to_owned(), layers: Vec::new(), diff_ids: Vec::new() }
    }

    fn blob(&self, bytes: &[u8]) -> (String, usize) {
        let digest = digest(bytes);
        let path = self.folder.join("blobs").join(digest.replace(':', "/"));
        fs::write(path, bytes).expect("a blob");
        (digest, bytes.len())
    }

    /// Adds a layer, compressed with gzip.
    pub fn layer(&mut self, archive: &[u8]) -> &mut Self {
        self.layer_of(archive, &gzip(archive), "application/vnd.oci.image.layer.v1.tar+gzip")
    }

    /// Adds a layer whose archive has been made into these bytes.
    pub fn layer_of(&mut self, archive: &[u8], blob: &[u8], media_type: &str) -> &mut Self {
        let (digest_of_blob, size) = self.blob(blob);
        self.layers.push(json!({"mediaType": media_type, "digest": digest_of_blob, "size": size}));
        self.diff_ids.push(digest(archive));
        self
    }

    /// Makes the layers an image of this machine's platform: `TAG` for tools that go by the layout's tags,
    /// `TAG:latest` for others.
    pub fn finish(&mut self, tag: &str) {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let config = json!({"architecture": architecture, "os": "linux", "config": {"Cmd": ["/bin/true"]},
            "rootfs": {"type": "layers", "diff_ids": self.diff_ids}});
        let (config, size) = self.blob(config.to_string().as_bytes());
        let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": size},
            "layers": self.layers});
        let (manifest, size) = self.blob(manifest.to_string().as_bytes());
        let index = json!({"schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": manifest, "size": size,
            "annotations": {"org.opencontainers.image.ref.name": tag,
                "io.containerd.image.name": format!("docker.io/library/{tag}:latest")}}]});
        fs::write(self.folder.join("index.json"), index.to_string()).expect("an index");
    }
}
