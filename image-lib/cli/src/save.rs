//! `keel-image save`: images into an archive.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;

use keel_image::archive::save;
use keel_image::reference::Reference;
use keel_image::spec::{Platform, Preferences};
use keel_image::store::{Image, Store};

use crate::export::to_file;
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Names or ids; a name without a tag means all its tags
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Of an image for several platforms the one for this
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
    /// Write to a file instead of the standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) fn run(store: &Store, arguments: &Arguments) -> Result<(), Failure> {
    let _hold = store.hold()?;
    let mut images = select(store, &arguments.images)?;
    if let Some(platform) = arguments.platform.as_ref().map(Preferences::of) {
        for (image, _) in &mut images {
            *image = store.read_for(image.root(), &platform)?;
        }
    }
    if let Some(path) = arguments.output.as_deref().filter(|path| path.as_os_str() != "-") {
        return to_file(path, |file| Ok(save(store, &images, file)?));
    }
    if io::stdout().is_terminal() {
        return Err(Failure::new(
            "cowardly refusing to save to a terminal. Use the -o flag or redirect",
        ));
    }
    let mut stdout = BufWriter::with_capacity(128 << 10, io::stdout().lock());
    save(store, &images, &mut stdout)?;
    stdout.flush().map_err(|error| Failure::of(&error))
}

/// The images of all names, each once with all the names that were asked for.
fn select(store: &Store, names: &[String]) -> Result<Vec<(Image, Vec<Reference>)>, Failure> {
    let mut images: Vec<(Image, Vec<Reference>)> = Vec::new();
    let mut add = |image: Image, reference: Option<Reference>| {
        let known = images.iter().position(|(known, _)| known.descriptor() == image.descriptor());
        let at = known.unwrap_or_else(|| {
            images.push((image, Vec::new()));
            images.len() - 1
        });
        if let Some(reference) = reference.filter(|r| !images[at].1.contains(r)) {
            images[at].1.push(reference);
        }
    };
    let records = store.records()?;
    for name in names {
        let reference = name.parse::<Reference>().ok();
        let bare = reference.as_ref().filter(|r| r.tag().is_none() && r.digest().is_none());
        let mut all = Vec::new();
        if let Some(bare) = bare {
            let same = |r: &&Reference| r.name() == bare.name();
            for record in &records {
                if let Some(reference) = record.reference.as_ref().filter(same) {
                    all.push((store.read(&record.descriptor)?, Some(reference.clone())));
                }
            }
        }
        if all.is_empty() {
            let image = store.resolve(name)?;
            let references = store.references(&image)?;
            // An image that was asked for by its id keeps no name.
            all.push((image, reference.filter(|r| references.contains(r))));
        }
        all.into_iter().for_each(|(image, reference)| add(image, reference));
    }
    Ok(images)
}
