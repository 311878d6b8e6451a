//! `keel-image copy`: an image from one place to another, byte for byte.

use keel_image::copy::{
    ArchiveDestination, ArchiveForm, ArchiveSource, Destination, DirectoryDestination,
    DirectorySource, LayoutDestination, LayoutSource, Place, Selection, Source, StoreDestination,
    StoreSource, copy,
};
use keel_image::reference::Reference;
use keel_image::spec::{Platform, Preferences};
use keel_image::store::{Progress, Store};
use serde_json::json;

use crate::failure::Failure;
use crate::output;
use crate::progress::Bars;

/// Copy an image between store, layouts, archives and directories.
///
/// A place is the name of an image in the store, or oci:DIR[:NAME], oci-archive:FILE[:NAME],
/// docker-archive:FILE[:REFERENCE] or dir:DIR. Nothing is decompressed or compressed.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where the image is
    source: Place,
    /// Where it is to be
    destination: Place,
    /// Only the image for this platform, without the index that it is in
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
    /// Show no progress, and do not print the digest
    #[arg(short, long)]
    quiet: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(store: &Store, arguments: &Arguments) -> Result<(), Failure> {
    let progress = Bars::new(arguments.quiet || arguments.json);
    let selection = match &arguments.platform {
        Some(platform) => Selection::For(Preferences::of(platform)),
        None => Selection::All,
    };
    let mut source = source(store, &arguments.source)?;
    let mut destination = destination(store, &arguments.destination, &progress)?;
    let copied = copy(&mut *source, &mut *destination, &selection, &progress)?;
    if arguments.json {
        return output::json(&json!({
            "Digest": copied.digest, "MediaType": copied.media_type, "Size": copied.size,
            "Source": arguments.source.to_string(), "Destination": arguments.destination.to_string(),
        }));
    }
    if arguments.quiet { Ok(()) } else { output::line(&copied.digest.to_string()) }
}

/// Opens a place to read from.
fn source<'s>(store: &'s Store, place: &Place) -> Result<Box<dyn Source + 's>, Failure> {
    Ok(match place {
        Place::Store(name) => Box::new(StoreSource::new(store, name)?),
        Place::Layout(path, name) => Box::new(LayoutSource::new(path, name.as_deref())),
        Place::LayoutArchive(path, name) | Place::DockerArchive(path, name) => {
            Box::new(ArchiveSource::new(store, path, name.as_deref())?)
        }
        Place::Directory(path) => Box::new(DirectorySource::new(path)),
        Place::Registry(_) => return Err(no_registry()),
    })
}

/// Opens a place to write to.
fn destination<'s>(
    store: &'s Store,
    place: &Place,
    progress: &'s dyn Progress,
) -> Result<Box<dyn Destination + 's>, Failure> {
    let archive =
        |path, form, name: &Option<String>| ArchiveDestination::new(path, form, name.as_deref());
    Ok(match place {
        Place::Store(name) => {
            let name: Reference = name.parse().map_err(|error| Failure::of(&error))?;
            if name.digest().is_some() {
                return Err(Failure::new(
                    "an image in the store is named by a tag, not by a digest",
                ));
            }
            Box::new(StoreDestination::new(store, Some(name.or_latest()), progress)?)
        }
        Place::Layout(path, name) => Box::new(LayoutDestination::new(path, name.as_deref())?),
        Place::LayoutArchive(path, name) => Box::new(archive(path, ArchiveForm::Layout, name)?),
        Place::DockerArchive(path, name) => Box::new(archive(path, ArchiveForm::Docker, name)?),
        Place::Directory(path) => Box::new(DirectoryDestination::new(path)?),
        Place::Registry(_) => return Err(no_registry()),
    })
}

fn no_registry() -> Failure {
    Failure::new("docker:// is not a place that copy knows yet")
}
