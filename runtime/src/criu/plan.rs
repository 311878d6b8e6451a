//! From the config to what criu must know of a container: which mounts and namespaces come from outside,
//! and what stands for them. Pure.

use super::message::Options;
use crate::config::linux::NamespaceKind;
use crate::config::spec::Spec;

/// What the plan needs to know of the host.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The bundle, absolute: relative sources of binds start there.
    pub bundle: &'a str,
    /// The cgroups that a mount of type `cgroup` shows: name below the mount, directory on the host.
    pub cgroups: &'a [(String, String)],
    /// The masked paths that are there and are no directories.
    pub masked_files: &'a [String],
}

/// The configuration file of criu that stands for runtimes, unless an annotation names another.
const CONFIG_FILE: &str = "/etc/criu/runc.conf";

/// The annotation that names another configuration file, or by an empty value none. It can make criu run
/// programs, so it is listed among the unsafe ones.
pub const CONFIG_ANNOTATION: &str = "org.criu.config";

/// The devices that every container has (runtime-spec, config-linux.md, "Default Devices").
const DEVICES: [&str; 6] =
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// `CLONE_NEWNET`.
const NETWORK: u32 = 0x4000_0000;

/// criu's configuration file for a container with these annotations.
#[must_use]
pub fn config_file(annotations: &[(String, String)]) -> Option<String> {
    match annotations.iter().find(|(key, _)| key == CONFIG_ANNOTATION) {
        None => Some(CONFIG_FILE.to_owned()),
        Some((_, none)) if none.is_empty() => None,
        Some((_, path)) => Some(path.clone()),
    }
}

/// What of a config criu would restore as something else, as a sentence; `None` when there is nothing.
#[must_use]
pub fn refuse(spec: &Spec) -> Option<String> {
    if spec.linux.namespace(NamespaceKind::Mount).is_none() {
        let text = "linux.namespaces: criu would give a container without a mount namespace one of its own, \
                    without its mounts";
        return Some(text.to_owned());
    }
    let index = spec.mounts.iter().position(|mount| mount.idmap.is_some())?;
    Some(format!("mounts[{index}].options: criu would restore the mount without its id mapping"))
}

/// Tells a dump which mounts are from outside: each stands for itself. `resolve` leads a path of the config
/// through the links of the root file system.
pub fn dump(
    spec: &Spec,
    facts: &Facts<'_>,
    resolve: impl Fn(&str) -> String,
    options: &mut Options,
) {
    let mut add = |at: String| options.mounts.push((at.clone(), at));
    for (destination, _) in from_outside(spec, facts) {
        add(resolve(&destination));
    }
    devices(spec).for_each(|path| add(path.to_owned()));
    let masked = facts.masked_files.iter();
    options.mounts.extend(masked.map(|path| (path.clone(), "/dev/null".to_owned())));
    options.empty_namespaces |= NETWORK;
}

/// Tells a restore where the mounts from outside come from.
pub fn restore(
    spec: &Spec,
    facts: &Facts<'_>,
    resolve: impl Fn(&str) -> String,
    options: &mut Options,
) {
    let mut add = |at: String, source: String| options.mounts.push((at, source));
    for (destination, source) in from_outside(spec, facts) {
        add(resolve(&destination), source);
    }
    if !spec.linux.masked_paths.is_empty() {
        // What a dump said of all masked files.
        add("/dev/null".to_owned(), "/dev/null".to_owned());
    }
    devices(spec).for_each(|path| add(path.to_owned(), path.to_owned()));
    options.empty_namespaces |= NETWORK;
}

/// Binds, and cgroups that are shown by binds: destination and source.
fn from_outside(spec: &Spec, facts: &Facts<'_>) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for mount in &spec.mounts {
        let destination = mount.destination.trim_end_matches('/');
        if mount.options.bind.is_some() {
            all.push((destination.to_owned(), absolute(facts.bundle, &mount.source)));
        } else if matches!(mount.kind.as_str(), "cgroup" | "cgroup2")
            && !spec.linux.creates(NamespaceKind::Cgroup)
        {
            for (name, directory) in facts.cgroups {
                let below = format!("{destination}/{name}");
                all.push((below.trim_end_matches('/').to_owned(), directory.clone()));
            }
        }
    }
    all
}

fn devices(spec: &Spec) -> impl Iterator<Item = &str> {
    let own = spec.linux.devices.iter().map(|device| device.path.as_str());
    DEVICES
        .into_iter()
        .filter(|path| !spec.linux.devices.iter().any(|d| d.path == *path))
        .chain(own)
}

fn absolute(bundle: &str, path: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{}/{path}", bundle.trim_end_matches('/'))
    }
}

/// What criu calls a namespace of a kind, and since which version it can leave one of that kind to
/// others as a whole.
const LEFT_TO_OTHERS: [(NamespaceKind, &str, u32); 2] = [
    (NamespaceKind::Network, "extRootNetNS", 31_100),
    (NamespaceKind::Pid, "extRootPidNS", 31_500),
];

/// A namespace that the container joined and did not make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joined<'a> {
    /// Its kind.
    pub kind: NamespaceKind,
    /// The file it was joined by.
    pub path: &'a str,
    /// criu's key, where criu leaves the whole namespace to others.
    pub key: Option<&'static str>,
    /// The oldest criu that does.
    pub since: u32,
}

/// The namespaces that the container joined.
#[must_use]
pub fn joined(spec: &Spec) -> Vec<Joined<'_>> {
    let joined = spec.linux.namespaces.iter().filter_map(|namespace| {
        let path = namespace.path.as_deref()?;
        let whole = LEFT_TO_OTHERS.iter().find(|(kind, ..)| *kind == namespace.kind);
        let (key, since) = whole.map_or((None, 0), |(_, key, since)| (Some(*key), *since));
        Some(Joined { kind: namespace.kind, path, key, since })
    });
    joined.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn spec(linux: &serde_json::Value) -> Spec {
        let config = json!({
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs"},
            "process": {"cwd": "/", "args": ["sh"], "user": {"uid": 0, "gid": 0}},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/data/", "type": "none", "source": "data", "options": ["rbind"]},
                {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"},
            ],
            "linux": linux,
        });
        Spec::from_json(&config).unwrap().value
    }

    fn cgroups() -> Vec<(String, String)> {
        vec![("cpu".to_owned(), "/sys/fs/cgroup/cpu/c".to_owned())]
    }

    #[test]
    fn names_what_comes_from_outside() {
        let spec = spec(&json!({
            "namespaces": [{"type": "mount"}],
            "maskedPaths": ["/proc/kcore", "/proc/acpi"],
            "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}],
        }));
        let (cgroups, masked) = (cgroups(), ["/proc/kcore".to_owned()]);
        let facts = Facts { bundle: "/b", cgroups: &cgroups, masked_files: &masked };
        let has = |options: &Options, at: &str, source: &str| {
            options.mounts.contains(&(at.to_owned(), source.to_owned()))
        };
        let mut dumped = Options::default();
        dump(&spec, &facts, |path| format!("/real{path}"), &mut dumped);
        assert!(has(&dumped, "/real/data", "/real/data"), "{dumped:?}");
        assert!(has(&dumped, "/real/sys/fs/cgroup/cpu", "/real/sys/fs/cgroup/cpu"), "{dumped:?}");
        assert!(has(&dumped, "/proc/kcore", "/dev/null"), "{dumped:?}");
        assert!(has(&dumped, "/dev/fuse", "/dev/fuse"), "{dumped:?}");
        assert_eq!((dumped.mounts.len(), dumped.empty_namespaces), (10, NETWORK));
        let mut restored = Options::default();
        restore(&spec, &facts, str::to_owned, &mut restored);
        assert!(has(&restored, "/data", "/b/data"), "{restored:?}");
        assert!(has(&restored, "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu/c"), "{restored:?}");
        assert!(has(&restored, "/dev/null", "/dev/null"), "{restored:?}");
    }

    #[test]
    fn leaves_cgroups_of_a_namespace_to_criu() {
        let spec = spec(&json!({"namespaces": [{"type": "mount"}, {"type": "cgroup"}]}));
        let cgroups = cgroups();
        let facts = Facts { bundle: "/b", cgroups: &cgroups, masked_files: &[] };
        let outside = from_outside(&spec, &facts);
        assert_eq!(outside, [("/data".to_owned(), "/b/data".to_owned())]);
    }

    #[test]
    fn knows_which_namespaces_criu_leaves_to_others() {
        let spec = spec(&json!({"namespaces": [
            {"type": "mount"}, {"type": "network", "path": "/n"}, {"type": "uts", "path": "/u"}]}));
        let all = joined(&spec);
        let seen: Vec<_> = all.iter().map(|one| (one.path, one.key)).collect();
        assert_eq!(seen, [("/n", Some("extRootNetNS")), ("/u", None)]);
    }

    #[test]
    fn takes_the_configuration_file_of_the_annotation() {
        let with = |value: &str| config_file(&[(CONFIG_ANNOTATION.to_owned(), value.to_owned())]);
        assert_eq!(config_file(&[]).as_deref(), Some(CONFIG_FILE));
        assert_eq!(with("/c").as_deref(), Some("/c"));
        assert_eq!(with(""), None);
    }
}
