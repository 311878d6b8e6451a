//! The parts of `config.json` that a bundle of an image has, as the runtime-spec spells them. It is
//! written only; a runtime reads it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::privilege::IdMapping;
use super::rlimit::Rlimit;

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RuntimeConfig {
    pub(super) oci_version: &'static str,
    pub(super) process: Process,
    pub(super) root: RootFs,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hostname: Option<String>,
    pub(super) mounts: Vec<Mount>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) linux: Linux,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Process {
    pub(super) terminal: bool,
    pub(super) user: User,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<String>,
    pub(super) cwd: String,
    pub(super) capabilities: Capabilities,
    pub(super) oom_score_adj: i32,
    pub(super) no_new_privileges: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) rlimits: Vec<Rlimit>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) additional_gids: Vec<u32>,
}

/// What Docker gives: nothing is inherited by programs that ask for nothing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Capabilities {
    pub(super) bounding: Vec<String>,
    pub(super) effective: Vec<String>,
    pub(super) permitted: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct RootFs {
    pub(super) path: String,
    pub(super) readonly: bool,
}

/// A mount of a container (runtime-spec config.md, "Mounts").
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// The path in the container.
    pub destination: String,
    /// The type of the file system, or `bind`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The device, or the path on the host.
    pub source: String,
    /// The options.
    pub options: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Linux {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) uid_mappings: Vec<IdMapping>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) gid_mappings: Vec<IdMapping>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resources: Option<Resources>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cgroups_path: Option<String>,
    pub(super) namespaces: Vec<Namespace>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seccomp: Option<Value>,
    pub(super) masked_paths: Vec<&'static str>,
    pub(super) readonly_paths: Vec<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Namespace {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Resources {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) devices: Vec<DeviceRule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) memory: Option<Memory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cpu: Option<Cpu>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pids: Option<Pids>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct DeviceRule {
    pub(super) allow: bool,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) major: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) minor: Option<i64>,
    pub(super) access: &'static str,
}

/// Docker lets a container swap as much as it may have memory.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Memory {
    pub(super) limit: u64,
    pub(super) swap: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Cpu {
    pub(super) quota: i64,
    pub(super) period: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Pids {
    pub(super) limit: i64,
}
