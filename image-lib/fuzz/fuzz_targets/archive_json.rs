//! The documents of archives, with blobs that fit them: `manifest.json NUL index.json NUL oci-layout
//! NUL repositories NUL configuration NUL manifest`. An archive is loaded whole, or nothing of it is
//! in the store.
//!
//! In each text `$L`, `$C` and `$M` stand for the digest of the layer, the configuration and the
//! manifest, and `$l`, `$c` and `$m` for their sizes: no chance would find a digest.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use keel_image::archive::load;
use keel_image::identity::Digest;
use keel_image::store::{Silent, Store};
use keel_image::tar::{Entry, EntryKind, Writer};
use libfuzzer_sys::fuzz_target;

/// A store of this process's own.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    std::env::temp_dir().join(format!("keel-fuzz-archives-{}", std::process::id()))
});

fuzz_target!(|text: &str| {
    let mut parts = text.splitn(6, '\0');
    let mut next = || parts.next().unwrap_or_default().to_owned();
    let documents = ["manifest.json", "index.json", "oci-layout", "repositories"];
    let documents = documents.map(|name| (name, next()));
    let layer = archive(&[("greeting".to_owned(), b"hello".to_vec())]);
    let config = put(&next(), 'L', &layer);
    let manifest = put(&put(&next(), 'L', &layer), 'C', config.as_bytes());
    let mut files = vec![
        blob(layer.clone()),
        blob(config.clone().into_bytes()),
        blob(manifest.clone().into_bytes()),
        ("layer.tar".to_owned(), layer.clone()),
        ("config.json".to_owned(), config.clone().into_bytes()),
    ];
    for (name, text) in documents {
        if !text.is_empty() {
            let text = put(&put(&text, 'L', &layer), 'C', config.as_bytes());
            files.push((name.to_owned(), put(&text, 'M', manifest.as_bytes()).into_bytes()));
        }
    }
    let store = Store::open(&FOLDER).expect("a store");
    match load(&store, archive(&files).as_slice(), &Silent) {
        Ok(loaded) => {
            for image in loaded {
                let found = store.resolve(&image.id.to_string()).expect("what was loaded is there");
                assert_eq!(found.id(), &image.id);
            }
            for record in store.records().expect("an index") {
                store.forget(&record.descriptor).expect("an image that can be forgotten");
            }
            store.collect().expect("nothing is in use");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    assert!(store.records().expect("an index").is_empty());
    let blobs = std::fs::read_dir(FOLDER.join("blobs/sha256")).expect("a folder");
    assert_eq!(blobs.count(), 0, "blobs are left");
});

fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (path, content) in files {
        let mut entry = Entry::new(path.as_bytes(), EntryKind::File, 0o644);
        entry.size = content.len() as u64;
        writer.append_content(&entry, &mut content.as_slice()).expect("memory takes all");
    }
    writer.finish().expect("memory takes all")
}

fn blob(content: Vec<u8>) -> (String, Vec<u8>) {
    (format!("blobs/sha256/{}", Digest::of(&content).hex()), content)
}

fn put(text: &str, letter: char, content: &[u8]) -> String {
    text.replace(&format!("${letter}"), &Digest::of(content).to_string())
        .replace(&format!("${}", letter.to_ascii_lowercase()), &content.len().to_string())
}
