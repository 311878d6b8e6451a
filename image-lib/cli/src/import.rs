//! `keel-image import`: a root file system as an image.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use keel_image::archive::{ImportOptions, import};
use keel_image::build::arguments::BuildArguments;
use keel_image::build::dockerfile;
use keel_image::build::dockerfile::instruction::Command;
use keel_image::build::metadata;
use keel_image::build::state::StageState;
use keel_image::reference::Reference;
use keel_image::spec::{Config, Platform, Timestamp};
use keel_image::store::Store;

use crate::failure::Failure;
use crate::output;

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
    let options = ImportOptions {
        reference: reference.map(Reference::or_latest),
        config: changed(&arguments.change)?,
        message: Some(arguments.message.clone().unwrap_or(imported_from)),
        platform: arguments.platform.clone(),
        created: epoch.map(Timestamp::from_seconds),
    };
    if arguments.source.contains("://") {
        return Err(Failure::new("importing from a URL is not supported")
            .with_hint("fetch it with another program and import from -"));
    }
    let id = if arguments.source == "-" {
        import(store, io::stdin().lock(), &options)?
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

/// The instructions that docker allows here: those that change only the configuration.
fn changed(changes: &[String]) -> Result<Config, Failure> {
    let platform = Platform::host();
    let text = format!("FROM scratch\n{}\n", changes.join("\n"));
    let parsed = dockerfile::parse("--change", &text).map_err(|error| Failure::of(&error))?;
    let arguments = BuildArguments::new(&BTreeMap::new(), &parsed, &platform, None)
        .map_err(|error| Failure::of(&error))?;
    let mut state = StageState::scratch(&platform);
    for instruction in parsed.stages.iter().flat_map(|stage| &stage.instructions) {
        let failed =
            |reason: &str| Failure::new(format!("--change {:?}: {reason}", instruction.text));
        if let Command::Workdir(path) = &instruction.command {
            if !path.starts_with('/') {
                return Err(failed("the path must be absolute"));
            }
            state.config().working_dir.clone_from(path);
            continue;
        }
        match metadata::apply(&mut state, &instruction.command, &arguments, '\\') {
            Ok(true) => {}
            Ok(false) => return Err(failed("the instruction changes more than the configuration")),
            Err(error) => return Err(failed(&error.to_string())),
        }
    }
    Ok(state.image.execution())
}
