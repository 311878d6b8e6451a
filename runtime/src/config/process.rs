//! `process`: what is run, as whom, and with which limits.

use super::error::Kind;
use super::field::Field;
use super::number_list;

/// The `process` object (runtime-spec, config.md, "Process"), also given to exec on its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Process {
    /// Whether the process gets a terminal.
    pub terminal: bool,
    /// Rows and columns of the terminal, when given.
    pub console_size: Option<(u16, u16)>,
    /// The working directory, absolute.
    pub cwd: String,
    /// `NAME=value` strings, in order.
    pub env: Vec<String>,
    /// The program and its arguments; not empty when the container is started.
    pub args: Vec<String>,
    /// User and groups.
    pub user: User,
    /// Resource limits; each type once.
    pub rlimits: Vec<Rlimit>,
    /// The five capability sets; `None` when the object is absent, which means all empty.
    pub capabilities: Option<Capabilities>,
    /// Whether exec may grant no privilege.
    pub no_new_privileges: bool,
    /// The OOM score adjustment; `None` leaves the inherited one.
    pub oom_score_adj: Option<i32>,
    /// An AppArmor profile.
    pub apparmor_profile: Option<String>,
    /// An SELinux label.
    pub selinux_label: Option<String>,
    /// The scheduling policy.
    pub scheduler: Option<Scheduler>,
    /// The I/O priority: class 1 to 3 and level.
    pub io_priority: Option<(u8, u8)>,
    /// On which processors a process of exec runs.
    pub exec_affinity: ExecAffinity,
}

/// `process.execCPUAffinity`: sets of processors, as masks of bits (bit n for processor n).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecAffinity {
    /// Until the process is in the container's cgroup.
    pub initial: Option<Vec<u64>>,
    /// From then on.
    pub last: Option<Vec<u64>>,
}

/// `process.user`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// User id inside the container.
    pub uid: u32,
    /// Group id inside the container.
    pub gid: u32,
    /// The file mode creation mask; 0022 when absent, as in runc.
    pub umask: Option<u32>,
    /// Supplementary groups.
    pub additional_gids: Vec<u32>,
}

/// One of `process.rlimits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    /// The kernel's number of the resource.
    pub resource: u32,
    /// Its name, `RLIMIT_NOFILE` for instance.
    pub name: &'static str,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// Capability sets as bit masks, bit n for capability n (capabilities(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// Upper bound of what exec can grant.
    pub bounding: u64,
    /// What the process may use.
    pub effective: u64,
    /// What survives exec of a file that names it.
    pub inheritable: u64,
    /// What the process may make effective.
    pub permitted: u64,
    /// What survives exec of any file.
    pub ambient: u64,
}

/// `process.scheduler`, in the kernel's numbers (sched_setattr(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scheduler {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// Nice value.
    pub nice: i32,
    /// Static priority.
    pub priority: u32,
    /// Runtime in nanoseconds.
    pub runtime: u64,
    /// Deadline in nanoseconds.
    pub deadline: u64,
    /// Period in nanoseconds.
    pub period: u64,
}

const RLIMITS: &[&str] = &[
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
];

const SCHEDULERS: &[(&str, u32)] = &[
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", 1),
    ("SCHED_RR", 2),
    ("SCHED_BATCH", 3),
    ("SCHED_ISO", 4),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", 6),
];

const SCHEDULER_FLAGS: &[(&str, u64)] = &[
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];

impl Process {
    /// Reads the object.
    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        field.object()?;
        let user = field.get("user");
        let cwd = field.get("cwd");
        let working_directory = cwd.required_string().unwrap_or_default();
        if cwd.is_present() && !working_directory.starts_with('/') {
            cwd.refuse(Kind::Invalid, format!("{working_directory:?} is not an absolute path"));
        }
        Some(Self {
            terminal: field.get("terminal").boolean().unwrap_or(false),
            console_size: console_size(&field.get("consoleSize")),
            cwd: working_directory.to_owned(),
            env: field.get("env").strings(),
            args: field.get("args").strings(),
            user: User {
                uid: user.get("uid").integer().unwrap_or(0),
                gid: user.get("gid").integer().unwrap_or(0),
                umask: umask(&user.get("umask")),
                additional_gids: user.get("additionalGids").collect(|gid| gid.integer()),
            },
            rlimits: rlimits(&field.get("rlimits")),
            capabilities: capabilities(&field.get("capabilities")),
            no_new_privileges: field.get("noNewPrivileges").boolean().unwrap_or(false),
            oom_score_adj: oom_score_adj(&field.get("oomScoreAdj")),
            apparmor_profile: text(&field.get("apparmorProfile")),
            selinux_label: text(&field.get("selinuxLabel")),
            scheduler: scheduler(&field.get("scheduler")),
            io_priority: io_priority(&field.get("ioPriority")),
            exec_affinity: exec_affinity(&field.get("execCPUAffinity")),
        })
    }
}

fn text(field: &Field<'_>) -> Option<String> {
    field.string().filter(|s| !s.is_empty()).map(str::to_owned)
}

fn console_size(field: &Field<'_>) -> Option<(u16, u16)> {
    field.object()?;
    let rows = field.get("height").integer()?;
    let columns = field.get("width").integer()?;
    Some((rows, columns))
}

fn umask(field: &Field<'_>) -> Option<u32> {
    let mask: u32 = field.integer()?;
    if mask > 0o777 {
        field.refuse(Kind::Invalid, format!("{mask} is more than 0777"));
    }
    Some(mask)
}

fn oom_score_adj(field: &Field<'_>) -> Option<i32> {
    let score: i32 = field.integer()?;
    if !(-1000..=1000).contains(&score) {
        field.refuse(Kind::Invalid, format!("{score} is not between -1000 and 1000"));
    }
    Some(score)
}

fn rlimits(field: &Field<'_>) -> Vec<Rlimit> {
    let mut seen = Vec::new();
    field.collect(|item| {
        let kind = item.get("type");
        let name = kind.required_string()?;
        let Some(resource) = RLIMITS.iter().position(|known| *known == name) else {
            kind.refuse(Kind::Unsupported, format!("{name:?} (known: {})", RLIMITS.join(", ")));
            return None;
        };
        if seen.contains(&resource) {
            kind.refuse(Kind::Duplicate, format!("{name} is set twice"));
        }
        seen.push(resource);
        let soft = item.get("soft").integer().unwrap_or(0);
        let hard = item.get("hard").integer().unwrap_or(0);
        if soft > hard {
            item.get("soft")
                .refuse(Kind::Invalid, format!("{soft} is above the hard limit {hard}"));
        }
        Some(Rlimit {
            resource: u32::try_from(resource).ok()?,
            name: RLIMITS[resource],
            soft,
            hard,
        })
    })
}

fn capabilities(field: &Field<'_>) -> Option<Capabilities> {
    field.object()?;
    Some(Capabilities {
        bounding: capability_set(&field.get("bounding")),
        effective: capability_set(&field.get("effective")),
        inheritable: capability_set(&field.get("inheritable")),
        permitted: capability_set(&field.get("permitted")),
        ambient: capability_set(&field.get("ambient")),
    })
}

/// A name that is not known is left out with a warning: an engine newer than the runtime may know
/// more (runtime-spec: what cannot be granted is a warning).
fn capability_set(field: &Field<'_>) -> u64 {
    let mut set = 0;
    field.for_each(|item| {
        if let Some(name) = item.string() {
            match capability_number(name) {
                Some(number) => set |= 1 << number,
                None => item
                    .warn(format_args!("ignoring unknown or unavailable capabilities: [{name}]")),
            }
        }
    });
    set
}

/// The number of a capability by its name as capabilities(7) has it, such as `CAP_CHOWN`. What runc passes
/// over, `chown` or `cap_chown`, grants nothing here either.
#[must_use]
pub fn capability_number(name: &str) -> Option<u8> {
    let short = name.strip_prefix("CAP_")?;
    let number = CAPABILITIES.iter().position(|known| *known == short)?;
    u8::try_from(number).ok()
}

/// The name of a capability by its number, if it has one.
#[must_use]
pub fn capability_name(number: u8) -> Option<String> {
    CAPABILITIES.get(usize::from(number)).map(|name| format!("CAP_{name}"))
}

/// Capabilities by number, without the prefix of their names (`include/uapi/linux/capability.h`).
#[rustfmt::skip]
const CAPABILITIES: [&str; 41] = [
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
];

fn scheduler(field: &Field<'_>) -> Option<Scheduler> {
    field.object()?;
    let policy_field = field.get("policy");
    let name = policy_field.required_string()?;
    let Some(&(_, policy)) = SCHEDULERS.iter().find(|(known, _)| *known == name) else {
        policy_field.refuse(Kind::Unsupported, format!("{name:?}"));
        return None;
    };
    let mut flags = 0;
    field.get("flags").for_each(|item| {
        if let Some(name) = item.string() {
            match SCHEDULER_FLAGS.iter().find(|(known, _)| *known == name) {
                Some((_, bit)) => flags |= bit,
                None => item.refuse(Kind::Unsupported, format!("{name:?}")),
            }
        }
    });
    let scheduler = Scheduler {
        policy,
        flags,
        nice: field.get("nice").integer().unwrap_or(0),
        priority: field.get("priority").integer().unwrap_or(0),
        runtime: field.get("runtime").integer().unwrap_or(0),
        deadline: field.get("deadline").integer().unwrap_or(0),
        period: field.get("period").integer().unwrap_or(0),
    };
    if !(-20..=19).contains(&scheduler.nice) {
        let detail = format!("{} is not between -20 and 19", scheduler.nice);
        field.get("nice").refuse(Kind::Invalid, detail);
    }
    if scheduler.priority != 0 && !matches!(name, "SCHED_FIFO" | "SCHED_RR") {
        field.get("priority").refuse(Kind::Conflict, format!("{name} has no priority"));
    }
    if (scheduler.runtime, scheduler.deadline, scheduler.period) != (0, 0, 0)
        && name != "SCHED_DEADLINE"
    {
        field.get("runtime").refuse(Kind::Conflict, format!("{name} has no deadline parameters"));
    }
    Some(scheduler)
}

fn exec_affinity(field: &Field<'_>) -> ExecAffinity {
    if field.object().is_none() {
        return ExecAffinity::default();
    }
    ExecAffinity {
        initial: number_list::read(&field.get("initial"), "processors"),
        last: number_list::read(&field.get("final"), "processors"),
    }
}

fn io_priority(field: &Field<'_>) -> Option<(u8, u8)> {
    field.object()?;
    let class_field = field.get("class");
    let class = match class_field.required_string()? {
        "IOPRIO_CLASS_RT" => 1,
        "IOPRIO_CLASS_BE" => 2,
        "IOPRIO_CLASS_IDLE" => 3,
        other => {
            class_field.refuse(Kind::Unsupported, format!("{other:?}"));
            return None;
        }
    };
    let level: u8 = field.get("priority").integer().unwrap_or(0);
    if level > 7 {
        field.get("priority").refuse(Kind::Invalid, format!("{level} is not between 0 and 7"));
    }
    Some((class, level))
}
