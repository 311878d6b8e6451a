//! The whole plan of a new process: the rooms' steps in one list. Pure.
//!
//! `keel plan` prints it, the child walks it, and a failure is told by its index in it.

use std::fmt;

use crate::arena::{Arena, Text};
use crate::config::hooks::Point;
use crate::config::linux::NamespaceKind;
use crate::config::spec::Spec;
use crate::failure::Origin;
use crate::{hooks, namespaces, process, rootfs};

/// A step of the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Waits until the parent has written the id maps.
    AwaitMapping,
    /// Waits until the parent has moved the network devices.
    AwaitNetDevices,
    /// A step about namespaces.
    Namespace(namespaces::plan::Step),
    /// A step about the file system.
    Rootfs(rootfs::plan::Step),
    /// Joins the container's cgroups.
    JoinCgroups,
    /// Waits until the parent has had this process put into its cgroup.
    AwaitCgroups,
    /// Lets the parent run its hooks.
    Hooks {
        /// The caller's user may look at the process meanwhile.
        visible: bool,
    },
    /// A step about the process.
    Process(process::plan::Step),
    /// Reports that all is done, and waits for the parent to record it.
    Ready,
    /// Waits for `start`.
    AwaitStart {
        /// As for the hooks.
        visible: bool,
    },
    /// Runs the hook with this index.
    Hook(u16),
}

/// Everything a new process needs, and its parent beside it.
#[derive(Debug)]
pub struct Plan {
    /// All strings.
    pub arena: Arena,
    /// The child's steps in order.
    pub steps: Vec<(Origin, Step)>,
    /// Namespaces: what the clone makes, what is joined, the id maps.
    pub namespaces: namespaces::plan::Plan,
    /// Trees that the parent opens for the child.
    pub sources: Vec<rootfs::plan::Source>,
    /// User namespaces that give the trees their mappings.
    pub user_namespaces: Vec<rootfs::plan::UserNamespace>,
    /// Arguments, environment, filter, limits.
    pub process: process::plan::Plan,
    /// Hooks that the child runs.
    pub start_hooks: Vec<hooks::plan::Prepared>,
    /// The state that those hooks get, before and after the pid.
    pub hook_state: (Text, Text),
    /// How many descriptors beyond the standard streams the program inherits.
    pub preserve_fds: u32,
    /// The most memory that the process may have once it is in its cgroup, in bytes, where that is limited.
    pub memory_max: Option<u64>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// What the compiler must know beside the config.
#[derive(Debug)]
pub struct Context<'a> {
    /// For the file system.
    pub rootfs: rootfs::plan::Context<'a>,
    /// For the process.
    pub process: process::plan::Context<'a>,
    /// Whether the process waits for `start`; otherwise it goes on at once.
    pub await_start: bool,
    /// Whether the process is put into its cgroup by somebody else.
    pub await_cgroups: bool,
    /// Whether the caller has no rights beyond those over its own user namespaces.
    pub ordinary_user: bool,
    /// Descriptors that the program inherits.
    pub preserve_fds: u32,
    /// The state that hooks of the last moment get, before and after the pid.
    pub hook_state: (&'a str, &'a str),
}

/// Compiles the first process of a container.
#[must_use]
pub fn compile(spec: &Spec, context: Context<'_>) -> Plan {
    let mut arena = Arena::default();
    let mut namespaces = namespaces::plan::compile(spec, &mut arena);
    let rootfs = rootfs::plan::compile(spec, &context.rootfs, &mut arena);
    let config_process = spec.process.clone().unwrap_or_default();
    let mut process = process::plan::compile(&config_process, context.process, &mut arena);
    let start_hooks = hooks::plan::compile(&spec.hooks, Point::StartContainer, &mut arena);
    let (before_pid, after_pid) = context.hook_state;
    let hook_state = (arena.add(before_pid), arena.add(after_pid));

    let mut steps = Vec::with_capacity(96);
    if !namespaces.uid_map.is_empty() {
        steps.push((Origin::field("linux.uidMappings"), Step::AwaitMapping));
    }
    if !namespaces.net_devices.is_empty() {
        steps.push((Origin::field("linux.netDevices"), Step::AwaitNetDevices));
    }
    // An ordinary user's hooks and exec find the namespaces in procfs, where a process that may not be
    // looked at hides them. Only who is in its user namespace, or above, may look then: nobody else yet.
    let visible = context.ordinary_user && spec.linux.creates(NamespaceKind::User);
    let namespace = |(origin, step)| (origin, Step::Namespace(step));
    let of_rootfs = |(origin, step)| (origin, Step::Rootfs(step));
    let of_process = |(origin, step)| (origin, Step::Process(step));
    steps.extend(namespaces.early.drain(..).map(namespace));
    steps.extend(process.early.drain(..).map(of_process));
    let join = if context.await_cgroups { Step::AwaitCgroups } else { Step::JoinCgroups };
    add_mounts(&mut steps, spec, &mut namespaces, rootfs.before_hooks, join);
    if has_hooks(spec) {
        steps.push((Origin::field("hooks"), Step::Hooks { visible }));
    }
    steps.extend(rootfs.after_hooks.into_iter().map(of_rootfs));
    steps.extend(process.console.drain(..).map(of_process));
    steps.extend(rootfs.last.into_iter().map(of_rootfs));
    steps.extend(namespaces.late.drain(..).map(namespace));
    steps.extend(process.late.drain(..).map(of_process));
    finish(&mut steps, context.await_start.then_some(visible), start_hooks.len());
    let warnings = std::mem::take(&mut process.warnings);
    Plan {
        arena,
        steps,
        namespaces,
        sources: rootfs.sources,
        user_namespaces: rootfs.user_namespaces,
        process,
        start_hooks,
        hook_state,
        preserve_fds: context.preserve_fds,
        memory_max: memory_max(spec),
        warnings,
    }
}

fn memory_max(spec: &Spec) -> Option<u64> {
    let limit = spec.linux.resources.as_ref()?.memory.limit?;
    u64::try_from(limit).ok()
}

/// What the caller is bound to is no affair of the container's; its cpuset is, so this comes after the
/// cgroup was joined.
const RESET_AFFINITY: (Origin, Step) =
    (Origin::field("processors"), Step::Process(process::plan::Step::ResetAffinity));

/// A process that exec adds to a container: it joins the namespaces of the first one.
#[must_use]
pub fn compile_exec(
    process: &crate::config::process::Process,
    context: process::plan::Context<'_>,
    await_cgroups: bool,
    preserve_fds: u32,
) -> Plan {
    let mut arena = Arena::default();
    let mut process = process::plan::compile(process, context, &mut arena);
    let empty = arena.add("");
    let mut steps = Vec::with_capacity(24);
    let of_process = |(origin, step)| (origin, Step::Process(step));
    let affinity = Origin::field("process.execCPUAffinity");
    if process.affinity.initial.is_some() {
        steps.push((affinity, Step::Process(process::plan::Step::InitialAffinity)));
    }
    let join = if await_cgroups { Step::AwaitCgroups } else { Step::JoinCgroups };
    steps.push((Origin::field("cgroup"), join));
    if process.affinity.last.is_some() {
        steps.push((affinity, Step::Process(process::plan::Step::LastAffinity)));
    } else if process.affinity.initial.is_none() {
        steps.push(RESET_AFFINITY);
    }
    steps.extend(process.early.drain(..).map(of_process));
    steps.extend(process.console.drain(..).map(of_process));
    steps.extend(process.late.drain(..).map(of_process));
    finish(&mut steps, None, 0);
    let warnings = std::mem::take(&mut process.warnings);
    Plan {
        arena,
        steps,
        namespaces: namespaces::plan::Plan::default(),
        sources: Vec::new(),
        user_namespaces: Vec::new(),
        process,
        start_hooks: Vec::new(),
        hook_state: (empty, empty),
        preserve_fds,
        memory_max: None,
        warnings,
    }
}

/// The mounts, with the cgroup joined among them as late as can be: what is done before is not slowed
/// by the container's limits and not counted against its memory. A cgroup namespace, and a mount that
/// shows it, must come after.
fn add_mounts(
    steps: &mut Vec<(Origin, Step)>,
    spec: &Spec,
    namespaces: &mut namespaces::plan::Plan,
    mounts: Vec<(Origin, rootfs::plan::Step)>,
    join_cgroups: Step,
) {
    let own_view = spec.linux.creates(NamespaceKind::Cgroup);
    let shows_cgroup = |origin: &Origin| {
        (own_view || join_cgroups == Step::AwaitCgroups)
            && spec.mounts.iter().enumerate().any(|(index, mount)| {
                mount.kind.starts_with("cgroup") && *origin == Origin::item("mounts", index)
            })
    };
    let mut joined = false;
    let mut join = |steps: &mut Vec<(Origin, Step)>| {
        if !joined {
            joined = true;
            steps.push((Origin::field("linux.cgroupsPath"), join_cgroups));
            steps.push(RESET_AFFINITY);
            let step = namespaces.cgroup.take();
            steps.extend(step.map(|(origin, step)| (origin, Step::Namespace(step))));
        }
    };
    for (origin, step) in mounts {
        if shows_cgroup(&origin) {
            join(steps);
        }
        steps.push((origin, Step::Rootfs(step)));
    }
    join(steps);
}

fn finish(steps: &mut Vec<(Origin, Step)>, await_start: Option<bool>, hooks: usize) {
    steps.push((Origin::field("process"), Step::Ready));
    if let Some(visible) = await_start {
        steps.push((Origin::field("process"), Step::AwaitStart { visible }));
    }
    for index in 0..hooks {
        let number = u16::try_from(index).unwrap_or(u16::MAX);
        steps.push((Origin::item("hooks.startContainer", index), Step::Hook(number)));
    }
}

fn has_hooks(spec: &Spec) -> bool {
    [Point::Prestart, Point::CreateRuntime, Point::CreateContainer]
        .into_iter()
        .any(|point| !spec.hooks.at(point).is_empty())
}

impl Plan {
    /// One step in words, with the field it comes from: `mounts[3]: mount proc → /proc`.
    #[must_use]
    pub fn show_step(&self, index: usize) -> String {
        match self.steps.get(index) {
            Some((origin, step)) => format!("{origin}: {}", self.describe(step)),
            // The one thing that follows the steps.
            None => "process.args: execute the program".to_owned(),
        }
    }

    fn describe(&self, step: &Step) -> String {
        let arena = &self.arena;
        match step {
            Step::AwaitMapping => "wait for the id maps".to_owned(),
            Step::AwaitNetDevices => "wait for the network devices".to_owned(),
            Step::Namespace(step) => {
                namespaces::plan::Shown(step, arena, &self.namespaces.joins).to_string()
            }
            Step::Rootfs(step) => rootfs::show::Shown(step, arena, &self.sources).to_string(),
            Step::JoinCgroups => "join the cgroup".to_owned(),
            Step::AwaitCgroups => "wait until systemd has put it into its cgroup".to_owned(),
            Step::Hooks { .. } => "hooks of the runtime".to_owned(),
            Step::Process(step) => process::plan::Shown(step, arena, &self.process).to_string(),
            Step::Ready => "report, wait until it is recorded".to_owned(),
            Step::AwaitStart { .. } => "wait for start".to_owned(),
            Step::Hook(index) => match self.start_hooks.get(usize::from(*index)) {
                Some(hook) => format!("hook {}", arena.show(hook.path)),
                None => String::new(),
            },
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = NamespaceKind::ALL.into_iter();
        let created: Vec<_> = kinds
            .filter(|kind| self.namespaces.create & kind.flag() != 0)
            .map(NamespaceKind::name)
            .collect();
        writeln!(f, "clone3: new {}", created.join(", "))?;
        for (origin, step) in &self.namespaces.ahead {
            let step = namespaces::plan::Shown(step, &self.arena, &self.namespaces.joins);
            writeln!(f, "{origin}: {step}, before the clone")?;
        }
        for (name, map) in
            [("uid_map", &self.namespaces.uid_map), ("gid_map", &self.namespaces.gid_map)]
        {
            if !map.is_empty() {
                writeln!(f, "{name}: {}", map.trim_end().replace('\n', ", "))?;
            }
        }
        for device in &self.namespaces.net_devices {
            writeln!(f, "linux.netDevices.{}: move in as {}", device.host, device.name)?;
        }
        if let Some(score) = self.process.oom_score_adj {
            writeln!(f, "process.oomScoreAdj: {score}")?;
        }
        for index in 0..self.steps.len() {
            writeln!(f, "{}", self.show_step(index))?;
        }
        let args: Vec<_> = self.process.args.iter().map(String::from_utf8_lossy).collect();
        writeln!(f, "process.args: execve {args:?}")
    }
}
