//! `update`: where its limits come from.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde_json::Value;

use super::command::{Global, UpdateArgs, UpdateSource};
use super::create::{explain, explain_document, id, warn};
use super::error::CommandError;
use super::invocation::flag_of;
use super::output::Output;
use crate::config::error::{ConfigError, ConfigErrors, Findings};
use crate::lifecycle::error::RuntimeError;
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
    let warnings = warnings.map_err(|error| match &args.source {
        UpdateSource::Flags(_) => of_flags(&error),
        UpdateSource::Input => explain_document("limits on standard input", &error),
        UpdateSource::File(path) => explain_document(&path.display().to_string(), &error),
    })?;
    warn(&warnings, output);
    Ok(0)
}

/// An error that names the flag in place of the field that the flag stands for.
fn of_flags(error: &RuntimeError) -> CommandError {
    let told = explain(error);
    let flag_of = |field: &str| flag_of(field).map(|flag| format!("--{flag}"));
    if let RuntimeError::Config(errors) = error {
        let named = errors.0.iter().map(|one| ConfigError {
            field: flag_of(&one.field).unwrap_or_else(|| one.field.clone()),
            ..one.clone()
        });
        let message = Findings(&ConfigErrors(named.collect())).to_string();
        return CommandError { message, ..told };
    }
    let words = told.message.split(' ').map(|word| {
        let field = word.strip_prefix("linux.resources.").and_then(|word| word.strip_suffix(':'));
        let flag = field.and_then(flag_of);
        flag.map_or_else(|| word.to_owned(), |flag| flag + ":")
    });
    CommandError { message: words.collect::<Vec<_>>().join(" "), ..told }
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
