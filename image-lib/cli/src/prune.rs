//! `keel-image prune`: removes images without names, and whatever else nothing needs any more.

use std::collections::BTreeSet;

use keel_image::spec::{ImageConfig, Timestamp};
use keel_image::store::{Garbage, Record, Store};
use serde_json::json;

use crate::failure::Failure;
use crate::{output, units};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Remove all images, not only those without names
    #[arg(short, long)]
    all: bool,
    /// Only what this is true of: until=TIME or DURATION, label=NAME[=VALUE], label!=NAME[=VALUE]
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// How long blobs stay that no image had: what an interrupted command has left
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    grace: String,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(store: &Store, arguments: &Arguments) -> Result<(), Failure> {
    let filters: Vec<Filter> =
        arguments.filter.iter().map(|text| Filter::parse(text)).collect::<Result<_, _>>()?;
    let all = arguments.all || filters.iter().any(|f| matches!(f, Filter::Dangling(false)));
    let grace = units::parse_duration(&arguments.grace)?;
    if !arguments.force && !is_confirmed(all) {
        return Ok(());
    }
    let mut removed = Removed::default();
    for record in store.records()? {
        if all || !record.is_named() {
            removed.take(store, &record, &filters)?;
        }
    }
    let garbage = Garbage::older_than(grace).and(removed.digests);
    let Some(collected) = store.collect_garbage(&garbage)? else {
        return Err(Failure::new("the store is in use by another program just now")
            .with_hint("what is not needed is removed by the next prune or rmi"));
    };
    let bytes: u64 = collected.blobs.iter().map(|(_, size)| size).sum();
    let (untagged, deleted) = (removed.untagged, removed.deleted);
    if arguments.json {
        return output::json(&json!({
            "ImagesDeleted": deleted, "Untagged": untagged, "SpaceReclaimed": bytes,
        }));
    }
    if !deleted.is_empty() || !untagged.is_empty() {
        output::line("Deleted Images:")?;
        for name in &untagged {
            output::line(&format!("untagged: {name}"))?;
        }
        for id in &deleted {
            output::line(&format!("deleted: {id}"))?;
        }
        output::line("")?;
    }
    output::line(&format!("Total reclaimed space: {}", units::size(bytes)))
}

#[derive(Default)]
struct Removed {
    untagged: Vec<String>,
    deleted: Vec<String>,
    digests: BTreeSet<keel_image::identity::Digest>,
}

impl Removed {
    fn take(&mut self, store: &Store, record: &Record, filters: &[Filter]) -> Result<(), Failure> {
        // One that cannot be read is of no use either; its manifest names it then.
        let image = store.read(&record.descriptor).ok();
        let config = image.as_ref().map(|image| image.config().value());
        if !filters.iter().all(|filter| filter.admits(config)) {
            return Ok(());
        }
        self.digests.extend(store.reachable(&record.descriptor));
        if let Some(reference) = &record.reference {
            store.untag(reference)?;
            self.untagged.push(reference.familiar());
        }
        match (&record.reference, record.is_named()) {
            // The name is another tool's.
            (None, true) => store.forget(&record.descriptor)?,
            // Whoever has named it meanwhile keeps it.
            _ => store.forget_nameless(&record.descriptor)?,
        }
        let is_same = |other: &Record| other.descriptor.digest == record.descriptor.digest;
        if store.records()?.iter().any(is_same) {
            return Ok(());
        }
        // The same image may have come in another form, which keeps its names.
        if let Some(image) = &image
            && !store.references(image)?.is_empty()
        {
            return Ok(());
        }
        let id = image.map_or_else(|| record.descriptor.digest.to_string(), |i| i.id().to_string());
        if !self.deleted.contains(&id) {
            self.deleted.push(id);
        }
        Ok(())
    }
}

enum Filter {
    Dangling(bool),
    Until(Timestamp),
    Label { name: String, value: Option<String>, wanted: bool },
}

impl Filter {
    fn parse(text: &str) -> Result<Self, Failure> {
        let invalid = || Failure::new(format!("invalid filter '{text}'"));
        let (key, value) = text.split_once('=').ok_or_else(invalid)?;
        let label = |wanted| {
            let (name, value) = match value.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (value, None),
            };
            Self::Label { name: name.to_owned(), value, wanted }
        };
        match key {
            "until" => units::parse_time(value).map(Self::Until).map_err(|_| invalid()),
            "label" => Ok(label(true)),
            "label!" => Ok(label(false)),
            // Another way to say --all.
            "dangling" => match value {
                "true" | "1" => Ok(Self::Dangling(true)),
                "false" | "0" => Ok(Self::Dangling(false)),
                _ => Err(invalid()),
            },
            _ => Err(invalid()),
        }
    }

    fn admits(&self, config: Option<&ImageConfig>) -> bool {
        match self {
            Self::Dangling(_) => true,
            Self::Until(time) => {
                config.is_none_or(|config| config.created.unwrap_or_default() < *time)
            }
            Self::Label { name, value, wanted } => {
                let labels = config.map(|config| config.execution().labels).unwrap_or_default();
                let has = labels
                    .get(name)
                    .is_some_and(|own| value.as_ref().is_none_or(|value| value == own));
                has == *wanted
            }
        }
    }
}

fn is_confirmed(all: bool) -> bool {
    let what = if all { "all images" } else { "all images without a name" };
    output::is_removal_confirmed(what)
}
