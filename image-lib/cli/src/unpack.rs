//! `keel-image unpack`: an image's layers as directories of the store, for whoever mounts them itself.

use keel_image::store::Store;

use crate::failure::Failure;
use crate::output;
use crate::progress::Bars;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// A name or an id
    image: String,
}

pub(crate) fn run(store: &Store, arguments: &Arguments) -> Result<(), Failure> {
    let image = store.resolve(&arguments.image)?;
    let layers = store.unpack(image.layers(), &Bars::new(arguments.quiet || arguments.json))?;
    if arguments.json {
        let id = image.id().to_string();
        return output::json(&serde_json::json!({ "Id": id, "Layers": layers }));
    }
    for layer in &layers {
        output::line(&layer.to_string_lossy())?;
    }
    Ok(())
}
