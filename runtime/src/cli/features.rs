//! `features`: what this runtime can do, in the form of the specification (features.md). Names come from
//! the tables that configs are read with, so that they cannot promise more than is understood.

use super::json::Json;
use super::version;
use crate::config::hooks::Point;
use crate::config::linux::NamespaceKind;
use crate::config::process::capability_name;
use crate::config::{memory_policy, mounts, seccomp};

/// The version of runc whose command line and behaviour are followed.
const RUNC_VERSION: &str = "1.5.1";

/// The oldest config that is accepted.
const OCI_VERSION_MIN: &str = "1.0.0";

/// The output of `features`.
#[must_use]
pub(super) fn text() -> String {
    let number = |path| std::fs::read_to_string(path).ok();
    let last = number("/proc/sys/kernel/cap_last_cap").and_then(|text| text.trim().parse().ok());
    let release = number("/proc/sys/kernel/osrelease").unwrap_or_default();
    document(last, &release).indented("    ") + "\n"
}

/// `capability_last` is the highest the kernel knows, if it tells; `release` is the kernel's.
fn document(capability_last: Option<u8>, release: &str) -> Json {
    Json::object([
        ("ociVersionMin", OCI_VERSION_MIN.into()),
        ("ociVersionMax", version::SPEC.into()),
        ("hooks", Json::texts(HOOKS.map(Point::name))),
        ("mountOptions", sorted(mounts::option_names())),
        ("linux", linux(capability_last, release)),
        ("annotations", annotations()),
        ("potentiallyUnsafeConfigAnnotations", Json::texts(UNSAFE_ANNOTATIONS)),
    ])
}

/// Annotations of a config that may change what a runtime does, whoever wrote them; a name that ends in
/// a dot stands for all that begin with it. The list is runc's, so that an engine that filters by it
/// filters alike.
const UNSAFE_ANNOTATIONS: [&str; 3] = ["bundle", "org.systemd.property.", "org.criu.config"];

const HOOKS: [Point; 6] = [
    Point::Prestart,
    Point::CreateRuntime,
    Point::CreateContainer,
    Point::StartContainer,
    Point::Poststart,
    Point::Poststop,
];

fn linux(capability_last: Option<u8>, release: &str) -> Json {
    Json::object([
        ("namespaces", sorted(NamespaceKind::ALL.map(NamespaceKind::name))),
        ("capabilities", Json::texts(capabilities(capability_last))),
        ("cgroup", cgroup()),
        ("seccomp", seccomp(release)),
        ("apparmor", enabled(true)),
        ("selinux", enabled(false)),
        ("intelRdt", intel_rdt()),
        ("memoryPolicy", memory_policy()),
        ("mountExtensions", Json::object([("idmap", enabled(true))])),
        ("netDevices", enabled(true)),
    ])
}

/// What this program can do, whether or not this machine can (features-linux.md).
fn intel_rdt() -> Json {
    let yes = || Json::Bool(true);
    Json::object([("enabled", yes()), ("schemata", yes()), ("monitoring", yes())])
}

fn memory_policy() -> Json {
    Json::object([
        ("modes", sorted(memory_policy::mode_names())),
        ("flags", sorted(memory_policy::flag_names())),
    ])
}

fn sorted(names: impl IntoIterator<Item = &'static str>) -> Json {
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_unstable();
    Json::texts(names)
}

fn enabled(is: bool) -> Json {
    Json::object([("enabled", Json::Bool(is))])
}

/// The names of the capabilities that both this program and the kernel know, by number.
fn capabilities(last: Option<u8>) -> Vec<String> {
    (0..=last.unwrap_or(u8::MAX)).map_while(capability_name).collect()
}

fn cgroup() -> Json {
    Json::object([
        ("v1", Json::Bool(true)),
        ("v2", Json::Bool(true)),
        ("systemd", Json::Bool(true)),
        ("systemdUser", Json::Bool(true)),
        ("rdma", Json::Bool(true)),
    ])
}

fn seccomp(release: &str) -> Json {
    let known = seccomp::Flag::NAMES;
    let supported = known.iter().copied().filter(|flag| flag_is_supported(flag, release));
    Json::object([
        ("enabled", Json::Bool(true)),
        ("actions", sorted(seccomp::Action::NAMES)),
        ("operators", sorted(seccomp::Operator::NAMES.iter().copied())),
        ("archs", sorted(seccomp::Architecture::NAMES.iter().copied())),
        ("knownFlags", sorted(known.iter().copied())),
        ("supportedFlags", sorted(supported)),
    ])
}

/// Whether the kernel knows a flag of seccomp(2). All but one are older than the oldest kernel we
/// run on.
fn flag_is_supported(flag: &str, release: &str) -> bool {
    flag != seccomp::Flag::WaitKillableRecv.name() || kernel_version(release) >= Some((5, 19))
}

/// The first two numbers of a release such as `6.18.44-cloud`.
fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn annotations() -> Json {
    Json::object([
        ("keel.commit", version::COMMIT.into()),
        ("keel.version", version::VERSION.into()),
        // Who asks this of runc must hear the truth from whoever stands in for it.
        ("org.opencontainers.runc.checkpoint.enabled", "true".into()),
        // features.md: another runtime gives the version of runc that it is most like.
        ("org.opencontainers.runc.version", RUNC_VERSION.into()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(capability_last: Option<u8>, release: &str) -> serde_json::Value {
        let text = super::document(capability_last, release).indented("    ");
        serde_json::from_str(&text).unwrap()
    }

    fn texts(value: &serde_json::Value) -> Vec<&str> {
        value.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
    }

    #[test]
    fn lists_names_sorted_and_once() {
        let all = document(Some(40), "6.18.44");
        for pointer in [
            "/mountOptions",
            "/linux/namespaces",
            "/linux/seccomp/actions",
            "/linux/seccomp/operators",
            "/linux/seccomp/archs",
            "/linux/seccomp/knownFlags",
            "/linux/memoryPolicy/modes",
            "/linux/memoryPolicy/flags",
        ] {
            let names = texts(all.pointer(pointer).unwrap());
            assert!(names.is_sorted(), "{pointer}: {names:?}");
            assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{pointer}");
        }
        assert_eq!(texts(&all["hooks"])[..2], ["prestart", "createRuntime"]);
    }

    #[test]
    fn names_no_capability_that_the_kernel_does_not_have() {
        let old = document(Some(2), "5.10.0");
        let expected = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"];
        assert_eq!(texts(&old["linux"]["capabilities"]), expected);
        let all = document(None, "");
        let names = texts(&all["linux"]["capabilities"]);
        assert_eq!((names.len(), names[40]), (41, "CAP_CHECKPOINT_RESTORE"));
    }

    #[test]
    fn supports_the_flags_of_the_kernel() {
        for (release, expected) in
            [("5.10.0-8-amd64", 3), ("5.19", 4), ("6.1.0", 4), ("10.0", 4), ("5.9", 3), ("", 3)]
        {
            let flags = document(None, release)["linux"]["seccomp"]["supportedFlags"].clone();
            assert_eq!(texts(&flags).len(), expected, "{release}");
        }
    }

    #[test]
    fn ends_with_a_newline() {
        let text = text();
        assert!(text.starts_with("{\n    \"ociVersionMin\": \"1.0.0\",\n"), "{text}");
        assert!(text.ends_with("\n}\n"), "{text}");
    }
}
