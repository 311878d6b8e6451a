//! `update`: where its limits come from.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde_json::Value;

use super::command::{Global, UpdateArgs, UpdateSource};
use super::create::{explain, id, warn};
use super::error::CommandError;
use super::output::Output;
use crate::lifecycle::update::{CacheSchemas, update};
use crate::limits::CONFIG_BYTES_MAX;

pub(super) fn run(
    args: &UpdateArgs,
    global: &Global,
    output: &mut Output,
) -> Result<u8, CommandError> {
    let id = id(&args.id)?;
    let limits = match &args.source {
        UpdateSource::Flags(limits) => limits.clone(),
        UpdateSource::Input => read(io::stdin(), Path::new("/dev/stdin"))?,
        UpdateSource::File(path) => {
            let file = File::open(path).map_err(|e| CommandError::file("open", path, &e))?;
            read(file, path)?
        }
    };
    let schemas = CacheSchemas {
        l3_cache: args.l3_cache_schema.clone(),
        memory_bandwidth: args.mem_bw_schema.clone(),
    };
    let warnings = update(&global.root, &id, &limits, &schemas);
    warn(&warnings.map_err(|error| explain(&error))?, output);
    Ok(0)
}

/// The first document of the input, as Go's decoder reads it: what may follow is not looked at.
fn read(from: impl Read, name: &Path) -> Result<Value, CommandError> {
    let limit = CONFIG_BYTES_MAX as u64;
    let mut documents =
        serde_json::Deserializer::from_reader(from.take(limit)).into_iter::<Value>();
    let refused = |why: String| CommandError::new(format!("{}: {why}", name.display()));
    match documents.next() {
        Some(Ok(document)) => Ok(document),
        Some(Err(error)) => Err(refused(error.to_string())),
        None => Err(refused("EOF".to_owned())),
    }
}
