//! The `config.json` of a container of an image.

use std::collections::BTreeMap;
use std::path::Path;

use super::config::{
    Capabilities, Cpu, DeviceRule, Linux, Memory, Mount, Namespace, Pids, Process, Resources,
    RootFs, RuntimeConfig, User,
};
use super::{BundleError, Network, Options, Seccomp, capability, seccomp, user};
use crate::fsroot::Root;
use crate::spec::{Config, ImageConfig};

/// The `PATH` of an image that has none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Microseconds over which a share of the processors is counted.
const CPU_PERIOD_US: u64 = 100_000;
/// The name of the rootfs in a bundle.
const ROOTFS: &str = "rootfs";

const MASKED_PATHS: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

const READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The file systems that every container has: destination, type, source, options.
const MOUNTS: [(&str, &str, &str, &[&str]); 7] = [
    ("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    ),
    ("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]),
    ("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"]),
];

/// The devices that may be used, as character devices: major and minor; no minor means all.
const DEVICES: [(i64, Option<i64>); 8] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(2)),
    (136, None),
];

/// A container's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    config: RuntimeConfig,
}

impl Spec {
    /// The configuration of a container of an image that is started as `config` says, with the
    /// changes of `options`. Users are looked up in `rootfs`, the image's tree.
    ///
    /// # Errors
    /// There is no command, or a name in image or options means nothing.
    pub fn new(config: &Config, rootfs: &Root, options: &Options) -> Result<Self, BundleError> {
        let args = command(config, options)?;
        let mut ids = user::lookup(rootfs, options.user.as_deref().unwrap_or(&config.user))?;
        let own = ids.gid;
        let privilege = &options.privilege;
        ids.additional_gids
            .retain(|gid| privilege.has_groups() && (*gid != own || privilege.names_own_group()));
        let capabilities = capability::effective(&options.cap_add, &options.cap_drop)?;
        let seccomp = match options.seccomp {
            Seccomp::Default => seccomp::profile(&capabilities, std::env::consts::ARCH),
            Seccomp::Unconfined => None,
        };
        let process = Process {
            terminal: options.terminal,
            env: environment(config, options, &ids.home),
            user: User { uid: ids.uid, gid: ids.gid, additional_gids: ids.additional_gids },
            args,
            cwd: working_directory(config, options)?,
            // Capabilities of a user that is not root count only once it runs a program that has
            // them, as in Docker: they bound what such a program gets.
            capabilities: if ids.uid == 0 {
                Capabilities {
                    bounding: capabilities.clone(),
                    effective: capabilities.clone(),
                    permitted: capabilities,
                }
            } else {
                Capabilities { bounding: capabilities, effective: vec![], permitted: vec![] }
            },
            oom_score_adj: 0,
            no_new_privileges: false,
            rlimits: options.rlimits.clone(),
        };
        let (uids, gids) = options.privilege.mappings();
        Ok(Self {
            config: RuntimeConfig {
                oci_version: "1.0.2",
                process,
                root: RootFs { path: ROOTFS.to_owned(), readonly: options.read_only },
                hostname: options.hostname.clone(),
                mounts: mounts(options),
                annotations: options.annotations.clone(),
                linux: Linux {
                    uid_mappings: uids.to_vec(),
                    gid_mappings: gids.to_vec(),
                    resources: options.privilege.resources(resources(options)),
                    cgroups_path: options.cgroups_path.clone(),
                    namespaces: namespaces(options),
                    seccomp,
                    masked_paths: MASKED_PATHS.to_vec(),
                    readonly_paths: READONLY_PATHS.to_vec(),
                },
            },
        })
    }

    /// Adds what conversion.md carries over from the image as annotations. Labels win over what is
    /// made up, and what the options said wins over both.
    #[must_use]
    pub fn annotated(mut self, image: &ImageConfig) -> Self {
        let mut annotations = image_annotations(image);
        annotations.extend(image.execution().labels);
        annotations.append(&mut self.config.annotations);
        self.config.annotations = annotations;
        self
    }

    /// The words of the command.
    #[must_use]
    pub fn args(&self) -> &[String] {
        &self.config.process.args
    }

    /// The bytes of `config.json`.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Strings, numbers and maps of them always have a JSON.
        let mut bytes = serde_json::to_vec_pretty(&self.config).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

fn command(config: &Config, options: &Options) -> Result<Vec<String>, BundleError> {
    let image_cmd = || config.cmd.clone().unwrap_or_default();
    let (mut words, rest) = match &options.entrypoint {
        // The image's command was meant for the image's entrypoint.
        Some(entrypoint) => (entrypoint.clone(), options.args.clone()),
        None if options.args.is_empty() => {
            (config.entrypoint.clone().unwrap_or_default(), image_cmd())
        }
        None => (config.entrypoint.clone().unwrap_or_default(), options.args.clone()),
    };
    words.extend(rest);
    if words.is_empty() { Err(BundleError::NoCommand) } else { Ok(words) }
}

fn set(env: &mut Vec<String>, entry: String) {
    let name = entry.split('=').next().unwrap_or_default();
    let same = env.iter().position(|known| known.split('=').next() == Some(name));
    match same {
        Some(at) => env[at] = entry,
        None => env.push(entry),
    }
}

fn environment(config: &Config, options: &Options, home: &str) -> Vec<String> {
    let mut env = Vec::new();
    for entry in &config.env {
        set(&mut env, entry.clone());
    }
    let has = |env: &[String], name: &str| {
        env.iter().chain(&options.env).any(|entry| entry.split('=').next() == Some(name))
    };
    if !has(&env, "PATH") {
        env.insert(0, format!("PATH={DEFAULT_PATH}"));
    }
    if let Some(hostname) = options.hostname.as_ref().filter(|_| !has(&env, "HOSTNAME")) {
        env.push(format!("HOSTNAME={hostname}"));
    }
    if options.terminal && !has(&env, "TERM") {
        env.push("TERM=xterm".to_owned());
    }
    if !has(&env, "HOME") {
        env.push(format!("HOME={home}"));
    }
    for entry in &options.env {
        set(&mut env, entry.clone());
    }
    env
}

fn working_directory(config: &Config, options: &Options) -> Result<String, BundleError> {
    let path = options.working_dir.as_deref().unwrap_or(&config.working_dir);
    match path {
        "" => Ok("/".to_owned()),
        path if path.starts_with('/') => Ok(path.to_owned()),
        path => Err(BundleError::WorkingDirectory { path: path.to_owned() }),
    }
}

fn mounts(options: &Options) -> Vec<Mount> {
    let own = MOUNTS.iter().map(|(destination, kind, source, flags)| Mount {
        destination: (*destination).to_owned(),
        kind: (*kind).to_owned(),
        source: (*source).to_owned(),
        options: flags
            .iter()
            .map(|flag| match options.shm_bytes {
                Some(bytes)
                    if *kind == "tmpfs" && *source == "shm" && flag.starts_with("size=") =>
                {
                    format!("size={bytes}")
                }
                _ => (*flag).to_owned(),
            })
            .collect(),
    });
    let own = options.privilege.mounts(own.collect()).into_iter();
    let volumes = options.volumes.iter().map(super::Volume::mount);
    let mut mounts: Vec<Mount> = own.chain(volumes).chain(options.mounts.iter().cloned()).collect();
    // A volume on one of the container's own places stands in for it.
    let wanted: Vec<String> =
        options.volumes.iter().map(|v| v.destination.to_string_lossy().into_owned()).collect();
    let replaced = |mount: &Mount| mount.kind != "bind" && wanted.contains(&mount.destination);
    mounts.retain(|mount| !replaced(mount));
    mounts
}

fn namespaces(options: &Options) -> Vec<Namespace> {
    // As Docker: on a host with cgroup version 1 a container sees the host's cgroup paths.
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let wanted = |kind: &&str| match *kind {
        "network" => options.network != Network::Host,
        "cgroup" => unified,
        "user" => !options.privilege.mappings().0.is_empty(),
        _ => true,
    };
    let kept =
        ["mount", "network", "uts", "pid", "ipc", "cgroup", "user"].into_iter().filter(wanted);
    let path = |kind: &str| match &options.network {
        Network::Namespace(path) if kind == "network" => Some(path.to_string_lossy().into_owned()),
        _ => None,
    };
    kept.map(|kind| Namespace { kind, path: path(kind) }).collect()
}

fn resources(options: &Options) -> Resources {
    let everything =
        DeviceRule { allow: false, kind: None, major: None, minor: None, access: "rwm" };
    let allowed = DEVICES.iter().map(|(major, minor)| DeviceRule {
        allow: true,
        kind: Some("c"),
        major: Some(*major),
        minor: *minor,
        access: "rwm",
    });
    // Making a node is harmless where the node cannot be opened.
    let nodes = ["c", "b"].map(|kind| DeviceRule {
        allow: true,
        kind: Some(kind),
        major: None,
        minor: None,
        access: "m",
    });
    let quota = |nano_cpus: u64| {
        let microseconds = u128::from(nano_cpus) * u128::from(CPU_PERIOD_US) / 1_000_000_000;
        i64::try_from(microseconds).unwrap_or(i64::MAX)
    };
    Resources {
        devices: std::iter::once(everything).chain(nodes).chain(allowed).collect(),
        memory: options.memory_bytes.map(|limit| Memory { limit, swap: limit.saturating_mul(2) }),
        cpu: options.nano_cpus.map(|n| Cpu { quota: quota(n), period: CPU_PERIOD_US }),
        pids: options.pids_limit.map(|limit| Pids { limit }),
    }
}

/// Conversion.md, "Annotation Fields".
fn image_annotations(image: &ImageConfig) -> BTreeMap<String, String> {
    let execution = image.execution();
    let ports: Vec<&str> = execution.exposed_ports.keys().map(String::as_str).collect();
    let features = image.os_features.join(",");
    let fields = [
        ("os", Some(image.os.clone())),
        ("architecture", Some(image.architecture.clone())),
        ("variant", image.variant.clone()),
        ("os.version", image.os_version.clone()),
        ("os.features", Some(features)),
        ("author", image.author.clone()),
        ("created", image.created.map(|created| created.to_string())),
        ("stopSignal", execution.stop_signal.clone()),
        ("exposedPorts", Some(ports.join(","))),
    ];
    let known = fields.into_iter().filter_map(|(name, value)| {
        let value = value.filter(|value| !value.is_empty())?;
        Some((format!("org.opencontainers.image.{name}"), value))
    });
    known.collect()
}
