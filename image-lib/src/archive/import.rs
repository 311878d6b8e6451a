//! A flat root file system becomes an image of one layer: `docker import`.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::DirBuilderExt;

use super::ArchiveError;
use crate::blob::{Decoder, Meter, Tee, peek};
use crate::fsroot::Root;
use crate::identity::{Algorithm, ImageId};
use crate::layer::{self, Threads};
use crate::reference::Reference;
use crate::spec::{Config, Descriptor, History, ImageConfig, Platform, Timestamp};
use crate::store::{Layer, Store, StoreError, layer_media_type};

/// How a root file system becomes an image.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// The image's name.
    pub reference: Option<Reference>,
    /// How a container of it is started.
    pub config: Config,
    /// The comment of its only step.
    pub message: Option<String>,
    /// The platform; the host's without one.
    pub platform: Option<Platform>,
    /// When it was made; now without it. A fixed time makes the image reproducible.
    pub created: Option<Timestamp>,
}

/// Makes an image of the tar that `stream` gives, compressed or not. Its bytes are kept as they are,
/// but for compressions that no media type says, which are undone. It is unpacked in the same pass in
/// which it is stored.
///
/// # Errors
/// The archive is damaged or cannot be unpacked; then nothing of it is in the store.
pub fn import(
    store: &Store,
    stream: impl Read + Send,
    options: &ImportOptions,
) -> Result<ImageId, ArchiveError> {
    let _hold = store.hold()?;
    let scratch = store.scratch()?;
    let failed = |source| ArchiveError::Entry { entry: "the root file system".to_owned(), source };
    let (compression, stream) = peek(stream).map_err(failed)?;
    let stream: Box<dyn Read + Send + '_> = match layer_media_type(compression) {
        Some(_) => Box::new(stream),
        None => Box::new(Decoder::new(stream)?),
    };
    let blob = scratch.path().join("blob");
    let mut file = BufWriter::with_capacity(128 << 10, File::create(&blob).map_err(failed)?);
    let mut source = Meter::new(Tee::new(stream, &mut file), Algorithm::Sha256);
    let (limits, threads) = (store.limits(), Threads::available());
    let (diff_id, compression, extracted) = if store.can_unpack() {
        let container = scratch.path().join("layer");
        std::fs::DirBuilder::new().mode(0o700).create(&container).map_err(failed)?;
        let directory = Root::open(&container)
            .and_then(|root| root.directory().try_clone())
            .map_err(|error| failed(error.source))?;
        let applied = layer::apply(&mut source, Algorithm::Sha256, directory, limits, threads)
            .map_err(ArchiveError::Import)?;
        (applied.diff_id, applied.compression, Some((container, applied.extracted)))
    } else {
        let (diff_id, compression) = layer::verify(&mut source, Algorithm::Sha256, limits, threads)
            .map_err(ArchiveError::Import)?;
        (diff_id, compression, None)
    };
    io::copy(&mut source, &mut io::sink()).map_err(failed)?;
    let (digest, size) = source.finish();
    file.flush().map_err(failed)?;
    drop(file);
    if let Some((container, extracted)) = extracted {
        store.adopt_base(&container, extracted, &diff_id, &digest, &scratch)?;
    }
    let media_type = layer_media_type(compression)
        .ok_or(StoreError::Compression { name: compression.name() })?;
    let descriptor = Descriptor::new(media_type, digest, size);
    store.publish_file(&blob, &descriptor)?;
    let created = options.created.unwrap_or_else(Timestamp::now);
    let mut config = ImageConfig::new(&options.platform.clone().unwrap_or_else(Platform::host));
    config.created = Some(created);
    config.config = Some(options.config.clone());
    let comment = options.message.clone().unwrap_or_else(|| "Imported from -".to_owned());
    config.history =
        vec![History { created: Some(created), comment: Some(comment), ..History::default() }];
    let references: Vec<Reference> = options.reference.iter().cloned().collect();
    Ok(store.put_image(&config, &[Layer { diff_id, descriptor }], &references)?)
}
