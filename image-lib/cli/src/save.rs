//! `keel-image save`: images into an archive or a layout directory.

use std::fs;
use std::io::{self, BufWriter, IsTerminal};
use std::path::{Path, PathBuf};

use keel_image::archive::save_file;
use keel_image::copy::LayoutDestination;
use keel_image::reference::Reference;
use keel_image::spec::{Platform, Preferences};
use keel_image::store::{Image, Store};
use serde_json::{Value, json};

use crate::export::to_file;
use crate::failure::Failure;
use crate::output;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Names or ids; a name without a tag means all its tags
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Of an image for several platforms the one for this
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
    /// Write to a file instead of the standard output, or into an image layout directory that is there
    #[arg(short, long, value_name = "FILE|DIR")]
    output: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(store: &Store, arguments: &Arguments) -> Result<(), Failure> {
    let _hold = store.hold()?;
    let mut images = select(store, &arguments.images)?;
    if let Some(platform) = arguments.platform.as_ref().map(Preferences::of) {
        for (image, _) in &mut images {
            *image = store.read_for(image.root(), &platform)?;
        }
    }
    match arguments.output.as_deref().filter(|path| path.as_os_str() != "-") {
        Some(path) if path.is_dir() => to_directory(store, &images, path)?,
        Some(path) => to_file(path, |file| Ok(save_file(store, &images, file)?))?,
        None => to_stdout(store, &images, arguments.json)?,
    }
    if arguments.json {
        return output::json(&images.iter().map(described).collect());
    }
    Ok(())
}

fn described((image, references): &(Image, Vec<Reference>)) -> Value {
    let tags: Vec<String> = references.iter().map(Reference::familiar).collect();
    json!({ "Id": image.id().to_string(), "RepoTags": tags })
}

/// A directory is a layout, or empty and becomes one. Nothing is strewn into others.
fn to_directory(
    store: &Store,
    images: &[(Image, Vec<Reference>)],
    path: &Path,
) -> Result<(), Failure> {
    let mut entries = fs::read_dir(path).map_err(|error| Failure::at("read", path, &error))?;
    if !path.join("oci-layout").is_file() && entries.next().is_some() {
        return Err(Failure::new(format!("{path:?} is a directory and no image layout")));
    }
    Ok(LayoutDestination::new(path, None)?.save(store, images)?)
}

fn to_stdout(
    store: &Store,
    images: &[(Image, Vec<Reference>)],
    is_taken: bool,
) -> Result<(), Failure> {
    if is_taken {
        return Err(Failure::new("--json needs --output: the archive goes to the standard output"));
    }
    if io::stdout().is_terminal() {
        return Err(Failure::new(
            "cowardly refusing to save to a terminal. Use the -o flag or redirect",
        ));
    }
    let stdout = BufWriter::with_capacity(128 << 10, io::stdout().lock());
    Ok(save_file(store, images, stdout)?)
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
