//! `config` of `state.json`: what a container was made of, in the names of runc's file, for tools that read them there.
//! Nothing of it is read back by keel, whose own source is the copy of `config.json`. Empty members are left out, as
//! newer runc does.

use std::fmt::Display;
use std::path::Path;

use serde_json::{Map, Value};

use crate::config::linux::{IdMapping, Linux, Namespace, NamespaceKind};
use crate::config::mounts::{Bind, Mount};
use crate::config::process::{Capabilities, Process, capability_name};
use crate::config::resources::Resources;
use crate::config::spec::Spec;
use crate::json::{self, Object};

/// What stands there until the container is made.
#[must_use]
pub fn begun(rootfs: &str) -> String {
    json::object(|all| all.text("rootfs", rootfs))
}

/// What a new container is made of.
#[must_use]
pub fn whole(spec: &Spec, id: &str, bundle: &str, rootfs: &str) -> String {
    json::object(|all| {
        all.text("rootfs", rootfs);
        let labels = spec.annotations.iter().map(|(key, value)| format!("{key}={value}"));
        all.texts("labels", labels.chain([format!("bundle={bundle}")]));
        text(all, "version", &spec.oci_version);
        flag(all, "readonlyfs", spec.root_readonly);
        optional_text(all, "hostname", spec.hostname.as_deref());
        optional_text(all, "domainname", spec.domainname.as_deref());
        list(all, "mounts", &spec.mounts, |one, of| write_mount(one, of, Path::new(bundle)));
        of_linux(all, &spec.linux);
        let (path, none) = (spec.linux.cgroups_path.as_deref(), Resources::default());
        let resources = spec.linux.resources.as_ref().unwrap_or(&none);
        all.object("cgroups", |shown| write_cgroups(shown, path, id, resources));
        if let Some(process) = &spec.process {
            of_process(all, process);
        }
    })
}

/// A recorded config with other limits.
#[must_use]
pub fn with_limits(
    config: &str,
    cgroups_path: Option<&str>,
    id: &str,
    resources: &Resources,
) -> String {
    // What was recorded is an object.
    let mut members: Map<String, Value> = serde_json::from_str(config).unwrap_or_default();
    let shown = json::object(|shown| write_cgroups(shown, cgroups_path, id, resources));
    members.insert("cgroups".to_owned(), serde_json::from_str(&shown).unwrap_or_default());
    Value::Object(members).to_string()
}

fn write_cgroups(members: &mut Object<'_>, path: Option<&str>, id: &str, resources: &Resources) {
    let (memory, cpu) = (&resources.memory, &resources.cpu);
    match path {
        Some(path) => text(members, "path", path),
        None => text(members, "name", id),
    }
    number(members, "memory", memory.limit);
    number(members, "memory_reservation", memory.reservation);
    number(members, "memory_swap", memory.swap);
    number(members, "cpu_shares", cpu.shares);
    number(members, "cpu_quota", cpu.quota);
    number(members, "cpu_period", cpu.period);
    optional_text(members, "cpuset_cpus", cpu.cpus.as_deref());
    optional_text(members, "cpuset_mems", cpu.mems.as_deref());
    number(members, "pids_limit", resources.pids_limit);
}

/// A kind of namespace as runc's file has it.
#[must_use]
pub fn namespace_name(kind: NamespaceKind) -> &'static str {
    match kind {
        NamespaceKind::User => "NEWUSER",
        NamespaceKind::Cgroup => "NEWCGROUP",
        NamespaceKind::Ipc => "NEWIPC",
        NamespaceKind::Uts => "NEWUTS",
        NamespaceKind::Network => "NEWNET",
        NamespaceKind::Pid => "NEWPID",
        NamespaceKind::Time => "NEWTIME",
        NamespaceKind::Mount => "NEWNS",
    }
}

fn of_linux(all: &mut Object<'_>, linux: &Linux) {
    number(all, "rootPropagation", linux.rootfs_propagation);
    list(all, "namespaces", &linux.namespaces, |one, of: &Namespace| {
        one.text("type", namespace_name(of.kind));
        optional_text(one, "path", of.path.as_deref());
    });
    list(all, "uid_mappings", &linux.uid_mappings, write_mapping);
    list(all, "gid_mappings", &linux.gid_mappings, write_mapping);
    texts(all, "mask_paths", &linux.masked_paths);
    texts(all, "readonly_paths", &linux.readonly_paths);
    optional_text(all, "mount_label", linux.mount_label.as_deref());
    if !linux.sysctl.is_empty() {
        all.map("sysctl", &linux.sysctl);
    }
}

fn of_process(all: &mut Object<'_>, process: &Process) {
    if let Some(sets) = &process.capabilities {
        all.object("capabilities", |members| write_capabilities(members, sets));
    }
    flag(all, "no_new_privileges", process.no_new_privileges);
    optional_text(all, "process_label", process.selinux_label.as_deref());
    optional_text(all, "apparmor_profile", process.apparmor_profile.as_deref());
    number(all, "oom_score_adj", process.oom_score_adj);
}

fn write_mount(members: &mut Object<'_>, mount: &Mount, bundle: &Path) {
    let options = &mount.options;
    let (kind, bind) = match options.bind {
        None => (mount.kind.as_str(), 0),
        Some(Bind::Single) => ("bind", libc::MS_BIND),
        Some(Bind::Recursive) => ("bind", libc::MS_BIND | libc::MS_REC),
    };
    match bind {
        0 => text(members, "source", &mount.source),
        _ => text(members, "source", &bundle.join(&mount.source).to_string_lossy()),
    }
    text(members, "destination", &mount.destination);
    text(members, "device", kind);
    number(members, "flags", Some(options.set | bind));
    if !options.propagation.is_empty() {
        members.plain("propagation_flags", format_args!("{:?}", options.propagation));
    }
    text(members, "data", &options.data);
}

fn write_mapping(members: &mut Object<'_>, map: &IdMapping) {
    members.plain("container_id", map.container);
    members.plain("host_id", map.host);
    members.plain("size", map.size);
}

fn write_capabilities(members: &mut Object<'_>, sets: &Capabilities) {
    let named = [
        ("Bounding", sets.bounding),
        ("Effective", sets.effective),
        ("Inheritable", sets.inheritable),
        ("Permitted", sets.permitted),
        ("Ambient", sets.ambient),
    ];
    for (name, mask) in named.into_iter().filter(|(_, mask)| *mask != 0) {
        let listed = (0..64_u8).filter(|number| mask & 1 << number != 0);
        members.texts(name, listed.filter_map(capability_name));
    }
}

fn text(all: &mut Object<'_>, name: &str, value: &str) {
    if !value.is_empty() {
        all.text(name, value);
    }
}

fn optional_text(all: &mut Object<'_>, name: &str, value: Option<&str>) {
    text(all, name, value.unwrap_or_default());
}

fn flag(all: &mut Object<'_>, name: &str, value: bool) {
    if value {
        all.plain(name, value);
    }
}

fn number<T: Default + PartialEq + Display>(all: &mut Object<'_>, name: &str, value: Option<T>) {
    if let Some(value) = value.filter(|it| *it != T::default()) {
        all.plain(name, value);
    }
}

fn texts(all: &mut Object<'_>, name: &str, values: &[String]) {
    if !values.is_empty() {
        all.texts(name, values);
    }
}

fn list<T>(all: &mut Object<'_>, name: &str, items: &[T], fill: impl FnMut(&mut Object<'_>, &T)) {
    if !items.is_empty() {
        all.objects(name, items, fill);
    }
}
