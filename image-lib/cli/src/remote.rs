//! `keel-image remote`: what registries have, looked at and deleted without fetching images.

use keel_image::reference::Reference;
use keel_image::registry::{Document, RegistryError, Repository, Selector};
use keel_image::spec::{Descriptor, Index, Platform, Preferences, Raw, is_image, media_type};
use keel_image::store::Image;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::login::registry_name;
use crate::registry_flags::AccessFlags;
use crate::template::Template;
use crate::{output, table, units};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the repositories of a registry, if it tells
    Catalog {
        /// The registry: a host and a port
        registry: String,
        #[command(flatten)]
        common: Common,
    },
    /// Delete tags or manifests
    ///
    /// A name with a tag means the tag alone, one with a digest the manifest with all tags that it has.
    #[command(visible_alias = "rm")]
    Delete {
        /// What is deleted
        #[arg(required = true, value_name = "NAME:TAG|NAME@DIGEST")]
        names: Vec<String>,
        /// Of a tag its manifest, and with it all other tags of it
        #[arg(long)]
        manifest: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Show an image without fetching it
    Inspect {
        /// The image
        #[arg(value_name = "NAME[:TAG|@DIGEST]")]
        name: String,
        /// Print the manifest or index that the name stands for, byte for byte
        #[arg(long)]
        raw: bool,
        /// Print the image's configuration; with --raw byte for byte
        #[arg(long)]
        config: bool,
        /// The platform, such as linux/arm64; without it, this machine's
        #[arg(long, value_name = "PLATFORM")]
        platform: Option<Platform>,
        /// A Go template such as '{{.Digest}}', or json
        #[arg(short, long, conflicts_with = "raw")]
        format: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// List what is about an image: signatures, attestations and the like
    #[command(visible_alias = "discover")]
    Referrers {
        /// The image
        #[arg(value_name = "NAME[:TAG|@DIGEST]")]
        name: String,
        /// Only artifacts of this kind
        #[arg(long, value_name = "MEDIATYPE")]
        artifact_type: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// List the tags of a repository
    #[command(visible_aliases = ["ls", "list-tags"])]
    Tags {
        /// The repository
        name: String,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, clap::Args)]
struct Common {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: AccessFlags,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::Catalog { registry, common } => catalog(registry, common),
        Command::Delete { names, manifest, common } => delete(names, *manifest, common),
        Command::Inspect { name, raw, config, platform, format, common } => {
            let (repository, reference) = repository(name, common)?;
            let root = repository.manifest(&Selector::of(&reference.clone().or_latest()))?;
            let wanted = platform.as_ref().map_or_else(Preferences::host, Preferences::of);
            match (*config, *raw) {
                (false, true) if platform.is_none() => output::bytes(&root.bytes),
                (false, true) => output::bytes(repository.image(root, &wanted)?.manifest().bytes()),
                (true, true) => output::bytes(repository.image(root, &wanted)?.config().bytes()),
                (true, false) => {
                    let image = repository.image(root, &wanted)?;
                    show(&parsed(image.config().bytes())?, format.as_deref())
                }
                (false, false) => {
                    show(&describe(&repository, root, platform.as_ref())?, format.as_deref())
                }
            }
        }
        Command::Referrers { name, artifact_type, common } => {
            referrers(name, artifact_type.as_deref(), common)
        }
        Command::Tags { name, common } => {
            let (repository, _) = repository(name, common)?;
            let tags = repository.tags()?;
            if common.json {
                return output::json(&json!({ "Repository": repository.name(), "Tags": tags }));
            }
            lines(&tags)
        }
    }
}

fn lines(words: &[String]) -> Result<(), Failure> {
    output::print(&words.iter().fold(String::new(), |text, word| text + word + "\n"))
}

/// A name as people write it for other tools, too.
fn reference(name: &str) -> Result<Reference, Failure> {
    let name = name.strip_prefix("docker://").unwrap_or(name);
    name.parse().map_err(|error| Failure::of(&error))
}

fn repository(name: &str, common: &Common) -> Result<(Repository, Reference), Failure> {
    let reference = reference(name)?;
    let client = common.access.client(reference.domain())?;
    Ok((client.repository(&reference)?, reference))
}

fn catalog(registry: &str, common: &Common) -> Result<(), Failure> {
    let name = registry_name(Some(registry))?;
    let repositories = common.access.client(&name)?.catalog(&name)?;
    if common.json {
        return output::json(&json!({ "Registry": name, "Repositories": repositories }));
    }
    lines(&repositories)
}

fn delete(names: &[String], manifest: bool, common: &Common) -> Result<(), Failure> {
    let references: Vec<Reference> =
        names.iter().map(|name| reference(name)).collect::<Result<_, _>>()?;
    if let Some(bare) = references.iter().find(|r| r.tag().is_none() && r.digest().is_none()) {
        return Err(Failure::new(format!("{}: nothing is said to be deleted", bare.familiar()))
            .with_hint("name a tag (NAME:TAG) or a manifest (NAME@DIGEST)"));
    }
    let mut deleted = Vec::new();
    for reference in &references {
        let repository = common.access.client(reference.domain())?.repository(reference)?;
        let mut selector = Selector::of(reference);
        if manifest && matches!(selector, Selector::Tag(_)) {
            selector = Selector::Digest(digest(&repository, &selector)?);
        }
        repository.delete(&selector)?;
        let (word, name) = match &selector {
            Selector::Tag(tag) => ("Untagged", format!("{}:{tag}", reference.familiar_name())),
            Selector::Digest(digest) => {
                ("Deleted", format!("{}@{digest}", reference.familiar_name()))
            }
        };
        if !common.json {
            output::line(&format!("{word}: {name}"))?;
        }
        deleted.push(json!({ word: name }));
    }
    if common.json { output::json(&Value::Array(deleted)) } else { Ok(()) }
}

/// What a tag stands for now.
fn digest(
    repository: &Repository,
    selector: &Selector,
) -> Result<keel_image::identity::Digest, Failure> {
    if let Selector::Digest(digest) = selector {
        return Ok(digest.clone());
    }
    match repository.head(selector)? {
        Some(digest) => Ok(digest),
        None => Ok(repository.manifest(selector)?.descriptor.digest),
    }
}

fn referrers(name: &str, artifact_type: Option<&str>, common: &Common) -> Result<(), Failure> {
    let (repository, reference) = repository(name, common)?;
    let subject = digest(&repository, &Selector::of(&reference.or_latest()))?;
    let found = repository.referrers(&subject, artifact_type)?;
    if common.json {
        let subject = format!("{}@{subject}", repository.name());
        return output::json(&json!({ "Subject": subject, "Referrers": found }));
    }
    let mut rows = vec![["DIGEST", "ARTIFACT TYPE", "SIZE"].map(str::to_owned).to_vec()];
    rows.extend(found.into_iter().map(|entry| {
        let kind = entry.artifact_type.unwrap_or(entry.media_type);
        vec![entry.digest.to_string(), kind, units::size(entry.size)]
    }));
    output::print(&table::layout(&rows))
}

fn show(value: &Value, format: Option<&str>) -> Result<(), Failure> {
    match format {
        None | Some("json" | "") => output::json(value),
        Some(text) => output::line(&Template::parse(text)?.render(value)?),
    }
}

fn parsed(bytes: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(bytes).map_err(|error| Failure::of(&error))
}

/// What a name stands for, and the image for this machine, or the one that is asked for.
fn describe(
    repository: &Repository,
    root: Document,
    platform: Option<&Platform>,
) -> Result<Value, Failure> {
    let descriptor = root.descriptor.clone();
    let mut described = json!({
        "Name": repository.name(),
        "Digest": descriptor.digest,
        "MediaType": descriptor.media_type,
        "Size": descriptor.size,
    });
    let raw = parsed(&root.bytes)?;
    for (name, property) in
        [("ArtifactType", "artifactType"), ("Subject", "subject"), ("Annotations", "annotations")]
    {
        if let Some(value) = raw.get(property) {
            described[name] = value.clone();
        }
    }
    let is_index = media_type::is_index(&descriptor.media_type);
    if is_index {
        let index: Raw<Index> = Raw::parse_as("index", &descriptor.media_type, root.bytes.clone())
            .map_err(|error| Failure::of(&error))?;
        described["Manifests"] = index.value().manifests.iter().map(listed).collect();
    }
    let wanted = platform.map_or_else(Preferences::host, Preferences::of);
    match repository.image(root, &wanted) {
        Ok(image) => add_image(&mut described, &image)?,
        // Whoever asked for no platform is shown what there is: an index for others, or an artifact.
        Err(RegistryError::Platform { .. } | RegistryError::Kind { .. }) if platform.is_none() => {}
        Err(error) => return Err(error.into()),
    }
    Ok(described)
}

fn listed(entry: &Descriptor) -> Value {
    let mut row =
        json!({ "Digest": entry.digest, "MediaType": entry.media_type, "Size": entry.size });
    if let Some(platform) = &entry.platform {
        row["Platform"] = json!(platform.to_string());
    }
    if !is_image(entry) {
        row["Annotations"] = json!(entry.annotations);
    }
    row
}

fn add_image(described: &mut Value, image: &Image) -> Result<(), Failure> {
    let config = image.config().value();
    let raw = parsed(image.config().bytes())?;
    let layers = &image.manifest().value().layers;
    described["Id"] = json!(image.id().to_string());
    described["Manifest"] = json!(image.descriptor().digest);
    described["Created"] = json!(config.created.map(|created| created.to_string()));
    described["Architecture"] = json!(config.architecture);
    described["Os"] = json!(config.os);
    if let Some(variant) = &config.variant {
        described["Variant"] = json!(variant);
    }
    for name in ["Labels", "Env", "Entrypoint", "Cmd", "WorkingDir", "User", "ExposedPorts"] {
        described[name] = raw.pointer(&format!("/config/{name}")).cloned().unwrap_or(Value::Null);
    }
    described["Layers"] = layers.iter().map(|layer| json!(layer.digest)).collect();
    described["LayersData"] = layers
        .iter()
        .map(|layer| {
            json!({ "MIMEType": layer.media_type, "Digest": layer.digest, "Size": layer.size })
        })
        .collect();
    described["DownloadSize"] = json!(layers.iter().map(|layer| layer.size).sum::<u64>());
    Ok(())
}
