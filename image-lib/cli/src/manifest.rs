//! `keel-image manifest`: images for several platforms under one name.

use keel_image::reference::Reference;
use keel_image::spec::{Descriptor, Index, Platform, media_type};
use keel_image::store::Store;
use serde_json::Value;

use crate::failure::Failure;
use crate::output;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Put images for several platforms together under one name
    Create {
        /// Add to the index that has the name already; an image for the same platform is replaced
        #[arg(short, long)]
        amend: bool,
        /// Text of the index
        #[arg(long, value_name = "NAME=VALUE")]
        annotation: Vec<String>,
        /// The index's name
        name: String,
        /// Images of the store; of an index all of its images
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the index or manifest that a name stands for
    Inspect {
        /// Print it with all platforms and digests below it
        #[arg(short, long)]
        verbose: bool,
        /// A name or an id
        name: String,
    },
}

pub(crate) fn run(store: &Store, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Create { amend, annotation, name, images, json } => {
            let created = create(store, name, images, *amend, annotation)?;
            if *json {
                return output::json(&serde_json::json!({ "Digest": created.digest }));
            }
            output::line(&created.digest.to_string())
        }
        Command::Inspect { verbose, name } => inspect(store, name, *verbose),
    }
}

fn create(
    store: &Store,
    name: &str,
    images: &[String],
    amend: bool,
    annotations: &[String],
) -> Result<Descriptor, Failure> {
    let reference: Reference = name.parse().map_err(|error| Failure::of(&error))?;
    let reference = reference.or_latest();
    let _hold = store.hold()?;
    let mut entries: Vec<(Descriptor, Platform)> = Vec::new();
    let known = if amend { Some(store.resolve(name)?) } else { None };
    let named = images.iter().map(|image| store.resolve(image));
    for image in known.map(Ok).into_iter().chain(named) {
        for (mut entry, platform) in store.platforms(image?.root())? {
            entry.annotations.clear();
            entry.platform = Some(platform.clone());
            match entries.iter_mut().find(|(_, other)| *other == platform) {
                Some(same) => *same = (entry, platform),
                None => entries.push((entry, platform)),
            }
        }
    }
    let mut index = Index::new(entries.into_iter().map(|(entry, _)| entry).collect());
    for annotation in annotations {
        let (key, value) = annotation
            .split_once('=')
            .ok_or_else(|| Failure::new(format!("{annotation:?} is not of the form NAME=VALUE")))?;
        index.annotations.insert(key.to_owned(), value.to_owned());
    }
    let bytes = serde_json::to_vec(&index).map_err(|error| Failure::of(&error))?;
    let descriptor = store.put_bytes(media_type::OCI_INDEX, &bytes)?;
    store.put_record(&descriptor, std::slice::from_ref(&reference))?;
    Ok(descriptor)
}

fn inspect(store: &Store, name: &str, verbose: bool) -> Result<(), Failure> {
    let image = store.resolve(name)?;
    if verbose {
        let row = |(descriptor, platform): (Descriptor, Platform)| {
            serde_json::json!({
                "Ref": name,
                "Descriptor": { "mediaType": descriptor.media_type, "digest": descriptor.digest,
                    "size": descriptor.size, "platform": platform },
            })
        };
        return output::json(&store.platforms(image.root())?.into_iter().map(row).collect());
    }
    let bytes = store.read_blob(image.root(), keel_image::spec::MANIFEST_BYTES_MAX)?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| Failure::of(&error))?;
    output::json(&value)
}
