//! Rules about several fields at once.

use super::error::Kind;
use super::field::Field;
use super::linux::NamespaceKind;
use super::spec::Spec;

/// Refuses what contradicts itself. `root` is the whole document, for the paths of the fields.
pub(super) fn check(spec: &Spec, root: &Field<'_>) {
    let linux = root.get("linux");
    host_names(spec, root);
    mappings(spec, &linux);
    time_offsets(spec, &linux);
    sysctl(spec, &linux.get("sysctl"));
    mount_namespace(spec, root);
    net_devices(spec, &linux);
}

fn net_devices(spec: &Spec, linux: &Field<'_>) {
    if !spec.linux.net_devices.is_empty() && spec.linux.namespace(NamespaceKind::Network).is_none()
    {
        let detail = "unable to move network devices without a NET namespace";
        linux.get("netDevices").refuse(Kind::Conflict, detail);
    }
}

fn host_names(spec: &Spec, root: &Field<'_>) {
    if spec.linux.namespace(NamespaceKind::Uts).is_some() {
        return;
    }
    for (name, value) in [("hostname", &spec.hostname), ("domainname", &spec.domainname)] {
        if value.is_some() {
            let detail = "cannot be set without a uts namespace: it would change the host's";
            root.get(name).refuse(Kind::Conflict, detail);
        }
    }
}

fn mappings(spec: &Spec, linux: &Field<'_>) {
    let user = spec.linux.namespace(NamespaceKind::User);
    let sides =
        [("uidMappings", &spec.linux.uid_mappings), ("gidMappings", &spec.linux.gid_mappings)];
    for (name, mappings) in sides {
        let field = linux.get(name);
        match user {
            None if !mappings.is_empty() => {
                field.refuse(Kind::Conflict, "there is no user namespace to map into");
            }
            Some(user) if user.path.is_none() && mappings.is_empty() => {
                field.refuse(Kind::Missing, "a new user namespace needs at least one");
            }
            _ => {}
        }
    }
}

fn time_offsets(spec: &Spec, linux: &Field<'_>) {
    if !spec.linux.time_offsets.is_empty() && !spec.linux.creates(NamespaceKind::Time) {
        linux.get("timeOffsets").refuse(Kind::Conflict, "there is no new time namespace to set");
    }
}

/// Parameters of the IPC namespace that no prefix tells (sysctl(5); the same list as runc's).
const OF_IPC: &[&str] = &[
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// The kind of namespace that a kernel parameter belongs to; `None` when it is the whole machine's, or
/// one that a field of the config sets.
#[must_use]
pub fn sysctl_namespace(name: &str) -> Option<NamespaceKind> {
    let dotted = dotted_name(name);
    if OF_IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
        Some(NamespaceKind::Ipc)
    } else if dotted.starts_with("net.") {
        Some(NamespaceKind::Network)
    } else if dotted == "kernel.domainname" {
        Some(NamespaceKind::Uts)
    } else if dotted.starts_with("user.") {
        Some(NamespaceKind::User)
    } else {
        None
    }
}

/// A container can set parameters of namespaces that the config names, and of no other.
fn sysctl(spec: &Spec, field: &Field<'_>) {
    for (name, _) in &spec.linux.sysctl {
        let dotted = dotted_name(name);
        let member = field.get(name);
        if dotted.split('.').any(|part| part.is_empty() || part == "..") {
            member.refuse(Kind::Invalid, "is not the name of a kernel parameter");
        } else if dotted == "kernel.hostname" {
            member.refuse(Kind::Conflict, "use the field hostname");
        } else {
            match sysctl_namespace(name) {
                None => member.refuse(Kind::Unsupported, "is not in a separate kernel namespace"),
                Some(needed) if spec.linux.namespace(needed).is_none() => {
                    let detail = format!("cannot be set without a {} namespace", needed.name());
                    member.refuse(Kind::Conflict, detail);
                }
                Some(_) => {}
            }
        }
    }
}

/// A parameter's name with dots between its parts. Both forms of sysctl(8) are accepted: when the
/// first separator is a slash, slashes separate and dots belong to the parts.
#[must_use]
pub fn dotted_name(name: &str) -> String {
    match name.find(['.', '/']).map(|at| &name[at..=at]) {
        Some("/") => name.chars().map(swap_separator).collect(),
        _ => name.to_owned(),
    }
}

fn swap_separator(c: char) -> char {
    match c {
        '/' => '.',
        '.' => '/',
        other => other,
    }
}

fn mount_namespace(spec: &Spec, root: &Field<'_>) {
    let linux = &spec.linux;
    if linux.namespace(NamespaceKind::Mount).is_some() {
        return;
    }
    // What is mounted ends with the container; what is covered of the host's own kernel files would not be
    // the container's alone.
    let detail = "needs a mount namespace: the host's mounts would change";
    if !linux.masked_paths.is_empty() {
        root.get("linux").get("maskedPaths").refuse(Kind::Conflict, detail);
    }
    if !linux.readonly_paths.is_empty() {
        root.get("linux").get("readonlyPaths").refuse(Kind::Conflict, detail);
    }
}
