//! doctor: what this host has of all that containers may ask for, and what its absence disables.

mod cgroups;
mod programs;

use crate::sys::credentials::{CAP_SYS_RESOURCE, capget};
use crate::sys::support::{Feature, Support, ask};

/// One thing that a host has or lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its stable name, for `--require`.
    pub name: &'static str,
    /// Whether it is there; `None` where that cannot be told without a privilege.
    pub present: Option<bool>,
    /// What was seen.
    pub detail: String,
    /// What does not work, or works in another way, without it.
    pub without: &'static str,
    /// Whether no container can be made without it.
    pub needed: bool,
}

impl Item {
    fn new(
        name: &'static str,
        present: Option<bool>,
        detail: impl Into<String>,
        without: &'static str,
    ) -> Self {
        Self { name, present, detail: detail.into(), without, needed: false }
    }

    fn needed(self) -> Self {
        Self { needed: true, ..self }
    }
}

/// Looks at the host. Nothing is changed; a few children are made and end at once.
#[must_use]
pub fn examine() -> Vec<Item> {
    let mut items = vec![kernel()];
    items.extend(CALLS.map(|(name, feature, since, without)| {
        let present = match ask(feature) {
            Support::Yes => Some(true),
            Support::No => Some(false),
            Support::Denied => None,
        };
        let detail = match present {
            None => "may not be asked for without a privilege".to_owned(),
            _ => format!("Linux {since}"),
        };
        Item::new(name, present, detail, without)
    }));
    for item in &mut items {
        item.needed |= NEEDED.contains(&item.name);
    }
    namespaces(&mut items);
    sysctls(&mut items);
    cgroups::examine(&mut items);
    security(&mut items);
    programs::examine(&mut items);
    rights(&mut items);
    items
}

/// Calls without which there is no fallback.
const NEEDED: [&str; 4] = ["clone3", "pidfd-open", "pidfd-send-signal", "open-tree"];

/// Name, what is asked, since when, what its absence means.
const CALLS: [(&str, Feature, &str, &str); 27] = [
    ("openat2", Feature::Openat2, "5.6", "paths are walked step by step, slower"),
    ("clone3", Feature::Clone3, "5.3", "no container can be made"),
    ("pidfd-open", Feature::PidfdOpen, "5.3", "no container can be watched"),
    ("pidfd-send-signal", Feature::PidfdSendSignal, "5.1", "no signal can be sent safely"),
    ("pidfd-getfd", Feature::PidfdGetfd, "5.6", "a seccomp listener is passed before its filter"),
    (
        "pidfd-info",
        Feature::PidfdGetInfo,
        "6.13",
        "the end of a process that is no child is not told",
    ),
    ("close-range", Feature::CloseRange, "5.9", "descriptors are closed one by one"),
    (
        "close-range-cloexec",
        Feature::CloseRangeCloexec,
        "5.11",
        "descriptors are marked one by one",
    ),
    ("fsopen", Feature::Fsopen, "5.2", "no container can be made"),
    ("open-tree", Feature::OpenTree, "5.2", "no container can be made"),
    ("move-mount", Feature::MoveMount, "5.2", "no container can be made"),
    ("mount-setattr", Feature::MountSetattr, "5.12", "rro, rnosuid and their like are refused"),
    ("idmapped-mounts", Feature::IdmappedMounts, "5.12", "idmap and ridmap are refused"),
    ("open-tree-attr", Feature::OpenTreeAttr, "6.15", "attributes are set after the copy"),
    ("statmount", Feature::Statmount, "6.8", "mountinfo is read"),
    ("listmount", Feature::Listmount, "6.8", "mountinfo is read"),
    (
        "faccessat2",
        Feature::Faccessat2,
        "5.8",
        "a program that may not be executed is found at start",
    ),
    ("bpf", Feature::Bpf, "4.15", "device rules of cgroup v2 are refused"),
    ("keyctl", Feature::Keyctl, "2.6", "containers share the session keyring"),
    ("seccomp", Feature::Seccomp, "3.17", "linux.seccomp is refused"),
    ("seccomp-log", Feature::SeccompLog, "4.14", "SECCOMP_FILTER_FLAG_LOG is refused"),
    ("seccomp-spec-allow", Feature::SeccompSpecAllow, "4.17", "filters slow speculation down"),
    ("seccomp-listener", Feature::SeccompListener, "5.0", "SCMP_ACT_NOTIFY is refused"),
    ("seccomp-wait-killable", Feature::SeccompWaitKillable, "5.19", "the flag is refused"),
    ("memfd", Feature::Memfd, "3.17", "keel's file is protected by a mount only"),
    ("memory-policy", Feature::MemoryPolicy, "2.6", "linux.memoryPolicy is refused"),
    ("landlock", Feature::Landlock, "5.13", "programs cannot confine themselves by it"),
];

/// The oldest kernel that is supported.
const FLOOR: (u32, u32) = (5, 10);

fn kernel() -> Item {
    let release = read("/proc/sys/kernel/osrelease");
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0);
    let version = (next(), next());
    let detail = format!("{release}, {}.{} or newer", FLOOR.0, FLOOR.1);
    Item::new("kernel", Some(version >= FLOOR), detail, "older kernels are not supported").needed()
}

fn namespaces(items: &mut Vec<Item>) {
    for (name, file, without) in [
        ("namespace-pid", "pid", "linux.namespaces of type pid are refused"),
        ("namespace-network", "net", "… of type network are refused"),
        ("namespace-mount", "mnt", "no container can be made"),
        ("namespace-ipc", "ipc", "… of type ipc are refused"),
        ("namespace-uts", "uts", "… of type uts are refused"),
        ("namespace-cgroup", "cgroup", "… of type cgroup are refused"),
    ] {
        let there = std::path::Path::new("/proc/self/ns").join(file).exists();
        let detail = format!("/proc/self/ns/{file}");
        items.push(Item::new(name, Some(there), detail, without));
    }
    for (name, feature, detail, without) in [
        (
            "namespace-user",
            Feature::UserNamespace,
            "made by a child",
            "no containers for users without privileges",
        ),
        (
            "namespace-time",
            Feature::TimeNamespace,
            "made by a child",
            "linux.timeOffsets is refused",
        ),
        (
            "overlay-in-user-namespace",
            Feature::OverlayInUserNamespace,
            "opened by a child",
            "rootless images need fuse-overlayfs or a copy",
        ),
    ] {
        let present = match ask(feature) {
            Support::Yes => Some(true),
            Support::No => Some(false),
            Support::Denied => None,
        };
        items.push(Item::new(name, present, detail, without));
    }
}

fn sysctls(items: &mut Vec<Item>) {
    let limit = read("/proc/sys/user/max_user_namespaces");
    items.push(Item::new(
        "user-namespaces-allowed",
        Some(limit.parse::<u64>().is_ok_and(|limit| limit > 0)),
        format!("user.max_user_namespaces = {limit}"),
        "no user namespace can be made",
    ));
    for (name, sysctl, good, without) in [
        (
            "unprivileged-user-namespaces",
            "kernel/unprivileged_userns_clone",
            "1",
            "only root makes user namespaces",
        ),
        (
            "unconfined-user-namespaces",
            "kernel/apparmor_restrict_unprivileged_userns",
            "0",
            "AppArmor takes the capabilities in user namespaces of users",
        ),
    ] {
        let value = read(&format!("/proc/sys/{sysctl}"));
        let detail = match value.as_str() {
            "" => format!("{} is not there: nothing is restricted", sysctl.replace('/', ".")),
            value => format!("{} = {value}", sysctl.replace('/', ".")),
        };
        items.push(Item::new(name, Some(value.is_empty() || value == good), detail, without));
    }
}

fn security(items: &mut Vec<Item>) {
    let modules = read("/sys/kernel/security/lsm");
    let apparmor = read("/sys/module/apparmor/parameters/enabled") == "Y";
    let listed = format!("active: {}", if modules.is_empty() { "not told" } else { &modules });
    items.push(Item::new(
        "apparmor",
        Some(apparmor),
        listed.clone(),
        "process.apparmorProfile has no effect",
    ));
    let selinux = std::path::Path::new("/sys/fs/selinux/enforce").exists();
    items.push(Item::new(
        "selinux",
        Some(selinux),
        listed,
        "process.selinuxLabel and linux.mountLabel have no effect",
    ));
}

/// What a container of `keel spec` needs its maker to have.
const CAPABILITIES: [&str; 8] = [
    "CAP_SYS_ADMIN",
    "CAP_SETUID",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_CHOWN",
    "CAP_MKNOD",
    "CAP_KILL",
    "CAP_DAC_OVERRIDE",
];

fn rights(items: &mut Vec<Item>) {
    let (effective, _) = capget().unwrap_or_default();
    let lacking = CAPABILITIES.iter().filter(|name| {
        crate::config::process::capability_number(name)
            .is_none_or(|number| effective & 1 << number == 0)
    });
    let lacking: Vec<&str> = lacking.copied().collect();
    let detail = match lacking.is_empty() {
        true => "all that creating containers needs".to_owned(),
        false => format!("without {}", lacking.join(", ")),
    };
    items.push(Item::new(
        "capabilities",
        Some(lacking.is_empty()),
        detail,
        "containers need a user namespace, or do without what these allow",
    ));
    items.push(Item::new(
        "cap-sys-resource",
        Some(effective & 1 << CAP_SYS_RESOURCE != 0),
        "the right to raise limits",
        "hard limits above the caller's own are refused",
    ));
    for (name, title, least, without) in [
        ("rlimit-nofile", "Max open files", 1024, "containers get at most this many"),
        ("rlimit-nproc", "Max processes", 1024, "creations may fail with EAGAIN"),
        ("rlimit-memlock", "Max locked memory", 64 << 10, "older kernels load no BPF programs"),
    ] {
        let table = read("/proc/self/limits");
        let line = table.lines().find_map(|line| line.strip_prefix(title)).unwrap_or_default();
        let value = line.split_ascii_whitespace().nth(1).unwrap_or("?");
        let enough = value == "unlimited" || value.parse::<u64>().is_ok_and(|limit| limit >= least);
        items.push(Item::new(name, Some(enough), format!("hard limit {value}"), without));
    }
}

/// A small text of the kernel's, without its last newline; empty where it cannot be read.
fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim_end().to_owned()
}
