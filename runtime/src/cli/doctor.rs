//! `doctor`: a table for people, a list for programs.

use std::fmt::Write as _;

use super::error::CommandError;
use super::json::Json;
use super::output::Output;
use crate::lifecycle::doctor::{Item, examine};

pub(super) fn run(json: bool, require: &[String], output: &mut Output) -> Result<u8, CommandError> {
    let items = examine();
    let unknown = require.iter().find(|name| items.iter().all(|item| item.name != **name));
    if let Some(name) = unknown {
        return Err(CommandError::new(format!("--require {name}: doctor knows no such thing")));
    }
    output.print(&if json { document(&items) } else { table(&items) })?;
    let counts = |item: &&Item| item.needed || require.iter().any(|name| name == item.name);
    let lacking = items.iter().filter(counts).filter(|item| item.present != Some(true));
    let names: Vec<&str> = lacking.map(|item| item.name).collect();
    match names.is_empty() {
        true => Ok(0),
        false => Err(CommandError::new(format!("this host lacks {}", names.join(", ")))),
    }
}

fn word(item: &Item) -> &'static str {
    match item.present {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    }
}

fn table(items: &[Item]) -> String {
    let width = items.iter().map(|item| item.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for item in items {
        // Writing to a string cannot fail.
        let _ = write!(text, "{:width$}  {:7}  {}", item.name, word(item), item.detail);
        if item.present != Some(true) {
            let _ = write!(text, "; without it: {}", item.without);
        }
        text.push('\n');
    }
    text
}

fn document(items: &[Item]) -> String {
    let object = |item: &Item| {
        Json::object([
            ("name", item.name.into()),
            ("present", word(item).into()),
            ("detail", item.detail.as_str().into()),
            ("without", item.without.into()),
            ("needed", Json::Bool(item.needed)),
        ])
    };
    Json::List(items.iter().map(object).collect()).indented("  ") + "\n"
}
