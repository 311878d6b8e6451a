//! The image configuration (image-spec config.md) with the properties that Docker adds to it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Platform, Timestamp};
use crate::identity::DiffId;

/// An image's configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When the image was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// The processor, as Go names it.
    #[serde(default)]
    pub architecture: String,
    /// The variant of the processor, such as `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The operating system, as Go names it.
    #[serde(default)]
    pub os: String,
    /// The version of the operating system.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// What the operating system must be able to do.
    #[serde(default, rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// How a container of the image is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Config>,
    /// The layers.
    pub rootfs: RootFs,
    /// How the layers came to be.
    #[serde(default, with = "super::raw::nullable")]
    pub history: Vec<History>,
    /// What else was written here; it is kept on a round trip.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ImageConfig {
    /// A configuration without layers for `platform`.
    #[must_use]
    pub fn new(platform: &Platform) -> Self {
        Self {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            config: Some(Config::default()),
            ..Self::default()
        }
    }

    /// The platform that the image runs on.
    #[must_use]
    pub fn platform(&self) -> Platform {
        Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
            variant: self.variant.clone(),
        }
        .normalized()
    }

    /// How a container is started, with every default in place.
    #[must_use]
    pub fn execution(&self) -> Config {
        self.config.clone().unwrap_or_default()
    }
}

/// The layers of an image, lowest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The diff ids, lowest first.
    #[serde(default, with = "super::raw::nullable")]
    pub diff_ids: Vec<DiffId>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

/// One step that made an image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// When the step ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// The command of the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Who ran it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// A free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Did the step leave the rootfs as it was, so that no layer belongs to it?
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
    /// What else was written here.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

type EmptyObject = BTreeMap<String, Value>;

/// How a container of an image is started: the `config` object. The properties from
/// [`Config::healthcheck`] on are Docker's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Config {
    /// `user`, `uid`, `user:group`, `uid:gid`, `uid:group` or `user:gid`; empty means root.
    #[serde(default, skip_serializing_if = "String::is_empty", with = "super::raw::nullable")]
    pub user: String,
    /// Ports such as `80/tcp`; the values are empty objects.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", with = "super::raw::nullable")]
    pub exposed_ports: BTreeMap<String, EmptyObject>,
    /// `NAME=value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "super::raw::nullable")]
    pub env: Vec<String>,
    /// The command's first words; absent is not the same as empty for the builder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// The command's further words, or the whole command without an entrypoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Paths that hold data of a container; the values are empty objects.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", with = "super::raw::nullable")]
    pub volumes: BTreeMap<String, EmptyObject>,
    /// The working directory; empty means `/`.
    #[serde(default, skip_serializing_if = "String::is_empty", with = "super::raw::nullable")]
    pub working_dir: String,
    /// Free texts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", with = "super::raw::nullable")]
    pub labels: BTreeMap<String, String>,
    /// The signal that stops a container, by name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// How Docker asks a container whether it is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// The shell of shell-form instructions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// Instructions that a build on top of the image runs first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_build: Option<Vec<String>>,
    /// Windows only, but Docker's builder writes it everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args_escaped: Option<bool>,
    /// What else was written here; it is kept on a round trip.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Docker's `Healthcheck`; durations are nanoseconds and 0 means inherited.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", command]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "super::raw::nullable")]
    pub test: Vec<String>,
    /// Nanoseconds between two checks.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Nanoseconds that one check may last.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Nanoseconds after the start in which failures do not count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Nanoseconds between two checks in the start period.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make a container unhealthy.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: i64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}
