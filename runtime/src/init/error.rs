//! Why a process did not come to run its program, in words: the child tells a step's number and an
//! errno, the parent holds the plan.

use super::plan::{Plan, Step};
use crate::arena::Text;
use crate::causes::with_causes;
use crate::failure::{Failure, Finding, Origin};
use crate::namespaces::net_devices::DeviceError;
use crate::process::plan::Step as ProcessStep;
use crate::sys::error::{Call, SyscallError};

/// Why a new process did not come to run its program.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Something the parent does for the child failed.
    #[error("{what}")]
    Parent {
        /// The field, and what was done.
        what: String,
        /// Why.
        source: Failure,
    },
    /// The ids of a user namespace could not be mapped by the tool for it.
    #[error("{field}: {tool}: {reason}")]
    Mapping {
        /// The field of the map.
        field: &'static str,
        /// `newuidmap` or `newgidmap`.
        tool: &'static str,
        /// The tool's own words.
        reason: String,
        /// What the user may do about it.
        hint: String,
    },
    /// A step of the child failed.
    #[error("error during container init: {doing}{step}")]
    Step {
        /// `error mounting ` for the steps of a mount, as runc's callers know it.
        doing: &'static str,
        /// The step in words, with its field.
        step: String,
        /// Why.
        source: Failure,
        /// What the user may do about it.
        hint: Option<&'static str>,
    },
    /// The program cannot be executed. The words are runc's, which callers match.
    #[error("{0}")]
    Program(String, Failure, Option<&'static str>),
    /// The child ended without a word.
    #[error("the container's process ended before its program: {0}")]
    Died(String),
    /// The child takes longer than anything it does could take.
    #[error("the container's process does not answer")]
    Silent,
    /// A network device could not be moved.
    #[error(transparent)]
    NetDevice(#[from] DeviceError),
    /// The container does not come to be, and the host lacks a network device that it had been given.
    #[error("{} (and cleaning up failed: {})", with_causes(first.as_ref()), with_causes(lost))]
    NotGivenBack {
        /// What failed first.
        first: Box<InitError>,
        /// Why the device could not be given back.
        lost: DeviceError,
    },
    /// A hook of the parent failed.
    #[error(transparent)]
    Hook(#[from] HookError),
}

/// A hook failed.
#[derive(Debug, thiserror::Error)]
#[error("error running {}: {path}: {reason}{}", shown(*origin), described(output))]
pub struct HookError {
    /// `hooks.POINT[i]`.
    pub origin: Origin,
    /// The program.
    pub path: String,
    /// How it failed.
    pub reason: String,
    /// What it wrote last.
    pub output: String,
}

/// `createRuntime hook #1`, as runc says it.
fn shown(origin: Origin) -> String {
    let (field, index) = origin.parts();
    let point = field.strip_prefix("hooks.").unwrap_or(field);
    index.map_or_else(|| format!("{point} hook"), |index| format!("{point} hook #{index}"))
}

fn described(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!(", output: {output}") }
}

/// Turns the index of a step and a failure into words, from the plan. `output` is what a hook wrote.
pub(super) fn explain(plan: &Plan, index: usize, failure: Failure, output: String) -> InitError {
    let program = || String::from_utf8_lossy(plan.arena.c_str(plan.process.program).to_bytes());
    match plan.steps.get(index).map(|(_, step)| *step) {
        None => not_executed(&program(), failure),
        Some(Step::Process(ProcessStep::FindProgram)) => {
            let name = program();
            let text = match failure.errno() {
                Some(libc::ENOENT | libc::ENOTDIR) => format!("stat {name}: {}", plain(failure)),
                _ => plain(failure),
            };
            InitError::Program(format!("exec: {name:?}: {text}"), failure, program_hint(failure))
        }
        Some(Step::Hook(number)) => {
            let path = plan.start_hooks.get(usize::from(number)).map(|hook| hook.path);
            InitError::Hook(HookError {
                origin: plan.steps[index].0,
                path: path.map_or_else(String::new, |p: Text| plan.arena.show(p).into_owned()),
                reason: failure.to_string(),
                output,
            })
        }
        Some(step) => InitError::Step {
            doing: doing(step, plan.steps[index].0),
            step: in_words(plan, step, failure).unwrap_or_else(|| plan.show_step(index)),
            source: failure,
            hint: step_hint(step, failure),
        },
    }
}

/// What runc's callers look for in front of a step.
fn doing(step: Step, origin: Origin) -> &'static str {
    match step {
        Step::Process(ProcessStep::Apparmor(_)) => "apparmor failed to apply profile: ",
        _ if origin.parts().0 == "mounts" => "error mounting ",
        _ => "",
    }
}

/// A step in the words of runc that users know, where these say more than the step's own.
fn in_words(plan: &Plan, step: Step, failure: Failure) -> Option<String> {
    match step {
        Step::Process(
            ProcessStep::WorkingDirectory { path, .. } | ProcessStep::WorkingDirectoryAsUser(path),
        ) => {
            let path = plan.arena.show(path);
            Some(format!("process.cwd: chdir to cwd ({path:?}) set in config.json failed"))
        }
        _ => {
            let words = unmapped(step, failure)?;
            Some(format!("process.user: unable to setup user: {words}"))
        }
    }
}

/// Ids that a user namespace does not have, in runc's words.
fn unmapped(step: Step, failure: Failure) -> Option<&'static str> {
    let (Step::Process(ProcessStep::User { .. }), Failure::Syscall(error)) = (step, failure) else {
        return None;
    };
    match (error.call, error.errno) {
        (Call::Setresuid, libc::EINVAL) => {
            Some("cannot set uid to unmapped user in user namespace")
        }
        (Call::Setresgid, libc::EINVAL) => {
            Some("cannot set gid to unmapped user in user namespace")
        }
        (Call::Setgroups, libc::EPERM) => {
            Some("cannot set any additional groups in a rootless container")
        }
        (Call::Setgroups, libc::EINVAL) => {
            Some("cannot set an additional group that is not mapped in user namespace")
        }
        _ => None,
    }
}

/// Turns what a process says after `start` into words: it has taken `step` of the container's own
/// hooks, and when these were all, its program could not be executed. `output` is what a hook wrote.
#[must_use]
pub fn explain_after_start(
    step: usize,
    failure: Failure,
    output: String,
    hooks: &[String],
    program: &str,
) -> InitError {
    match hooks.get(step) {
        None => not_executed(program, failure),
        Some(path) => InitError::Hook(HookError {
            origin: Origin::item("hooks.startContainer", step),
            path: path.clone(),
            reason: failure.to_string(),
            output,
        }),
    }
}

fn not_executed(program: &str, failure: Failure) -> InitError {
    let text = format!("exec {program}: {}", plain(failure));
    InitError::Program(text, failure, program_hint(failure))
}

/// The words that callers know: the errno's text without its name.
fn plain(failure: Failure) -> String {
    match failure.errno() {
        Some(errno) => crate::sys::error::errno_text(errno),
        None => failure.to_string(),
    }
}

fn program_hint(failure: Failure) -> Option<&'static str> {
    match failure {
        Failure::Syscall(SyscallError { call: Call::Execve, errno: libc::ENOENT }) => {
            Some("the file is there, but the interpreter it names is not in the rootfs")
        }
        Failure::Syscall(SyscallError { errno: libc::ENOEXEC, .. }) => {
            Some("the file is no program for this machine, or a script without a #! line")
        }
        Failure::Syscall(SyscallError { call: Call::Execve, errno: libc::EACCES }) => Some(
            "the file, or the interpreter it names, may not be executed by this user, or lies on a \
                  mount with noexec",
        ),
        Failure::Syscall(SyscallError { call: Call::Execve, errno: libc::EPERM }) => {
            Some("a seccomp rule or a security module denies the program")
        }
        Failure::Syscall(SyscallError { call: Call::Execve, errno: libc::ETXTBSY }) => {
            Some("the program's file is open for writing")
        }
        Failure::Syscall(SyscallError { call: Call::Execve, errno: libc::E2BIG }) => Some(
            "process.args and process.env are larger than the kernel takes (a quarter of the stack's limit)",
        ),
        Failure::Found(Finding::CommandNotFound) => {
            Some("give the path of the program, or set PATH in process.env")
        }
        _ => None,
    }
}

fn step_hint(step: Step, failure: Failure) -> Option<&'static str> {
    use crate::rootfs::plan::Step as Rootfs;
    match (step, failure.errno()?) {
        (Step::Rootfs(Rootfs::AttachRoot { .. }), libc::ENOENT) => {
            Some("root.path is taken from the bundle; unpack or mount the rootfs there first")
        }
        (Step::Process(ProcessStep::User { .. }), libc::EPERM | libc::EINVAL) => Some(
            "linux.uidMappings and linux.gidMappings must have the ids of process.user; more than \
             one's own needs a range in /etc/subuid and /etc/subgid",
        ),
        (Step::Rootfs(Rootfs::Bind { .. }), libc::ENOENT) => {
            Some("the source of a bind mount must exist on the host")
        }
        (Step::Rootfs(Rootfs::CopyUp { .. }), libc::ENOSPC) => {
            Some("the tmpfs is smaller than the directory it begins with: give it a larger size=")
        }
        (Step::Rootfs(Rootfs::CopyUp { .. }), libc::EINVAL) => Some(
            "tmpfs does not accept one of the options, or an owner has no id in this user namespace",
        ),
        (Step::Rootfs(Rootfs::Attributes { recursive: true, .. }), libc::ENOSYS) => {
            Some("options for a whole tree (rro, rnosuid, …) need Linux 5.12 or later")
        }
        (Step::Rootfs(Rootfs::Bind { .. }), libc::ENOTDIR) => {
            Some("a directory can be mounted on a directory only, and a file on a file")
        }
        (Step::Rootfs(Rootfs::Mount { .. }), libc::EPERM) => Some(
            "in a user namespace only who owns what a file system shows may mount it: sysfs needs a \
             network namespace of the container's own (or ro, for the host's), mqueue an ipc namespace, \
             proc a pid namespace; otherwise bind the host's",
        ),
        (Step::Rootfs(Rootfs::Mount { .. }), libc::ENODEV) => {
            Some("this kernel does not know the file system type")
        }
        (Step::Rootfs(Rootfs::Mount { .. }), libc::EINVAL) => {
            Some("the file system does not accept one of the options")
        }
        (Step::Rootfs(Rootfs::Pivot { .. }), libc::EINVAL) => {
            Some("on a host whose root is a ramdisk use --no-pivot")
        }
        // The words are runc's (sched_setattr(2), EPERM).
        (Step::Process(ProcessStep::Scheduler(_)), libc::EPERM) => Some(
            "without CAP_SYS_NICE it may not be had, and a process scheduler can't be used together \
             with AllowedCPUs",
        ),
        (Step::Process(ProcessStep::Apparmor(_)), libc::EINVAL | libc::ENOENT) => {
            Some("AppArmor is not active on this host, or the profile is not loaded")
        }
        (Step::Process(ProcessStep::Capabilities(_) | ProcessStep::Bounding(_)), libc::EPERM) => {
            Some("keel does not have the capabilities that the config asks for")
        }
        _ => None,
    }
}
