//! How an image was built: SLSA provenance, version 1. The parameters have the names that BuildKit's
//! frontend gives them; there are no times and no ids of the run, so that the same build is the same document.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::Predicate;
use crate::build::dockerfile::lint::speaks_of_a_secret;
use crate::build::options::{BuildOptions, NamedContext};
use crate::build::output::Built;
use crate::identity::Digest;
use crate::spec::Platform;

/// What the parameters mean.
const BUILD_TYPE: &str = "urn:keel:dockerfile-build:1";
/// Who says it, where the caller has no name of its own.
const BUILDER: &str = "urn:keel:keel-image";
/// A longer Dockerfile is told by its digest alone.
const DOCKERFILE_BYTES_MAX: usize = 1 << 20;

/// How much is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// What was taken from elsewhere, and how far it can be relied on.
    #[default]
    Min,
    /// The arguments, labels, hosts and the Dockerfile, too.
    Max,
}

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// How much is told.
    pub mode: Mode,
    /// The URI by which the caller is known as a builder.
    pub builder_id: Option<String>,
    /// Whether the caller says that the build can be done again with the same result.
    pub is_reproducible: bool,
}

/// What is said of a build.
pub(super) fn predicate(wanted: &Wanted, options: &BuildOptions, built: &Built) -> Predicate {
    let is_max = wanted.mode == Mode::Max;
    let (arguments, is_whole) = arguments(options, is_max);
    let mut request = json!({ "frontend": "dockerfile.v0", "args": arguments });
    if is_max {
        let ids = |names: Vec<&String>| names.iter().map(|id| json!({ "id": id })).collect();
        let secrets: Vec<Value> = ids(options.secrets.keys().collect());
        let agents: Vec<Value> = ids(options.ssh.keys().collect());
        if !secrets.is_empty() {
            request["secrets"] = secrets.into();
        }
        if !agents.is_empty() {
            request["ssh"] = agents.into();
        }
        let local = options.context_material.is_none() && options.context.is_some();
        let named = options
            .contexts
            .iter()
            .filter(|(_, place)| matches!(place, NamedContext::Directory(_)));
        let named = named.map(|(name, _)| json!({ "name": name }));
        let local = local.then(|| json!({ "name": "context" })).into_iter().chain(named);
        request["locals"] = local.collect::<Vec<_>>().into();
    }
    let mut source = json!({ "path": built.dockerfile.name });
    if let Some(context) = &options.context_material {
        source["uri"] = json!(context.uri);
        source["digest"] = json!(context.digest);
    }
    let own = options.context_material.iter().chain(&options.context_materials);
    let mut materials: Vec<_> = own.chain(&built.materials).cloned().collect();
    materials.sort();
    materials.dedup();
    // What comes over the network in a RUN, and what local directories hold, is not told.
    let mut metadata = json!({
        "buildkit_completeness": { "request": is_max && is_whole, "resolvedDependencies": false },
    });
    if wanted.is_reproducible {
        metadata["buildkit_reproducible"] = true.into();
    }
    let builder = wanted.builder_id.as_deref().unwrap_or(BUILDER);
    let mut details = json!({
        "builder": { "id": builder, "version": { "keel-image": env!("CARGO_PKG_VERSION") } },
        "metadata": metadata,
    });
    if is_max {
        details["byproducts"] = json!([dockerfile(built)]);
    }
    let content = json!({
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": { "configSource": source, "request": request },
            "internalParameters": { "builderPlatform": Platform::host().to_string() },
            "resolvedDependencies": materials,
        },
        "runDetails": details,
    });
    Predicate { file: "provenance.json", kind: "https://slsa.dev/provenance/v1", content }
}

/// The parameters, and whether none was left out because its name speaks of a secret.
fn arguments(options: &BuildOptions, is_max: bool) -> (Map<String, Value>, bool) {
    let mut all = Map::new();
    let mut add = |name: String, value: &str| drop(all.insert(name, value.into()));
    if let Some(target) = &options.target {
        add("target".to_owned(), target);
    }
    if let Some(platform) = &options.platform {
        add("platform".to_owned(), &platform.to_string());
    }
    if !is_max {
        return (all, true);
    }
    let secret = |name: &&String| speaks_of_a_secret(name);
    let is_whole = !options.arguments.keys().any(|name| secret(&name));
    for (name, value) in options.arguments.iter().filter(|(name, _)| !secret(name)) {
        add(format!("build-arg:{name}"), &super::redacted(value));
    }
    for (name, value) in &options.labels {
        add(format!("label:{name}"), value);
    }
    (all, is_whole)
}

/// The Dockerfile as something that came of the build's beginning.
fn dockerfile(built: &Built) -> Value {
    let text = built.dockerfile.text.as_bytes();
    let mut resource = json!({
        "name": built.dockerfile.name,
        "mediaType": "text/x-dockerfile",
        "digest": { "sha256": Digest::of(text).hex() },
    });
    if text.len() <= DOCKERFILE_BYTES_MAX {
        resource["content"] = STANDARD.encode(text).into();
    }
    resource
}
