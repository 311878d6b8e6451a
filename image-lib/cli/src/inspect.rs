//! `keel-image inspect`: docker's description of images.

use keel_image::spec::{Platform, Preferences};
use keel_image::store::{Image, Store};
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::output;
use crate::template::Template;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Names or ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// A Go template such as '{{json .Config}}', or json
    #[arg(short, long)]
    format: Option<String>,
    /// Of an image for several platforms the one for this
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
    /// Print JSON, which is the default
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(store: &Store, arguments: &Arguments) -> Result<(), Failure> {
    let template = match arguments.format.as_deref() {
        None | Some("json" | "") => None,
        Some(text) => Some(Template::parse(text)?),
    };
    let mut described = Vec::new();
    let mut failures = Vec::new();
    for name in &arguments.images {
        match find(store, name, arguments.platform.as_ref()) {
            Ok(image) => described.push(describe(store, &image)?),
            Err(failure) => failures.push(failure),
        }
    }
    match template {
        None => output::json(&Value::Array(described))?,
        Some(template) => {
            for value in &described {
                output::line(&template.render(value)?)?;
            }
        }
    }
    let Some(last) = failures.pop() else { return Ok(()) };
    failures.iter().for_each(Failure::print);
    Err(last)
}

fn find(store: &Store, name: &str, platform: Option<&Platform>) -> Result<Image, Failure> {
    let image = store.resolve(name)?;
    let Some(platform) = platform else { return Ok(image) };
    let preferences = Preferences::of(platform);
    let image = store.read_for(image.root(), &preferences)?;
    let own = image.config().value().platform();
    match preferences.rank(&own) {
        Some(_) => Ok(image),
        // A manifest that is alone is read whatever it is for.
        None => Err(Failure::new(format!("{name} is an image for {own}, not for {platform}"))),
    }
}

/// Bytes of the unpacked layers; of the blobs where a layer is not unpacked.
pub(crate) fn size(store: &Store, image: &Image) -> u64 {
    layer_sizes(store, image).into_iter().sum()
}

/// The same of each layer, lowest first.
pub(crate) fn layer_sizes(store: &Store, image: &Image) -> Vec<u64> {
    let layers = image.layers();
    let of = |count: usize| {
        let unpacked = store.content_bytes(&layers[..count]);
        unpacked.or_else(|| layers.get(count - 1).map(|layer| layer.descriptor.size)).unwrap_or(0)
    };
    (1..=layers.len()).map(of).collect()
}

/// The names of an image by its manifest's digest: one for each repository.
pub(crate) fn repo_digests(store: &Store, image: &Image) -> Result<Vec<String>, Failure> {
    let digest = &image.root().digest;
    let references = store.references(image)?;
    let mut names: Vec<String> =
        references.iter().map(|r| format!("{}@{digest}", r.familiar_name())).collect();
    names.dedup();
    Ok(names)
}

fn describe(store: &Store, image: &Image) -> Result<Value, Failure> {
    let config = image.config().value();
    let raw: Value =
        serde_json::from_slice(image.config().bytes()).map_err(|error| Failure::of(&error))?;
    let tags: Vec<String> = store.references(image)?.iter().map(|r| r.familiar()).collect();
    let comment = config.history.last().and_then(|step| step.comment.clone());
    let mut described = json!({
        "Id": image.id().to_string(),
        "RepoTags": tags,
        "RepoDigests": repo_digests(store, image)?,
        "Parent": "",
        "Comment": comment.unwrap_or_default(),
        "Created": config.created.map(|created| created.to_string()),
        "DockerVersion": "",
        "Author": config.author.clone().unwrap_or_default(),
        "Config": execution(&raw),
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": size(store, image),
        "GraphDriver": { "Name": "overlayfs", "Data": {} },
        "RootFS": { "Type": config.rootfs.kind, "Layers": config.rootfs.diff_ids },
        "Metadata": { "LastTagTime": "0001-01-01T00:00:00Z" },
        "Descriptor": {
            "mediaType": image.descriptor().media_type,
            "digest": image.descriptor().digest.to_string(),
            "size": image.descriptor().size,
        },
    });
    if let Some(variant) = &config.variant {
        described["Variant"] = json!(variant);
    }
    Ok(described)
}

/// The image's own `config`, with null where templates expect a property.
fn execution(raw: &Value) -> Value {
    let mut map: Map<String, Value> =
        raw.get("config").and_then(Value::as_object).cloned().unwrap_or_default();
    for name in ["Cmd", "Entrypoint", "Env", "ExposedPorts", "Labels", "OnBuild", "Volumes"] {
        map.entry(name).or_insert(Value::Null);
    }
    for name in ["User", "WorkingDir"] {
        map.entry(name).or_insert_with(|| json!(""));
    }
    Value::Object(map)
}
