//! From a bundle to a process that is ready to execute its program: what create and run share.

use std::os::fd::OwnedFd;
use std::time::SystemTime;

use super::caller::{check_inherited, send_pidfd, write_pid_file};
use super::error::RuntimeError;
use super::filter::{self, Filtered, tell_agent};
use super::host::{Host, check_label, plan_cgroups};
use super::request::{Loaded, Request, load_config};
use super::systemd::{self, Scope};
use super::{hooks, host_mounts, intel_rdt, joined_mappings, mounts, notify};
use crate::config::hooks::Hooks;
use crate::config::linux::NamespaceKind;
use crate::config::spec::Spec;
use crate::container::process::ProcessIdentity;
use crate::container::recorded_config;
use crate::container::state_dir::StateDir;
use crate::container::state_file::State;
use crate::container::status::Status;
use crate::init::entrance::Entrances;
use crate::init::net_devices::move_devices;
use crate::init::parent::{Resources, Started, spawn};
use crate::init::plan::{self, Plan};
use crate::namespaces::net_devices::Moved;
use crate::procfs::Procfs;
use crate::sys::process::geteuid;
use crate::{cgroup, process, resctrl, rootfs, seccomp};

/// Whether the process waits for `start`, or its parent lets it go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// create.
    AwaitStart,
    /// run.
    GoOn,
}

/// A container whose process is ready.
#[derive(Debug)]
pub struct Launched {
    /// Its directory, locked.
    pub directory: StateDir,
    /// What is recorded of it.
    pub state: State,
    /// Its hooks.
    pub hooks: Hooks,
    /// The plan that its process walks.
    pub plan: Plan,
    /// The process.
    pub started: Started,
    /// The network devices it was given; to be forgotten once its program runs.
    pub moved: Option<Moved>,
    /// Its groups in the resctrl file system.
    resctrl: Option<resctrl::plan::Plan>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

impl Launched {
    /// Undoes everything because of an error, and tells that error: a failure to clean up joins it.
    pub(super) fn undo(&self, error: RuntimeError) -> RuntimeError {
        let error = give_back(self.moved.as_ref(), error);
        self.started.abandon();
        let mut state = self.state.clone();
        intel_rdt::note(self.resctrl.as_ref(), &mut state, false);
        undo(&self.directory, &state, &self.hooks, error)
    }
}

/// The plan of a request without doing any of it; needs no privilege.
///
/// # Errors
/// As [`load_config`], and what the host's cgroups or seccomp cannot do.
pub fn plan_only(request: &Request) -> Result<(Plan, cgroup::Plan, Vec<String>), RuntimeError> {
    let loaded = load_config(&request.bundle, request.config.as_deref())?;
    let mut host = Host::look(request, &loaded.spec)?;
    host.permitted = None;
    (host.cgroups, host.scope) =
        plan_cgroups(&loaded.spec, &request.id, request.systemd_cgroup, false)?;
    let (filter, _) = filter::compile(&loaded.spec)?;
    let mut plan = compile(request, &loaded.spec, &host, Mode::AwaitStart, ("", ""), filter);
    let mut warnings = loaded.warnings;
    warnings.append(&mut plan.warnings);
    warnings.append(&mut host.cgroups.warnings);
    Ok((plan, host.cgroups, warnings))
}

/// Does everything up to the point where the program could be executed: the container is recorded
/// and its process waits for [`Started::commit`]. `console` gives the socket that takes the terminal,
/// when told whether there is one.
///
/// # Errors
/// Why not; nothing is left then.
pub fn launch(
    request: &Request,
    mode: Mode,
    console: impl FnOnce(bool) -> Result<Option<OwnedFd>, RuntimeError>,
) -> Result<Launched, RuntimeError> {
    let mut loaded = load_config(&request.bundle, request.config.as_deref())?;
    surround(&mut loaded.spec, request);
    let spec = &loaded.spec;
    check_inherited(request.listen_fds, request.preserve_fds)?;
    let mut host = Host::look(request, spec)?;
    mounts::check_privilege(spec, host.privileged)?;
    spec.process.as_ref().map_or(Ok(()), check_label)?;
    let resctrl = intel_rdt::plan(spec, request.id.as_str())?;
    if !host.privileged && !spec.linux.net_devices.is_empty() {
        let text = "linux.netDevices: network devices are not supported for rootless containers";
        return Err(RuntimeError::Refused(text.to_owned()));
    }
    let console = console(spec.process.as_ref().is_some_and(|process| process.terminal))?;
    let mut state = initial_state(request, spec, &host);
    state.host_mounts = host_mounts::look(spec, &request.bundle.join(&spec.root_path))?;
    intel_rdt::note(resctrl.as_ref(), &mut state, false);
    let hook_state = state.for_hooks(Status::Created.name(), 0);
    let split = hook_state.find("\"pid\":0").map_or(0, |at| at + "\"pid\":".len());
    let around_pid = (&hook_state[..split], hook_state.get(split + 1..).unwrap_or_default());
    let (filter, agent) = filter::compile(spec)?;
    let mut plan = compile(request, spec, &host, mode, around_pid, filter);

    let directory = StateDir::create(&request.root, &request.id)?;
    // Journalled first: whoever finds this record knows which cgroups may have been made.
    let folder = match request.notify_socket {
        Some(_) => directory.make_notify_folder().map_err(RuntimeError::from),
        None => Ok(()),
    };
    let groups = resctrl.as_ref();
    let begun = folder.and_then(|()| begin(&directory, &loaded, &state, &host, groups));
    let applied = match begun {
        Ok(applied) => applied,
        // No cgroup of this container is left; what is there may be another's.
        Err(error) => {
            directory.remove()?;
            return Err(error);
        }
    };
    let scope = host.scope.take();
    let agent = agent.as_ref();
    let (host_of, directory_of) = (&host, &directory);
    let draft =
        Draft { request, mode, spec, host: host_of, directory: directory_of, agent, groups };
    let result = draft.start_process(applied, scope, &mut state, &mut plan, console);
    let (started, moved) = match result {
        Ok(both) => both,
        Err(error) => return Err(undo(&directory, &state, &spec.hooks, error)),
    };
    let mut warnings = loaded.warnings;
    warnings.append(&mut plan.warnings);
    warnings.extend(host.cgroups.warnings);
    let hooks = loaded.spec.hooks;
    Ok(Launched { directory, state, hooks, plan, started, moved, resctrl, warnings })
}

/// What the program gets from the surroundings of this one.
fn surround(spec: &mut Spec, request: &Request) {
    if request.notify_socket.is_some() {
        notify::show(spec, &StateDir::notify_path(&request.root, &request.id));
    }
    if let Some(process) = &mut spec.process
        && request.listen_fds > 0
    {
        let number = request.listen_fds;
        // In a pid namespace of its own the program is the first.
        process.env.extend([format!("LISTEN_FDS={number}"), "LISTEN_PID=1".to_owned()]);
    }
}

pub(super) fn begin(
    directory: &StateDir,
    loaded: &Loaded,
    state: &State,
    host: &Host,
    resctrl: Option<&resctrl::plan::Plan>,
) -> Result<Option<cgroup::Applied>, RuntimeError> {
    directory.write_config(&loaded.document.bytes)?;
    directory.begin_state(state)?;
    if let Some(plan) = resctrl {
        resctrl::apply::prepare(plan)?;
    }
    make_cgroups(host).map_err(|error| match resctrl::apply::remove(&state.resctrl_made) {
        Ok(()) => error,
        Err(second) => error.and_cleaning_up(&second.into()),
    })
}

fn make_cgroups(host: &Host) -> Result<Option<cgroup::Applied>, RuntimeError> {
    if host.scope.is_some() {
        // systemd makes the cgroup, around a process.
        return Ok(None);
    }
    let applied = cgroup::apply(&host.cgroups, host.opening)?;
    if let Some(owner) = host.cgroup_owner
        && let Err(error) = cgroup::delegate(&applied, owner)
    {
        applied.undo();
        return Err(error.into());
    }
    Ok(Some(applied))
}

/// A container of which nothing runs yet.
struct Draft<'a> {
    request: &'a Request,
    mode: Mode,
    spec: &'a Spec,
    host: &'a Host,
    directory: &'a StateDir,
    agent: Option<&'a seccomp::Listener>,
    groups: Option<&'a resctrl::plan::Plan>,
}

impl Draft<'_> {
    fn start_process(
        &self,
        applied: Option<cgroup::Applied>,
        scope: Option<Scope>,
        state: &mut State,
        plan: &mut Plan,
        console: Option<OwnedFd>,
    ) -> Result<(Started, Option<Moved>), RuntimeError> {
        let gate = match self.mode {
            Mode::AwaitStart => Some(self.directory.make_gate()?),
            Mode::GoOn => None,
        };
        let entrances = applied.map(Entrances::of).unwrap_or_default();
        let resources = Resources { entrances, console, gate, ..Resources::default() };
        let started = spawn(plan, resources).map_err(RuntimeError::Init)?;
        let moved = started
            .map_ids(plan, self.host.privileged)
            .and_then(|()| move_devices(&started, plan))
            .map_err(RuntimeError::Init);
        let ready = moved.and_then(|moved| match self.complete(&started, scope, state, plan) {
            Ok(()) => Ok(moved),
            Err(error) => Err(give_back(moved.as_ref(), error)),
        });
        match ready {
            Ok(moved) => Ok((started, moved)),
            Err(error) => {
                started.abandon();
                Err(error)
            }
        }
    }

    fn complete(
        &self,
        started: &Started,
        scope: Option<Scope>,
        state: &mut State,
        plan: &Plan,
    ) -> Result<(), RuntimeError> {
        if let Some(scope) = scope {
            self.place(scope, state, plan, started)?;
        }
        intel_rdt::enter(state, started.pid())?;
        // While the process builds its file system.
        describe(state, self.spec);
        let run = || hooks::at_creation(self.spec, state, started);
        let tell = |listener| {
            let (pid, status) = (started.pid(), hooks::CREATING);
            let process = Filtered { pid, state, status, first_pid: pid };
            tell_agent(self.agent, &process, &listener)
        };
        started
            .await_ready(plan, run, tell)
            .and_then(|()| started.set_oom_score(plan, self.host.rootless))
            .map_err(RuntimeError::Init)?;
        joined_mappings::check(&self.spec.linux, started.pid())?;
        intel_rdt::note(self.groups, state, true);
        record(self.request, state, self.directory, started)
    }

    /// Has systemd make the cgroup around the process, while that builds its file system.
    fn place(
        &self,
        mut scope: Scope,
        state: &State,
        plan: &Plan,
        started: &Started,
    ) -> Result<(), RuntimeError> {
        let resources = self.spec.linux.resources.clone().unwrap_or_default();
        let description = systemd::description(state, &self.request.root);
        let procfs = Procfs::open().map_err(RuntimeError::Procfs)?;
        scope
            .start(&resources, &description, started.pid(), &procfs)
            .and_then(|()| {
                let (cgroups, owner) = (&self.host.cgroups, self.host.cgroup_owner);
                systemd::apply_around(cgroups, &scope, started.pid(), owner)
            })
            // A process that has failed by itself is in no cgroup, and what follows is not the cause.
            .map_err(|error| started.said_failure(plan).map_or(error, RuntimeError::Init))?;
        started.placed(plan).map_err(RuntimeError::Init)
    }
}

/// The host gets its network devices back from a container that does not come to be.
fn give_back(moved: Option<&Moved>, error: RuntimeError) -> RuntimeError {
    match moved.map(Moved::send_back) {
        None | Some(Ok(())) => error,
        Some(Err(second)) => error.and_cleaning_up(&RuntimeError::Init(second.into())),
    }
}

/// The commit point: once the state is on disk, the container exists.
fn record(
    request: &Request,
    state: &mut State,
    directory: &StateDir,
    started: &Started,
) -> Result<(), RuntimeError> {
    let pid = started.pid();
    let identity =
        ProcessIdentity::of(pid).map_err(RuntimeError::system("the container process"))?;
    state.process = identity.unwrap_or(ProcessIdentity { pid, start_time: 0 });
    directory.write_state(state)?;
    directory.unlock()?;
    if let Some(path) = &request.pid_file {
        write_pid_file(path, pid)?;
    }
    if let Some(path) = &request.pidfd_socket {
        send_pidfd(path, started, b"standard")?;
    }
    Ok(())
}

/// Undoes what was begun, with the poststop hooks (runtime-spec, "Lifecycle", steps 3 to 8: what fails goes
/// on at step 12), and tells the first error: a failure to clean up joins it.
pub(super) fn undo(
    directory: &StateDir,
    state: &State,
    listed: &Hooks,
    error: RuntimeError,
) -> RuntimeError {
    if let Err(second) = super::delete::clear(directory, state) {
        return error.and_cleaning_up(&second);
    }
    let failed = hooks::after_deletion(listed, state).into_iter();
    failed.fold(error, |error, warning| error.and_cleaning_up(&RuntimeError::Refused(warning)))
}

fn compile(
    request: &Request,
    spec: &Spec,
    host: &Host,
    mode: Mode,
    hook_state: (&str, &str),
    filter: Option<process::plan::Filter>,
) -> Plan {
    let bundle = request.bundle.to_string_lossy();
    let context = plan::Context {
        rootfs: rootfs::plan::Context {
            bundle: &bundle,
            cgroups: &host.cgroup_mounts,
            late_cgroups: request.systemd_cgroup,
            optional_cgroups: host.rootless,
            prepare_trees: host.prepare_trees,
            in_user_namespace: host.in_user_namespace,
            root_parent_mount: &host.root_parent_mount,
            no_pivot: request.no_pivot,
            kernel_mounts: &host.kernel_mounts,
            source_links: &host.source_links,
        },
        process: process::plan::Context {
            id: request.id.as_str(),
            keep_keyring: request.no_new_keyring,
            permitted: host.permitted,
            personality: spec.linux.personality,
            memory_policy: spec.linux.memory_policy.clone(),
            seccomp: filter,
            console_device: true,
            own_streams: true,
            make_cwd: true,
        },
        await_start: mode == Mode::AwaitStart,
        await_cgroups: request.systemd_cgroup,
        ordinary_user: !host.privileged,
        preserve_fds: request.listen_fds + request.preserve_fds,
        hook_state,
    };
    plan::compile(spec, context)
}

/// Adds what other tools and a checkpoint will want to know of a container that is made.
pub(super) fn describe(state: &mut State, spec: &Spec) {
    state.config = recorded_config::whole(spec, &state.id, &state.bundle, &state.rootfs);
    state.external_descriptors = streams();
}

/// What this process's standard streams are: the container's.
fn streams() -> Vec<String> {
    let link = |number: u8| std::fs::read_link(format!("/proc/self/fd/{number}"));
    let shown = |number| link(number).map(|path| path.to_string_lossy().into_owned());
    (0..3).map(|number| shown(number).unwrap_or_default()).collect()
}

/// What is remembered from the start: enough to undo it all.
pub(super) fn initial_state(request: &Request, spec: &Spec, host: &Host) -> State {
    let rootfs = request.bundle.join(&spec.root_path).to_string_lossy().into_owned();
    let paths = host.cgroups.paths().into_iter();
    State {
        id: request.id.as_str().to_owned(),
        oci_version: spec.oci_version.clone(),
        bundle: request.bundle.to_string_lossy().into_owned(),
        created: crate::timestamp::rfc3339_nano(SystemTime::now()),
        owner: geteuid(),
        process: ProcessIdentity::default(),
        annotations: spec.annotations.clone(),
        namespaces: spec.linux.namespaces.iter().map(|n| n.kind).collect(),
        owns_pid_namespace: spec.linux.creates(NamespaceKind::Pid),
        cgroup_paths: paths.map(|(key, path)| (key, path.to_string_lossy().into_owned())).collect(),
        systemd_unit: host.scope.as_ref().map(Scope::record),
        rootless: host.rootless,
        resources: None,
        restoring: false,
        intel_rdt_path: String::new(),
        monitoring_path: String::new(),
        config: recorded_config::begun(&rootfs),
        rootfs,
        external_descriptors: Vec::new(),
        resctrl_made: Vec::new(),
        host_mounts: None,
    }
}
