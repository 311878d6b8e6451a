//! `keel-image diff`: which files of two images differ, or of an image and the one below its last layer.

use std::path::PathBuf;

use keel_image::compare::{Change, changes};
use keel_image::fsroot::Root;
use keel_image::snapshot::Overlay;
use keel_image::store::{Image, Layer, Scratch, Store};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output;
use crate::progress::Bars;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// An image; alone it is compared with what it was before its last layer
    image: String,
    /// What it has become
    #[arg(value_name = "OTHER")]
    other: Option<String>,
    /// Print a JSON list
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(store: &Store, arguments: &Arguments) -> Result<(), Failure> {
    let _hold = store.hold()?;
    let image = store.resolve(&arguments.image)?;
    let found = match &arguments.other {
        Some(other) => between(store, image.layers(), store.resolve(other)?.layers())?,
        None => {
            let below = image.layers().len().saturating_sub(1);
            between(store, &image.layers()[..below], image.layers())?
        }
    };
    if arguments.json {
        let row = |change: &Change| json!({ "Kind": change.kind.letter().to_string(), "Path": absolute(change) });
        return output::json(&found.iter().map(row).collect::<Value>());
    }
    let lines: String = found
        .iter()
        .map(|change| format!("{} {}\n", change.kind.letter(), absolute(change)))
        .collect();
    output::print(&lines)
}

fn absolute(change: &Change) -> String {
    format!("/{}", change.path.display())
}

fn between(store: &Store, before: &[Layer], after: &[Layer]) -> Result<Vec<Change>, Failure> {
    let bars = Bars::new(true);
    let empty = store.scratch()?;
    let old = tree(&store.unpack(before, &bars)?, &empty)?;
    let new = tree(&store.unpack(after, &bars)?, &empty)?;
    changes(&old, &new).map_err(|error| Failure::of(&error))
}

/// The files of layers as one tree.
pub(crate) fn tree(layers: &[PathBuf], empty: &Scratch) -> Result<Root, Failure> {
    if layers.is_empty() {
        return Root::open(empty.path()).map_err(|error| Failure::of(&error));
    }
    Ok(Overlay::open(layers)?)
}

/// The files of an image as one tree.
pub(crate) fn tree_of(store: &Store, image: &Image, empty: &Scratch) -> Result<Root, Failure> {
    tree(&store.unpack(image.layers(), &Bars::new(true))?, empty)
}
