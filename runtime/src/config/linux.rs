//! `linux`: namespaces, mappings, devices, sysctl and the paths hidden from a container.

use super::error::Kind;
use super::field::Field;
use super::intel_rdt::IntelRdt;
use super::memory_policy::MemoryPolicy;
use super::net_devices::{self, NetDevice};
use super::resources::Resources;
use super::seccomp::Seccomp;

/// The `linux` object (runtime-spec, config-linux.md).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Linux {
    /// Namespaces to create or to join, each type once.
    pub namespaces: Vec<Namespace>,
    /// User id mappings.
    pub uid_mappings: Vec<IdMapping>,
    /// Group id mappings.
    pub gid_mappings: Vec<IdMapping>,
    /// Clock offsets of a new time namespace.
    pub time_offsets: Vec<TimeOffset>,
    /// Device nodes beyond the default ones.
    pub devices: Vec<Device>,
    /// Where the container's cgroup is, as the config says it.
    pub cgroups_path: Option<String>,
    /// Limits.
    pub resources: Option<Resources>,
    /// Propagation of the root mount, `MS_*`.
    pub rootfs_propagation: Option<u64>,
    /// The system call filter.
    pub seccomp: Option<Seccomp>,
    /// Kernel parameters, with dots between their parts.
    pub sysctl: Vec<(String, String)>,
    /// Paths that are hidden.
    pub masked_paths: Vec<String>,
    /// Paths that are made read-only.
    pub readonly_paths: Vec<String>,
    /// The SELinux label of mounts.
    pub mount_label: Option<String>,
    /// The execution domain of personality(2).
    pub personality: Option<u32>,
    /// Where memory comes from.
    pub memory_policy: Option<MemoryPolicy>,
    /// Network devices that move into the container.
    pub net_devices: Vec<NetDevice>,
    /// Cache and memory bandwidth.
    pub intel_rdt: Option<IntelRdt>,
}

/// One of `linux.namespaces`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// The kind.
    pub kind: NamespaceKind,
    /// A namespace to join; `None` makes a new one.
    pub path: Option<String>,
}

/// The kinds of namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NamespaceKind {
    /// User and group ids.
    User,
    /// Control groups.
    Cgroup,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Host and domain name.
    Uts,
    /// Network.
    Network,
    /// Process ids.
    Pid,
    /// Clocks.
    Time,
    /// Mounts.
    Mount,
}

impl NamespaceKind {
    /// All kinds, in the order in which they are joined: the user namespace first, since it gives
    /// the right to join the others, the mount namespace last, since paths change with it.
    pub const ALL: [Self; 8] = [
        Self::User,
        Self::Cgroup,
        Self::Ipc,
        Self::Uts,
        Self::Network,
        Self::Pid,
        Self::Time,
        Self::Mount,
    ];

    /// The name in a config.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Cgroup => "cgroup",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Network => "network",
            Self::Pid => "pid",
            Self::Time => "time",
            Self::Mount => "mount",
        }
    }

    /// The name of the file in `/proc/PID/ns`.
    #[must_use]
    pub fn proc_name(self) -> &'static str {
        match self {
            Self::Network => "net",
            Self::Mount => "mnt",
            other => other.name(),
        }
    }

    /// The clone flag.
    #[must_use]
    pub fn flag(self) -> u64 {
        match self {
            Self::User => 0x1000_0000,
            Self::Cgroup => 0x0200_0000,
            Self::Ipc => 0x0800_0000,
            Self::Uts => 0x0400_0000,
            Self::Network => 0x4000_0000,
            Self::Pid => 0x2000_0000,
            Self::Time => 0x80,
            Self::Mount => 0x0002_0000,
        }
    }
}

/// One of `linux.uidMappings` or `linux.gidMappings`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMapping {
    /// First id inside.
    pub container: u32,
    /// First id outside.
    pub host: u32,
    /// How many.
    pub size: u32,
}

/// One of `linux.timeOffsets`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeOffset {
    /// `monotonic` or `boottime`.
    pub clock: &'static str,
    /// Seconds.
    pub seconds: i64,
    /// Nanoseconds.
    pub nanoseconds: u32,
}

/// One of `linux.devices`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Where, inside the container.
    pub path: String,
    /// What.
    pub node: DeviceNode,
    /// Permission bits; 0666 when absent, as in runc.
    pub mode: u32,
    /// Owner inside the container.
    pub uid: u32,
    /// Group inside the container.
    pub gid: u32,
}

/// The kind of a device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceNode {
    /// `c` or `u`.
    Character {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// `b`.
    Block {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// `p`.
    Fifo,
}

impl Linux {
    /// The namespace of one kind, if the config names it.
    #[must_use]
    pub fn namespace(&self, kind: NamespaceKind) -> Option<&Namespace> {
        self.namespaces.iter().find(|namespace| namespace.kind == kind)
    }

    /// Whether the config asks for a new namespace of this kind.
    #[must_use]
    pub fn creates(&self, kind: NamespaceKind) -> bool {
        self.namespace(kind).is_some_and(|namespace| namespace.path.is_none())
    }

    /// Reads the object.
    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        field.object()?;
        Some(Self {
            namespaces: namespaces(&field.get("namespaces")),
            uid_mappings: field.get("uidMappings").collect(id_mapping),
            gid_mappings: field.get("gidMappings").collect(id_mapping),
            time_offsets: time_offsets(&field.get("timeOffsets")),
            devices: field.get("devices").collect(device),
            cgroups_path: field
                .get("cgroupsPath")
                .string()
                .filter(|path| !path.is_empty())
                .map(str::to_owned),
            resources: Resources::read(&field.get("resources")),
            rootfs_propagation: rootfs_propagation(&field.get("rootfsPropagation")),
            seccomp: Seccomp::read(&field.get("seccomp")),
            sysctl: field.get("sysctl").string_map(),
            masked_paths: absolute_paths(&field.get("maskedPaths")),
            readonly_paths: absolute_paths(&field.get("readonlyPaths")),
            mount_label: field
                .get("mountLabel")
                .string()
                .filter(|label| !label.is_empty())
                .map(str::to_owned),
            personality: personality(&field.get("personality")),
            memory_policy: MemoryPolicy::read(&field.get("memoryPolicy")),
            net_devices: net_devices::read(&field.get("netDevices")),
            intel_rdt: IntelRdt::read(&field.get("intelRdt")),
        })
    }
}

fn namespaces(field: &Field<'_>) -> Vec<Namespace> {
    let mut seen = Vec::new();
    field.collect(|item| {
        let kind_field = item.get("type");
        let name = kind_field.required_string()?;
        let Some(kind) = NamespaceKind::ALL.into_iter().find(|kind| kind.name() == name) else {
            let known = NamespaceKind::ALL.map(NamespaceKind::name).join(", ");
            kind_field.refuse(Kind::Unsupported, format!("{name:?} (known: {known})"));
            return None;
        };
        if seen.contains(&kind) {
            kind_field.refuse(Kind::Duplicate, format!("{name} is listed twice"));
        }
        seen.push(kind);
        let path_field = item.get("path");
        let path = path_field.string().filter(|path| !path.is_empty());
        if let Some(path) = path.filter(|path| !path.starts_with('/')) {
            path_field.refuse(Kind::Invalid, format!("{path:?} is not an absolute path"));
        }
        Some(Namespace { kind, path: path.map(str::to_owned) })
    })
}

/// One range of a mapping.
pub(super) fn id_mapping(field: &Field<'_>) -> Option<IdMapping> {
    field.object()?;
    let number = |name: &str| {
        let member = field.get(name);
        member.require()?;
        member.integer::<u32>()
    };
    Some(IdMapping {
        container: number("containerID")?,
        host: number("hostID")?,
        size: number("size")?,
    })
}

fn time_offsets(field: &Field<'_>) -> Vec<TimeOffset> {
    let clocks = field.object().into_iter().flat_map(|map| map.keys());
    clocks
        .filter_map(|name| {
            let clock_field = field.get(name);
            let clock = match name {
                "monotonic" => "monotonic",
                "boottime" => "boottime",
                _ => {
                    clock_field.refuse(Kind::Unsupported, "known: monotonic, boottime");
                    return None;
                }
            };
            let nanoseconds: u32 = clock_field.get("nanosecs").integer().unwrap_or(0);
            if nanoseconds > 999_999_999 {
                clock_field.get("nanosecs").refuse(Kind::Invalid, "a second or more");
            }
            Some(TimeOffset {
                clock,
                seconds: clock_field.get("secs").integer().unwrap_or(0),
                nanoseconds,
            })
        })
        .collect()
}

fn device(field: &Field<'_>) -> Option<Device> {
    field.object()?;
    let path_field = field.get("path");
    let path = path_field.required_string()?;
    if !path.starts_with('/') {
        path_field.refuse(Kind::Invalid, format!("{path:?} is not an absolute path"));
    }
    let kind_field = field.get("type");
    let number = |name: &str| -> Option<u32> {
        let member = field.get(name);
        member.require()?;
        member.integer()
    };
    let node = match kind_field.required_string()? {
        "c" | "u" => DeviceNode::Character { major: number("major")?, minor: number("minor")? },
        "b" => DeviceNode::Block { major: number("major")?, minor: number("minor")? },
        "p" => DeviceNode::Fifo,
        other => {
            kind_field.refuse(Kind::Unsupported, format!("{other:?} (known: c, u, b, p)"));
            return None;
        }
    };
    Some(Device {
        path: path.to_owned(),
        node,
        mode: field.get("fileMode").integer::<u32>().unwrap_or(0o666) & 0o7777,
        uid: field.get("uid").integer().unwrap_or(0),
        gid: field.get("gid").integer().unwrap_or(0),
    })
}

fn rootfs_propagation(field: &Field<'_>) -> Option<u64> {
    let name = field.string().filter(|name| !name.is_empty())?;
    let (recursive, kind) = match name.strip_prefix('r') {
        Some(kind) => (libc::MS_REC, kind),
        None => (0, name),
    };
    let flag = match kind {
        "shared" => libc::MS_SHARED,
        "slave" => libc::MS_SLAVE,
        "private" => libc::MS_PRIVATE,
        "unbindable" => libc::MS_UNBINDABLE,
        _ => {
            let known = "shared, slave, private, unbindable, each also with a leading r";
            field.refuse(Kind::Unsupported, format!("{name:?} (known: {known})"));
            return None;
        }
    };
    Some(flag | recursive)
}

fn absolute_paths(field: &Field<'_>) -> Vec<String> {
    field.collect(|item| {
        let path = item.string()?;
        if !path.starts_with('/') {
            item.refuse(Kind::Invalid, format!("{path:?} is not an absolute path"));
        }
        Some(path.to_owned())
    })
}

fn personality(field: &Field<'_>) -> Option<u32> {
    field.object()?;
    if !field.get("flags").strings().is_empty() {
        field.get("flags").refuse(Kind::Unsupported, "the specification defines no flag");
    }
    let domain = field.get("domain");
    match domain.required_string()? {
        "LINUX" => Some(0),
        "LINUX32" => Some(8),
        other => {
            domain.refuse(Kind::Unsupported, format!("{other:?} (known: LINUX, LINUX32)"));
            None
        }
    }
}
