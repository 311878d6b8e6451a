//! What of a config this host or this caller cannot do: mounts, ids, capabilities, limits, security modules,
//! devices, kernel parameters, hooks.

use std::path::{Path, PathBuf};

use super::super::host::{Rights, has_selinux};
use super::Cause;
use crate::config::hooks::Point;
use crate::config::linux::NamespaceKind;
use crate::config::process::Process;
use crate::config::spec::Spec;
use crate::sys::credentials::CAP_SYS_RESOURCE;
use crate::sys::namespace;
use crate::sys::open::{CWD, OpenFlags, mount_flags, openat};

pub(super) fn check(spec: &Spec, process: &Process, bundle: &Path, causes: &mut Vec<Cause>) {
    let Rights { permitted, privileged, .. } = Rights::own().unwrap_or_default();
    let in_user_namespace = spec.linux.namespace(NamespaceKind::User).is_some();
    mounts(spec, bundle, privileged, causes);
    if in_user_namespace {
        super::ids::check(spec, process, privileged, causes);
    } else {
        capabilities(process, permitted, causes);
    }
    namespaces(spec, privileged, causes);
    limits(process, permitted, causes);
    security_modules(spec, process, causes);
    devices(spec, permitted, in_user_namespace, causes);
    sysctls(spec, causes);
    hooks(spec, causes);
}

pub(super) fn cause(
    kind: &'static str,
    field: impl Into<String>,
    errno: &'static str,
    what: String,
    hint: &'static str,
) -> Cause {
    Cause { kind, field: field.into(), errno, what, hint: hint.to_owned() }
}

fn mounts(spec: &Spec, bundle: &Path, privileged: bool, causes: &mut Vec<Cause>) {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let knows = |kind: &str| known.lines().any(|line| line.split('\t').next_back() == Some(kind));
    // To a mount namespace of another user namespace than the mounts' own, their flags are locked.
    let confined = namespace::is_nested() || !privileged && spec.linux.creates(NamespaceKind::User);
    for (index, mount) in spec.mounts.iter().enumerate() {
        let field = format!("mounts[{index}]");
        if mount.options.bind.is_none() {
            let is_cgroup = mount.kind.starts_with("cgroup");
            if !mount.kind.is_empty() && !is_cgroup && !knows(&mount.kind) {
                let what = format!(
                    "this kernel does not know the file system {:?}, or its module is not loaded",
                    mount.kind
                );
                causes.push(cause(
                    "filesystem-unknown",
                    field,
                    "ENODEV",
                    what,
                    "load the module, or use another type",
                ));
            }
            continue;
        }
        let source: PathBuf = bundle.join(&mount.source);
        let Err(error) = std::fs::metadata(&source) else {
            if confined {
                locked_flags(
                    &field,
                    &source,
                    mount.options.clear | mount.options.recursive_clear,
                    causes,
                );
            }
            continue;
        };
        let (errno, word) = match error.kind() {
            std::io::ErrorKind::PermissionDenied => ("EACCES", "may not be reached by this user"),
            std::io::ErrorKind::NotADirectory => ("ENOTDIR", "leads through a file"),
            _ => ("ENOENT", "is not there"),
        };
        let what = format!("the source {} {word}", source.display());
        causes.push(cause(
            "mount-source",
            field,
            errno,
            what,
            "the source of a bind mount must exist on the host",
        ));
    }
}

/// In a user namespace, flags that the mount had outside cannot be taken away (mount_namespaces(7)).
fn locked_flags(field: &str, source: &Path, cleared: u64, causes: &mut Vec<Cause>) {
    const NAMES: [(u64, &str); 4] = [
        (libc::MS_RDONLY, "ro"),
        (libc::MS_NOSUID, "nosuid"),
        (libc::MS_NODEV, "nodev"),
        (libc::MS_NOEXEC, "noexec"),
    ];
    let path = std::ffi::CString::new(source.as_os_str().as_encoded_bytes()).unwrap_or_default();
    let Ok(file) = openat(CWD, &path, OpenFlags::O_PATH, 0) else { return };
    let Ok(present) = mount_flags(&file) else { return };
    let locked = NAMES.iter().filter(|(flag, _)| present & cleared & flag != 0);
    let names: Vec<&str> = locked.map(|(_, name)| *name).collect();
    if !names.is_empty() {
        let what = format!(
            "the mount of {} has {}, which a user namespace may not take away",
            source.display(),
            names.join(",")
        );
        causes.push(cause(
            "locked-flags",
            field,
            "EPERM",
            what,
            "leave the flags as they are, or change them on the host",
        ));
    }
}

fn capabilities(process: &Process, permitted: u64, causes: &mut Vec<Cause>) {
    let Some(sets) = process.capabilities else { return };
    let asked = sets.permitted | sets.effective | sets.inheritable | sets.ambient;
    let lacking: Vec<String> = (0..64_u8)
        .filter(|bit| asked & !permitted & 1_u64 << bit != 0)
        .filter_map(crate::config::process::capability_name)
        .collect();
    if !lacking.is_empty() {
        let what = format!(
            "this caller does not have {}, so the program will not either",
            lacking.join(", ")
        );
        causes.push(cause(
            "capability",
            "process.capabilities",
            "EPERM",
            what,
            "run with them, leave them out, or use a user namespace",
        ));
    }
}

fn namespaces(spec: &Spec, privileged: bool, causes: &mut Vec<Cause>) {
    let with_user = spec.linux.namespace(NamespaceKind::User).is_some();
    for (index, namespace) in spec.linux.namespaces.iter().enumerate() {
        let field = format!("linux.namespaces[{index}]");
        let own = Path::new("/proc/self/ns").join(namespace.kind.proc_name());
        if !own.exists() {
            let what = format!("this kernel has no {} namespaces", namespace.kind.name());
            causes.push(cause("namespace", field, "EINVAL", what, "leave it out"));
        } else if let Some(path) = &namespace.path
            && !Path::new(path).exists()
        {
            let what = format!("{path} is not there");
            causes.push(cause(
                "namespace",
                field + ".path",
                "ENOENT",
                what,
                "the process or bind mount that kept it is gone",
            ));
        } else if !privileged && !with_user {
            let what = "this caller may make no namespace but a user namespace".to_owned();
            causes.push(cause(
                "namespace",
                field,
                "EPERM",
                what,
                "add a user namespace (keel spec --rootless), or run as root",
            ));
            return;
        }
    }
}

fn limits(process: &Process, permitted: u64, causes: &mut Vec<Cause>) {
    if permitted & 1 << CAP_SYS_RESOURCE != 0 {
        return;
    }
    let table = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    for (index, limit) in process.rlimits.iter().enumerate() {
        let Some(own) = hard_limit(&table, limit.name) else { continue };
        if limit.hard > own {
            let what = format!(
                "the hard limit {} is above the caller's own, {own}, and CAP_SYS_RESOURCE is missing",
                limit.hard
            );
            causes.push(cause(
                "rlimit",
                format!("process.rlimits[{index}]"),
                "EPERM",
                what,
                "lower it, or raise the limit of the service that calls keel",
            ));
        }
    }
}

/// The hard limit in the table of proc_pid_limits(5).
fn hard_limit(table: &str, name: &str) -> Option<u64> {
    const TITLES: [(&str, &str); 16] = [
        ("RLIMIT_CPU", "Max cpu time"),
        ("RLIMIT_FSIZE", "Max file size"),
        ("RLIMIT_DATA", "Max data size"),
        ("RLIMIT_STACK", "Max stack size"),
        ("RLIMIT_CORE", "Max core file size"),
        ("RLIMIT_RSS", "Max resident set"),
        ("RLIMIT_NPROC", "Max processes"),
        ("RLIMIT_NOFILE", "Max open files"),
        ("RLIMIT_MEMLOCK", "Max locked memory"),
        ("RLIMIT_AS", "Max address space"),
        ("RLIMIT_LOCKS", "Max file locks"),
        ("RLIMIT_SIGPENDING", "Max pending signals"),
        ("RLIMIT_MSGQUEUE", "Max msgqueue size"),
        ("RLIMIT_NICE", "Max nice priority"),
        ("RLIMIT_RTPRIO", "Max realtime priority"),
        ("RLIMIT_RTTIME", "Max realtime timeout"),
    ];
    let (_, title) = TITLES.iter().find(|(known, _)| *known == name)?;
    let rest = table.lines().find_map(|line| line.strip_prefix(title))?;
    match rest.split_ascii_whitespace().nth(1)? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

fn security_modules(spec: &Spec, process: &Process, causes: &mut Vec<Cause>) {
    let apparmor = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    let has_apparmor = apparmor.is_ok_and(|text| text.starts_with('Y'));
    if let Some(profile) = &process.apparmor_profile {
        let loaded = std::fs::read_to_string("/sys/kernel/security/apparmor/profiles");
        let is_loaded = |text: &String| {
            text.lines().any(|line| line.split(" (").next() == Some(profile.as_str()))
        };
        let field = "process.apparmorProfile";
        if !has_apparmor && profile != "unconfined" {
            let what = format!("the profile {profile:?} is asked for, and AppArmor is not active");
            causes.push(cause("apparmor", field, "EINVAL", what, "leave the profile out"));
        } else if loaded.as_ref().is_ok_and(|text| !is_loaded(text)) && profile != "unconfined" {
            let what = format!("the profile {profile:?} is not loaded");
            causes.push(cause("apparmor", field, "ENOENT", what, "load it with apparmor_parser"));
        }
    }
    let has_selinux = has_selinux();
    for (field, label) in [
        ("process.selinuxLabel", &process.selinux_label),
        ("linux.mountLabel", &spec.linux.mount_label),
    ] {
        if let Some(label) = label.as_ref().filter(|_| !has_selinux) {
            let what = format!("the label {label:?} is asked for, and SELinux is not active");
            causes.push(cause("selinux", field, "EINVAL", what, "leave the label out"));
        }
    }
}

fn devices(spec: &Spec, permitted: u64, in_user_namespace: bool, causes: &mut Vec<Cause>) {
    const CAP_MKNOD: u32 = 27;
    if permitted & 1 << CAP_MKNOD != 0 && !in_user_namespace {
        return;
    }
    // They are bound from the host, where they cannot be made.
    for (index, device) in spec.linux.devices.iter().enumerate() {
        if !Path::new(&device.path).exists() {
            let what = format!("{} is not there on the host, from where it is bound", device.path);
            causes.push(cause(
                "device",
                format!("linux.devices[{index}]"),
                "ENOENT",
                what,
                "without the right to make nodes, only the host's own can be had",
            ));
        }
    }
}

fn sysctls(spec: &Spec, causes: &mut Vec<Cause>) {
    for (name, _) in &spec.linux.sysctl {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        if !path.exists() && !name.starts_with("net") {
            let what = format!("this kernel has no {}", path.display());
            causes.push(cause(
                "sysctl",
                format!("linux.sysctl[{name}]"),
                "ENOENT",
                what,
                "leave it out",
            ));
        }
    }
}

fn hooks(spec: &Spec, causes: &mut Vec<Cause>) {
    use std::os::unix::fs::PermissionsExt as _;
    let on_host = [Point::Prestart, Point::CreateRuntime, Point::Poststart, Point::Poststop];
    for point in on_host {
        for (index, hook) in spec.hooks.at(point).iter().enumerate() {
            let field = format!("hooks.{}[{index}]", point.name());
            match std::fs::metadata(&hook.path) {
                Err(_) => {
                    let what = format!("{} is not there", hook.path);
                    causes.push(cause(
                        "hook",
                        field,
                        "ENOENT",
                        what,
                        "hooks are programs of the host",
                    ));
                }
                Ok(status) if status.permissions().mode() & 0o111 == 0 => {
                    let what = format!("{} may not be executed", hook.path);
                    causes.push(cause("hook", field, "EACCES", what, "chmod +x it"));
                }
                Ok(_) => {}
            }
        }
    }
}
