//! `keel-image copy`: an image from one place to another, byte for byte.

use keel_image::copy::{
    ArchiveDestination, ArchiveForm, ArchiveSource, Destination, DirectoryDestination,
    DirectorySource, LayoutDestination, LayoutSource, Place, RegistryDestination, RegistrySource,
    Selection, Source, StoreDestination, StoreSource, copy,
};
use keel_image::reference::Reference;
use keel_image::registry::{Client, SendOptions};
use keel_image::spec::{Platform, Preferences};
use keel_image::store::{Event, Progress, Store};
use serde_json::json;

use crate::failure::Failure;
use crate::output;
use crate::progress::Bars;
use crate::registry_flags::SideFlags;

/// Copy an image between registries, store, layouts, archives and directories.
///
/// A place is docker://NAME[:TAG|@DIGEST], the name of an image in the store, or oci:DIR[:NAME],
/// oci-archive:FILE[:NAME], docker-archive:FILE[:REFERENCE] or dir:DIR. Nothing is decompressed or
/// compressed. Of an index all images are copied unless --platform says otherwise.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where the image is
    source: Place,
    /// Where it is to be
    destination: Place,
    /// Only the image for this platform, without the index that it is in
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
    /// All images of an index, which is what happens anyway
    #[arg(short, long, conflicts_with = "platform", hide = true)]
    all: bool,
    /// Send blobs to a registry in pieces of so many bytes
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    chunk_size: Option<u64>,
    /// Show no progress, and do not print the digest
    #[arg(short, long)]
    quiet: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sides: SideFlags,
}

pub(crate) fn run(store: &Store, arguments: &Arguments) -> Result<(), Failure> {
    let progress = Bars::new(arguments.quiet || arguments.json);
    let selection = match &arguments.platform {
        Some(platform) => Selection::For(Preferences::of(platform)),
        None => Selection::All,
    };
    let mut clients = Vec::new();
    let mut source = source(store, arguments, &mut clients)?;
    let mut destination = destination(store, arguments, &progress, &mut clients)?;
    let copied = copy(&mut *source, &mut *destination, &selection, &progress);
    for warning in clients.iter().flat_map(Client::take_warnings) {
        progress.note(Event::Warning(&warning));
    }
    let copied = copied?;
    if arguments.json {
        return output::json(&json!({
            "Digest": copied.digest, "MediaType": copied.media_type, "Size": copied.size,
            "Source": arguments.source.to_string(), "Destination": arguments.destination.to_string(),
        }));
    }
    if arguments.quiet { Ok(()) } else { output::line(&copied.digest.to_string()) }
}

fn reference(name: &str) -> Result<Reference, Failure> {
    name.parse().map_err(|error| Failure::of(&error))
}

/// Opens a place to read from.
fn source<'s>(
    store: &'s Store,
    arguments: &Arguments,
    clients: &mut Vec<Client>,
) -> Result<Box<dyn Source + 's>, Failure> {
    Ok(match &arguments.source {
        Place::Store(name) => Box::new(StoreSource::new(store, name)?),
        Place::Layout(path, name) => Box::new(LayoutSource::new(path, name.as_deref())),
        Place::LayoutArchive(path, name) | Place::DockerArchive(path, name) => {
            Box::new(ArchiveSource::new(store, path, name.as_deref())?)
        }
        Place::Directory(path) => Box::new(DirectorySource::new(path)),
        Place::Registry(name) => {
            let reference = reference(name)?;
            let client = arguments.sides.source(&reference)?;
            clients.push(client.clone());
            Box::new(RegistrySource::new(&client, &reference)?)
        }
    })
}

/// Opens a place to write to.
fn destination<'s>(
    store: &'s Store,
    arguments: &Arguments,
    progress: &'s dyn Progress,
    clients: &mut Vec<Client>,
) -> Result<Box<dyn Destination + 's>, Failure> {
    let archive =
        |path, form, name: &Option<String>| ArchiveDestination::new(path, form, name.as_deref());
    Ok(match &arguments.destination {
        Place::Store(name) => {
            let name = reference(name)?;
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
        Place::Registry(name) => {
            let reference = reference(name)?;
            let client = arguments.sides.destination(&reference)?;
            clients.push(client.clone());
            let options = SendOptions {
                mount_from: neighbour(&arguments.source, &reference),
                chunk_bytes: arguments.chunk_size,
            };
            Box::new(RegistryDestination::new(&client, &reference, options)?)
        }
    })
}

/// The repository that an image comes from, if it is another one of the same registry.
fn neighbour(source: &Place, destination: &Reference) -> Option<String> {
    let Place::Registry(name) = source else { return None };
    let source: Reference = name.parse().ok()?;
    let is_near = source.domain() == destination.domain() && source.path() != destination.path();
    is_near.then(|| source.path().to_owned())
}
