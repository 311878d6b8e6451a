//! What the tests of this crate are made of: a store in a folder that goes away, layers and archives
//! written by hand, and a look at trees that misses nothing.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses a part; a test may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use keel_image::blob::{Compression, Encoder};
use keel_image::fsroot::Root;
use keel_image::identity::{DiffId, Digest};
use keel_image::spec::{
    Descriptor, ImageConfig, Index, Manifest, Platform, RootFs, Timestamp, media_type,
};
use keel_image::store::{Layer, Store};
use keel_image::tar::{Entry, EntryKind, Writer};

/// A folder that goes away.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("keel-image-{}-{count}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn store(&self) -> Store {
        assert!(rustix_is_root(), "these tests unpack layers, which needs root");
        Store::open(&self.0.join("store")).unwrap()
    }
}

fn rustix_is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn file(path: &str, content: &str) -> (Entry, Vec<u8>) {
    let size = content.len() as u64;
    let entry = Entry { size, ..Entry::new(path.as_bytes(), EntryKind::File, 0o644) };
    (entry, content.as_bytes().to_vec())
}

pub(crate) fn directory(path: &str, mode: u32) -> (Entry, Vec<u8>) {
    let mtime = Timestamp { seconds: 1000, nanoseconds: 7 };
    (Entry { mtime, ..Entry::new(path.as_bytes(), EntryKind::Directory, mode) }, Vec::new())
}

pub(crate) fn link(kind: EntryKind, path: &str, target: &str) -> (Entry, Vec<u8>) {
    let link = target.as_bytes().to_vec();
    (Entry { link, ..Entry::new(path.as_bytes(), kind, 0o777) }, Vec::new())
}

pub(crate) fn tar(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, content) in entries {
        writer.append_content(entry, &mut content.as_slice()).unwrap();
    }
    writer.finish().unwrap()
}

pub(crate) fn compress(bytes: &[u8], compression: Compression) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), compression).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Puts a layer into a store without any check.
pub(crate) fn put_layer(store: &Store, archive: &[u8], compression: Compression) -> Layer {
    let (digest, size) = store.put_blob(&mut compress(archive, compression).as_slice()).unwrap();
    let descriptor = Descriptor::new(media_type::OCI_LAYER_GZIP, digest, size);
    Layer { diff_id: DiffId::new(Digest::of(archive)), descriptor }
}

/// The files of an image layout, by path; `layers` are blobs with their diff ids.
pub(crate) fn layout(layers: &[(Vec<u8>, DiffId)], name: &str) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut put = |media_type: &str, bytes: Vec<u8>| {
        let digest = Digest::of(&bytes);
        let size = bytes.len() as u64;
        files.insert(format!("blobs/sha256/{}", digest.hex()), bytes);
        Descriptor::new(media_type, digest, size)
    };
    let mut config = ImageConfig::new(&Platform::host());
    let diff_ids = layers.iter().map(|(_, diff_id)| diff_id.clone()).collect();
    config.rootfs = RootFs { diff_ids, ..RootFs::default() };
    let config = put(media_type::OCI_CONFIG, serde_json::to_vec(&config).unwrap());
    let layers = layers.iter().map(|(blob, _)| put(media_type::OCI_LAYER_GZIP, blob.clone()));
    let manifest = Manifest::new(config, layers.collect());
    let mut entry = put(media_type::OCI_MANIFEST, serde_json::to_vec(&manifest).unwrap());
    entry.annotations.insert("org.opencontainers.image.ref.name".into(), name.into());
    files.insert("index.json".into(), serde_json::to_vec(&Index::new(vec![entry])).unwrap());
    files.insert("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
    files
}

pub(crate) fn archive_of(files: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (path, content) in files {
        let size = content.len() as u64;
        let entry = Entry { size, ..Entry::new(path.as_bytes(), EntryKind::File, 0o644) };
        writer.append_content(&entry, &mut content.as_slice()).unwrap();
    }
    writer.finish().unwrap()
}

/// Every file below `path` with all that can be seen of it, one line each.
pub(crate) fn describe(path: &Path) -> Vec<String> {
    let root = Root::open(path).unwrap();
    let mut lines = Vec::new();
    for entry in root.walk(Path::new("")).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata;
        let target = entry.parent.read_link(&entry.name).unwrap_or_default();
        let content = match metadata.kind {
            keel_image::fsroot::FileKind::File => {
                let mut bytes = Vec::new();
                let mut file = entry.parent.open_file(&entry.name).unwrap();
                std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
                Digest::of(&bytes).short().to_owned()
            }
            _ => String::new(),
        };
        let mut xattrs = entry.parent.xattrs(&entry.name).unwrap();
        // What overlayfs notes for itself when it copies up.
        let own: [&[u8]; 2] = [b"trusted.overlay.origin", b"trusted.overlay.impure"];
        xattrs.retain(|(name, _)| !own.contains(&name.as_slice()));
        lines.push(format!(
            "{} {:?} {:o} {}:{} {} {:?} {target:?} {content} {:?}",
            entry.path.display(),
            metadata.kind,
            metadata.mode,
            metadata.uid,
            metadata.gid,
            // Nobody sees the time of a whiteout.
            if metadata.is_whiteout() { Timestamp::default() } else { metadata.mtime },
            metadata.device,
            xattrs
                .iter()
                .map(|(n, v)| format!("{}={v:?}", String::from_utf8_lossy(n)))
                .collect::<Vec<_>>(),
        ));
    }
    lines
}

/// All files of a store below a folder of it.
pub(crate) fn files_in(store: &Store, folder: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(store.path().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Nothing of a failed operation is left.
pub(crate) fn assert_empty(store: &Store) {
    for folder in ["blobs/sha256", "layers", "tmp"] {
        assert_eq!(files_in(store, folder), Vec::<String>::new(), "{folder} of the store");
    }
    assert!(store.records().unwrap().is_empty());
}

/// An error with all its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

pub(crate) fn is_whiteout(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_char_device() && m.rdev() == 0)
}

pub(crate) fn name_bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}
