//! From `process` and the fields that concern it to steps. Pure.
//!
//! The order is not free: what needs a capability comes before the capabilities go, a seccomp filter
//! that needs one is loaded before and otherwise last, and the working directory is entered before
//! the ids change and checked after (CVE-2024-21626).

use std::fmt;

use crate::arena::{Arena, Text};
use crate::config::memory_policy::MemoryPolicy;
use crate::config::process::{ExecAffinity, Process, Rlimit, Scheduler, capability_name};
use crate::failure::Origin;
use crate::sys::credentials::{CapabilitySets, Instruction};
use crate::sys::process::ExecStrings;
use crate::sys::terminal::Size;

/// What the compiler must know beside the process object.
#[derive(Debug)]
pub struct Context<'a> {
    /// The container's id, the name of its session keyring.
    pub id: &'a str,
    /// `--no-new-keyring`.
    pub keep_keyring: bool,
    /// Capabilities this process can hand on; `None` where the child will have all, in a user
    /// namespace of its own.
    pub permitted: Option<u64>,
    /// `linux.personality.domain`.
    pub personality: Option<u32>,
    /// `linux.memoryPolicy`.
    pub memory_policy: Option<MemoryPolicy>,
    /// The compiled filter, with its flags for seccomp(2).
    pub seccomp: Option<Filter>,
    /// Whether a console device is made at `/dev/console`: not for exec.
    pub console_device: bool,
    /// Whether the standard streams are given to the user: where they are the caller's own.
    pub own_streams: bool,
    /// Whether a working directory that is missing is made.
    pub make_cwd: bool,
}

/// A seccomp program.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// The instructions.
    pub program: Vec<Instruction>,
    /// Flags of seccomp(2).
    pub flags: u32,
    /// Whether the filter lets sendmsg(2) through, so that the child can send its listener away.
    pub lets_sendmsg: bool,
}

/// A step of the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Joins a new session keyring.
    SessionKeyring(Text),
    /// Runs on the processors for the time before the cgroup is entered.
    InitialAffinity,
    /// Runs on the processors for the time after.
    LastAffinity,
    /// Runs on every processor that the cgroup permits, whatever the caller is bound to.
    ResetAffinity,
    /// Leads a new session.
    Session,
    /// Opens a terminal of the container, sends its master away and makes it the streams.
    Terminal {
        /// Rows and columns.
        size: Option<Size>,
        /// Show it as `/dev/console` too.
        console_device: bool,
    },
    /// Gives the standard streams to a user.
    OwnStreams(u32),
    /// Asks for an AppArmor profile at exec.
    Apparmor(Text),
    /// Asks for an SELinux label at exec.
    Selinux(Text),
    /// Sets no_new_privs.
    NoNewPrivileges,
    /// Sets the scheduling policy.
    Scheduler(Scheduler),
    /// Sets the I/O priority: class and level.
    IoPriority(u8, u8),
    /// Sets the execution domain.
    Personality(u32),
    /// Sets the memory policy.
    MemoryPolicy,
    /// Loads the seccomp filter.
    Seccomp,
    /// Sets the limit with this index.
    Limit(u16),
    /// Drops from the bounding set what is not in this mask.
    Bounding(u64),
    /// Takes groups and ids.
    User {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
    },
    /// Enters the working directory, made where it is missing if so asked, while still privileged.
    WorkingDirectory {
        /// Where it is.
        path: Text,
        /// Whether it is made.
        make: bool,
    },
    /// Enters it as the user, if only the user may.
    WorkingDirectoryAsUser(Text),
    /// Sets the other four capability sets.
    Capabilities(CapabilitySets),
    /// Makes sure that the working directory is inside the root.
    VerifyWorkingDirectory,
    /// Sets the file mode creation mask.
    Umask(u32),
    /// Sets HOME from the container's own list of users.
    Home(u32),
    /// Finds the program.
    FindProgram,
}

/// Everything about the process.
#[derive(Debug)]
pub struct Plan {
    /// Steps in the root of the host.
    pub early: Vec<(Origin, Step)>,
    /// The session and its terminal, once the container's root is entered.
    pub console: Vec<(Origin, Step)>,
    /// Steps in the container's root.
    pub late: Vec<(Origin, Step)>,
    /// Arguments.
    pub args: ExecStrings,
    /// Environment, with room for HOME.
    pub env: ExecStrings,
    /// Where the program is looked for, when its name has no slash.
    pub search: Vec<Text>,
    /// The name of the program as the config says it.
    pub program: Text,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// The seccomp filter.
    pub seccomp: Option<Filter>,
    /// Where its memory comes from.
    pub memory_policy: Option<MemoryPolicy>,
    /// On which processors it runs, for exec.
    pub affinity: ExecAffinity,
    /// Limits.
    pub rlimits: Vec<Rlimit>,
    /// OOM score adjustment, which the parent sets.
    pub oom_score_adj: Option<i32>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Longest HOME that is looked up, in bytes.
const HOME_BYTES_MAX: usize = 4096;

/// A limit of open files up to here may be lower than what the child has open while it works.
const FILES_FEW: u64 = 1024;

/// Compiles a process.
#[must_use]
pub fn compile(process: &Process, context: Context<'_>, arena: &mut Arena) -> Plan {
    let mut early = Vec::new();
    let mut late = Vec::new();
    let mut warnings = Vec::new();
    let field = Origin::field;

    if !context.keep_keyring {
        let name = arena.add(format!("_ses.{}", context.id));
        early.push((field("session keyring"), Step::SessionKeyring(name)));
    }
    let mut console = vec![(field("process"), Step::Session)];
    if process.terminal {
        let size = process.console_size.map(|(rows, columns)| Size { rows, columns });
        let console_device = context.console_device;
        console.push((field("process.terminal"), Step::Terminal { size, console_device }));
    }
    if (context.own_streams || process.terminal) && process.user.uid != 0 {
        late.push((field("process.user.uid"), Step::OwnStreams(process.user.uid)));
    }
    if let Some(profile) = &process.apparmor_profile {
        let text = arena.add(format!("exec {profile}"));
        late.push((field("process.apparmorProfile"), Step::Apparmor(text)));
    }
    if let Some(label) = &process.selinux_label {
        late.push((field("process.selinuxLabel"), Step::Selinux(arena.add(label))));
    }
    if process.no_new_privileges {
        late.push((field("process.noNewPrivileges"), Step::NoNewPrivileges));
    }
    if let Some(scheduler) = process.scheduler {
        late.push((field("process.scheduler"), Step::Scheduler(scheduler)));
    }
    if let Some((class, level)) = process.io_priority {
        late.push((field("process.ioPriority"), Step::IoPriority(class, level)));
    }
    if let Some(domain) = context.personality {
        late.push((field("linux.personality"), Step::Personality(domain)));
    }
    if context.memory_policy.is_some() {
        late.push((field("linux.memoryPolicy"), Step::MemoryPolicy));
    }
    let has_filter = context.seccomp.is_some();
    if has_filter && !process.no_new_privileges {
        late.push((field("linux.seccomp"), Step::Seccomp));
    }
    // This process still opens files, and has some open by then: a low limit comes when it has done so.
    let limits = process.rlimits.iter().enumerate().map(|(index, limit)| {
        let number = u16::try_from(index).unwrap_or(u16::MAX);
        let is_low = limit.resource == libc::RLIMIT_NOFILE && limit.hard <= FILES_FEW;
        (is_low, (Origin::item("process.rlimits", index), Step::Limit(number)))
    });
    let (low, others): (Vec<_>, Vec<_>) = limits.partition(|(is_low, _)| *is_low);
    late.extend(others.into_iter().map(|(_, step)| step));
    let sets = capability_sets(process, context.permitted, &mut warnings);
    late.push((field("process.capabilities.bounding"), Step::Bounding(sets.bounding)));
    late.push((field("process.user.umask"), Step::Umask(process.user.umask.unwrap_or(0o022))));
    let cwd = if process.cwd.is_empty() { "/" } else { &process.cwd };
    let cwd = arena.add(cwd);
    late.push((field("process.cwd"), Step::WorkingDirectory { path: cwd, make: context.make_cwd }));
    let (uid, gid) = (process.user.uid, process.user.gid);
    late.push((field("process.user"), Step::User { uid, gid }));
    late.push((field("process.cwd"), Step::WorkingDirectoryAsUser(cwd)));
    late.push((field("process.capabilities"), Step::Capabilities(sets)));
    late.push((field("process.cwd"), Step::VerifyWorkingDirectory));

    let environment = environment(&process.env);
    let value = |name: &str| {
        let prefix = format!("{name}=");
        environment.iter().find_map(|e| e.strip_prefix(prefix.as_str())).filter(|v| !v.is_empty())
    };
    if value("HOME").is_none() {
        late.push((field("process.env"), Step::Home(uid)));
    }
    let program = arena.add(process.args.first().map_or("", String::as_str));
    let path = value("PATH").unwrap_or_default();
    let search = path
        .split(':')
        .map(|directory| arena.add(if directory.is_empty() { "." } else { directory }));
    let search = if path.is_empty() { Vec::new() } else { search.collect() };
    late.push((field("process.args"), Step::FindProgram));
    late.extend(low.into_iter().map(|(_, step)| step));
    if has_filter && process.no_new_privileges {
        late.push((field("linux.seccomp"), Step::Seccomp));
    }
    let kept = environment.iter().filter(|e| **e != "HOME=");
    Plan {
        early,
        console,
        late,
        args: ExecStrings::new(&process.args),
        env: ExecStrings::with_spare(kept, HOME_BYTES_MAX + "HOME=".len()),
        search,
        program,
        groups: process.user.additional_gids.clone(),
        seccomp: context.seccomp,
        memory_policy: context.memory_policy,
        affinity: process.exec_affinity.clone(),
        rlimits: process.rlimits.clone(),
        oom_score_adj: process.oom_score_adj,
        warnings,
    }
}

/// The environment with each name once, the last value winning in the first one's place.
fn environment(entries: &[String]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::with_capacity(entries.len());
    let mut all: Vec<&str> = Vec::with_capacity(entries.len());
    for entry in entries {
        let name = entry.split('=').next().unwrap_or(entry);
        match names.iter().position(|known| *known == name) {
            Some(at) => all[at] = entry,
            None => {
                names.push(name);
                all.push(entry);
            }
        }
    }
    all
}

/// The sets that can be had: what this process may not hand on is left out with a warning
/// (runtime-spec, config.md: "runtimes … SHOULD log a warning").
fn capability_sets(
    process: &Process,
    permitted: Option<u64>,
    warnings: &mut Vec<String>,
) -> CapabilitySets {
    let wanted = process.capabilities.unwrap_or_default();
    let available = permitted.unwrap_or(u64::MAX);
    let union =
        wanted.bounding | wanted.effective | wanted.inheritable | wanted.permitted | wanted.ambient;
    let missing = union & !available;
    if missing != 0 {
        // The words are runc's; those that nobody knows were warned of when the config was read.
        warnings.push(format!(
            "process.capabilities: ignoring unknown or unavailable capabilities: [{}]",
            names(missing).collect::<Vec<_>>().join(" ")
        ));
    }
    let permitted = wanted.permitted & available;
    let inheritable = wanted.inheritable & available;
    let missing = wanted.ambient & available & !(permitted & inheritable);
    if missing != 0 {
        // runc has a line for each; buildah asks for fourteen.
        warnings.push(format!(
            "can't raise ambient capability {}: not among both the permitted and the inheritable \
             ones, ignoring",
            names(missing).collect::<Vec<_>>().join(", ")
        ));
    }
    CapabilitySets {
        bounding: wanted.bounding & available,
        effective: wanted.effective & permitted,
        inheritable,
        permitted,
        ambient: wanted.ambient & permitted & inheritable,
    }
}

/// The names of the capabilities in a mask.
fn names(mask: u64) -> impl Iterator<Item = String> {
    (0..64).filter(move |bit| mask & 1 << bit != 0).filter_map(capability_name)
}

/// A step with the strings it refers to, for a human.
#[derive(Debug)]
pub struct Shown<'a>(pub &'a Step, pub &'a Arena, pub &'a Plan);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(step, arena, plan) = self;
        match step {
            Step::SessionKeyring(name) => write!(f, "session keyring {}", arena.show(*name)),
            Step::InitialAffinity => f.write_str("processors before the cgroup"),
            Step::LastAffinity => f.write_str("processors in the cgroup"),
            Step::ResetAffinity => f.write_str("every processor of the cgroup"),
            Step::Session => f.write_str("new session"),
            Step::Terminal { .. } => f.write_str("terminal"),
            Step::OwnStreams(uid) => write!(f, "streams belong to {uid}"),
            Step::Apparmor(profile) => write!(f, "apparmor {}", arena.show(*profile)),
            Step::Selinux(label) => write!(f, "selinux {}", arena.show(*label)),
            Step::NoNewPrivileges => f.write_str("no new privileges"),
            Step::Scheduler(scheduler) => write!(f, "scheduler policy {}", scheduler.policy),
            Step::IoPriority(class, level) => write!(f, "I/O priority {class}/{level}"),
            Step::Personality(domain) => write!(f, "personality {domain:#x}"),
            Step::MemoryPolicy => {
                let policy = plan.memory_policy.as_ref();
                write!(f, "memory policy {:#x}", policy.map_or(0, |p| p.mode | p.flags))
            }
            Step::Seccomp => {
                let length = plan.seccomp.as_ref().map_or(0, |filter| filter.program.len());
                write!(f, "seccomp filter, {length} instructions")
            }
            Step::Limit(index) => match plan.rlimits.get(usize::from(*index)) {
                Some(limit) => write!(f, "{} soft {} hard {}", limit.name, limit.soft, limit.hard),
                None => Ok(()),
            },
            Step::Bounding(mask) => write!(f, "bounding set {mask:016x}"),
            Step::User { uid, gid } => {
                write!(f, "user {uid}:{gid}")?;
                if plan.groups.is_empty() { Ok(()) } else { write!(f, " groups {:?}", plan.groups) }
            }
            Step::WorkingDirectory { path, .. } => write!(f, "chdir {}", arena.show(*path)),
            Step::WorkingDirectoryAsUser(path) => {
                write!(f, "chdir {} as the user, if not yet done", arena.show(*path))
            }
            Step::Capabilities(sets) => write!(
                f,
                "capabilities effective {:016x} permitted {:016x} inheritable {:016x} ambient {:016x}",
                sets.effective, sets.permitted, sets.inheritable, sets.ambient
            ),
            Step::VerifyWorkingDirectory => f.write_str("verify the working directory"),
            Step::Umask(mask) => write!(f, "umask {mask:04o}"),
            Step::Home(uid) => write!(f, "HOME of {uid}"),
            Step::FindProgram => write!(f, "find {}", arena.show(plan.program)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_each_name_once_with_its_last_value() {
        let entries = ["A=1", "B=2", "A=3"].map(str::to_owned);
        assert_eq!(environment(&entries), ["A=3", "B=2"]);
    }

    #[test]
    fn never_grants_ambient_beyond_permitted_and_inheritable() {
        let capabilities = crate::config::process::Capabilities {
            ambient: 0b111,
            permitted: 0b011,
            inheritable: 0b110,
            ..Default::default()
        };
        let process = Process { capabilities: Some(capabilities), ..Process::default() };
        let mut warnings = Vec::new();
        assert_eq!(capability_sets(&process, None, &mut warnings).ambient, 0b010);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let begin = "can't raise ambient capability CAP_CHOWN, CAP_DAC_READ_SEARCH: ";
        assert!(warnings[0].starts_with(begin), "{warnings:?}");
        warnings.clear();
        assert_eq!(capability_sets(&process, Some(0b101), &mut warnings).ambient, 0);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
    }
}
