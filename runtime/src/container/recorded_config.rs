//! `config` of `state.json`: what a container was made of, in the names of runc's file, for tools that read them there.
//! Nothing of it is read back by keel, whose own source is the copy of `config.json`. Empty members are left out, as
//! newer runc does.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::config::linux::{IdMapping, NamespaceKind};
use crate::config::mounts::{Bind, Mount};
use crate::config::process::{Capabilities, Process, capability_name};
use crate::config::resources::Resources;
use crate::config::spec::Spec;

/// The members of a new container's config.
#[must_use]
pub fn members(spec: &Spec, id: &str, bundle: &Path) -> Map<String, Value> {
    let linux = &spec.linux;
    let mut all = Map::new();
    let mut put = |name: &str, value: Value| {
        if !is_empty(&value) {
            all.insert(name.to_owned(), value);
        }
    };
    put("version", json!(spec.oci_version));
    put("readonlyfs", json!(spec.root_readonly));
    put("hostname", json!(spec.hostname));
    put("domainname", json!(spec.domainname));
    put("rootPropagation", json!(linux.rootfs_propagation.unwrap_or(0)));
    put("mounts", spec.mounts.iter().map(|one| mount(one, bundle)).collect());
    put("namespaces", linux.namespaces.iter().map(|one| namespace(one.kind, &one.path)).collect());
    put("uid_mappings", linux.uid_mappings.iter().map(mapping).collect());
    put("gid_mappings", linux.gid_mappings.iter().map(mapping).collect());
    put("mask_paths", json!(linux.masked_paths));
    put("readonly_paths", json!(linux.readonly_paths));
    put("mount_label", json!(linux.mount_label));
    put("sysctl", linux.sysctl.iter().map(|(key, value)| (key.clone(), json!(value))).collect());
    let resources = linux.resources.clone().unwrap_or_default();
    put("cgroups", cgroups(linux.cgroups_path.as_deref(), id, &resources));
    for (name, value) in spec.process.iter().flat_map(of_process) {
        put(name, value);
    }
    all
}

/// The member `cgroups`: where the container's cgroup is, and its most usual limits.
#[must_use]
pub fn cgroups(path: Option<&str>, id: &str, resources: &Resources) -> Value {
    let (memory, cpu) = (&resources.memory, &resources.cpu);
    let place = match path {
        Some(path) => ("path", json!(path)),
        None => ("name", json!(id)),
    };
    present([
        place,
        ("memory", json!(memory.limit)),
        ("memory_reservation", json!(memory.reservation)),
        ("memory_swap", json!(memory.swap)),
        ("cpu_shares", json!(cpu.shares)),
        ("cpu_quota", json!(cpu.quota)),
        ("cpu_period", json!(cpu.period)),
        ("cpuset_cpus", json!(cpu.cpus)),
        ("cpuset_mems", json!(cpu.mems)),
        ("pids_limit", json!(resources.pids_limit)),
    ])
}

/// A kind of namespace as runc's file has it, such as `NEWNS`.
#[must_use]
pub fn namespace_name(kind: NamespaceKind) -> String {
    let name = kind.proc_name();
    format!("NEW{}", if kind == NamespaceKind::Mount { "NS" } else { name }).to_uppercase()
}

fn of_process(process: &Process) -> [(&'static str, Value); 5] {
    [
        ("capabilities", process.capabilities.as_ref().map_or(Value::Null, capabilities)),
        ("no_new_privileges", json!(process.no_new_privileges)),
        ("process_label", json!(process.selinux_label)),
        ("apparmor_profile", json!(process.apparmor_profile)),
        ("oom_score_adj", json!(process.oom_score_adj)),
    ]
}

fn mount(mount: &Mount, bundle: &Path) -> Value {
    let options = &mount.options;
    let (kind, bind) = match options.bind {
        None => (mount.kind.as_str(), 0),
        Some(Bind::Single) => ("bind", libc::MS_BIND),
        Some(Bind::Recursive) => ("bind", libc::MS_BIND | libc::MS_REC),
    };
    let source = match bind {
        0 => mount.source.clone(),
        _ => bundle.join(&mount.source).to_string_lossy().into_owned(),
    };
    present([
        ("source", json!(source)),
        ("destination", json!(mount.destination)),
        ("device", json!(kind)),
        ("flags", json!(options.set | bind)),
        ("propagation_flags", json!(options.propagation)),
        ("data", json!(options.data)),
    ])
}

fn namespace(kind: NamespaceKind, path: &Option<String>) -> Value {
    present([("type", json!(namespace_name(kind))), ("path", json!(path))])
}

fn mapping(map: &IdMapping) -> Value {
    json!({"container_id": map.container, "host_id": map.host, "size": map.size})
}

fn capabilities(sets: &Capabilities) -> Value {
    let set = |mask: u64| -> Value {
        let listed = (0..64_u8).filter(|number| mask & 1 << number != 0);
        listed.filter_map(capability_name).map(Value::String).collect()
    };
    present([
        ("Bounding", set(sets.bounding)),
        ("Effective", set(sets.effective)),
        ("Inheritable", set(sets.inheritable)),
        ("Permitted", set(sets.permitted)),
        ("Ambient", set(sets.ambient)),
    ])
}

fn present<const N: usize>(members: [(&str, Value); N]) -> Value {
    let kept = members.into_iter().filter(|(_, value)| !is_empty(value));
    kept.map(|(name, value)| (name.to_owned(), value)).collect()
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}
