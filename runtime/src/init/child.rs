//! What the child does from the clone to execve: it walks the plan. It allocates nothing, takes no
//! lock and never unwinds; all it has are the plan, descriptors and its stack.

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::entrance::Entrances;
use super::parent::raise_limits;
use super::plan::{Plan, Step};
use super::protocol::Message;
use crate::container::state_dir::Gate;
use crate::decimal::Decimal;
use crate::failure::{Failure, Finding, Result};
use crate::hooks;
use crate::limits::DESCRIPTORS_LOOKED_FOR;
use crate::process::command::Program;
use crate::procfs::Procfs;
use crate::root::Root;
use crate::sys::credentials::{set_dumpable, set_name};
use crate::sys::namespace::{Kind, setns};
use crate::sys::open::{self, OpenFlags, close_others_on_exec, read, write_all};
use crate::sys::process::{chroot_here, execve, fchdir, set_umask};
use crate::sys::signal::{end_on_termination, stop_ignoring, unblock_all};
use crate::{namespaces, process, rootfs};

/// The descriptors that the parent opened for the child.
#[derive(Debug)]
pub struct Inherited {
    /// The child's end of the protocol.
    pub socket: OwnedFd,
    /// The parent's end, which the child closes: else it would not see the parent go.
    pub parent_socket: OwnedFd,
    /// Namespaces to join, in the order of the plan.
    pub namespaces: Vec<OwnedFd>,
    /// Trees of the host, in the order of the plan, as far as they are open.
    pub trees: Vec<Option<OwnedFd>>,
    /// How the child comes into its cgroups.
    pub entrances: Entrances,
    /// Where the master of the terminal goes.
    pub console: Option<OwnedFd>,
    /// The host's procfs.
    pub procfs: Option<Procfs>,
    /// Where the process waits for `start`.
    pub gate: Option<Gate>,
    /// A process whose namespaces are joined before anything else: what exec does.
    pub join: Option<(OwnedFd, Kind)>,
    /// The root to go to after that.
    pub root: Option<OwnedFd>,
    /// Whether the namespaces that were joined include a user namespace.
    pub in_user_namespace: bool,
}

/// Runs in the child; gives the exit status when there is no program to give one.
pub fn run(plan: &mut Plan, inherited: &Inherited) -> i32 {
    let Inherited { socket, parent_socket, .. } = inherited;
    close(parent_socket.as_fd());
    let mut child = Child {
        inherited,
        namespaces: namespaces::apply::Live::default(),
        rootfs: rootfs::apply::Live::default(),
        own_root: None,
        process: process::apply::Live {
            console: inherited.console.as_ref().map(AsFd::as_fd),
            procfs: inherited.procfs.as_ref(),
            program: Program::default(),
            entered: false,
            listener: None,
        },
        placed: Cell::new(false),
        committed: false,
        released_at: None,
        hook_output: hooks::apply::Output::default(),
    };
    let (step, failure) = match child.walk(plan) {
        Err((step, failure)) => (step, failure),
        Ok(()) => (plan.steps.len(), child.execute(plan)),
    };
    let number = |step| u16::try_from(step).unwrap_or(u16::MAX);
    if let (Some(gate), Some(at)) = (&inherited.gate, child.released_at) {
        // `start` may listen, or be gone; the message goes where the program's own would have gone, too.
        let failed = Message::Failed { step: number(step - at), failure };
        let _ = failed.send_with_text(child.hook_output.bytes(), &gate.status);
        complain(&child.process.program, failure);
        return 255;
    }
    let failed = Message::Failed { step: number(step), failure };
    let sent = failed.send_with_text(child.hook_output.bytes(), socket);
    if !child.committed {
        return 1;
    }
    if sent.is_err() {
        complain(&child.process.program, failure);
    }
    255
}

struct Child<'a> {
    inherited: &'a Inherited,
    namespaces: namespaces::apply::Live,
    rootfs: rootfs::apply::Live,
    /// The root of the container whose namespaces were joined.
    own_root: Option<Root>,
    process: process::apply::Live<'a>,
    /// Whether the parent has told that this process is in its cgroup.
    placed: Cell<bool>,
    committed: bool,
    /// The first step after `start`, once it has come.
    released_at: Option<usize>,
    /// What the last hook wrote.
    hook_output: hooks::apply::Output,
}

impl Child<'_> {
    fn walk(&mut self, plan: &mut Plan) -> std::result::Result<(), (usize, Failure)> {
        self.begin(plan).map_err(|failure| (0, failure))?;
        for index in 0..plan.steps.len() {
            let step = plan.steps[index].1;
            self.take(&step, plan).map_err(|failure| (index, failure))?;
            if matches!(step, Step::AwaitStart { .. }) {
                self.released_at = Some(index + 1);
            }
        }
        Ok(())
    }

    fn begin(&mut self, plan: &Plan) -> Result<()> {
        set_name(c"keel:[init]")?;
        // Now, because later a filter of the container's may deny it.
        close_others_on_exec(3 + plan.preserve_fds)?;
        // Until its ids are mapped, an unprivileged parent must be able to write this process's
        // files in procfs.
        if !matches!(plan.steps.first(), Some((_, Step::AwaitMapping))) {
            set_dumpable(false)?;
        }
        if let Some((pidfd, kinds)) = &self.inherited.join {
            raise_limits(0, &plan.process.rlimits);
            if *kinds != 0 {
                setns(pidfd, *kinds)?;
            }
            if self.inherited.in_user_namespace {
                // What is made from here on shall belong to somebody who is known there, if root is.
                match namespaces::apply::become_root() {
                    Err(failure) if failure.errno() == Some(libc::EINVAL) => {}
                    other => other?,
                }
            }
            if let Some(root) = &self.inherited.root {
                fchdir(root)?;
                chroot_here()?;
            }
            let flags = OpenFlags::O_PATH | OpenFlags::O_DIRECTORY;
            self.own_root = Some(Root::new(open::openat(open::CWD, c"/", flags, 0)?));
        }
        set_umask(0);
        Ok(())
    }

    fn take(&mut self, step: &Step, plan: &mut Plan) -> Result<()> {
        let inherited = self.inherited;
        match step {
            Step::AwaitMapping => {
                Message::Mapped.expect(&inherited.socket)?;
                Ok(set_dumpable(false)?)
            }
            Step::AwaitNetDevices => Message::Devices.expect(&inherited.socket),
            Step::Namespace(step) => {
                let procfs = inherited.procfs.as_ref();
                let live = &mut self.namespaces;
                namespaces::apply::apply(step, &plan.arena, &inherited.namespaces, procfs, live)
            }
            Step::Rootfs(step) => {
                let ask = |source, tree: Option<BorrowedFd<'_>>| {
                    ask_for_tree(&inherited.socket, source, tree, &self.placed)
                };
                let trees = rootfs::apply::Trees { open: &inherited.trees, ask: &ask };
                rootfs::apply::apply(step, &plan.arena, &trees, &mut self.rootfs)
            }
            Step::JoinCgroups => Ok(inherited.entrances.enter()?),
            Step::AwaitCgroups if self.placed.get() => Ok(()),
            Step::AwaitCgroups => Message::Placed.expect(&inherited.socket),
            Step::Hooks { visible } => while_visible(*visible, || {
                Message::Hooks.send(&inherited.socket)?;
                Message::HooksDone.expect(&inherited.socket)
            }),
            Step::Process(step) => {
                let root = self.own_root.as_ref().or(self.rootfs.root().ok());
                let live = &mut self.process;
                process::apply::apply(step, &plan.arena, &mut plan.process, root, live)?;
                match live.listener.take() {
                    Some(listener) => hand_on(&listener, plan, &inherited.socket),
                    None => Ok(()),
                }
            }
            Step::Ready => {
                // The first process of a pid namespace takes no signal that it does not handle, and `create`
                // may have ended, and a signal come, before this process gets to wait.
                if inherited.gate.is_some() {
                    end_on_termination()?;
                }
                Message::Ready.send(&inherited.socket)?;
                Message::Commit.expect(&inherited.socket)?;
                self.committed = true;
                Ok(())
            }
            Step::AwaitStart { visible } => {
                let Some(gate) = &inherited.gate else { return Ok(()) };
                while_visible(*visible, || {
                    // The end of the socket tells the parent that it waits.
                    close_all_but([gate.status.as_fd(), gate.fifo.as_fd()], 3 + plan.preserve_fds);
                    Ok(read(&gate.fifo, &mut [0]).map(drop)?)
                })
            }
            Step::Hook(index) => run_hook(plan, usize::from(*index), &mut self.hook_output),
        }
    }

    /// Gives up what is keel's and becomes the program. Returns only why it could not.
    fn execute(&self, plan: &Plan) -> Failure {
        let prepare = || -> Result<()> {
            stop_ignoring()?;
            Ok(unblock_all()?)
        };
        match prepare() {
            Err(failure) => failure,
            Ok(()) => {
                let path = self.process.program.path();
                Failure::Syscall(execve(path, &plan.process.args, &plan.process.env))
            }
        }
    }
}

/// Lets the caller's user look at this process while it waits, where that user has no other right to.
fn while_visible(visible: bool, wait: impl FnOnce() -> Result<()>) -> Result<()> {
    if !visible {
        return wait();
    }
    set_dumpable(true)?;
    wait()?;
    Ok(set_dumpable(false)?)
}

/// Has the parent open a tree, or map the ids of `tree`.
fn ask_for_tree(
    socket: &OwnedFd,
    source: u16,
    tree: Option<BorrowedFd<'_>>,
    placed: &Cell<bool>,
) -> Result<Option<OwnedFd>> {
    let message = Message::Tree { source };
    match tree {
        Some(tree) => message.send_with(socket, tree)?,
        None => message.send(socket)?,
    }
    loop {
        match Message::receive_descriptor(socket)? {
            (Some(Message::TreeDone), tree) => return Ok(tree),
            (Some(Message::Placed), _) => placed.set(true),
            _ => return Err(Finding::ParentGone.into()),
        }
    }
}

/// The parent gets the listener: the calls that this process makes from here on may wait for whoever
/// answers them. The filter may deny sendmsg(2), or notify of it; then the parent, which may trace this
/// process, fetches the descriptor by its number.
fn hand_on(listener: &OwnedFd, plan: &Plan, socket: &OwnedFd) -> Result<()> {
    let message = Message::Filter { listener: listener.as_raw_fd() };
    let sends = plan.process.seccomp.as_ref().is_some_and(|filter| filter.lets_sendmsg);
    match sends {
        true => message.send_with(socket, listener)?,
        false => message.send(socket)?,
    }
    Message::FilterKnown.expect(socket)
}

/// A process that waits for start may wait long: it keeps nothing of the host open, and lets the
/// parent go.
fn close_all_but(kept: [BorrowedFd<'_>; 2], first: u32) {
    let [one, two] = kept.map(|fd| fd.as_raw_fd().unsigned_abs());
    let mut next = first;
    for kept in [one.min(two), one.max(two)] {
        if kept > next {
            close_from_to(next, kept - 1);
        }
        next = next.max(kept + 1);
    }
    close_from_to(next, u32::MAX);
}

/// Where close_range(2) is missing, exec closes those that are beyond the usual.
fn close_from_to(first: u32, last: u32) {
    if open::close_range(first, last).is_ok() {
        return;
    }
    for number in first..=last.min(DESCRIPTORS_LOOKED_FOR) {
        let Ok(number) = i32::try_from(number) else { break };
        if let Ok(fd) = open::inherited(number) {
            close(fd);
        }
    }
}

/// Closes a descriptor of the parent's in the child's own table.
fn close(fd: BorrowedFd<'_>) {
    open::close_borrowed(fd);
}

/// Not inlined: the memory for the state is touched only where there is a hook.
#[inline(never)]
fn run_hook(plan: &Plan, index: usize, output: &mut hooks::apply::Output) -> Result<()> {
    let Some(hook) = plan.start_hooks.get(index) else { return Ok(()) };
    let mut state = StateText::default();
    state.append(plan.arena.c_str(plan.hook_state.0).to_bytes());
    state.append(Decimal::new(crate::sys::process::getpid().unsigned_abs()).bytes());
    state.append(plan.arena.c_str(plan.hook_state.1).to_bytes());
    let surroundings = hooks::apply::Surroundings {
        place: hooks::apply::Place::Here,
        directory: None,
        state: state.bytes(),
        env: &plan.process.env,
    };
    hooks::apply::run(hook, &plan.arena, &surroundings, output).map(drop)
}

/// The state that a hook gets, put together without memory. A state that is longer than any that the
/// specification's members fill is cut.
struct StateText {
    bytes: [u8; 16384],
    length: usize,
}

impl Default for StateText {
    fn default() -> Self {
        Self { bytes: [0; 16384], length: 0 }
    }
}

impl StateText {
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn append(&mut self, text: &[u8]) {
        let room = self.bytes.len() - self.length;
        let count = text.len().min(room);
        self.bytes[self.length..self.length + count].copy_from_slice(&text[..count]);
        self.length += count;
    }
}

fn complain(program: &Program, failure: Failure) {
    let Ok(stderr) = open::inherited(2) else { return };
    let reason = match failure {
        Failure::Syscall(error) => nix::errno::Errno::from_raw(error.errno).desc(),
        Failure::Found(finding) => finding.text(),
        Failure::Locked(_) => "locked flags of a mount",
        Failure::Ended(_) => "a hook failed",
    };
    let parts: [&[u8]; 5] =
        [b"keel: exec ", program.path().to_bytes(), b": ", reason.as_bytes(), b"\n"];
    for part in parts {
        // There is nobody left to tell that even this failed.
        let _ = write_all(stderr, part);
    }
}
