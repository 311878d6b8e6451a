//! `state.json`: what is remembered of a container between two commands.
//!
//! The outer shape is the one that tools which read runc's file expect (`init_process_pid`,
//! `cgroup_paths`, `config.labels` …); what only keel needs stands under the key `keel`.

use serde_json::Value;

use super::process::ProcessIdentity;
use super::recorded_config::namespace_name;
use crate::config::linux::NamespaceKind;
use crate::json::{self, Object};

/// Version of what stands under the key `keel`.
const VERSION: u64 = 1;

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The container's id.
    pub id: String,
    /// `ociVersion` of the config.
    pub oci_version: String,
    /// The bundle, absolute.
    pub bundle: String,
    /// The rootfs, absolute.
    pub rootfs: String,
    /// When it was created, RFC 3339 with nanoseconds, UTC.
    pub created: String,
    /// The user who created it.
    pub owner: u32,
    /// The container's first process; pid 0 while it is being created.
    pub process: ProcessIdentity,
    /// Annotations of the config.
    pub annotations: Vec<(String, String)>,
    /// The kinds of namespaces that the config names, which exec joins.
    pub namespaces: Vec<NamespaceKind>,
    /// Whether the container made its pid namespace, so that all its processes end with the first.
    pub owns_pid_namespace: bool,
    /// Controller → directory, in the shape of runc. Written before the directories are made.
    pub cgroup_paths: Vec<(String, String)>,
    /// The unit of systemd, where it makes the cgroup. Written before the unit is made.
    pub systemd_unit: Option<SystemdUnit>,
    /// Whether missing rights on cgroups were tolerated.
    pub rootless: bool,
    /// The limits as `update` last left them, in the form of `linux.resources`; absent while they
    /// are those of the config.
    pub resources: Option<Value>,
    /// Whether the container is being made from a checkpoint and its cgroups are its own: what is in them
    /// belongs to it, though no process of it is known yet.
    pub restoring: bool,
    /// The container's group in the resctrl file system; empty for none.
    pub intel_rdt_path: String,
    /// Its monitoring group there; empty for none.
    pub monitoring_path: String,
    /// What `config` says of the container for tools that read runc's file, as the text of an object.
    pub config: String,
    /// What its standard streams were at its creation, as links of `/proc/self/fd` show it.
    pub external_descriptors: Vec<String>,
    /// Those directories of the resctrl file system that end with the container, in the order of their
    /// removal.
    pub resctrl_made: Vec<String>,
    /// Where its mounts are, if it has no mount namespace. Written before anything is mounted.
    pub host_mounts: Option<HostMounts>,
}

/// Mounts of a container in the mount namespace of its maker: all of them in one, which lies over the rootfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostMounts {
    /// The inode of that mount namespace.
    pub namespace: u64,
    /// The id of the mount that the rootfs lies on without them.
    pub below: u64,
}

impl HostMounts {
    fn write(self, members: &mut Object<'_>) {
        members.plain("namespace", self.namespace);
        members.plain("below", self.below);
    }

    /// Nothing where there are none.
    fn from_json(json: &Value) -> Option<Self> {
        Some(Self { namespace: json["namespace"].as_u64()?, below: json["below"].as_u64()? })
    }
}

/// A unit of systemd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemdUnit {
    /// Its name.
    pub name: String,
    /// Whether it is the user's systemd that has it, not the system's.
    pub user: bool,
}

impl SystemdUnit {
    fn write(&self, members: &mut Object<'_>) {
        members.text("name", &self.name);
        members.plain("user", self.user);
    }

    /// Nothing where there is no unit.
    fn from_json(json: &Value) -> Option<Option<Self>> {
        if json.is_null() {
            return Some(None);
        }
        let name = json["name"].as_str()?.to_owned();
        Some(Some(Self { name, user: json["user"].as_bool()? }))
    }
}

/// Why a state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidState {
    /// It is no JSON.
    #[error("not JSON")]
    Syntax(#[from] serde_json::Error),
    /// A member is missing or has the wrong type.
    #[error("{0}: missing or of the wrong type")]
    Member(&'static str),
    /// It was written by a newer keel.
    #[error("written by a newer keel (format {0}, this one knows {VERSION})")]
    Version(u64),
}

impl State {
    /// The file's content.
    #[must_use]
    pub fn to_json(&self) -> String {
        let pid = self.process.pid;
        json::object(|all| {
            all.text("id", &self.id);
            all.plain("init_process_pid", pid);
            all.plain("init_process_start", self.process.start_time);
            all.text("created", &self.created);
            all.plain("config", &self.config);
            all.plain("rootless", self.rootless);
            all.map("cgroup_paths", &self.cgroup_paths);
            all.object("namespace_paths", |paths| {
                for kind in NamespaceKind::ALL {
                    let path = format!("/proc/{pid}/ns/{}", kind.proc_name());
                    paths.text(namespace_name(kind), &path);
                }
            });
            all.texts("external_descriptors", &self.external_descriptors);
            all.text("intel_rdt_path", &self.intel_rdt_path);
            all.object("keel", |own| self.write_own(own));
        })
    }

    fn write_own(&self, own: &mut Object<'_>) {
        own.plain("version", VERSION);
        own.text("oci_version", &self.oci_version);
        own.text("bundle", &self.bundle);
        own.plain("owner", self.owner);
        own.map("annotations", &self.annotations);
        own.plain("owns_pid_namespace", self.owns_pid_namespace);
        own.plain("restoring", self.restoring);
        if let Some(unit) = &self.systemd_unit {
            own.object("systemd_unit", |members| unit.write(members));
        }
        own.text("monitoring_path", &self.monitoring_path);
        own.texts("resctrl_made", &self.resctrl_made);
        if let Some(mounts) = self.host_mounts {
            own.object("host_mounts", |members| mounts.write(members));
        }
        own.texts("namespaces", self.namespaces.iter().map(|kind| kind.name()));
        if let Some(resources) = &self.resources {
            own.plain("resources", resources);
        }
    }

    /// Reads a file's content.
    ///
    /// # Errors
    /// [`InvalidState`] when it is not one that [`State::to_json`] wrote.
    pub fn from_json(text: &[u8]) -> Result<Self, InvalidState> {
        let json: Value = serde_json::from_slice(text)?;
        let own = &json["keel"];
        let version = own["version"].as_u64().ok_or(InvalidState::Member("keel.version"))?;
        if version > VERSION {
            return Err(InvalidState::Version(version));
        }
        let text = |value: &Value, name: &'static str| {
            value.as_str().map(str::to_owned).ok_or(InvalidState::Member(name))
        };
        let pid = json["init_process_pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        let start_time = json["init_process_start"].as_u64();
        let owner = own["owner"].as_u64().and_then(|owner| u32::try_from(owner).ok());
        let kinds = own["namespaces"].as_array().ok_or(InvalidState::Member("keel.namespaces"))?;
        Ok(Self {
            id: text(&json["id"], "id")?,
            oci_version: text(&own["oci_version"], "keel.oci_version")?,
            bundle: text(&own["bundle"], "keel.bundle")?,
            rootfs: text(&json["config"]["rootfs"], "config.rootfs")?,
            created: text(&json["created"], "created")?,
            owner: owner.ok_or(InvalidState::Member("keel.owner"))?,
            process: ProcessIdentity {
                pid: pid.ok_or(InvalidState::Member("init_process_pid"))?,
                start_time: start_time.ok_or(InvalidState::Member("init_process_start"))?,
            },
            annotations: pairs(&own["annotations"])
                .ok_or(InvalidState::Member("keel.annotations"))?,
            namespaces: NamespaceKind::ALL
                .into_iter()
                .filter(|kind| kinds.iter().any(|name| name == kind.name()))
                .collect(),
            owns_pid_namespace: own["owns_pid_namespace"]
                .as_bool()
                .ok_or(InvalidState::Member("keel.owns_pid_namespace"))?,
            cgroup_paths: pairs(&json["cgroup_paths"])
                .ok_or(InvalidState::Member("cgroup_paths"))?,
            systemd_unit: SystemdUnit::from_json(&own["systemd_unit"])
                .ok_or(InvalidState::Member("keel.systemd_unit"))?,
            rootless: json["rootless"].as_bool().ok_or(InvalidState::Member("rootless"))?,
            resources: own.get("resources").cloned(),
            restoring: own["restoring"].as_bool().unwrap_or(false),
            // Not in the files of older versions, which had none of it.
            config: json["config"].to_string(),
            external_descriptors: strings(&json["external_descriptors"]),
            intel_rdt_path: json["intel_rdt_path"].as_str().unwrap_or_default().to_owned(),
            monitoring_path: own["monitoring_path"].as_str().unwrap_or_default().to_owned(),
            resctrl_made: strings(&own["resctrl_made"]),
            host_mounts: HostMounts::from_json(&own["host_mounts"]),
        })
    }

    /// The state that hooks get (runtime-spec, runtime.md, "State").
    #[must_use]
    pub fn for_hooks(&self, status: &str, pid: i32) -> String {
        json::object(|all| {
            all.text("ociVersion", &self.oci_version);
            all.text("id", &self.id);
            all.text("status", status);
            all.plain("pid", pid);
            all.text("bundle", &self.bundle);
            if !self.annotations.is_empty() {
                all.map("annotations", &self.annotations);
            }
        })
    }
}

fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn pairs(value: &Value) -> Option<Vec<(String, String)>> {
    let pair = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    value.as_object()?.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn state() -> State {
        State {
            id: "web".to_owned(),
            oci_version: "1.2.0".to_owned(),
            bundle: "/b".to_owned(),
            rootfs: "/b/rootfs".to_owned(),
            created: "2026-01-02T03:04:05.000000006Z".to_owned(),
            owner: 0,
            process: ProcessIdentity { pid: 7, start_time: 42 },
            annotations: vec![("a".to_owned(), "1".to_owned())],
            namespaces: vec![NamespaceKind::Pid, NamespaceKind::Mount],
            owns_pid_namespace: true,
            cgroup_paths: vec![("cpu".to_owned(), "/sys/fs/cgroup/cpu/web".to_owned())],
            systemd_unit: Some(SystemdUnit { name: "keel-web.scope".to_owned(), user: true }),
            rootless: false,
            resources: Some(json!({"pids": {"limit": 5}})),
            restoring: false,
            intel_rdt_path: "/sys/fs/resctrl/web".to_owned(),
            monitoring_path: String::new(),
            config: r#"{"hostname":"web","rootfs":"/b/rootfs"}"#.to_owned(),
            external_descriptors: vec!["/dev/null".to_owned(), "pipe:[7]".to_owned()],
            resctrl_made: vec!["/sys/fs/resctrl/web".to_owned()],
            host_mounts: Some(HostMounts { namespace: 4_026_531_841, below: 27 }),
        }
    }

    #[test]
    fn reads_what_it_wrote() {
        assert_eq!(State::from_json(state().to_json().as_bytes()).unwrap(), state());
    }

    #[test]
    fn keeps_the_keys_that_other_tools_read() {
        let json: Value = serde_json::from_str(&state().to_json()).unwrap();
        assert_eq!(json["init_process_pid"], 7);
        assert_eq!(json["config"]["hostname"], "web");
        assert_eq!(json["namespace_paths"]["NEWNS"], "/proc/7/ns/mnt");
        assert_eq!(json["cgroup_paths"]["cpu"], "/sys/fs/cgroup/cpu/web");
    }

    #[test]
    fn refuses_what_is_not_whole() {
        assert!(State::from_json(b"").is_err());
        assert!(State::from_json(b"{}").is_err());
        let newer = state().to_json().replace("\"version\":1", "\"version\":2");
        assert!(matches!(State::from_json(newer.as_bytes()), Err(InvalidState::Version(2))));
    }
}
