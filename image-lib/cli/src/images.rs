//! `keel-image images`: what the store has.

use std::collections::{BTreeMap, BTreeSet};

use keel_image::identity::DiffId;
use keel_image::reference::Reference;
use keel_image::store::{Image, Layer, Record, Store};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::template::Template;
use crate::{inspect, output, table, units};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only this repository, with a tag only this image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
    /// Accepted for docker's sake; all images are shown anyway
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// reference=PATTERN, dangling=BOOL, label=NAME[=VALUE], before=IMAGE or since=IMAGE
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// A Go template such as '{{.Repository}}:{{.Tag}}', json or table
    #[arg(long)]
    format: Option<String>,
    /// Cut nothing off
    #[arg(long)]
    no_trunc: bool,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// Also how much of each image other images have, too, and how much is its own
    #[arg(short, long)]
    verbose: bool,
    /// Print a JSON list
    #[arg(long)]
    json: bool,
}

struct Row {
    reference: Option<Reference>,
    image: Image,
    value: Value,
}

pub(crate) fn run(store: &Store, arguments: &Arguments) -> Result<(), Failure> {
    let filters = filters(store, arguments)?;
    // What the index says now is still there when it is looked at.
    let _hold = store.hold()?;
    let mut read = Vec::new();
    for record in store.records()? {
        // An entry that is no image for this host, or damaged, does not hide the others.
        match store.read(&record.descriptor) {
            Ok(image) => read.push((record, image)),
            Err(error) => {
                let failure = Failure::from(error);
                output::error_line(&format!("warning: {}", failure.message()));
            }
        }
    }
    let owners = owners(read.iter().map(|(_, image)| image));
    let rows = read.into_iter();
    let mut rows: Vec<Row> =
        rows.map(|(record, image)| row(store, record, image, &owners, arguments)).collect();
    rows.retain(|row| filters.iter().all(|filter| filter.admits(row)));
    rows.sort_by_key(|row| std::cmp::Reverse(row.image.config().value().created));
    let values: Vec<Value> = rows.into_iter().map(|row| row.value).collect();
    if arguments.json {
        return output::json(&Value::Array(values));
    }
    if arguments.quiet {
        let mut ids: Vec<&str> = values.iter().filter_map(|v| v["ID"].as_str()).collect();
        let mut seen = BTreeSet::new();
        ids.retain(|id| seen.insert(*id));
        return ids.into_iter().try_for_each(output::line);
    }
    match arguments.format.as_deref() {
        Some("json") => values.iter().try_for_each(|value| output::line(&value.to_string())),
        Some(text) => match text.strip_prefix("table").filter(|_| text != "table") {
            Some(columns) => custom_table(columns.trim(), &values),
            None if text == "table" => default_table(&values, arguments),
            None => {
                let template = Template::parse(text)?;
                values.iter().try_for_each(|value| output::line(&template.render(value)?))
            }
        },
        None => default_table(&values, arguments),
    }
}

/// How many images have each layer.
fn owners<'i>(images: impl Iterator<Item = &'i Image>) -> BTreeMap<DiffId, usize> {
    let by_id: BTreeMap<_, _> = images.map(|image| (image.id(), image.layers())).collect();
    let mut owners = BTreeMap::new();
    for layers in by_id.into_values() {
        let own: BTreeSet<&DiffId> = layers.iter().map(|layer| &layer.diff_id).collect();
        for diff_id in own {
            *owners.entry(diff_id.clone()).or_default() += 1;
        }
    }
    owners
}

fn row(
    store: &Store,
    record: Record,
    image: Image,
    owners: &BTreeMap<DiffId, usize>,
    arguments: &Arguments,
) -> Row {
    let none = || "<none>".to_owned();
    let reference = record.reference;
    let created = image.config().value().created;
    let id = if arguments.no_trunc {
        image.id().to_string()
    } else {
        image.id().digest().short().to_owned()
    };
    let sizes = inspect::layer_sizes(store, &image);
    let is_shared = |layer: &Layer| owners.get(&layer.diff_id).is_some_and(|count| *count > 1);
    let shared = image.layers().iter().zip(&sizes).filter(|(layer, _)| is_shared(layer));
    let shared: u64 = shared.map(|(_, size)| size).sum();
    let all: u64 = sizes.iter().sum();
    let value = json!({
        "Repository": reference.as_ref().map_or_else(none, Reference::familiar_name),
        "Tag": reference.as_ref().and_then(|r| r.tag().map(str::to_owned)).unwrap_or_else(none),
        "ID": id,
        "Digest": image.root().digest.to_string(),
        "CreatedAt": created.map(|created| created.to_string()).unwrap_or_default(),
        "CreatedSince": units::ago(created),
        "Size": units::size(all),
        "Containers": "N/A",
        "SharedSize": units::size(shared),
        "UniqueSize": units::size(all - shared),
        "VirtualSize": units::size(all),
    });
    Row { reference, image, value }
}

fn default_table(values: &[Value], arguments: &Arguments) -> Result<(), Failure> {
    let mut columns = vec![("REPOSITORY", "Repository"), ("TAG", "Tag")];
    if arguments.digests {
        columns.push(("DIGEST", "Digest"));
    }
    columns.extend([("IMAGE ID", "ID"), ("CREATED", "CreatedSince"), ("SIZE", "Size")]);
    if arguments.verbose {
        // The columns of `docker system df -v`.
        columns.extend([("SHARED SIZE", "SharedSize"), ("UNIQUE SIZE", "UniqueSize")]);
    }
    let mut rows = vec![columns.iter().map(|(header, _)| (*header).to_owned()).collect()];
    for value in values {
        let cell = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        rows.push(columns.iter().map(|(_, name)| cell(name)).collect());
    }
    output::print(&table::layout(&rows))
}

/// `table {{.Repository}}\t{{.Tag}}`: the same template gives the header.
fn custom_table(columns: &str, values: &[Value]) -> Result<(), Failure> {
    let template = Template::parse(&columns.replace("\\t", "\t"))?;
    let header = json!({
        "Repository": "REPOSITORY", "Tag": "TAG", "ID": "IMAGE ID", "Digest": "DIGEST",
        "CreatedAt": "CREATED AT", "CreatedSince": "CREATED", "Size": "SIZE",
        "Containers": "CONTAINERS", "SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE",
        "VirtualSize": "SIZE",
    });
    let mut rows = Vec::new();
    for value in std::iter::once(&header).chain(values) {
        rows.push(template.render(value)?.split('\t').map(str::to_owned).collect());
    }
    output::print(&table::layout(&rows))
}

enum Filter {
    Name(Reference),
    Pattern(String),
    Dangling(bool),
    Label(String, Option<String>),
    Before(Image),
    Since(Image),
}

fn filters(store: &Store, arguments: &Arguments) -> Result<Vec<Filter>, Failure> {
    let mut filters = Vec::new();
    if let Some(name) = &arguments.name {
        filters.push(match name.parse() {
            Ok(reference) => Filter::Name(reference),
            Err(_) => Filter::Pattern(name.clone()),
        });
    }
    for text in &arguments.filter {
        let invalid = || Failure::new(format!("invalid filter '{text}'"));
        let (key, value) = text.split_once('=').ok_or_else(invalid)?;
        filters.push(match (key, value) {
            ("reference", pattern) => Filter::Pattern(pattern.to_owned()),
            ("dangling", "true" | "1") => Filter::Dangling(true),
            ("dangling", "false" | "0") => Filter::Dangling(false),
            ("label", label) => match label.split_once('=') {
                Some((name, value)) => Filter::Label(name.to_owned(), Some(value.to_owned())),
                None => Filter::Label(label.to_owned(), None),
            },
            ("before", name) => Filter::Before(store.resolve(name)?),
            ("since", name) => Filter::Since(store.resolve(name)?),
            _ => return Err(invalid()),
        });
    }
    Ok(filters)
}

impl Filter {
    fn admits(&self, row: &Row) -> bool {
        let created = |image: &Image| image.config().value().created;
        match self {
            Self::Name(wanted) => row.reference.as_ref().is_some_and(|own| {
                own.name() == wanted.name() && wanted.tag().is_none_or(|t| own.tag() == Some(t))
            }),
            Self::Pattern(pattern) => row.reference.as_ref().is_some_and(|own| {
                let (name, whole) = (own.familiar_name(), own.familiar());
                matches(pattern.as_bytes(), name.as_bytes())
                    || matches(pattern.as_bytes(), whole.as_bytes())
            }),
            Self::Dangling(wanted) => row.reference.is_none() == *wanted,
            Self::Label(name, value) => {
                let labels = row.image.config().value().execution().labels;
                labels.get(name).is_some_and(|own| value.as_ref().is_none_or(|v| v == own))
            }
            Self::Before(image) => created(&row.image) < created(image),
            Self::Since(image) => created(&row.image) > created(image),
        }
    }
}

/// Shell patterns: `*` and `?`, neither of which matches a slash.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            let end = text.iter().position(|b| *b == b'/').unwrap_or(text.len());
            (0..=end).any(|at| matches(rest, &text[at..]))
        }
        (Some((b'?', rest)), Some((byte, after))) if *byte != b'/' => matches(rest, after),
        (Some((expected, rest)), Some((byte, after))) if expected == byte => matches(rest, after),
        _ => false,
    }
}
