//! What a device changes in a container's configuration.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::bundle::Mount;
use crate::fsroot::{FileKind, FsError, Metadata};

/// Variables, nodes, mounts, hooks and groups of devices (`containerEdits`).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in super::super) struct Edits {
    env: Vec<String>,
    device_nodes: Vec<Node>,
    mounts: Vec<Mounted>,
    hooks: Vec<Hook>,
    #[serde(rename = "additionalGids")]
    groups: Vec<u32>,
    intel_rdt: Option<Value>,
    net_devices: Vec<NetDevice>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    path: String,
    host_path: Option<PathBuf>,
    #[serde(rename = "type")]
    kind: Option<String>,
    major: Option<i64>,
    minor: Option<i64>,
    file_mode: Option<u32>,
    permissions: Option<String>,
    uid: Option<u32>,
    gid: Option<u32>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mounted {
    host_path: String,
    container_path: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    options: Vec<String>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
struct Hook {
    #[serde(rename = "hookName", skip_serializing)]
    point: String,
    path: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    args: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    env: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<i64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NetDevice {
    host_interface_name: String,
    name: String,
}

impl Edits {
    pub(super) fn add(&mut self, other: &Self) {
        let other = other.clone();
        self.env.extend(other.env);
        self.device_nodes.extend(other.device_nodes);
        self.mounts.extend(other.mounts);
        self.hooks.extend(other.hooks);
        self.groups.extend(other.groups);
        self.net_devices.extend(other.net_devices);
        self.intel_rdt = other.intel_rdt.or(self.intel_rdt.take());
    }

    /// Asks the host for what is not said of its nodes.
    pub(super) fn complete(&mut self) -> Result<(), FsError> {
        for node in &mut self.device_nodes {
            let is_fifo = node.kind.as_deref() == Some("p");
            if node.kind.is_some() && (is_fifo || (node.major.is_some() && node.minor.is_some())) {
                continue;
            }
            let own = PathBuf::from(&node.path);
            let path = node.host_path.as_ref().unwrap_or(&own);
            let found =
                rustix::fs::stat(path).map_err(|errno| FsError::new("stat", path, errno))?;
            let found = Metadata::from(&found);
            let kind = match found.kind {
                FileKind::CharacterDevice => "c",
                FileKind::BlockDevice => "b",
                FileKind::Fifo => "p",
                _ => return Err(FsError::new("use as a device", path, rustix::io::Errno::NODEV)),
            };
            node.kind.get_or_insert_with(|| kind.to_owned());
            node.major.get_or_insert(found.device.0.into());
            node.minor.get_or_insert(found.device.1.into());
            node.file_mode.get_or_insert(found.mode);
        }
        Ok(())
    }

    /// What is mounted.
    pub(in super::super) fn mounts(&self) -> impl Iterator<Item = Mount> {
        self.mounts.iter().map(|mount| {
            let is_bind = mount.options.iter().any(|option| option == "bind" || option == "rbind");
            let kind = mount.kind.clone().unwrap_or_else(|| "bind".to_owned());
            let mut options = mount.options.clone();
            if kind == "bind" && !is_bind {
                options.insert(0, "rbind".to_owned());
            }
            Mount {
                destination: mount.container_path.clone(),
                kind,
                source: mount.host_path.clone(),
                options,
            }
        })
    }

    /// Writes all but the mounts into a configuration.
    pub(in super::super) fn apply(&self, config: &mut Value) {
        let user = config["process"]["user"].clone();
        if let Some(env) = list(config, "/process", "env") {
            for entry in &self.env {
                let name = format!("{}=", entry.split('=').next().unwrap_or_default());
                env.retain(|other| !other.as_str().is_some_and(|other| other.starts_with(&name)));
                env.push(json!(entry));
            }
        }
        if let Some(groups) = list(config, "/process/user", "additionalGids") {
            for group in self.groups.iter().filter(|group| **group != 0) {
                if !groups.contains(&json!(group)) {
                    groups.push(json!(group));
                }
            }
        }
        for node in &self.device_nodes {
            // The user of the container has the device, where nothing else is said.
            let own = |name: &str| user[name].as_u64().filter(|_| user["uid"] != 0);
            let device = json!({
                "path": node.path, "type": node.kind, "major": node.major, "minor": node.minor,
                "fileMode": node.file_mode, "uid": node.uid.map(u64::from).or(own("uid")),
                "gid": node.gid.map(u64::from).or(own("gid")),
            });
            if let Some(devices) = list(config, "/linux", "devices") {
                devices.retain(|other| other["path"] != device["path"]);
                devices.push(without_nulls(device));
            }
            if node.kind.as_deref() != Some("p")
                && let Some(rules) = list(config, "/linux/resources", "devices")
            {
                let access = node.permissions.as_deref().unwrap_or("rwm");
                rules.push(json!({
                    "allow": true, "type": node.kind, "major": node.major, "minor": node.minor,
                    "access": access,
                }));
            }
        }
        for hook in &self.hooks {
            config.as_object_mut().map(|all| all.entry("hooks").or_insert_with(|| json!({})));
            if let (Some(hooks), Ok(entry)) =
                (list(config, "/hooks", &hook.point), serde_json::to_value(hook))
            {
                hooks.push(entry);
            }
        }
        if let Some(linux) = config.get_mut("linux").and_then(Value::as_object_mut) {
            if let Some(rdt) = &self.intel_rdt {
                linux.insert("intelRdt".to_owned(), rdt.clone());
            }
            if !self.net_devices.is_empty() {
                let named = |device: &NetDevice| {
                    (device.host_interface_name.clone(), json!({ "name": device.name }))
                };
                let all = self.net_devices.iter().map(named).collect();
                linux.insert("netDevices".to_owned(), Value::Object(all));
            }
        }
    }
}

/// The list `name` of the object at `place`, made where it is not.
fn list<'c>(config: &'c mut Value, place: &str, name: &str) -> Option<&'c mut Vec<Value>> {
    let object = config.pointer_mut(place)?.as_object_mut()?;
    object.entry(name).or_insert_with(|| json!([])).as_array_mut()
}

fn without_nulls(mut value: Value) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.retain(|_, value| !value.is_null());
    }
    value
}
