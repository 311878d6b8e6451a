//! `gc`: one line for each finding.

use super::command::Global;
use super::create::explain;
use super::error::CommandError;
use super::output::Output;
use crate::lifecycle::gc::{Found, Item, Request, gc};

pub(super) fn run(
    request: Request,
    global: &Global,
    output: &mut Output,
) -> Result<u8, CommandError> {
    let items = gc(&global.root, request).map_err(|error| explain(&error))?;
    let mut text = String::new();
    for item in &items {
        let done = match (&item.failed, item.found) {
            (Some(_), _) => "not removed",
            (None, Found::Damaged) => "found",
            (None, _) if request.dry_run => "would be removed",
            (None, _) => "removed",
        };
        text.push_str(&format!("{}: {}: {done}\n", item.id, item.found.text()));
    }
    output.print(&text)?;
    let failed = |item: &Item| {
        let error = explain(item.failed.as_ref()?);
        Some(CommandError { message: format!("{}: {}", item.id, error.message), ..error })
    };
    match items.iter().find_map(failed) {
        Some(error) => Err(error),
        None => Ok(0),
    }
}
