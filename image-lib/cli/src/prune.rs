//! `keel-image prune`: removes images without names, and whatever else nothing needs any more.

use std::io::{self, BufRead};

use keel_image::store::Store;
use serde_json::json;

use crate::failure::Failure;
use crate::{output, units};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(store: &Store, arguments: &Arguments) -> Result<(), Failure> {
    if !arguments.force && !is_confirmed() {
        return Ok(());
    }
    let mut deleted = Vec::new();
    for record in store.records()? {
        if record.reference.is_some() {
            continue;
        }
        // One that cannot be read is of no use either; its manifest names it then.
        let id = store.read(&record.descriptor).map(|image| image.id().to_string());
        let named = match &id {
            Ok(id) => !store.references(&store.resolve(id)?)?.is_empty(),
            Err(_) => false,
        };
        store.forget(&record.descriptor)?;
        if !named {
            deleted.push(id.unwrap_or_else(|_| record.descriptor.digest.to_string()));
        }
    }
    let Some(collected) = store.collect()? else {
        return Err(Failure::new("the store is in use by another program just now")
            .with_hint("what is not needed is removed by the next prune or rmi"));
    };
    let bytes: u64 = collected.blobs.iter().map(|(_, size)| size).sum();
    if arguments.json {
        return output::json(&json!({ "ImagesDeleted": deleted, "SpaceReclaimed": bytes }));
    }
    if !deleted.is_empty() {
        output::line("Deleted Images:")?;
        for id in &deleted {
            output::line(&format!("deleted: {id}"))?;
        }
        output::line("")?;
    }
    output::line(&format!("Total reclaimed space: {}", units::size(bytes)))
}

fn is_confirmed() -> bool {
    output::error_line("WARNING! This will remove all dangling images.");
    output::error_line("Are you sure you want to continue? [y/N] ");
    let mut answer = String::new();
    // Whoever cannot answer has not agreed.
    let read = io::stdin().lock().read_line(&mut answer);
    read.is_ok() && answer.trim().eq_ignore_ascii_case("y")
}
