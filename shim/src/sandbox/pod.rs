//! `runtime.v1.PodSandboxConfig`, what Kubernetes' CRI says of a pod, and the configuration of its sandbox.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::messages::Any;
use crate::protobuf::{Fields, Malformed};

/// The kinds under which CRI's configuration comes.
const KIND: &str = "runtime.v1.PodSandboxConfig";

/// A share of a pod's processor time that counts for nothing beside any container.
const SHARES: u64 = 2;

/// Kubernetes' value: the sandbox is the last to be killed for want of memory.
const OOM_SCORE: i64 = -998;

/// The user of pause images.
const NOBODY: u64 = 65_535;

/// `NamespaceMode`: the pod's own (0), the container's own (1), the host's (2).
const NODE: u64 = 2;

/// A range of ids: on the host, in the namespace, how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct IdMapping {
    host: u64,
    container: u64,
    length: u64,
}

/// `UserNamespace` with mode POD.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct UserNamespace {
    uids: Vec<IdMapping>,
    gids: Vec<IdMapping>,
}

/// What is used of the configuration. Without one, all namespaces are the pod's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    name: String,
    uid: String,
    namespace: String,
    /// The host's where it is empty.
    pub hostname: String,
    /// The text of resolv.conf; the host's where it is `None`.
    pub resolv_conf: Option<String>,
    cgroup_parent: String,
    sysctls: BTreeMap<String, String>,
    network: u64,
    pids: u64,
    ipc: u64,
    user_namespace: Option<UserNamespace>,
    user: Option<u64>,
    group: Option<u64>,
}

impl Pod {
    /// Reads the options of `CreateSandbox`; those of another kind say nothing of a pod.
    pub fn of(options: Option<&Any>) -> Result<Self, Malformed> {
        match options {
            Some(any) if any.kind() == KIND => Self::parse(&any.value),
            _ => Ok(Self::default()),
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut pod = Self::default();
        let mut fields = Fields::of(bytes);
        while let Some((field, value)) = fields.take()? {
            match field {
                1 => pod.metadata(value.bytes()?)?,
                2 => pod.hostname = value.text()?.to_owned(),
                4 => pod.resolv_conf = Some(resolv_conf(value.bytes()?)?),
                8 => pod.linux(value.bytes()?)?,
                _ => {}
            }
        }
        Ok(pod)
    }

    fn metadata(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let mut fields = Fields::of(bytes);
        while let Some((field, value)) = fields.take()? {
            match field {
                1 => self.name = value.text()?.to_owned(),
                2 => self.uid = value.text()?.to_owned(),
                3 => self.namespace = value.text()?.to_owned(),
                _ => {}
            }
        }
        Ok(())
    }

    fn linux(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let mut fields = Fields::of(bytes);
        while let Some((field, value)) = fields.take()? {
            match field {
                1 => self.cgroup_parent = value.text()?.to_owned(),
                2 => self.security_context(value.bytes()?)?,
                3 => {
                    let (name, text) = entry(value.bytes()?)?;
                    self.sysctls.insert(name, text);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn security_context(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let mut fields = Fields::of(bytes);
        while let Some((field, value)) = fields.take()? {
            match field {
                1 => self.namespace_options(value.bytes()?)?,
                3 => self.user = Some(int64_value(value.bytes()?)?),
                8 => self.group = Some(int64_value(value.bytes()?)?),
                _ => {}
            }
        }
        Ok(())
    }

    fn namespace_options(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let mut fields = Fields::of(bytes);
        while let Some((field, value)) = fields.take()? {
            match field {
                1 => self.network = value.number()?,
                2 => self.pids = value.number()?,
                3 => self.ipc = value.number()?,
                5 => self.user_namespace = user_namespace(value.bytes()?)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the pod has the host's /dev/shm.
    pub fn has_host_ipc(&self) -> bool {
        self.ipc == NODE
    }

    /// Whether the pod has a user namespace.
    pub fn has_user_namespace(&self) -> bool {
        self.user_namespace.is_some()
    }

    /// The host's ids of the pod's root.
    pub fn root_owner(&self) -> (u64, u64) {
        let root = |mappings: &[IdMapping]| {
            mappings.iter().find(|it| it.container == 0).map_or(0, |it| it.host)
        };
        self.user_namespace.as_ref().map_or((0, 0), |it| (root(&it.uids), root(&it.gids)))
    }

    /// config.json of the sandbox: one process without rights on a root that it cannot write.
    pub fn config(&self, sandbox: &Surroundings<'_>) -> Value {
        // A user that the namespace does not know could not be set.
        let known = |id: u64, mappings: &[IdMapping]| {
            mappings.iter().any(|it| id >= it.container && id - it.container < it.length)
        };
        let known = |id: u64| {
            let users = self.user_namespace.as_ref();
            users.is_none_or(|it| known(id, &it.uids) && known(id, &it.gids))
        };
        let default = if known(NOBODY) { NOBODY } else { 0 };
        let user = self.user.unwrap_or(default);
        let hidden = ["rbind", "ro", "nosuid", "nodev"];
        let mut config = json!({
            "ociVersion": "1.0.2",
            "root": {"path": "rootfs", "readonly": true},
            "process": {
                "args": ["/pause", "pause"],
                "cwd": "/",
                "env": ["PATH=/"],
                "user": {"uid": user, "gid": self.group.unwrap_or(user)},
                "noNewPrivileges": true,
                "oomScoreAdj": OOM_SCORE.max(sandbox.least_oom_score),
            },
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc",
                    "options": ["nosuid", "noexec", "nodev"]},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                    "options": ["nosuid", "strictatime", "mode=755", "size=64k"]},
                {"destination": "/pause", "type": "bind", "source": sandbox.program, "options": hidden},
            ],
            "annotations": {
                "io.kubernetes.cri.container-type": "sandbox",
                "io.kubernetes.cri.sandbox-id": sandbox.id,
                "io.kubernetes.cri.sandbox-name": self.name,
                "io.kubernetes.cri.sandbox-namespace": self.namespace,
                "io.kubernetes.cri.sandbox-uid": self.uid,
            },
            "linux": {
                "namespaces": self.namespaces(sandbox),
                "cgroupsPath": self.cgroups_path(sandbox),
                "resources": {
                    "cpu": {"shares": SHARES},
                    "devices": [{"allow": false, "access": "rwm"}],
                },
                "sysctl": self.all_sysctls(),
                "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                    "/proc/sched_debug", "/sys/firmware"],
                "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            },
        });
        // With the host's network the pod has the host's name, too.
        if self.network != NODE && !self.hostname.is_empty() {
            config["hostname"] = self.hostname.clone().into();
        }
        if let Some(users) = &self.user_namespace {
            let list = |mappings: &[IdMapping]| -> Value {
                let one = |it: &IdMapping| json!({"hostID": it.host, "containerID": it.container, "size": it.length});
                mappings.iter().map(one).collect()
            };
            config["linux"]["uidMappings"] = list(&users.uids);
            config["linux"]["gidMappings"] = list(&users.gids);
        }
        config
    }

    fn namespaces(&self, sandbox: &Surroundings<'_>) -> Value {
        let mut list = vec![json!({"type": "mount"})];
        if self.pids != NODE {
            list.push(json!({"type": "pid"}));
        }
        if self.ipc != NODE {
            list.push(json!({"type": "ipc"}));
        }
        if self.network != NODE {
            list.push(json!({"type": "uts"}));
            list.push(match sandbox.network_namespace {
                "" => json!({"type": "network"}),
                path => json!({"type": "network", "path": path}),
            });
        }
        if self.user_namespace.is_some() {
            list.push(match sandbox.user_namespace {
                "" => json!({"type": "user"}),
                path => json!({"type": "user", "path": path}),
            });
        }
        list.into()
    }

    fn cgroups_path(&self, sandbox: &Surroundings<'_>) -> String {
        let parent = Path::new(&self.cgroup_parent);
        if parent.extension().is_some_and(|it| it == "slice") {
            let slice = parent.file_name().unwrap_or_default().to_string_lossy();
            return format!("{slice}:cri-containerd:{}", sandbox.id);
        }
        if self.cgroup_parent.is_empty() {
            return format!("/{}/{}", sandbox.namespace, sandbox.id);
        }
        parent.join(sandbox.id).display().to_string()
    }

    /// What containerd gives pods of its own besides: a network of one's own has nothing to protect by these two.
    fn all_sysctls(&self) -> BTreeMap<String, String> {
        let mut sysctls = self.sysctls.clone();
        let mut add = |name: &str, text: &str| {
            sysctls.entry(name.to_owned()).or_insert_with(|| text.to_owned());
        };
        if self.network != NODE {
            add("net.ipv4.ip_unprivileged_port_start", "0");
            if self.user_namespace.is_none() {
                add("net.ipv4.ping_group_range", "0 2147483647");
            }
        }
        sysctls
    }
}

/// What a sandbox is made in.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// The sandbox.
    pub id: &'a str,
    /// containerd's namespace.
    pub namespace: &'a str,
    /// The shim's own file, which is the sandbox's program.
    pub program: &'a str,
    /// A path; empty for a new one.
    pub network_namespace: &'a str,
    /// The one that the network belongs to; empty for a new one.
    pub user_namespace: &'a str,
    /// Below this the shim may not go.
    pub least_oom_score: i64,
}

/// An entry of a map.
fn entry(bytes: &[u8]) -> Result<(String, String), Malformed> {
    let (mut name, mut text) = (String::new(), String::new());
    let mut fields = Fields::of(bytes);
    while let Some((field, value)) = fields.take()? {
        match field {
            1 => value.text()?.clone_into(&mut name),
            2 => value.text()?.clone_into(&mut text),
            _ => {}
        }
    }
    Ok((name, text))
}

/// `Int64Value`; ids are not negative, and one that is would be refused by the runtime.
fn int64_value(bytes: &[u8]) -> Result<u64, Malformed> {
    let mut fields = Fields::of(bytes);
    let mut number = 0;
    while let Some((field, value)) = fields.take()? {
        if field == 1 {
            number = value.number()?;
        }
    }
    Ok(number)
}

fn user_namespace(bytes: &[u8]) -> Result<Option<UserNamespace>, Malformed> {
    let (mut mode, mut users) = (0, UserNamespace::default());
    let mut fields = Fields::of(bytes);
    while let Some((field, value)) = fields.take()? {
        match field {
            1 => mode = value.number()?,
            2 => users.uids.push(mapping(value.bytes()?)?),
            3 => users.gids.push(mapping(value.bytes()?)?),
            _ => {}
        }
    }
    Ok((mode != NODE).then_some(users))
}

fn mapping(bytes: &[u8]) -> Result<IdMapping, Malformed> {
    let mut mapping = IdMapping { host: 0, container: 0, length: 0 };
    let mut fields = Fields::of(bytes);
    while let Some((field, value)) = fields.take()? {
        match field {
            1 => mapping.host = value.number()?,
            2 => mapping.container = value.number()?,
            3 => mapping.length = value.number()?,
            _ => {}
        }
    }
    Ok(mapping)
}

/// `DNSConfig` as resolv.conf(5) has it.
fn resolv_conf(bytes: &[u8]) -> Result<String, Malformed> {
    let (mut servers, mut searches, mut options) = (String::new(), String::new(), String::new());
    let mut fields = Fields::of(bytes);
    while let Some((field, value)) = fields.take()? {
        let word = match field {
            1..=3 => value.text()?,
            _ => continue,
        };
        match field {
            1 => servers.extend(["nameserver ", word, "\n"]),
            2 => searches.extend([" ", word]),
            _ => options.extend([" ", word]),
        }
    }
    let mut text = String::new();
    if !searches.is_empty() {
        text.extend(["search", &searches, "\n"]);
    }
    text.push_str(&servers);
    if !options.is_empty() {
        text.extend(["options", &options, "\n"]);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::Writer;

    fn surroundings() -> Surroundings<'static> {
        Surroundings {
            id: "pod1",
            namespace: "k8s.io",
            program: "/usr/bin/shim",
            network_namespace: "/run/netns/1",
            user_namespace: "",
            least_oom_score: 0,
        }
    }

    fn kinds(config: &Value) -> Vec<&str> {
        let list = config["linux"]["namespaces"].as_array().expect("a list");
        list.iter().filter_map(|it| it["type"].as_str()).collect()
    }

    #[test]
    fn a_pod_without_a_configuration_has_namespaces_of_its_own() {
        let pod = Pod::of(None).expect("a pod");
        let config = pod.config(&surroundings());
        assert_eq!(kinds(&config), ["mount", "pid", "ipc", "uts", "network"]);
        assert_eq!(config["linux"]["namespaces"][4]["path"], "/run/netns/1");
        assert_eq!(config["linux"]["cgroupsPath"], "/k8s.io/pod1");
        assert_eq!(config["process"]["oomScoreAdj"], 0);
        assert_eq!(config["process"]["user"]["uid"], 65_535);
    }

    #[test]
    fn what_the_pod_says_is_in_the_configuration() {
        let dns =
            Writer::new().text(1, "10.0.0.1").text(1, "10.0.0.2").text(2, "a").text(3, "ndots:5");
        let mapping = || Writer::new().number(1, 100_000).number(3, 1000);
        let users = Writer::new().message(2, mapping()).message(3, mapping());
        let namespaces = Writer::new().number(1, 2).number(2, 2).number(3, 2).message(5, users);
        let security = Writer::new().message(1, namespaces);
        let sysctl = Writer::new().text(1, "kernel.shm_rmid_forced").text(2, "1");
        let linux =
            Writer::new().text(1, "/kubepods/burstable").message(2, security).message(3, sysctl);
        let bytes = Writer::new().text(2, "web").message(4, dns).message(8, linux).done();
        let any = Any { type_url: format!("host/{KIND}"), value: bytes };
        let pod = Pod::of(Some(&any)).expect("a pod");
        let lines = "search a\nnameserver 10.0.0.1\nnameserver 10.0.0.2\noptions ndots:5\n";
        assert_eq!(pod.resolv_conf.as_deref(), Some(lines));
        assert_eq!(pod.root_owner(), (100_000, 100_000));
        let config = pod.config(&surroundings());
        assert_eq!(kinds(&config), ["mount", "user"]);
        assert_eq!(config["hostname"], Value::Null);
        assert_eq!(config["linux"]["cgroupsPath"], "/kubepods/burstable/pod1");
        assert_eq!(config["linux"]["sysctl"], json!({"kernel.shm_rmid_forced": "1"}));
        assert_eq!(config["linux"]["uidMappings"][0]["hostID"], 100_000);
        assert_eq!(config["process"]["user"]["uid"], 0, "65535 is not in the namespace");
    }

    #[test]
    fn systemd_finds_a_pod_by_its_slice() {
        let linux = Writer::new().text(1, "/kubepods.slice/kubepods-pod1.slice");
        let any = Any { type_url: KIND.to_owned(), value: Writer::new().message(8, linux).done() };
        let config = Pod::of(Some(&any)).expect("a pod").config(&surroundings());
        assert_eq!(config["linux"]["cgroupsPath"], "kubepods-pod1.slice:cri-containerd:pod1");
    }

    #[test]
    fn a_field_of_another_kind_is_told() {
        let any = |value: &[u8]| Any { type_url: KIND.to_owned(), value: value.to_vec() };
        assert!(Pod::of(Some(&any(b"\x10\x01"))).is_err());
        let other = Any { type_url: "a.b.C".to_owned(), value: b"\x10\x01".to_vec() };
        assert_eq!(Pod::of(Some(&other)), Ok(Pod::default()));
    }
}
