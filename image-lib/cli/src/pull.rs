//! `keel-image pull`: images from a registry, with docker's words on the standard output.

use keel_image::reference::Reference;
use keel_image::registry::{PullOptions, Pulled};
use keel_image::spec::Platform;
use keel_image::store::Store;
use serde_json::json;

use crate::failure::Failure;
use crate::output;
use crate::progress::Bars;
use crate::registry_flags::RegistryFlags;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    name: String,
    /// The platform, such as linux/arm64; without it, this machine's
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Print nothing but the name
    #[arg(short, long)]
    quiet: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    registry: RegistryFlags,
}

pub(crate) fn run(store: &Store, arguments: &Arguments) -> Result<(), Failure> {
    let reference: Reference = arguments.name.parse().map_err(|error| Failure::of(&error))?;
    let platform: Option<Platform> = match &arguments.platform {
        Some(text) => Some(text.parse().map_err(|error| Failure::of(&error))?),
        None => None,
    };
    let is_silent = arguments.quiet || arguments.json;
    let client = arguments.registry.client()?;
    let options = PullOptions { platform };
    let has_neither = reference.tag().is_none() && reference.digest().is_none();
    let reference = reference.or_latest();
    if !is_silent {
        if has_neither {
            output::line("Using default tag: latest")?;
        }
        let word = reference.digest().map(ToString::to_string);
        let word = word.as_deref().or(reference.tag()).unwrap_or_default();
        output::line(&format!("{word}: Pulling from {}", shown_path(&reference)))?;
    }
    let pulled = client.pull(store, &reference, &options, &Bars::new(is_silent))?;
    tell(&pulled, arguments)
}

fn tell(pulled: &Pulled, arguments: &Arguments) -> Result<(), Failure> {
    let Pulled { reference, digest, id, is_new } = pulled;
    if arguments.json {
        return output::json(&json!({
            "Reference": reference.to_string(),
            "Digest": digest.to_string(),
            "Id": id.to_string(),
            "New": is_new,
        }));
    }
    if !arguments.quiet {
        let name = reference.familiar();
        output::line(&format!("Digest: {digest}"))?;
        output::line(&match is_new {
            true => format!("Status: Downloaded newer image for {name}"),
            false => format!("Status: Image is up to date for {name}"),
        })?;
    }
    output::line(&reference.to_string())
}

/// Docker names the path alone for its own registry, and with the registry for others.
fn shown_path(reference: &Reference) -> String {
    match reference.domain() {
        "docker.io" => reference.path().to_owned(),
        _ => reference.path().to_owned(),
    }
}
