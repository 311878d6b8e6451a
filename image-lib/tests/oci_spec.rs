//! The oci-spec crate as an independent reader: the documents that the store writes must be whole for
//! a strict implementation of image-spec.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod scene;

use std::fs;

use keel_image::archive::{ImportOptions, import};
use oci_spec::image as oracle;
use scene::{Folder, directory, file, tar};

#[test]
fn documents_are_whole_for_a_strict_reader() {
    let folder = Folder::new("oci-spec");
    let store = folder.store();
    let archive = tar(&[directory("d", 0o755), file("d/a", "content")]);
    let id = import(&store, &archive[..], &ImportOptions::default()).unwrap();
    let image = store.resolve(&id.to_string()).unwrap();

    let manifest = oracle::ImageManifest::from_reader(image.manifest().bytes()).unwrap();
    assert_eq!(manifest.schema_version(), 2);
    assert_eq!(manifest.layers().len(), image.layers().len());
    assert_eq!(manifest.config().digest().to_string(), id.to_string());
    let config = oracle::ImageConfiguration::from_reader(image.config().bytes()).unwrap();
    let diff_ids: Vec<String> = image.layers().iter().map(|l| l.diff_id.to_string()).collect();
    assert_eq!(config.rootfs().diff_ids(), &diff_ids);

    let index = fs::read(folder.0.join("store").join("index.json")).unwrap();
    let index = oracle::ImageIndex::from_reader(index.as_slice()).unwrap();
    assert_eq!(index.manifests().len(), 1);
    let layout = fs::read(folder.0.join("store").join("oci-layout")).unwrap();
    oracle::OciLayout::from_reader(layout.as_slice()).unwrap();
}
