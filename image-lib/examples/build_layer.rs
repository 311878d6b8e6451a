//! Makes an image of a file in memory and a folder on disk, without a Dockerfile and without root:
//!
//! `cargo run -p keel-image --example build_layer -- STORE FOLDER NAME`
//!
//! The layer's tar is written entry by entry and compressed on its way into the store, so that
//! nothing is held in memory. `keel-image --root STORE run NAME` starts the image.

use std::error::Error;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use keel_image::blob::{Compression, Encoder, Meter};
use keel_image::fsroot::{FileKind, Root};
use keel_image::identity::{Algorithm, DiffId};
use keel_image::spec::{Config, Descriptor, ImageConfig, Platform, media_type};
use keel_image::store::{Layer, Store};
use keel_image::tar::{Entry, EntryKind, Writer};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [store, folder, name] = &words[..] else {
        return Err("usage: build_layer STORE FOLDER NAME".into());
    };
    let store = Store::open(Path::new(store))?;
    // What no image names yet is safe from garbage collection for as long as this lives.
    let hold = store.hold()?;
    let layer = make_layer(&store, Path::new(folder))?;
    let mut config = ImageConfig::new(&Platform::host());
    config.config =
        Some(Config { cmd: Some(vec!["/bin/greeter".to_owned()]), ..Config::default() });
    let id = store.put_image(&config, &[layer], &[name.parse()?])?;
    drop(hold);
    writeln!(std::io::stdout(), "{id}")?;
    Ok(())
}

/// A layer with a file of its own and all that is in `folder`, below `/bin`.
fn make_layer(store: &Store, folder: &Path) -> Result<Layer, Box<dyn Error>> {
    // Two digests in one pass: the archive's, which the configuration names, and the blob's.
    let ingest = store.ingest(Algorithm::Sha256)?;
    let encoder = Encoder::new(ingest, Compression::Gzip)?;
    let mut tar = Writer::new(Meter::writer(encoder, Algorithm::Sha256));

    let text = b"made by an example\n";
    tar.append(&Entry::new(b"etc", EntryKind::Directory, 0o755))?;
    let size = text.len() as u64;
    let motd = Entry { size, ..Entry::new(b"etc/motd", EntryKind::File, 0o644) };
    tar.append_content(&motd, &mut &text[..])?;

    tar.append(&Entry::new(b"bin", EntryKind::Directory, 0o755))?;
    // Sorted, and never out of the folder, whatever links are in it.
    for found in Root::open(folder)?.walk(Path::new(""))? {
        let found = found?;
        let path = Path::new("bin").join(&found.path);
        let mut entry =
            Entry::new(path.as_os_str().as_bytes(), EntryKind::File, found.metadata.mode);
        match found.metadata.kind {
            FileKind::File => {
                entry.size = found.metadata.size;
                tar.append_content(&entry, &mut found.parent.open_file(&found.name)?)?;
            }
            FileKind::Directory => {
                entry.kind = EntryKind::Directory;
                tar.append(&entry)?;
            }
            FileKind::Symlink => {
                entry.kind = EntryKind::Symlink;
                entry.link = target(&found.parent.read_link(&found.name)?);
                tar.append(&entry)?;
            }
            // Devices, pipes and sockets are no part of this image.
            _ => {}
        }
    }
    let (encoder, diff_id, _) = tar.finish()?.into_parts();
    let (digest, size) = store.commit_ingest(encoder.finish()?, None)?;
    let descriptor = Descriptor::new(media_type::OCI_LAYER_GZIP, digest, size);
    Ok(Layer { diff_id: DiffId::new(diff_id), descriptor })
}

fn target(link: &OsStr) -> Vec<u8> {
    link.as_bytes().to_vec()
}
