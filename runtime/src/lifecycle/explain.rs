//! explain: why a program or a container does not come to run, from the config, the root filesystem and the
//! host as they are. Nothing is changed, and nothing is run.

mod cgroups;
pub mod elf;
mod host;
mod ids;
mod program;

use std::ffi::CString;
use std::path::{Path, PathBuf};

use super::error::RuntimeError;
use super::launch::plan_only;
use super::request::{self, load_config};
use super::state::Container;
use crate::causes::with_causes;
use crate::config::process::Process;
use crate::config::spec::Spec;
use crate::container::id::ContainerId;
use crate::container::state_dir::StateError;
use crate::container::status::Status;
use crate::root::Root;
use crate::seccomp::explain::{Reason, answer, lets_through, show};
use crate::sys::open::{CWD, OpenFlags, openat};

/// What shall be explained.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where the states of containers are.
    pub root: PathBuf,
    /// A container; its bundle and config are those of its creation.
    pub id: Option<ContainerId>,
    /// The bundle, where there is no container.
    pub bundle: PathBuf,
    /// The config, where it is not the bundle's `config.json`.
    pub config: Option<PathBuf>,
    /// A command in place of the config's, as exec is given it.
    pub command: Vec<String>,
    /// Whether cgroups that may not be written to are tolerated; `None` decides by privilege.
    pub rootless: Option<bool>,
    /// The cgroups are systemd's to make.
    pub systemd_cgroup: bool,
}

/// One cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// A stable word for it, such as `interpreter-missing`.
    pub kind: &'static str,
    /// The field of `config.json` it is about.
    pub field: String,
    /// The errno that comes of it, such as `ENOENT`; empty where none does.
    pub errno: &'static str,
    /// What is wrong, with its object.
    pub what: String,
    /// What helps.
    pub hint: String,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Explanation {
    /// The causes, those that act first standing first.
    pub causes: Vec<Cause>,
    /// What was recorded when the container's program could not be executed, as JSON.
    pub last_error: Option<String>,
}

/// Looks for everything that keeps a program from running.
///
/// # Errors
/// There is no such container, or its record cannot be read. A config that cannot be read or is not
/// valid is a cause and no error.
pub fn explain(request: &Request) -> Result<Explanation, RuntimeError> {
    let mut found = Explanation::default();
    let (spec, rootfs) = match subject(request, &mut found)? {
        Some(subject) => subject,
        None => return Ok(found),
    };
    let mut process = spec.process.clone().unwrap_or_default();
    if !request.command.is_empty() {
        process.args.clone_from(&request.command);
    }
    let causes = &mut found.causes;
    if let Some(root) = open_rootfs(&rootfs, causes) {
        program::check(&spec, &process, &root, causes);
    }
    seccomp(&spec, causes);
    host::check(&spec, &process, &bundle_of(request, &rootfs), causes);
    Ok(found)
}

/// The config and the root filesystem: a container's, or a bundle's with what its config lacks.
fn subject(
    request: &Request,
    found: &mut Explanation,
) -> Result<Option<(Spec, PathBuf)>, RuntimeError> {
    if let Some(id) = &request.id {
        match Container::open(&request.root, id) {
            Ok(container) => {
                found.last_error = container.directory.read_last_error()?;
                let seen = PathBuf::from(format!("/proc/{}/root", container.state.process.pid));
                let rootfs = match container.status()? {
                    // As its processes see it, with all mounts.
                    Status::Running | Status::Paused if seen.exists() => seen,
                    _ => PathBuf::from(&container.state.rootfs),
                };
                return Ok(Some((container.config()?, rootfs)));
            }
            // It was never made, or its creation failed: then the bundle tells why.
            Err(RuntimeError::State(StateError::NotFound)) => {}
            Err(error) => return Err(error),
        }
    }
    let loaded = match load_config(&request.bundle, request.config.as_deref()) {
        Ok(loaded) => loaded,
        Err(error) => {
            found.causes.extend(refused(&error));
            return Ok(None);
        }
    };
    let creation = as_creation(request);
    match plan_only(&creation) {
        Ok(_) => cgroups::check(&creation, &loaded.spec, &mut found.causes),
        Err(error) => found.causes.extend(refused(&error)),
    }
    let rootfs = request.bundle.join(&loaded.spec.root_path);
    Ok(Some((loaded.spec, rootfs)))
}

fn as_creation(request: &Request) -> request::Request {
    let id = request.id.clone().unwrap_or_else(ContainerId::example);
    request::Request {
        config: request.config.clone(),
        rootless: request.rootless,
        systemd_cgroup: request.systemd_cgroup,
        ..request::Request::new(id, &request.root, &request.bundle)
    }
}

/// What refuses a config, as causes: one for each finding.
fn refused(error: &RuntimeError) -> Vec<Cause> {
    let cause = |kind, field: String, what: String, hint: &str| Cause {
        kind,
        field,
        errno: "",
        what,
        hint: hint.to_owned(),
    };
    if let RuntimeError::Config(errors)
    | RuntimeError::Load(crate::config::load::LoadError::Invalid(errors)) = error
    {
        let findings = errors.0.iter();
        let text = |finding: &crate::config::error::ConfigError| match finding.detail.is_empty() {
            true => finding.kind.to_string(),
            false => format!("{}: {}", finding.kind, finding.detail),
        };
        let each = findings
            .map(|one| cause("config", one.field.clone(), text(one), "correct config.json"));
        return each.collect();
    }
    let report = error.report();
    let text = with_causes(error);
    let hint = report.hint.unwrap_or_default();
    vec![cause(report.code, report.field.unwrap_or_default(), text, &hint)]
}

fn bundle_of(request: &Request, rootfs: &Path) -> PathBuf {
    match &request.id {
        Some(_) => rootfs.parent().map_or_else(|| request.bundle.clone(), Path::to_owned),
        None => request.bundle.clone(),
    }
}

fn open_rootfs(path: &Path, causes: &mut Vec<Cause>) -> Option<Root> {
    let mut reached = PathBuf::new();
    for component in path.components() {
        reached.push(component);
        let (errno, what) = match std::fs::metadata(&reached) {
            Ok(status) if status.is_dir() => continue,
            Ok(_) => ("ENOTDIR", format!("{} is no directory", reached.display())),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                ("EACCES", format!("{} may not be entered", reached.display()))
            }
            Err(_) => ("ENOENT", format!("{} is not there", reached.display())),
        };
        causes.push(Cause {
            kind: "rootfs",
            field: "root.path".to_owned(),
            errno,
            what,
            hint: "root.path is taken from the bundle; unpack or mount the root filesystem there first"
                .to_owned(),
        });
        return None;
    }
    let flags = OpenFlags::O_PATH | OpenFlags::O_DIRECTORY;
    let path = CString::new(path.as_os_str().as_encoded_bytes()).unwrap_or_default();
    openat(CWD, &path, flags, 0).ok().map(Root::new)
}

/// Whether the profile lets a program be executed at all.
fn seccomp(spec: &Spec, causes: &mut Vec<Cause>) {
    let Some(text) = syscall_of(spec, "execve", [0; 6]) else { return };
    if !text.passes {
        causes.push(Cause {
            kind: "seccomp",
            field: text.field,
            errno: if text.action.contains("ENOSYS") { "ENOSYS" } else { "EPERM" },
            what: format!("execve is answered with {} ({})", text.action, text.reason),
            hint: "allow execve: the filter is loaded before the program is executed".to_owned(),
        });
    }
}

/// What a container's profile does with one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyscallAnswer {
    /// The rule or member that decides.
    pub field: String,
    /// The action in the words of a profile.
    pub action: String,
    /// Why that one.
    pub reason: &'static str,
    /// Whether the kernel goes on with the call.
    pub passes: bool,
}

/// What the profile of a request does with the call `name` and these arguments; `None` where there is no
/// profile, or no such call.
///
/// # Errors
/// The config cannot be read.
pub fn explain_syscall(
    request: &Request,
    name: &str,
    args: [u64; 6],
) -> Result<Option<SyscallAnswer>, RuntimeError> {
    let container = request.id.as_ref().map(|id| Container::open(&request.root, id));
    let spec = match container {
        Some(Ok(container)) => container.config()?,
        Some(Err(RuntimeError::State(StateError::NotFound))) | None => {
            load_config(&request.bundle, request.config.as_deref())?.spec
        }
        Some(Err(error)) => return Err(error),
    };
    Ok(syscall_of(&spec, name, args))
}

fn syscall_of(spec: &Spec, name: &str, args: [u64; 6]) -> Option<SyscallAnswer> {
    let profile = spec.linux.seccomp.as_ref()?;
    let answer = answer(profile, name, args).ok()??;
    let (field, reason) = match answer.reason {
        Reason::Rule(index) => {
            (format!("linux.seccomp.syscalls[{index}]"), "the rule that names it")
        }
        Reason::Default => (
            "linux.seccomp.defaultAction".to_owned(),
            "no rule names it, or none whose conditions hold",
        ),
        Reason::Newer => (
            "linux.seccomp.syscalls".to_owned(),
            "newer than every call that the profile names, so that libraries fall back",
        ),
    };
    let action = show(answer.value);
    Some(SyscallAnswer { field, action, reason, passes: lets_through(answer.value) })
}

/// The program's name.
pub(super) fn args0(process: &Process) -> &str {
    process.args.first().map_or("", String::as_str)
}
