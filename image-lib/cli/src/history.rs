//! `keel-image history`: the steps that made an image, the last first.

use keel_image::spec::History;
use keel_image::store::{Image, Store};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::template::Template;
use crate::{output, table, units};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A name or an id
    image: String,
    /// A Go template, or json
    #[arg(long)]
    format: Option<String>,
    /// Cut nothing off
    #[arg(long)]
    no_trunc: bool,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// Print sizes and dates for people (the default; =false for numbers)
    #[arg(short = 'H', long, default_value_t = true, action = clap::ArgAction::Set,
          num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    human: bool,
    /// Print a JSON list
    #[arg(long)]
    json: bool,
}

/// The longest command that a table shows.
const COMMAND_MAX: usize = 45;

pub(crate) fn run(store: &Store, arguments: &Arguments) -> Result<(), Failure> {
    let image = store.resolve(&arguments.image)?;
    let rows = rows(store, &image, arguments);
    if arguments.json {
        return output::json(&Value::Array(rows));
    }
    if arguments.quiet {
        return rows
            .iter()
            .try_for_each(|row| output::line(row["ID"].as_str().unwrap_or_default()));
    }
    match arguments.format.as_deref() {
        Some("json") => rows.iter().try_for_each(|row| output::line(&row.to_string())),
        Some(text) if !text.starts_with("table") => {
            let template = Template::parse(text)?;
            rows.iter().try_for_each(|row| output::line(&template.render(row)?))
        }
        _ => {
            let created = if arguments.human { "CreatedSince" } else { "CreatedAt" };
            let columns = ["ID", created, "CreatedBy", "Size", "Comment"];
            let header = ["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"];
            let mut cells = vec![header.map(str::to_owned).to_vec()];
            for row in &rows {
                let cell = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
                cells.push(columns.iter().map(|name| cell(name)).collect());
            }
            output::print(&table::layout(&cells))
        }
    }
}

fn rows(store: &Store, image: &Image, arguments: &Arguments) -> Vec<Value> {
    let config = image.config().value();
    let with_layer = config.history.iter().filter(|step| !step.empty_layer).count();
    let mut steps: Vec<History> = config.history.clone();
    // An image may say less about its steps than it has layers.
    let unknown = image.layers().len().saturating_sub(with_layer);
    let nothing = std::iter::repeat_n(History::default(), unknown);
    steps.splice(0..0, nothing);
    let mut count = 0;
    let mut rows = Vec::new();
    for step in &steps {
        let mut bytes = 0;
        if !step.empty_layer && count < image.layers().len() {
            count += 1;
            let layers = &image.layers()[..count];
            let blob = layers.last().map_or(0, |layer| layer.descriptor.size);
            bytes = store.content_bytes(layers).unwrap_or(blob);
        }
        rows.push(row(step, bytes, arguments));
    }
    rows.reverse();
    let id = if arguments.no_trunc {
        image.id().to_string()
    } else {
        image.id().digest().short().to_owned()
    };
    if let Some(first) = rows.first_mut() {
        first["ID"] = json!(id);
    }
    rows
}

fn row(step: &History, bytes: u64, arguments: &Arguments) -> Value {
    let mut command = step.created_by.clone().unwrap_or_default().replace('\t', " ");
    if !arguments.no_trunc && command.chars().count() > COMMAND_MAX {
        command = command.chars().take(COMMAND_MAX - 1).collect();
        command.push('…');
    }
    let size = if arguments.human { units::size(bytes) } else { bytes.to_string() };
    json!({
        "ID": "<missing>",
        "CreatedSince": units::ago(step.created),
        "CreatedAt": step.created.map(|created| created.to_string()).unwrap_or_default(),
        "CreatedBy": command,
        "Size": size,
        "Comment": step.comment.clone().unwrap_or_default(),
    })
}
