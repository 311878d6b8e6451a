//! `keel-image rmi`: takes names from images, and removes those that have none left.

use std::collections::BTreeSet;

use keel_image::reference::Reference;
use keel_image::store::{Image, Store, StoreError};
use serde_json::json;

use crate::failure::Failure;
use crate::output;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Names or ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Remove an image with all its names, and do not mind images that do not exist
    #[arg(short, long)]
    force: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// What happened to one image or name.
enum Change {
    Untagged(String),
    Deleted(String),
}

pub(crate) fn run(store: &Store, arguments: &Arguments) -> Result<(), Failure> {
    let mut changes = Vec::new();
    let mut failures = Vec::new();
    for name in &arguments.images {
        match remove(store, name, arguments.force) {
            Ok(removed) => changes.extend(removed),
            Err(failure) => failures.push(failure),
        }
    }
    if let Some(collected) = store.collect()? {
        let layers: BTreeSet<String> = collected.layers.iter().map(ToString::to_string).collect();
        changes.extend(layers.into_iter().map(Change::Deleted));
    }
    if arguments.json {
        let list = changes.iter().map(|change| match change {
            Change::Untagged(name) => json!({ "Untagged": name }),
            Change::Deleted(id) => json!({ "Deleted": id }),
        });
        output::json(&list.collect())?;
    } else {
        for change in &changes {
            match change {
                Change::Untagged(name) => output::line(&format!("Untagged: {name}"))?,
                Change::Deleted(id) => output::line(&format!("Deleted: {id}"))?,
            }
        }
    }
    // Docker tells all of them, each on its line, and removes what it can.
    let Some(last) = failures.pop() else { return Ok(()) };
    failures.iter().for_each(Failure::print);
    Err(last)
}

fn remove(store: &Store, name: &str, force: bool) -> Result<Vec<Change>, Failure> {
    let image = match store.find(name) {
        Ok(Some(image)) => image,
        Ok(None) if force => return Ok(Vec::new()),
        Ok(None) => return Err(StoreError::NoSuchImage { name: name.to_owned() }.into()),
        // An image whose parts are damaged can still lose its name.
        Err(error) => return remove_unreadable(store, name, force).unwrap_or(Err(error.into())),
    };
    let references = store.references(&image)?;
    let named = name.parse::<Reference>().ok().map(Reference::or_latest);
    let named = named.filter(|name| references.contains(name));
    match named {
        Some(name) if references.len() > 1 => {
            store.untag(&name)?;
            Ok(vec![Change::Untagged(name.familiar())])
        }
        None if references.len() > 1 && !force => {
            let id = image.id().digest().short();
            Err(Failure::new(format!(
                "conflict: unable to delete {id} (must be forced) - image is referenced in \
                 multiple repositories"
            )))
        }
        _ => forget(store, &image, &references),
    }
}

fn forget(store: &Store, image: &Image, references: &[Reference]) -> Result<Vec<Change>, Failure> {
    for record in store.records_of(image)? {
        store.forget(&record.descriptor)?;
    }
    let mut changes: Vec<Change> =
        references.iter().map(|name| Change::Untagged(name.familiar())).collect();
    changes.push(Change::Deleted(image.id().to_string()));
    Ok(changes)
}

/// Removes the entry of a name whose image cannot be read; nothing if no entry has the name.
fn remove_unreadable(
    store: &Store,
    name: &str,
    force: bool,
) -> Option<Result<Vec<Change>, Failure>> {
    let name = name.parse::<Reference>().ok()?.or_latest();
    let records = store.records().ok()?;
    let record = records.into_iter().find(|r| r.reference.as_ref() == Some(&name))?;
    if !force {
        return None;
    }
    let removed = store.forget(&record.descriptor).map_err(Failure::from);
    Some(removed.map(|()| {
        let id = record.descriptor.digest.to_string();
        vec![Change::Untagged(name.familiar()), Change::Deleted(id)]
    }))
}
