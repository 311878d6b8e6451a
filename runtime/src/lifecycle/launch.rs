//! From a bundle to a process that is ready to execute its program: what create and run share.

use std::ffi::{CString, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::error::RuntimeError;
use super::filter::{self, Filtered, tell_agent};
use super::systemd::{self, Scope};
use super::{hooks, intel_rdt, mounts, notify};
use crate::cgroup;
use crate::config::error::{ConfigError, ConfigErrors, Kind};
use crate::config::hooks::Hooks;
use crate::config::linux::NamespaceKind;
use crate::config::load::{Document, load};
use crate::config::spec::Spec;
use crate::container::id::ContainerId;
use crate::container::process::ProcessIdentity;
use crate::container::state_dir::StateDir;
use crate::container::state_file::State;
use crate::container::status::Status;
use crate::init::entrance::Entrances;
use crate::init::net_devices::move_devices;
use crate::init::parent::{Resources, Started, spawn};
use crate::init::plan::{self, Plan};
use crate::namespaces::net_devices::Moved;
use crate::procfs::Procfs;
use crate::sys::credentials::capget;
use crate::sys::mount::open_tree_clone;
use crate::sys::namespace;
use crate::sys::open::{CWD, OpenFlags, openat, survives_exec};
use crate::sys::process::{geteuid, getpid};
use crate::{process, resctrl, rootfs, seccomp};

/// What create and run are asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The new container's id.
    pub id: ContainerId,
    /// Where the states of containers are.
    pub root: PathBuf,
    /// The bundle.
    pub bundle: PathBuf,
    /// The config, where it is not the bundle's `config.json`.
    pub config: Option<PathBuf>,
    /// The file to write the pid to.
    pub pid_file: Option<PathBuf>,
    /// The socket that is sent a pidfd of the container process.
    pub pidfd_socket: Option<PathBuf>,
    /// Enter the root by chroot(2).
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// How many sockets from 3 on were handed to this program to be listened at (sd_listen_fds(3)): the
    /// container's program inherits them.
    pub listen_fds: u32,
    /// How many descriptors after them the program inherits.
    pub preserve_fds: u32,
    /// The socket of the manager that waits for the program to be ready (sd_notify(3)).
    pub notify_socket: Option<OsString>,
    /// Whether cgroups that may not be written to are tolerated; `None` decides by privilege.
    pub rootless: Option<bool>,
    /// The cgroups are systemd's to make.
    pub systemd_cgroup: bool,
}

impl Request {
    /// A container from a bundle, and nothing beyond what its config says.
    #[must_use]
    pub fn new(id: ContainerId, root: impl Into<PathBuf>, bundle: impl Into<PathBuf>) -> Self {
        Self {
            id,
            root: root.into(),
            bundle: bundle.into(),
            config: None,
            pid_file: None,
            pidfd_socket: None,
            no_pivot: false,
            no_new_keyring: false,
            listen_fds: 0,
            preserve_fds: 0,
            notify_socket: None,
            rootless: None,
            systemd_cgroup: false,
        }
    }
}

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
        undo(&self.directory, &state, error)
    }
}

/// A config as it was read: the file and its meaning.
#[derive(Debug)]
pub struct Loaded {
    pub(super) document: Document,
    /// The meaning.
    pub spec: Spec,
    pub(super) warnings: Vec<String>,
}

/// Reads and checks the config of a request.
///
/// # Errors
/// [`RuntimeError::Load`] or [`RuntimeError::Config`], with all findings.
pub fn load_config(bundle: &Path, config: Option<&Path>) -> Result<Loaded, RuntimeError> {
    let path = config.map_or_else(|| bundle.join("config.json"), Path::to_owned);
    let document = load(&path)?;
    let checked = Spec::from_json(&document.json)?;
    let spec = checked.value;
    let missing = match &spec.process {
        None => Some("process"),
        Some(process) if process.args.is_empty() => Some("process.args"),
        Some(_) => None,
    };
    if let Some(field) = missing {
        let detail = "there is nothing to run".to_owned();
        let error = ConfigError { field: field.to_owned(), kind: Kind::Missing, detail };
        return Err(ConfigErrors(vec![error]).into());
    }
    Ok(Loaded { document, spec, warnings: checked.warnings })
}

/// What the compiler needs to know of the host.
pub(super) struct Host {
    pub(super) cgroups: cgroup::Plan,
    /// The unit, where systemd makes the cgroup.
    scope: Option<Scope>,
    /// To whom the cgroup is delegated.
    cgroup_owner: Option<u32>,
    cgroup_mounts: Vec<rootfs::plan::CgroupMount>,
    root_parent_mount: String,
    kernel_mounts: Vec<String>,
    source_links: Vec<(usize, String)>,
    pub(super) opening: cgroup::Opening,
    permitted: Option<u64>,
    privileged: bool,
    /// Whether this process is in a user namespace, or might as well be.
    in_user_namespace: bool,
    /// Whether this process may copy mounts for the child.
    prepare_trees: bool,
    /// What concerns cgroups and the host's processes may be refused.
    rootless: bool,
}

impl Host {
    pub(super) fn look(request: &Request, spec: &Spec) -> Result<Self, RuntimeError> {
        let (_, permitted) = capget().map_err(RuntimeError::system("own capabilities"))?;
        let privileged = permitted & 1 << CAP_SYS_ADMIN != 0;
        // Root of a user namespace has all capabilities, and none over the host's cgroups and devices.
        let in_user_namespace = !privileged || namespace::is_nested();
        let rootless = request.rootless.unwrap_or(in_user_namespace);
        let (cgroups, scope) = plan_cgroups(spec, &request.id, request.systemd_cgroup, rootless)?;
        let cgroup_mounts = cgroup_mounts(&cgroups);
        let makes_user_namespace = spec.linux.namespace(NamespaceKind::User).is_some();
        let mount_namespace = spec.linux.namespace(NamespaceKind::Mount);
        let joins_mounts = mount_namespace.is_some_and(|namespace| namespace.path.is_some());
        let opening = match makes_user_namespace || joins_mounts {
            true => cgroup::Opening::Now,
            false => cgroup::Opening::Later,
        };
        let is_v2 = |directory: &cgroup::Directory| directory.keys.iter().any(String::is_empty);
        let alone = cgroups.directories.len() == 1 && cgroups.directories.iter().all(is_v2);
        let owner = if privileged && alone { cgroup_owner(spec) } else { None };
        Ok(Self {
            opening,
            cgroup_owner: owner,
            cgroup_mounts,
            root_parent_mount: mounts::root_parent_mount(request, spec)?,
            kernel_mounts: mounts::kernel_mounts(request, spec)?,
            source_links: mounts::source_links(request, spec),
            permitted: (!makes_user_namespace).then_some(permitted),
            in_user_namespace,
            prepare_trees: makes_user_namespace
                && privileged
                && (!in_user_namespace || owns_mounts()),
            privileged,
            rootless,
            cgroups,
            scope,
        })
    }
}

/// Whether the mounts of this process belong to its own user namespace, which they do not after a mere
/// `unshare --user`.
fn owns_mounts() -> bool {
    !matches!(open_tree_clone(CWD, c"/", false), Err(error) if error.errno == libc::EPERM)
}

const CAP_SYS_ADMIN: u32 = 21;

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
    let resctrl = intel_rdt::plan(spec, request.id.as_str())?;
    if !host.privileged && !spec.linux.net_devices.is_empty() {
        let text = "linux.netDevices: network devices are not supported for rootless containers";
        return Err(RuntimeError::Refused(text.to_owned()));
    }
    let console = console(spec.process.as_ref().is_some_and(|process| process.terminal))?;
    let mut state = initial_state(request, spec, &host);
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
        Err(error) => return Err(undo(&directory, &state, error)),
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

/// Makes sure that the descriptors are there that the program shall inherit; else it would get some of
/// ours.
///
/// # Errors
/// [`RuntimeError::Refused`], in runc's words.
pub(super) fn check_inherited(listened: u32, preserved: u32) -> Result<(), RuntimeError> {
    let is_open = |number: u32| survives_exec(i32::try_from(number).unwrap_or(i32::MAX));
    let first = 3 + listened;
    if let Some(number) = (3..first).find(|number| !is_open(*number)) {
        let text = format!("LISTEN_FDS is {listened}, but descriptor {number} is not open");
        return Err(RuntimeError::Refused(text));
    }
    match (0..preserved).find(|index| !is_open(first.saturating_add(*index))) {
        None => Ok(()),
        Some(index) => {
            let text = format!("unable to stat preserved-fd {index} (of {preserved})");
            Err(RuntimeError::Refused(text))
        }
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
    directory.write_state(state)?;
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
        let resources = Resources { entrances, console, gate, join: None };
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
        let procfs = Procfs::open().map_err(|e| RuntimeError::Refused(format!("/proc: {e}")))?;
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
    state.process = ProcessIdentity::of(pid).unwrap_or(ProcessIdentity { pid, start_time: 0 });
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

/// Sends a process's descriptor to whoever listens at `path`.
///
/// # Errors
/// [`RuntimeError::System`], naming the socket.
pub(super) fn send_pidfd(path: &Path, started: &Started, word: &[u8]) -> Result<(), RuntimeError> {
    let failed = || RuntimeError::system(format!("--pidfd-socket {}", path.display()));
    let socket = crate::sys::socket::connect_stream(path, 0).map_err(failed())?;
    crate::sys::socket::send_descriptor(&socket, word, started.pidfd()).map_err(failed())
}

/// Undoes what was begun, and tells the first error: a failure to clean up joins it.
pub(super) fn undo(directory: &StateDir, state: &State, error: RuntimeError) -> RuntimeError {
    match super::delete::clear(directory, state) {
        Ok(()) => error,
        Err(second) => error.and_cleaning_up(&second),
    }
}

pub(super) fn plan_cgroups(
    spec: &Spec,
    id: &ContainerId,
    by_systemd: bool,
    rootless: bool,
) -> Result<(cgroup::Plan, Option<Scope>), RuntimeError> {
    let procfs = Procfs::open().map_err(|e| RuntimeError::Refused(format!("/proc: {e}")))?;
    let layout = cgroup::layout(&procfs)?;
    let id = id.as_str();
    let scope = match by_systemd {
        true => Some(Scope::look(spec, id, &layout)?),
        false => None,
    };
    let location = match &scope {
        Some(scope) => scope.location(id)?,
        None => cgroup::Location::new(spec.linux.cgroups_path.as_deref(), id)?,
    };
    // As with runc: who names a cgroup wants it. A user's systemd gives one, but no rules on devices.
    let unnamed = rootless && spec.linux.cgroups_path.is_none();
    let privilege = match scope.as_ref().map_or(unnamed, Scope::is_users) {
        true => cgroup::Privilege::Rootless,
        false => cgroup::Privilege::Full,
    };
    let resources = spec.linux.resources.clone().unwrap_or_default();
    let mut plan = cgroup::plan(&resources, &layout, &location, privilege)?;
    plan.occupied = scope.is_some();
    Ok((plan, scope))
}

/// Whose a v2 cgroup becomes that the container sees as its own and may write to: its first process's
/// user, by the id it has here.
fn cgroup_owner(spec: &Spec) -> Option<u32> {
    let shows = |mount: &crate::config::mounts::Mount| {
        mount.kind.starts_with("cgroup") && mount.options.set & libc::MS_RDONLY == 0
    };
    if !spec.linux.creates(NamespaceKind::Cgroup) || !spec.mounts.iter().any(shows) {
        return None;
    }
    let uid = spec.process.as_ref().map_or(0, |process| process.user.uid);
    let owner = match spec.linux.namespace(NamespaceKind::User) {
        None => Some(uid),
        Some(_) => spec.linux.uid_mappings.iter().find_map(|range| {
            let offset = uid.checked_sub(range.container).filter(|offset| *offset < range.size)?;
            range.host.checked_add(offset)
        }),
    };
    owner.filter(|owner| *owner != geteuid())
}

/// How a mount of type `cgroup` shows the hierarchies: one directory each, named as on the host. v2
/// beside v1 is left out, as the other runtimes do it.
pub(super) fn cgroup_mounts(cgroups: &cgroup::Plan) -> Vec<rootfs::plan::CgroupMount> {
    let single = cgroups.directories.len() == 1;
    let mount = |directory: &cgroup::Directory| {
        let name = directory.mount_point.file_name().unwrap_or_default().to_string_lossy();
        let is_v2 = directory.keys.iter().any(String::is_empty);
        let controllers: Vec<&str> = directory.keys.iter().map(String::as_str).collect();
        let named = controllers.iter().any(|key| key.starts_with("name="));
        let data = match (is_v2, named) {
            (true, _) => String::new(),
            (false, true) => format!("none,{}", controllers.join(",")),
            (false, false) => controllers.join(","),
        };
        let links = controllers.iter().filter(|key| !is_v2 && !named && **key != name);
        rootfs::plan::CgroupMount {
            links: links.map(|key| (*key).to_owned()).collect(),
            name: if single && is_v2 { String::new() } else { name.into_owned() },
            path: directory.path().to_string_lossy().into_owned(),
            kind: if is_v2 { "cgroup2" } else { "cgroup" },
            data,
        }
    };
    let is_v2 = |directory: &&cgroup::Directory| directory.keys.iter().any(String::is_empty);
    let shown = cgroups.directories.iter().filter(|directory| single || !is_v2(directory));
    shown.map(mount).collect()
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
        },
        await_start: mode == Mode::AwaitStart,
        await_cgroups: request.systemd_cgroup,
        ordinary_user: !host.privileged,
        preserve_fds: request.listen_fds + request.preserve_fds,
        hook_state,
    };
    plan::compile(spec, context)
}

pub(super) fn initial_state(request: &Request, spec: &Spec, host: &Host) -> State {
    let rootfs = request.bundle.join(&spec.root_path);
    let paths = host.cgroups.paths().into_iter();
    State {
        id: request.id.as_str().to_owned(),
        oci_version: spec.oci_version.clone(),
        bundle: request.bundle.to_string_lossy().into_owned(),
        rootfs: rootfs.to_string_lossy().into_owned(),
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
        resctrl_made: Vec::new(),
    }
}

/// Writes a pid so that readers see the whole number or no file.
///
/// # Errors
/// [`RuntimeError::System`], naming the file.
pub(super) fn write_pid_file(path: &Path, pid: i32) -> Result<(), RuntimeError> {
    let failed = || RuntimeError::system(format!("--pid-file {}", path.display()));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let c_string = |text: &[u8]| CString::new(text).unwrap_or_default();
    let directory = c_string(directory.as_os_str().as_encoded_bytes());
    let flags = OpenFlags::O_PATH | OpenFlags::O_DIRECTORY;
    let directory = openat(CWD, &directory, flags, 0).map_err(failed())?;
    let new = c_string(format!(".{name}.{}", getpid()).as_bytes());
    let flags = OpenFlags::O_WRONLY | OpenFlags::O_CREAT | OpenFlags::O_EXCL;
    openat(&directory, &new, flags, 0o666)
        .and_then(|file| crate::sys::open::write_all(file, pid.to_string().as_bytes()))
        .and_then(|()| crate::sys::open::renameat(&directory, &new, &c_string(name.as_bytes())))
        .map_err(failed())
}
