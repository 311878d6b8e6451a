//! `keel-image pull`: images from a registry, with docker's words on the standard output.

use keel_image::reference::Reference;
use keel_image::registry::{Client, PullOptions, Pulled};
use keel_image::spec::Platform;
use keel_image::store::Store;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output;
use crate::progress::Bars;
use crate::registry_flags::AccessFlags;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    name: String,
    /// Pull all tags of the repository
    #[arg(short, long)]
    all_tags: bool,
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
    registry: AccessFlags,
}

pub(crate) fn run(store: &Store, arguments: &Arguments) -> Result<(), Failure> {
    let reference: Reference = arguments.name.parse().map_err(|error| Failure::of(&error))?;
    let platform: Option<Platform> = match &arguments.platform {
        Some(text) => Some(text.parse().map_err(|error| Failure::of(&error))?),
        None => None,
    };
    let is_silent = arguments.quiet || arguments.json;
    let client = arguments.registry.client(reference.domain())?;
    let options = PullOptions { platform };
    let bars = Bars::new(is_silent);
    let has_neither = reference.tag().is_none() && reference.digest().is_none();
    if arguments.all_tags {
        if !has_neither {
            return Err(Failure::new("tag can't be used with --all-tags/-a"));
        }
        return all(store, &client, &reference, &options, &bars, arguments);
    }
    if has_neither && !is_silent {
        output::line("Using default tag: latest")?;
    }
    let pulled = one(store, &client, &reference.or_latest(), &options, &bars, arguments)?;
    if !is_silent {
        output::line(&status(&[&pulled], &pulled.reference))?;
    }
    if arguments.json {
        return output::json(&described(&pulled));
    }
    output::line(&pulled.reference.to_string())
}

fn one(
    store: &Store,
    client: &Client,
    reference: &Reference,
    options: &PullOptions,
    bars: &Bars,
    arguments: &Arguments,
) -> Result<Pulled, Failure> {
    let is_silent = arguments.quiet || arguments.json;
    if !is_silent {
        let word = reference.digest().map(ToString::to_string);
        let word = word.as_deref().or(reference.tag()).unwrap_or_default();
        output::line(&format!("{word}: Pulling from {}", reference.path()))?;
    }
    let pulled = client.pull(store, reference, options, bars)?;
    if !is_silent {
        output::line(&format!("Digest: {}", pulled.digest))?;
    }
    Ok(pulled)
}

/// All tags of a repository, one after the other; their layers are shared.
fn all(
    store: &Store,
    client: &Client,
    name: &Reference,
    options: &PullOptions,
    bars: &Bars,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let mut pulled = Vec::new();
    for tag in client.repository(name)?.tags()? {
        let reference = name.with_tag(&tag).map_err(|error| Failure::of(&error))?;
        pulled.push(one(store, client, &reference, options, bars, arguments)?);
    }
    if pulled.is_empty() {
        return Err(Failure::new(format!("{} has no tags", name.familiar_name())));
    }
    if arguments.json {
        return output::json(&pulled.iter().map(described).collect());
    }
    if !arguments.quiet {
        output::line(&status(&pulled.iter().collect::<Vec<_>>(), name))?;
    }
    output::line(&name.name())
}

/// Docker's last line about what was pulled under `name`.
pub(crate) fn status(pulled: &[&Pulled], name: &Reference) -> String {
    let name = name.familiar();
    match pulled.iter().any(|pulled| pulled.is_new) {
        true => format!("Status: Downloaded newer image for {name}"),
        false => format!("Status: Image is up to date for {name}"),
    }
}

fn described(pulled: &Pulled) -> Value {
    json!({
        "Reference": pulled.reference.to_string(),
        "Digest": pulled.digest.to_string(),
        "Id": pulled.id.to_string(),
        "New": pulled.is_new,
    })
}
