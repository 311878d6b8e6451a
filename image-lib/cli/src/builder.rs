//! `keel-image builder`: what the build cache holds, and how it is given back.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use keel_image::build::cache_mount::{self, CacheMountError};
use keel_image::build::cache_usage::{self, CacheEntry, Kind};
use keel_image::spec::Timestamp;
use keel_image::store::Store;
use serde_json::json;

use crate::export::{BUFFER, to_file};
use crate::failure::Failure;
use crate::{output, units};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List what the build cache holds
    #[command(visible_alias = "ls")]
    Du {
        /// Only what this is true of: type=regular|exec.cachemount|source.local|source.http|internal, until=TIME or DURATION, id=ID
        #[arg(long, value_name = "FILTER")]
        filter: Vec<String>,
        /// Show whole ids
        #[arg(long)]
        verbose: bool,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove what the build cache holds
    Prune {
        /// Also steps whose layers images have, and cache mounts
        #[arg(short, long)]
        all: bool,
        /// Only what this is true of: type=regular|exec.cachemount|source.local|source.http|internal, until=TIME or DURATION, id=ID
        #[arg(long, value_name = "FILTER")]
        filter: Vec<String>,
        /// Do not ask
        #[arg(short, long)]
        force: bool,
        /// Keep what was used last, up to so many bytes
        #[arg(long, visible_alias = "max-used-space", value_name = "BYTES")]
        keep_storage: Option<String>,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Write what a RUN --mount=type=cache has gathered to a tar
    Export {
        /// The id of the mount, which is its target where the Dockerfile gives none, or its ID in the list
        mount: String,
        /// Write to a file instead of the standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Make the files of a tar what a RUN --mount=type=cache finds, in place of what is there
    Import {
        /// The id of the mount, which is its target where the Dockerfile gives none
        mount: String,
        /// Read from a file instead of the standard input; it may be compressed
        #[arg(short, long, value_name = "FILE")]
        input: Option<PathBuf>,
    },
}

pub(crate) fn run(store: &Store, arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::Du { filter, verbose, json } => list(store, filter, *verbose, *json),
        Command::Prune { all, filter, force, keep_storage, json } => {
            let keep = keep_storage.as_deref().map(units::parse_bytes).transpose()?;
            prune(store, *all, filter, *force, keep, *json)
        }
        Command::Export { mount, output } => export(store, mount, output.as_deref()),
        Command::Import { mount, input } => import(store, mount, input.as_deref()),
    }
}

fn export(store: &Store, mount: &str, output: Option<&Path>) -> Result<(), Failure> {
    if let Some(path) = output.filter(|path| path.as_os_str() != "-") {
        return to_file(path, |file| Ok(cache_mount::export(store, mount, file).map(drop)?));
    }
    if io::stdout().is_terminal() {
        let text = "cowardly refusing to save to a terminal. Use the -o flag or redirect";
        return Err(Failure::new(text));
    }
    let stdout = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    cache_mount::export(store, mount, stdout)?.flush().map_err(|error| Failure::of(&error))
}

fn import(store: &Store, mount: &str, input: Option<&Path>) -> Result<(), Failure> {
    match input.filter(|path| path.as_os_str() != "-") {
        None => Ok(cache_mount::import(store, mount, io::stdin())?),
        Some(path) => {
            let file = File::open(path).map_err(|error| Failure::at("read", path, &error))?;
            Ok(cache_mount::import(store, mount, file)?)
        }
    }
}

impl From<CacheMountError> for Failure {
    fn from(error: CacheMountError) -> Self {
        match error {
            CacheMountError::Store(error) => error.into(),
            CacheMountError::Unknown { .. } | CacheMountError::Ambiguous { .. } => Self::of(&error)
                .with_hint("`keel-image builder du --filter type=exec.cachemount` lists them"),
            error => Self::of(&error),
        }
    }
}

fn list(store: &Store, filters: &[String], verbose: bool, as_json: bool) -> Result<(), Failure> {
    let filters = Filters::read(filters)?;
    let entries: Vec<CacheEntry> =
        cache_usage::entries(store)?.into_iter().filter(|entry| filters.admit(entry)).collect();
    if as_json {
        let rows: Vec<_> = entries.iter().map(row).collect();
        return output::json(&serde_json::Value::Array(rows));
    }
    let mut lines =
        vec![["ID", "TYPE", "RECLAIMABLE", "SIZE", "LAST USED", "MOUNT"].map(str::to_owned)];
    for entry in &entries {
        let id = if verbose { &entry.id[..] } else { &entry.id[..12] };
        lines.push([
            id.to_owned(),
            entry.kind.word().to_owned(),
            (!entry.is_shared).to_string(),
            units::size(entry.bytes),
            units::ago(Some(time(entry.used))),
            entry.description.clone(),
        ]);
    }
    let widths: Vec<usize> = (0..6)
        .map(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0))
        .collect();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        output::line(cells.collect::<Vec<_>>().join("   ").trim_end())?;
    }
    let sum = |reclaimable: bool| {
        let counted = entries.iter().filter(|entry| !reclaimable || !entry.is_shared);
        units::size(counted.map(|entry| entry.bytes).sum())
    };
    output::line(&format!("Reclaimable: {}\nTotal:       {}", sum(true), sum(false)))
}

fn row(entry: &CacheEntry) -> serde_json::Value {
    json!({
        "ID": entry.id, "Type": entry.kind.word(), "Reclaimable": !entry.is_shared,
        "Size": entry.bytes, "LastUsedAt": time(entry.used), "Mount": entry.description,
    })
}

fn time(time: SystemTime) -> Timestamp {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_seconds(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

fn prune(
    store: &Store,
    all: bool,
    filters: &[String],
    force: bool,
    keep: Option<u64>,
    as_json: bool,
) -> Result<(), Failure> {
    let filters = Filters::read(filters)?;
    if !force && !is_confirmed(all) {
        return Ok(());
    }
    crate::build::end_orphans(store)?;
    let mut left = keep.unwrap_or(0);
    let mut chosen = Vec::new();
    for entry in cache_usage::entries(store)? {
        // What somebody names is meant.
        let is_meant = all
            || filters.names(entry.kind)
            || !(entry.is_shared || entry.kind == Kind::CacheMount);
        if !is_meant || !filters.admit(&entry) {
            continue;
        }
        match left.checked_sub(entry.bytes) {
            Some(rest) if keep.is_some() => left = rest,
            _ => chosen.push(entry),
        }
    }
    let Some(bytes) = cache_usage::remove(store, &chosen)? else {
        return Err(Failure::new("the store is in use by another program just now")
            .with_hint("prune when no build is running"));
    };
    if as_json {
        let ids: Vec<&str> = chosen.iter().map(|entry| entry.id.as_str()).collect();
        return output::json(&json!({ "CachesDeleted": ids, "SpaceReclaimed": bytes }));
    }
    for entry in &chosen {
        output::line(&entry.id)?;
    }
    output::line(&format!("Total reclaimed space: {}", units::size(bytes)))
}

/// All that must be true of an entry.
#[derive(Default)]
struct Filters {
    kind: Option<String>,
    until: Option<Timestamp>,
    id: Option<String>,
}

impl Filters {
    fn read(texts: &[String]) -> Result<Self, Failure> {
        let mut filters = Self::default();
        for text in texts {
            let invalid = || Failure::new(format!("invalid filter '{text}'")).with_code(125);
            let (key, value) = text.split_once('=').ok_or_else(invalid)?;
            match key {
                "type" if Kind::ALL.iter().any(|kind| kind.word() == value) => {
                    filters.kind = Some(value.to_owned());
                }
                "until" | "unused-for" => {
                    filters.until = Some(units::parse_time(value).map_err(|_| invalid())?);
                }
                "id" => filters.id = Some(value.to_owned()),
                _ => return Err(invalid()),
            }
        }
        Ok(filters)
    }

    fn names(&self, kind: Kind) -> bool {
        self.id.is_some() || self.kind.as_deref() == Some(kind.word())
    }

    fn admit(&self, entry: &CacheEntry) -> bool {
        let is_named = |id: &String| entry.id.starts_with(id.as_str()) || entry.description == *id;
        self.kind.as_ref().is_none_or(|kind| entry.kind.word() == kind)
            && self.until.is_none_or(|until| time(entry.used) < until)
            && self.id.as_ref().is_none_or(is_named)
    }
}

fn is_confirmed(all: bool) -> bool {
    let what = if all { "all build cache" } else { "all build cache that no image needs" };
    output::is_removal_confirmed(what)
}
