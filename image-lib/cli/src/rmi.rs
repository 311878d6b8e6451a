//! `keel-image rmi`: takes names from images, and removes those that have none left.

use std::collections::BTreeSet;

use keel_image::identity::Digest;
use keel_image::reference::Reference;
use keel_image::store::{Garbage, Store, StoreError};
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
    /// Keep blobs and layers that no image has any more; prune removes them
    #[arg(long)]
    no_prune: bool,
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
    let mut parts = BTreeSet::new();
    for name in &arguments.images {
        match remove(store, name, arguments.force, &mut parts) {
            Ok(removed) => changes.extend(removed),
            Err(failure) => failures.push(failure),
        }
    }
    let garbage = Garbage::older_than(Garbage::GRACE).and(parts);
    let kept = if arguments.no_prune { None } else { store.collect_garbage(&garbage)? };
    if let Some(collected) = kept {
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

fn remove(
    store: &Store,
    name: &str,
    force: bool,
    parts: &mut BTreeSet<Digest>,
) -> Result<Vec<Change>, Failure> {
    let image = match store.find(name) {
        Ok(Some(image)) => image,
        Ok(None) if force => return Ok(Vec::new()),
        Ok(None) => return Err(StoreError::NoSuchImage { name: name.to_owned() }.into()),
        // An image whose parts are damaged can still lose its name.
        Err(error) => return remove_unreadable(store, name, force).unwrap_or(Err(error.into())),
    };
    let records = store.records_of(&image)?;
    for record in &records {
        parts.extend(store.reachable(&record.descriptor));
    }
    let references = store.references(&image)?;
    let meant = name.parse::<Reference>().ok().map(Reference::or_latest);
    let meant = meant.filter(|name| references.contains(name));
    let taken = match &meant {
        Some(name) => std::slice::from_ref(name),
        None if references.len() > 1 && !force => {
            let id = image.id().digest().short();
            return Err(Failure::new(format!(
                "conflict: unable to delete {id} (must be forced) - image is referenced in \
                 multiple repositories"
            )));
        }
        None => &references[..],
    };
    let mut changes = Vec::new();
    for name in taken {
        // Another process may have been faster.
        if store.untag(name)? {
            changes.push(Change::Untagged(name.familiar()));
        }
    }
    // Whoever has named the image meanwhile keeps it.
    for record in &records {
        store.forget_nameless(&record.descriptor)?;
    }
    if store.records_of(&image)?.is_empty() {
        changes.push(Change::Deleted(image.id().to_string()));
    }
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
