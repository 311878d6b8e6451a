//! The parent's side: what is opened before the clone, the clone, and the talk with the child.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::child::{self, Inherited};
use super::detour::{clone_after_steps, clone_beyond};
use super::entrance::Entrances;
use super::error::{InitError, explain};
use super::excursion::Excursion;
use super::id_maps;
use super::plan::{Plan, Step};
use super::protocol::Message;
use super::trees::{Namespaces, open_trees};
use crate::config::linux::NamespaceKind;
use crate::config::process::Rlimit;
use crate::container::state_dir::Gate;
use crate::failure::{Failure, Finding};
use crate::limits::{CHILD_WAIT_MS, END_WAIT_MS, START_MEMORY_BYTES};
use crate::namespaces;
use crate::process::plan::Step as ProcessStep;
use crate::procfs::Procfs;
use crate::rootfs;
use crate::sys::error::SyscallError;
use crate::sys::namespace::Kind;
use crate::sys::open::{CWD, OpenFlags, openat};
use crate::sys::process::{
    Child, Clone3, Ended, clone3, pidfd_getfd, pidfd_send_signal, prlimit, wait_child,
    wait_readable,
};
use crate::sys::socket::seqpacket_pair;
use crate::trace;

/// What the child gets beside its plan.
#[derive(Debug, Default)]
pub struct Resources {
    /// How it comes into its cgroups.
    pub entrances: Entrances,
    /// Where the master of the terminal goes.
    pub console: Option<OwnedFd>,
    /// Where the process waits for `start`.
    pub gate: Option<Gate>,
    /// A process whose namespaces are joined, but for the pid namespace, which is among these flags
    /// too: the parent's thread enters it for the clone.
    pub join: Option<(OwnedFd, Kind)>,
    /// The root to go to, where none of the namespaces that are joined brings one along.
    pub root: Option<OwnedFd>,
}

impl Resources {
    /// Whether a pid namespace was refused for want of a right that comes with the user namespace.
    fn beyond_reach(&self, failure: Failure) -> bool {
        let user = NamespaceKind::User.flag();
        failure.errno() == Some(libc::EPERM)
            && self.join.as_ref().is_some_and(|(_, kinds)| kinds & user != 0)
    }
}

/// A child that is on its way.
#[derive(Debug)]
pub struct Started {
    child: Child,
    socket: OwnedFd,
    procfs: Option<Procfs>,
    /// The network namespace it joins, kept where devices are to be moved there.
    network: Option<OwnedFd>,
    /// For trees that the child asks for.
    mappings: Namespaces,
    /// As in the plan.
    memory_max: Option<u64>,
}

/// Opens what the plan needs and makes the child.
///
/// # Errors
/// [`InitError::Parent`], naming the field.
pub fn spawn(plan: &mut Plan, resources: Resources) -> Result<Started, InitError> {
    let namespaces = open_namespaces(plan)?;
    let (trees, mappings) = open_trees(plan)?;
    let needs_procfs = needs_procfs(plan);
    let open_procfs = || match needs_procfs {
        true => Procfs::open().map(Some).map_err(parent_failure("/proc")),
        false => Ok(None),
    };
    let (ours, theirs) =
        seqpacket_pair().map_err(|e| parent_failure("the socket to the child")(e.into()))?;
    let pid_namespaces = pid_namespaces(plan, &namespaces, resources.join.as_ref());
    let excursion = match Excursion::begin(&pid_namespaces) {
        Ok(excursion) => excursion,
        // Only root of the container's user namespace may go there, and that one cannot come back.
        Err(failure) if resources.beyond_reach(failure) => None,
        Err(failure) => {
            return Err(parent_failure("linux.namespaces: entering for the clone")(failure));
        }
    };
    let (pid, user) = (NamespaceKind::Pid.flag(), NamespaceKind::User.flag());
    let joined = resources.join.as_ref().map_or(0, |(_, kinds)| *kinds);
    let before = joined & if excursion.is_some() { pid } else { pid | user };
    let mut inherited = Inherited {
        socket: theirs,
        parent_socket: ours,
        namespaces,
        trees,
        entrances: resources.entrances,
        console: resources.console,
        procfs: open_procfs()?,
        gate: resources.gate,
        join: resources.join.map(|(fd, kinds)| (fd, kinds & !before)),
        root: resources.root,
        in_user_namespace: joined & user != 0,
    };
    trace::step(
        trace::place!(),
        format_args!("nsexec container setup: {} steps", plan.steps.len()),
    );
    for index in 0..plan.steps.len() {
        if let Step::Rootfs(rootfs::plan::Step::Mount { instead: Some(_), .. }) =
            plan.steps[index].1
        {
            trace::step(trace::place!(), format_args!("warning: {}", plan.show_step(index)));
        }
    }
    if let Some(filter) = &plan.process.seccomp {
        trace::step(trace::place!(), format_args!("seccomp filter flags: {}", filter.flags));
    }
    let cloned = match &excursion {
        Some(_) if !plan.namespaces.ahead.is_empty() => {
            // Whoever is inside has no right over a cgroup outside.
            inherited.entrances.write_instead_of_birth();
            clone_after_steps(plan, &inherited)
        }
        Some(_) => clone(plan, &mut inherited).map_err(|error| (0, error.into())),
        None => {
            inherited.entrances.write_instead_of_birth();
            clone_beyond(plan, &inherited, before).map_err(|failure| (0, failure))
        }
    };
    let returned = excursion.map_or(Ok(()), |excursion| excursion.end());
    let child = cloned.map_err(|(step, source)| InitError::Parent {
        what: describe_clone(plan, usize::from(step)),
        source,
    })?;
    trace::step(trace::place!(), format_args!("child process in init(): pid {}", child.pid));
    // What is dropped here are the parent's copies: the child has its own.
    let procfs = inherited.procfs.take();
    let network = joined_network(plan, &mut inherited);
    let socket = inherited.parent_socket;
    let memory_max = plan.memory_max;
    let started = Started { child, socket, procfs, network, mappings, memory_max };
    if let Err(failure) = returned {
        started.abandon();
        return Err(parent_failure("linux.namespaces: coming back from the clone")(failure));
    }
    Ok(started)
}

/// The clone. A v2 directory that cannot be born in (it is threaded, or the kernel is older than 5.7)
/// is entered by writing instead.
fn clone(plan: &mut Plan, inherited: &mut Inherited) -> Result<Child, SyscallError> {
    let namespaces = plan.namespaces.create;
    let cgroup = inherited.entrances.birthplace();
    let options = Clone3 { namespaces, cgroup, ..Clone3::default() };
    match clone3(&options, || child::run(plan, inherited)) {
        Err(SyscallError { errno: libc::EOPNOTSUPP | libc::EBUSY | libc::E2BIG, .. })
            if options.cgroup.is_some() =>
        {
            inherited.entrances.write_instead_of_birth();
            let options = Clone3 { namespaces, ..Clone3::default() };
            clone3(&options, || child::run(plan, inherited))
        }
        other => other,
    }
}

/// What the clone is for, or the step ahead of it.
fn describe_clone(plan: &Plan, step: usize) -> String {
    plan.namespaces.ahead.get(step).map_or_else(
        || "the container's process".to_owned(),
        |(origin, step)| {
            let step = namespaces::plan::Shown(step, &plan.arena, &plan.namespaces.joins);
            format!("{origin}: {step} for the clone")
        },
    )
}

pub(super) fn parent_failure(what: &'static str) -> impl FnOnce(Failure) -> InitError {
    move |source| InitError::Parent { what: what.to_owned(), source }
}

fn open_namespaces(plan: &Plan) -> Result<Vec<OwnedFd>, InitError> {
    let open = |join: &namespaces::plan::Join| {
        let path = plan.arena.c_str(join.path);
        let failed = |source| InitError::Parent {
            what: format!("{}.path ({})", join.origin, path.to_string_lossy()),
            source,
        };
        let flags = OpenFlags::O_RDONLY | OpenFlags::O_NONBLOCK | OpenFlags::O_NOCTTY;
        let fd = openat(CWD, path, flags, 0).map_err(|e| failed(e.into()))?;
        namespaces::apply::check_kind(&fd, join.kind).map_err(failed)?;
        if let Some(field) = join.sysctl {
            namespaces::apply::check_foreign(&fd, join.kind).map_err(|source| {
                InitError::Parent { what: plan.arena.show(field).into_owned(), source }
            })?;
        }
        Ok(fd)
    };
    plan.namespaces.joins.iter().map(open).collect()
}

fn needs_procfs(plan: &Plan) -> bool {
    let by_parent = !plan.namespaces.uid_map.is_empty() || plan.process.oom_score_adj.is_some();
    by_parent
        || plan.steps.iter().any(|(_, step)| {
            matches!(
                step,
                Step::Namespace(
                    namespaces::plan::Step::Sysctl(..) | namespaces::plan::Step::NewTime(_)
                ) | Step::Process(ProcessStep::Apparmor(_) | ProcessStep::Selinux(_))
            )
        })
}

/// The namespaces in which the clone must happen, with their kinds.
fn pid_namespaces<'fd>(
    plan: &Plan,
    namespaces: &'fd [OwnedFd],
    join: Option<&'fd (OwnedFd, Kind)>,
) -> Vec<(BorrowedFd<'fd>, NamespaceKind)> {
    let mut all: Vec<_> = plan
        .namespaces
        .parent_joins
        .iter()
        .filter_map(|index| {
            let index = usize::from(*index);
            Some((namespaces.get(index)?.as_fd(), plan.namespaces.joins.get(index)?.kind))
        })
        .collect();
    if let Some((pidfd, kinds)) = join
        && kinds & NamespaceKind::Pid.flag() != 0
    {
        all.push((pidfd.as_fd(), NamespaceKind::Pid));
    }
    all
}

fn joined_network(plan: &Plan, inherited: &mut Inherited) -> Option<OwnedFd> {
    let mut joins = plan.namespaces.joins.iter();
    let index = joins.position(|join| join.kind == NamespaceKind::Network)?;
    let wanted = !plan.namespaces.net_devices.is_empty();
    wanted.then(|| inherited.namespaces.swap_remove(index))
}

/// A message, `None` at the end, with what came along.
type Heard = (Option<Message>, Option<OwnedFd>);

impl Started {
    /// The child's pid on the host.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.pid
    }

    /// The child's descriptor.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.child.pidfd.as_fd()
    }

    /// The network namespace that the child joins, if it joins one to which devices are moved.
    pub(super) fn joined_network(&self) -> Option<BorrowedFd<'_>> {
        self.network.as_ref().map(AsFd::as_fd)
    }

    /// Writes the id maps and tells the child, if it has a user namespace of its own. `privileged` is
    /// whether this process may map any id.
    ///
    /// # Errors
    /// [`InitError::Parent`] or [`InitError::Mapping`].
    pub fn map_ids(&self, plan: &Plan, privileged: bool) -> Result<(), InitError> {
        if plan.namespaces.uid_map.is_empty() {
            return Ok(());
        }
        let procfs = self.procfs.as_ref().ok_or(Failure::Found(Finding::NotProcfs));
        let procfs = procfs.map_err(parent_failure("/proc"))?;
        // Inside, the child has no right to raise a limit.
        raise_limits(self.child.pid, &plan.process.rlimits);
        id_maps::write(procfs, self.child.pid, &plan.namespaces, privileged)?;
        self.tell(Message::Mapped)
    }

    /// Tells the child that it is in its cgroup. It has built its file system meanwhile, or says why
    /// it could not.
    ///
    /// # Errors
    /// What the child says, or how it ended.
    pub fn placed(&self, plan: &Plan) -> Result<(), InitError> {
        if Message::Placed.send(&self.socket).is_ok() {
            return Ok(());
        }
        match self.listen(plan, END_WAIT_MS) {
            Err(error) => Err(error),
            Ok(_) => Err(self.died()),
        }
    }

    /// Why the child has failed, if it has said so by now: what else went wrong may follow from that.
    #[must_use]
    pub fn said_failure(&self, plan: &Plan) -> Option<InitError> {
        if !wait_readable(&self.socket, 0).unwrap_or(false) {
            return None;
        }
        self.listen(plan, 0).err()
    }

    /// Waits until the child is ready, opens trees and runs `hooks` when it asks for them, and gives the
    /// listener of its seccomp filter to `agent`.
    ///
    /// # Errors
    /// What the child says, or how it ended.
    pub fn await_ready(
        &self,
        plan: &Plan,
        mut hooks: impl FnMut() -> Result<(), InitError>,
        mut agent: impl FnMut(OwnedFd) -> Result<(), InitError>,
    ) -> Result<(), InitError> {
        loop {
            let (message, descriptor) = self.listen(plan, CHILD_WAIT_MS)?;
            match message {
                Some(Message::Filter { listener }) => {
                    let fetch = || pidfd_getfd(&self.child.pidfd, listener);
                    let listener = descriptor.map_or_else(fetch, Ok).map_err(|e| {
                        let what = "linux.seccomp: the listener (the filter permits no sendmsg)";
                        parent_failure(what)(e.into())
                    })?;
                    agent(listener)?;
                    self.tell(Message::FilterKnown)?;
                }
                Some(Message::Tree { source }) => {
                    match self.mappings.tree(plan, source, descriptor)? {
                        None => self.tell(Message::TreeDone)?,
                        Some(tree) => match Message::TreeDone.send_with(&self.socket, tree) {
                            Ok(()) => {}
                            Err(_) => return Err(self.died()),
                        },
                    }
                }
                Some(Message::Hooks) => {
                    hooks()?;
                    self.tell(Message::HooksDone)?;
                }
                Some(Message::Ready) => return Ok(()),
                _ => return Err(self.died()),
            }
        }
    }

    /// Sets the score by which the kernel chooses whom to kill.
    ///
    /// # Errors
    /// [`InitError::Parent`], naming the field.
    pub fn set_oom_score(&self, plan: &Plan, rootless: bool) -> Result<(), InitError> {
        let (Some(score), Some(procfs)) = (plan.process.oom_score_adj, &self.procfs) else {
            return Ok(());
        };
        let path = CString::new(format!("{}/oom_score_adj", self.child.pid)).unwrap_or_default();
        match procfs.write(&path, score.to_string().as_bytes()) {
            Err(failure) if rootless && failure.errno() == Some(libc::EACCES) => Ok(()),
            other => other.map_err(|source| InitError::Parent {
                what: format!("process.oomScoreAdj ({score})"),
                source,
            }),
        }
    }

    /// Lets the child go on: the container is recorded.
    ///
    /// # Errors
    /// How it ended, when it has.
    pub fn commit(&self) -> Result<(), InitError> {
        trace::step(trace::place!(), format_args!("init: closing the pipe to signal completion"));
        self.tell(Message::Commit)
    }

    /// Waits until the child waits for `start` and can be looked at, where its user needs that: an exec
    /// that comes at once would not find its namespaces.
    ///
    /// # Errors
    /// Why it does not wait.
    pub fn await_visible(&self, plan: &Plan) -> Result<(), InitError> {
        let visible = |(_, step): &(_, Step)| matches!(step, Step::AwaitStart { visible: true });
        if !plan.steps.iter().any(visible) {
            return Ok(());
        }
        match self.listen(plan, CHILD_WAIT_MS)? {
            (None, _) => Ok(()),
            (Some(_), _) => Err(self.died()),
        }
    }

    /// Waits until the program is executed.
    ///
    /// # Errors
    /// Why it was not.
    pub fn await_program(&self, plan: &Plan) -> Result<(), InitError> {
        // Hooks of the container run in this time and have limits of their own.
        match self.listen(plan, -1)? {
            (None, _) => Ok(()),
            (Some(_), _) => Err(self.died()),
        }
    }

    /// Kills the child and waits for its end. In a pid namespace all other processes end with it.
    pub fn abandon(&self) {
        // Already gone is what is wanted.
        let _ = pidfd_send_signal(&self.child.pidfd, libc::SIGKILL);
        let _ = wait_child(&self.child.pidfd);
    }

    /// Hands out the child for whoever waits for its end.
    #[must_use]
    pub fn into_child(self) -> Child {
        self.child
    }

    pub(super) fn tell(&self, message: Message) -> Result<(), InitError> {
        match message.send(&self.socket) {
            Ok(()) => Ok(()),
            // It may have said why before it went.
            Err(_) => Err(self.died()),
        }
    }

    fn listen(&self, plan: &Plan, timeout_ms: i32) -> Result<Heard, InitError> {
        let failed = |e: SyscallError| parent_failure("the socket to the child")(e.into());
        if !wait_readable(&self.socket, timeout_ms).map_err(failed)? {
            return Err(InitError::Silent);
        }
        let mut received = Message::receive_with(&self.socket);
        // It has gone, and not into its program: that would have read what this side told it.
        let reset = matches!(received, Err(error) if error.errno == libc::ECONNRESET);
        if reset {
            received = Message::receive_with(&self.socket);
        }
        match received.map_err(failed)? {
            (Some(Message::Failed { step, failure }), _, text) => {
                Err(explain(plan, usize::from(step), failure, text))
            }
            _ if reset => Err(self.died()),
            (message, descriptor, _) => Ok((message, descriptor)),
        }
    }

    fn died(&self) -> InitError {
        // It has closed its end, so it is about to be gone; whatever keeps it shall not keep us.
        if !wait_readable(&self.child.pidfd, END_WAIT_MS).unwrap_or(false) {
            let _ = pidfd_send_signal(&self.child.pidfd, libc::SIGKILL);
        }
        InitError::Died(match wait_child(&self.child.pidfd) {
            Ok(Ended::Signaled(libc::SIGKILL)) => match self.memory_max {
                Some(limit) if limit < START_MEMORY_BYTES => format!(
                    "killed by SIGKILL: linux.resources.memory.limit: the limit of {limit} bytes is too low: \
                     it needs {START_MEMORY_BYTES} until its program begins"
                ),
                _ => {
                    "killed by SIGKILL: the memory limit may be too low for it to start".to_owned()
                }
            },
            Ok(Ended::Signaled(signal)) => format!("signal {signal}"),
            Ok(Ended::Exited(status)) => format!("exit status {status}"),
            Err(error) => error.to_string(),
        })
    }
}

/// Makes room for limits that lie above the present ones, as far as this process may; the child sets
/// the limits themselves, and says which it could not. The number of open files is left for the end
/// where it is low, because the child needs some until then.
pub(super) fn raise_limits(pid: i32, limits: &[Rlimit]) {
    const MANY_FILES: u64 = 4096;
    for limit in limits {
        if limit.resource != libc::RLIMIT_NOFILE || limit.hard >= MANY_FILES {
            let _ = prlimit(pid, limit.resource, limit.hard, limit.hard);
        }
    }
}
