//! `keel-image tag`: a further name for an image.

use keel_image::reference::Reference;
use keel_image::store::Store;

use crate::failure::Failure;
use crate::output;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The image
    source: String,
    /// The new name
    target: String,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(store: &Store, arguments: &Arguments) -> Result<(), Failure> {
    // What is resolved is still there when it gets its name.
    let _hold = store.hold()?;
    let image = store.resolve(&arguments.source)?;
    let target: Reference = arguments.target.parse().map_err(|error| Failure::of(&error))?;
    if target.digest().is_some() {
        return Err(Failure::new("refusing to create a tag with a digest reference"));
    }
    let target = target.or_latest();
    store.put_record(image.root(), std::slice::from_ref(&target))?;
    if arguments.json {
        let id = image.id().to_string();
        return output::json(&serde_json::json!({ "Id": id, "Tag": target.familiar() }));
    }
    Ok(())
}
