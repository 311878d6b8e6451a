//! exec: a further process in a running container.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::caller::{check_inherited, send_pidfd, write_pid_file};
use super::create::console_for;
use super::error::RuntimeError;
use super::exec_cgroup::Way;
use super::filter::{self, Filtered, tell_agent};
use super::foreground::Foreground;
use super::state::Container;
use super::systemd;
use super::wait::{Waited, wait_for};
use super::{host, intel_rdt};
use crate::config::linux::NamespaceKind;
use crate::config::load::{LoadError, load};
use crate::config::process::Process as Described;
use crate::config::spec::Spec;
use crate::container::id::ContainerId;
use crate::container::state_file::{State, SystemdUnit};
use crate::init::entrance::Entrances;
use crate::init::parent::{self, Resources, Started};
use crate::init::plan::{Plan, compile_exec};
use crate::process;
use crate::sys::credentials::capget;
use crate::sys::open::{CWD, OpenFlags, openat};
use crate::sys::process::{Child, pidfd_send_signal};
use crate::trace;

/// Where the process is described.
#[derive(Debug, Clone)]
pub enum Source {
    /// A file with a process object.
    File(PathBuf),
    /// The container's own process, changed.
    Changed(Box<Changes>),
}

/// What differs from the container's own process.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// The working directory.
    pub cwd: Option<String>,
    /// Variables that are added or replaced.
    pub env: Vec<String>,
    /// Whether it gets a terminal; never taken from the config.
    pub terminal: bool,
    /// User, and group where given.
    pub user: Option<(u32, Option<u32>)>,
    /// Groups that are added.
    pub additional_gids: Vec<u32>,
    /// An SELinux label.
    pub selinux_label: Option<String>,
    /// An AppArmor profile.
    pub apparmor_profile: Option<String>,
    /// Whether exec may grant no privilege.
    pub no_new_privileges: Option<bool>,
    /// Capabilities that are added, as a mask.
    pub capabilities: u64,
}

/// What exec is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The process.
    pub source: Source,
    /// The socket that takes its terminal.
    pub console_socket: Option<PathBuf>,
    /// The socket that is sent its descriptor.
    pub pidfd_socket: Option<PathBuf>,
    /// The file to write its pid to.
    pub pid_file: Option<PathBuf>,
    /// How many descriptors from 3 on it inherits.
    pub preserve_fds: u32,
    /// Sub-cgroups to join: `[CONTROLLER[,CONTROLLER…]:]PATH`.
    pub cgroups: Vec<String>,
    /// Start it though the container is paused.
    pub ignore_paused: bool,
}

impl Request {
    /// A process, and nothing beyond what it says.
    #[must_use]
    pub fn new(source: Source) -> Self {
        Self {
            source,
            console_socket: None,
            pidfd_socket: None,
            pid_file: None,
            preserve_fds: 0,
            cgroups: Vec::new(),
            ignore_paused: false,
        }
    }
}

/// A process that [`spawn`] started: a child of this program, and this program's to wait for. Until it is
/// reaped, a container with a pid namespace of its own does not end. Dropping the handle neither ends the
/// process nor reaps it.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Its pid, as this program sees it.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.pid
    }

    /// Waits for its end and reaps it; `timeout_ms` is a bound in milliseconds, -1 for none. No handler of
    /// SIGCHLD is set, no other child is reaped. [`Waited::Gone`] where it has been reaped before.
    ///
    /// # Errors
    /// The errno of poll(2).
    pub fn wait(&self, timeout_ms: i32) -> Result<Waited, RuntimeError> {
        wait_for(&self.child.pidfd, timeout_ms)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// ESRCH when it has been reaped, EINVAL when there is no such signal.
    pub fn kill(&self, signal: i32) -> Result<(), RuntimeError> {
        let sent = pidfd_send_signal(&self.child.pidfd, signal);
        sent.map_err(RuntimeError::system("the process"))
    }
}

/// A pidfd: readable once the process has ended, for a poll of one's own.
impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.child.pidfd.as_fd()
    }
}

/// Starts a process in a container, and leaves it to the caller.
///
/// # Errors
/// Why it could not be started; then nothing runs.
pub fn spawn(root: &Path, id: &ContainerId, request: &Request) -> Result<Process, RuntimeError> {
    let console = |terminal| Ok((None, console_for(terminal, request.console_socket.as_deref())?));
    let (child, _) = start(root, id, request, console)?;
    Ok(Process { child })
}

/// Starts a process in a container in the foreground, for the command: the signals and the terminal of this
/// program are its own until it ends. Gives its exit status as a shell shows it.
///
/// # Errors
/// Why it could not be started, or waited for.
pub fn exec(root: &Path, id: &ContainerId, request: &Request) -> Result<i32, RuntimeError> {
    let console = |terminal| {
        if request.console_socket.is_some() {
            let text = "cannot use console socket if runc will not detach or allocate tty";
            return Err(RuntimeError::Refused(text.to_owned()));
        }
        let (foreground, console) = Foreground::prepare(terminal)?;
        Ok((Some(foreground), console))
    };
    let (child, foreground) = start(root, id, request, console)?;
    match foreground {
        Some(foreground) => Ok(foreground.wait(&child, None)?.shell_status()),
        None => Ok(0),
    }
}

/// What waits in the foreground, and where the terminal goes.
type Console = (Option<Foreground>, Option<OwnedFd>);

fn start(
    root: &Path,
    id: &ContainerId,
    request: &Request,
    console: impl FnOnce(bool) -> Result<Console, RuntimeError>,
) -> Result<(Child, Option<Foreground>), RuntimeError> {
    check_inherited(0, request.preserve_fds)?;
    let container = Container::open(root, id)?;
    let status = container.status()?;
    if let Some(text) = status.refuses_exec(request.ignore_paused) {
        return Err(RuntimeError::Refused(text.to_owned()));
    }
    let spec = container.config()?;
    let process = describe(&request.source, &spec)?;
    host::check_label(&process)?;
    let opened = container.state.process.open();
    let init = opened.map_err(RuntimeError::system("the container process"))?;
    let init =
        init.ok_or_else(|| RuntimeError::Refused("cannot exec in a stopped container".to_owned()))?;

    let (mut foreground, console) = console(process.terminal)?;
    let (_, permitted) = capget().map_err(RuntimeError::system("own capabilities"))?;
    let in_user_namespace = spec.linux.namespace(NamespaceKind::User).is_some();
    let (filter, agent) = filter::compile(&spec)?;
    let context = process::plan::Context {
        id: id.as_str(),
        keep_keyring: true,
        permitted: (!in_user_namespace).then_some(permitted),
        personality: spec.linux.personality,
        memory_policy: spec.linux.memory_policy.clone(),
        seccomp: filter,
        console_device: false,
        own_streams: true,
        make_cwd: false,
    };
    let (entrances, attached) = match Way::find(&container, &request.cgroups)? {
        Way::Files(entrances) => (entrances, None),
        Way::Systemd(unit, below) => (Entrances::default(), Some((unit, below))),
    };
    let mut plan = compile_exec(&process, context, attached.is_some(), request.preserve_fds);
    let kinds = container.state.namespaces.iter().fold(0, |all, kind| all | kind.flag());
    let root = own_root(&container.state, &init)?;
    let join = Some((init, kinds));
    let resources = Resources { entrances, console, root, join, ..Resources::default() };
    let started = parent::spawn(&mut plan, resources).map_err(RuntimeError::Init)?;
    if let Some(processors) = &plan.process.affinity.initial {
        trace::step(
            trace::place!(),
            format_args!("nsexec: affinity: 0x{}", hexadecimal(processors)),
        );
    }
    let tell = |listener| {
        let (pid, state) = (started.pid(), &container.state);
        let first_pid = state.process.pid;
        let process = Filtered { pid, state, status: status.name(), first_pid };
        tell_agent(agent.as_ref(), &process, &listener)
    };
    let ready = attach(attached, &started, &plan)
        .and_then(|()| intel_rdt::enter(&container.state, started.pid()))
        .and_then(|()| {
            let ready = started.await_ready(&plan, || Ok(()), tell);
            let scored =
                ready.and_then(|()| started.set_oom_score(&plan, container.state.rootless));
            scored.map_err(RuntimeError::Init)
        })
        .and_then(|()| match &request.pid_file {
            Some(path) => write_pid_file(path, started.pid()),
            None => Ok(()),
        })
        .and_then(|()| match &request.pidfd_socket {
            Some(path) => send_pidfd(path, &started, b"setns"),
            None => Ok(()),
        })
        .and_then(|()| foreground.as_mut().map_or(Ok(()), Foreground::take_terminal))
        .and_then(|()| {
            trace::step(trace::place!(), format_args!("setns_init: about to exec"));
            let going = started.commit().and_then(|()| started.await_program(&plan));
            going.map_err(RuntimeError::Init)
        });
    if let Err(error) = ready {
        started.abandon();
        return Err(error);
    }
    Ok((started.into_child(), foreground))
}

/// The root of a container that has no mount namespace, which would bring it along.
fn own_root(state: &State, init: &OwnedFd) -> Result<Option<OwnedFd>, RuntimeError> {
    if state.namespaces.contains(&NamespaceKind::Mount) {
        return Ok(None);
    }
    let path = CString::new(format!("/proc/{}/root", state.process.pid)).unwrap_or_default();
    let flags = OpenFlags::O_PATH | OpenFlags::O_DIRECTORY;
    let root = openat(CWD, &path, flags, 0);
    // If that process lives, the pid was not another's.
    pidfd_send_signal(init, 0).map_err(RuntimeError::system("the container process"))?;
    root.map(Some).map_err(RuntimeError::system("the root of the container process"))
}

/// Has systemd put the process into its cgroup, where it cannot go by itself.
fn attach(
    place: Option<(SystemdUnit, PathBuf)>,
    started: &Started,
    plan: &Plan,
) -> Result<(), RuntimeError> {
    let Some((unit, below)) = place else { return Ok(()) };
    systemd::attach(&unit, &below, started.pid())?;
    started.placed(plan).map_err(RuntimeError::Init)
}

/// A mask of processors as one number, without leading zeros.
fn hexadecimal(mask: &[u64]) -> String {
    let digits: String = mask.iter().rev().map(|word| format!("{word:016x}")).collect();
    match digits.trim_start_matches('0') {
        "" => "0".to_owned(),
        number => number.to_owned(),
    }
}

fn describe(source: &Source, spec: &Spec) -> Result<Described, RuntimeError> {
    match source {
        Source::File(path) => {
            let document = load(path).map_err(|error| match error {
                LoadError::NotFound { .. } | LoadError::NoFolder { .. } => {
                    let text = format!("open {}: no such file or directory", path.display());
                    RuntimeError::Refused(text)
                }
                other => other.into(),
            })?;
            Ok(Described::from_json(document.json()?)?.value)
        }
        Source::Changed(changes) => {
            if changes.args.is_empty() {
                return Err(RuntimeError::Refused("exec args cannot be empty".to_owned()));
            }
            check(changes)?;
            Ok(changed(spec.process.clone().unwrap_or_default(), changes))
        }
    }
}

/// What a config is refused for is refused in a flag.
fn check(changes: &Changes) -> Result<(), RuntimeError> {
    if changes.cwd.as_ref().is_some_and(|cwd| !cwd.starts_with('/')) {
        return Err(RuntimeError::Refused("Cwd must be an absolute path".to_owned()));
    }
    let why = changes.env.iter().find_map(|entry| match entry.split_once('=') {
        None => Some("missing '='"),
        Some(("", _)) => Some("name cannot be empty"),
        Some(_) => None,
    });
    match why {
        Some(why) => {
            let text = "unable to start container process: invalid environment variable";
            Err(RuntimeError::Refused(format!("{text}: {why}")))
        }
        None => Ok(()),
    }
}

fn changed(mut process: Described, changes: &Changes) -> Described {
    process.args.clone_from(&changes.args);
    process.terminal = changes.terminal;
    process.console_size = None;
    process.env.extend(changes.env.iter().cloned());
    process.user.additional_gids.extend(&changes.additional_gids);
    if let Some(cwd) = &changes.cwd {
        process.cwd.clone_from(cwd);
    }
    if let Some((uid, gid)) = changes.user {
        process.user.uid = uid;
        process.user.gid = gid.unwrap_or(process.user.gid);
    }
    if let Some(label) = &changes.selinux_label {
        process.selinux_label = Some(label.clone());
    }
    if let Some(profile) = &changes.apparmor_profile {
        process.apparmor_profile = Some(profile.clone());
    }
    if let Some(on) = changes.no_new_privileges {
        process.no_new_privileges = on;
    }
    if changes.capabilities != 0 {
        // Never to the inheritable set: what a process inherits would outlive the exec that asked
        // for it (CVE-2022-29162). So the ambient set gets only what was inheritable before.
        let sets = process.capabilities.get_or_insert_default();
        sets.bounding |= changes.capabilities;
        sets.effective |= changes.capabilities;
        sets.permitted |= changes.capabilities;
        sets.ambient |= changes.capabilities & sets.inheritable;
    }
    process
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::process::Capabilities;

    #[test]
    fn never_adds_to_the_inheritable_set() {
        let before = Described {
            capabilities: Some(Capabilities { inheritable: 0b01, ..Capabilities::default() }),
            ..Described::default()
        };
        let changes = Changes { capabilities: 0b11, ..Changes::default() };
        let sets = changed(before, &changes).capabilities.unwrap_or_default();
        assert_eq!(sets.inheritable, 0b01);
        assert_eq!(sets.ambient, 0b01);
        assert_eq!(sets.permitted, 0b11);
    }

    #[test]
    fn writes_a_mask_as_a_number() {
        for (mask, number) in [(&[2, 0][..], "2"), (&[0, 0xa], "a0000000000000000"), (&[], "0")] {
            assert_eq!(hexadecimal(mask), number);
        }
    }
}
