//! `keel-image import`: a root file system as an image.

use std::fs::File;
use std::io;
use std::path::Path;

use keel_image::archive::{ImportOptions, import};
use keel_image::reference::Reference;
use keel_image::spec::{ImageConfig, Platform, Timestamp};
use keel_image::store::Store;

use crate::failure::Failure;
use crate::{changes, output};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A tar, compressed or not; - reads the standard input
    #[arg(value_name = "FILE|-")]
    source: String,
    /// The image's name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,
    /// Apply a Dockerfile instruction to the image, such as 'CMD ["sh"]'
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// A message for the image's history
    #[arg(short, long)]
    message: Option<String>,
    /// The platform of the image
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(store: &Store, arguments: &Arguments) -> Result<(), Failure> {
    let reference = arguments.reference.as_ref().map(|text| text.parse::<Reference>());
    let reference = reference.transpose().map_err(|error| Failure::of(&error))?;
    let imported_from = format!("Imported from {}", arguments.source);
    // A fixed time makes the same file system the same image.
    let epoch = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok());
    let mut config = ImageConfig::new(&Platform::host());
    changes::apply(&mut config, &arguments.change)?;
    let options = ImportOptions {
        reference: reference.map(Reference::or_latest),
        config: config.execution(),
        message: Some(arguments.message.clone().unwrap_or(imported_from)),
        platform: arguments.platform.clone(),
        created: epoch.map(Timestamp::from_seconds),
    };
    if arguments.source.contains("://") {
        return Err(Failure::new("importing from a URL is not supported")
            .with_hint("fetch it with another program and import from -"));
    }
    let id = if arguments.source == "-" {
        import(store, io::stdin(), &options)?
    } else {
        let path = Path::new(&arguments.source);
        let file = File::open(path).map_err(|error| Failure::at("open", path, &error))?;
        import(store, file, &options)?
    };
    if arguments.json {
        return output::json(&serde_json::json!({ "Id": id.to_string() }));
    }
    output::line(&id.to_string())
}
