//! `keel-image push`: images to a registry, with docker's words on the standard output.

use keel_image::reference::Reference;
use keel_image::registry::{PushOptions, Pushed};
use keel_image::spec::Platform;
use keel_image::store::{Event, Progress, Sent, Store};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output;
use crate::progress::Bars;
use crate::registry_flags::AccessFlags;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The image
    #[arg(value_name = "NAME[:TAG]")]
    name: String,
    /// Push all tags of the name
    #[arg(short, long)]
    all_tags: bool,
    /// Only the image for this platform, without the index that it is in
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    /// Send blobs in pieces of so many bytes
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    chunk_size: Option<u64>,
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
    if reference.digest().is_some() {
        return Err(Failure::new("cannot push a digest reference"));
    }
    let is_silent = arguments.quiet || arguments.json;
    let has_tag = reference.tag().is_some();
    let names = match (arguments.all_tags, has_tag) {
        (true, true) => {
            return Err(Failure::new("tag can't be used with --all-tags/-a"));
        }
        (true, false) => all_tags(store, &reference)?,
        (false, _) => vec![reference.clone().or_latest()],
    };
    let client = arguments.registry.client(reference.domain())?;
    let options =
        PushOptions { platform: arguments.platform.clone(), chunk_bytes: arguments.chunk_size };
    if !is_silent {
        if !arguments.all_tags && !has_tag {
            output::line("Using default tag: latest")?;
        }
        output::line(&format!("The push refers to repository [{}]", reference.name()))?;
    }
    let told = Told { bars: Bars::new(is_silent), is_silent };
    let mut results = Vec::new();
    for name in names {
        let pushed = client.push(store, &name, &options, &told)?;
        results.push(as_json(&pushed));
        tell(&pushed, arguments)?;
    }
    if !arguments.json {
        return Ok(());
    }
    match (arguments.all_tags, results.pop()) {
        (false, Some(result)) => output::json(&result),
        (_, last) => {
            results.extend(last);
            output::json(&Value::Array(results))
        }
    }
}

/// The names of the store that differ from `reference` in the tag alone.
fn all_tags(store: &Store, reference: &Reference) -> Result<Vec<Reference>, Failure> {
    let records = store.records()?.into_iter().filter_map(|record| record.reference);
    let mut names: Vec<Reference> =
        records.filter(|name| name.name() == reference.name() && name.digest().is_none()).collect();
    names.sort();
    if names.is_empty() {
        let name = reference.familiar_name();
        return Err(Failure::new(format!("An image does not exist locally with the tag: {name}")));
    }
    Ok(names)
}

fn as_json(pushed: &Pushed) -> Value {
    json!({
        "Reference": pushed.reference.to_string(),
        "Digest": pushed.digest.to_string(),
        "Size": pushed.size,
        "NarrowedFrom": pushed.narrowed_from.as_ref().map(ToString::to_string),
    })
}

fn tell(pushed: &Pushed, arguments: &Arguments) -> Result<(), Failure> {
    if arguments.json {
        return Ok(());
    }
    if arguments.quiet {
        return output::line(&pushed.reference.to_string());
    }
    let Pushed { reference, digest, size, narrowed_from } = pushed;
    let tag = reference.tag().unwrap_or_default();
    output::line(&format!("{tag}: digest: {digest} size: {size}"))?;
    if let Some(index) = narrowed_from {
        output::line(&format!(
            "Info: the store has not all images of {index}; the one for this machine was pushed alone"
        ))?;
    }
    Ok(())
}

/// Says how each layer came to the registry.
struct Told {
    bars: Bars,
    is_silent: bool,
}

impl Progress for Told {
    fn note(&self, event: Event<'_>) {
        self.bars.note(event);
        if let Event::EndPush { blob, how } = event
            && !self.is_silent
        {
            let how = match how {
                Sent::Present => "Layer already exists".to_owned(),
                Sent::Mounted(from) => format!("Mounted from {from}"),
                Sent::Whole => "Pushed".to_owned(),
            };
            // Whoever closed the pipe is told nothing more; the push goes on.
            let _ = self.bars.suspended(|| output::line(&format!("{}: {how}", blob.short())));
        }
    }
}
