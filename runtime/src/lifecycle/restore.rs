//! restore: criu makes a container's processes from images (no operation of the specification; the
//! behaviour is runc's).
//!
//! Everything but the processes comes from the bundle: what an image says of a container is not looked at,
//! for it may come from anywhere (CVE-2026-53492).

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::caller::write_pid_file;
use super::checkpoint::DESCRIPTORS;
use super::error::RuntimeError;
use super::host::Host;
use super::launch::{begin, describe, initial_state, undo};
use super::outside::{self, Directories, Resolver, number};
use super::request::{self, Loaded, load_config};
use super::run::{After, Outcome, end, prepare};
use super::systemd::{self, Scope};
use super::{hooks, intel_rdt, mount_points};
use crate::config::linux::NamespaceKind;
use crate::config::spec::Spec;
use crate::container::process::ProcessIdentity;
use crate::container::state_dir::StateDir;
use crate::container::state_file::State;
use crate::criu::message::{Kind, Options};
use crate::criu::{Criu, CriuError, Notice, plan};
use crate::failure::Result as StepResult;
use crate::init::entrance::Entrances;
use crate::limits::DESCRIPTORS_BYTES_MAX;
use crate::procfs::Procfs;
use crate::sys::mount::{MountFlags, mount_propagation, move_mount, open_tree_clone};
use crate::sys::namespace::setns;
use crate::sys::open::{CWD, OpenFlags, openat, read_to_limit};
use crate::sys::process::{
    Child, Clone3, Ended, clone3, pidfd_open, pidfd_send_signal, wait_child,
};
use crate::sys::socket::{loopback_up, send_descriptor};
use crate::{cgroup, resctrl};

/// What a restore is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// What a creation would be asked for.
    pub container: request::Request,
    /// The directory with the images.
    pub images: PathBuf,
    /// The directory for the log, where it is another.
    pub work: Option<PathBuf>,
    /// The switches.
    pub options: Options,
}

/// Makes a container from images, and waits for its end unless told otherwise.
///
/// # Errors
/// Why not; nothing is left then.
pub fn restore(
    request: &Request,
    console_socket: Option<&Path>,
    after: After,
) -> Result<Outcome, RuntimeError> {
    let loaded = load_config(&request.container.bundle, request.container.config.as_deref())?;
    if let Some(text) = plan::refuse(&loaded.spec) {
        return Err(RuntimeError::Refused(text));
    }
    let resctrl = intel_rdt::plan(&loaded.spec, request.container.id.as_str())?;
    let groups = resctrl.as_ref();
    let directories = Directories::open(&request.images, request.work.as_deref(), "restore.log")?;
    let streams = read_descriptors(&directories.images)?;
    let terminal = loaded.spec.process.as_ref().is_some_and(|process| process.terminal);
    let (foreground, console) = prepare(after, terminal, console_socket)?;
    let mut host = Host::look(&request.container, &loaded.spec)?;
    let mut state = initial_state(&request.container, &loaded.spec, &host);
    intel_rdt::note(groups, &mut state, false);
    let directory = StateDir::create(&request.container.root, &request.container.id)?;
    let applied = match begin(&directory, &loaded, &state, &host, groups) {
        Ok(applied) => applied,
        // No cgroup of this container is left; what is there may be another's.
        Err(error) => {
            directory.remove()?;
            return Err(error);
        }
    };
    let scope = host.scope.take();
    let draft =
        Draft { request, loaded: &loaded, host: &host, directory: &directory, groups, console };
    let child = match draft.make(applied, scope, &mut state, &directories, streams) {
        Ok(child) => child,
        Err(error) => return Err(undo(&directory, &state, &loaded.spec.hooks, error)),
    };
    let mut warnings = loaded.warnings;
    warnings.extend(host.cgroups.warnings);
    let Some(foreground) = foreground else { return Ok(Outcome { status: 0, warnings }) };
    let ended = foreground.wait(&child, None);
    warnings.extend(end(&directory, &state, &loaded.spec.hooks, ended.is_ok())?);
    Ok(Outcome { status: ended?.shell_status(), warnings })
}

/// A container of which nothing runs yet.
struct Draft<'a> {
    request: &'a Request,
    loaded: &'a Loaded,
    host: &'a Host,
    directory: &'a StateDir,
    groups: Option<&'a resctrl::plan::Plan>,
    console: Option<OwnedFd>,
}

impl Draft<'_> {
    fn make(
        &self,
        applied: Option<cgroup::Applied>,
        scope: Option<Scope>,
        state: &mut State,
        directories: &Directories,
        streams: Vec<(String, i32)>,
    ) -> Result<Child, RuntimeError> {
        let spec = &self.loaded.spec;
        // From here on what is in the cgroups is this container's: `begin` refuses one that is in use.
        state.restoring = true;
        self.directory.write_state(state)?;
        mount_points::make(spec, &state.bundle)?;
        let mut entrances = applied.map(Entrances::of).unwrap_or_default();
        entrances.write_instead_of_birth();

        let namespaces = open_namespaces(spec)?;
        let fds: Vec<_> = namespaces.iter().map(|(_, fd)| fd.as_fd()).collect();
        let resolver = Resolver::new(Path::new(&state.rootfs))?;
        let root = self.directory.make_criu_root()?;
        let (source, target) = (c_path(resolver.root()), c_path(&root));
        let enter = || {
            lay_root(&source, &target)?;
            Ok(entrances.enter()?)
        };
        let kind = NamespaceKind::Mount.flag();
        let criu = Criu::start(kind, &fds, directories.log.clone(), enter)?;
        let placed = scope.map_or(Ok(()), |scope| self.place(scope, state, criu.pid()));
        // The processes that criu makes begin in its groups.
        let placed = placed.and_then(|()| intel_rdt::enter(state, criu.pid()));
        if let Err(error) = placed {
            // It has done nothing yet, so that how it ends tells nothing.
            let _ = criu.finish();
            return Err(error);
        }

        let mut options = self.request.options.clone();
        options.log_file = "restore.log".to_owned();
        let images = outside::as_seen_by(criu.pid(), &directories.images)?;
        let work = directories.work.as_ref().map(|work| outside::as_seen_by(criu.pid(), work));
        let work = work.transpose()?;
        options.images = number(&images);
        options.work = work.as_ref().map(number);
        options.root = root.to_string_lossy().into_owned();
        options.evasive_devices = true;
        options.as_sibling = true;
        options.config_file = plan::config_file(&state.annotations);
        options.inherited = streams;
        let keyed = namespaces.iter().map(|(key, fd)| ((*key).to_owned(), number(fd)));
        options.inherited.extend(keyed);
        options.joined = joined_namespaces(spec)?;
        let binds = outside::cgroup_binds(&self.host.cgroups);
        let facts = plan::Facts { bundle: &state.bundle, cgroups: &binds, masked_files: &[] };
        plan::restore(spec, &facts, |path| resolver.resolve(path), &mut options);

        let mut restored = None;
        let talked = self.talk(&criu, options, state, &mut restored);
        let finished = criu.finish();
        let whole = talked.and_then(|()| Ok(finished?)).and_then(|()| self.commit(state));
        match (whole, restored) {
            (Ok(()), Some(child)) => Ok(child),
            (Ok(()), None) => Err(CriuError::OutOfTurn.into()),
            (Err(error), restored) => {
                if let Some(child) = restored {
                    // Already gone is what is wanted.
                    let _ = pidfd_send_signal(&child.pidfd, libc::SIGKILL);
                    let _ = wait_child(&child.pidfd);
                }
                // What criu has killed may still be on its way out of the cgroups.
                state.restoring = true;
                intel_rdt::note(self.groups, state, false);
                Err(error)
            }
        }
    }

    /// Has systemd make the cgroup around criu, in which it makes the processes.
    fn place(&self, mut scope: Scope, state: &State, pid: i32) -> Result<(), RuntimeError> {
        let resources = self.loaded.spec.linux.resources.clone().unwrap_or_default();
        let description = systemd::description(state, &self.request.container.root);
        let procfs = Procfs::open().map_err(RuntimeError::Procfs)?;
        scope.start(&resources, &description, pid, &procfs)?;
        systemd::apply_around(&self.host.cgroups, &scope, pid, self.host.cgroup_owner)
    }

    /// The talk with criu.
    fn talk(
        &self,
        criu: &Criu,
        mut options: Options,
        state: &mut State,
        restored: &mut Option<Child>,
    ) -> Result<(), RuntimeError> {
        let version = outside::version(criu)?;
        const LABELS: u32 = 31_600;
        if options.lsm_profile.is_some() {
            outside::require(version, LABELS, "--lsm-profile")?;
        }
        if options.lsm_mount_context.is_some() {
            outside::require(version, LABELS, "--lsm-mount-context")?;
        }
        for joined in plan::joined(&self.loaded.spec) {
            outside::require(version, joined.since, "a namespace that was joined")?;
        }
        options.cgroup_roots = cgroups_of(criu.pid())?;
        criu.carry_out(Kind::Restore, options, |notice| self.on_notice(notice, state, restored))?;
        Ok(())
    }

    fn on_notice(
        &self,
        notice: Notice,
        state: &mut State,
        restored: &mut Option<Child>,
    ) -> Result<(), RuntimeError> {
        let pid = notice.pid;
        match notice.point.as_str() {
            "setup-namespaces" => {
                if self.loaded.spec.linux.creates(NamespaceKind::Network) {
                    raise_loopback(pid)?;
                }
                Ok(hooks::at_restore(&self.loaded.spec.hooks, state, pid)?)
            }
            "orphan-pts-master" => {
                let refused = |text: &str| Err(RuntimeError::Refused(text.to_owned()));
                let Some(console) = &self.console else {
                    return refused(
                        "process.terminal: the checkpoint has a terminal, the config has none",
                    );
                };
                let Some(master) = notice.descriptor else {
                    return refused("criu sent no terminal");
                };
                send_descriptor(console, b"orphan-pts-master", master)
                    .map_err(RuntimeError::system("the console"))
            }
            // The processes are there and stopped: the last moment before they run.
            "post-restore" => {
                let pidfd =
                    pidfd_open(pid).map_err(RuntimeError::system("the restored process"))?;
                *restored = Some(Child { pid, pidfd });
                let identity = ProcessIdentity::of(pid)
                    .map_err(RuntimeError::system("the restored process"))?;
                state.process = identity.unwrap_or(ProcessIdentity { pid, start_time: 0 });
                state.restoring = false;
                state.created = crate::timestamp::rfc3339_nano(SystemTime::now());
                if is_in_other_time(pid) && !state.namespaces.contains(&NamespaceKind::Time) {
                    // Clocks go on where they stopped, which takes a namespace; exec joins it too.
                    state.namespaces.push(NamespaceKind::Time);
                }
                intel_rdt::note(self.groups, state, true);
                describe(state, &self.loaded.spec);
                Ok(self.directory.write_state(state)?)
            }
            _ => Ok(()),
        }
    }

    fn commit(&self, state: &State) -> Result<(), RuntimeError> {
        self.directory.remove_criu_root()?;
        self.directory.unlock()?;
        match &self.request.container.pid_file {
            Some(path) => write_pid_file(path, state.process.pid),
            None => Ok(()),
        }
    }
}

/// Lays the root file system on the place where criu looks for it: criu wants a mount point whose parent is
/// not covered. The mount namespace is criu's own and ends with it.
fn lay_root(source: &CStr, target: &CStr) -> StepResult<()> {
    mount_propagation(c"/", MountFlags::MS_SLAVE | MountFlags::MS_REC)?;
    let flags = OpenFlags::O_PATH | OpenFlags::O_DIRECTORY | OpenFlags::O_NOFOLLOW;
    let tree = open_tree_clone(openat(CWD, source, flags, 0)?, c"", true)?;
    Ok(move_mount(tree, openat(CWD, target, flags, 0)?)?)
}

/// Namespaces that criu leaves to others, by its keys.
fn open_namespaces(spec: &Spec) -> Result<Vec<(&'static str, OwnedFd)>, RuntimeError> {
    let mut all = Vec::new();
    for joined in plan::joined(spec) {
        let Some(key) = joined.key else { continue };
        let what = format!("linux.namespaces: {}.path ({})", joined.kind.name(), joined.path);
        let path = CString::new(joined.path).unwrap_or_default();
        let fd = openat(CWD, &path, OpenFlags::O_RDONLY, 0).map_err(RuntimeError::system(what))?;
        all.push((key, fd));
    }
    Ok(all)
}

/// Namespaces that criu joins by itself.
fn joined_namespaces(spec: &Spec) -> Result<Vec<(String, String)>, RuntimeError> {
    let mut all = Vec::new();
    for joined in plan::joined(spec).iter().filter(|joined| joined.key.is_none()) {
        if joined.kind == NamespaceKind::Cgroup {
            let text = "linux.namespaces: cgroup.path: criu cannot restore into a cgroup namespace";
            return Err(RuntimeError::Refused(text.to_owned()));
        }
        all.push((joined.kind.proc_name().to_owned(), joined.path.to_owned()));
    }
    Ok(all)
}

/// The streams of the container that are pipes, or files from outside: each becomes the caller's stream of the same number.
fn read_descriptors(images: &OwnedFd) -> Result<Vec<(String, i32)>, RuntimeError> {
    let flags = OpenFlags::O_RDONLY | OpenFlags::O_NOFOLLOW | OpenFlags::O_NONBLOCK;
    let bytes = openat(images, DESCRIPTORS, flags, 0)
        .and_then(|file| read_to_limit(file, DESCRIPTORS_BYTES_MAX))
        .map_err(RuntimeError::system("--image-path: descriptors.json"))?;
    from_outside(&bytes).ok_or_else(|| {
        let text = "--image-path: descriptors.json: expected a JSON list of strings";
        RuntimeError::Refused(text.to_owned())
    })
}

fn from_outside(bytes: &[u8]) -> Option<Vec<(String, i32)>> {
    let texts: Vec<String> = serde_json::from_slice(bytes).ok()?;
    let is_from_outside = |text: &str| ["pipe:[", "file["].iter().any(|p| text.starts_with(p));
    let mut streams: Vec<(String, i32)> = Vec::new();
    for (text, number) in texts.into_iter().take(3).zip(0..) {
        if is_from_outside(&text) && !streams.iter().any(|(known, _)| *known == text) {
            streams.push((text, number));
        }
    }
    Some(streams)
}

/// The cgroups of a process, as criu wants them: controller and path.
fn cgroups_of(pid: i32) -> Result<Vec<(String, String)>, RuntimeError> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))
        .map_err(|error| outside::refused("cgroups of", Path::new("criu"), &error))?;
    let mut all = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(names), Some(path)) = (parts.next(), parts.next()) else { continue };
        all.extend(names.split(',').map(|name| (name.to_owned(), path.to_owned())));
    }
    Ok(all)
}

/// A restored network namespace is empty, since its interfaces are others' to make; its own loopback
/// interface is up as after a creation.
fn raise_loopback(pid: i32) -> Result<(), RuntimeError> {
    let failed = || RuntimeError::system("the loopback interface");
    let pidfd = pidfd_open(pid).map_err(failed())?;
    let raise = || {
        let raised = setns(&pidfd, NamespaceKind::Network.flag()).and_then(|()| loopback_up());
        raised.map_or_else(|error| error.errno.clamp(1, 255), |()| 0)
    };
    let child = clone3(&Clone3::default(), raise).map_err(failed())?;
    match wait_child(&child.pidfd).map_err(failed())? {
        Ended::Exited(0) => Ok(()),
        Ended::Exited(errno) => {
            let text = crate::sys::error::errno_text(errno);
            Err(RuntimeError::Refused(format!("the loopback interface: {text}")))
        }
        Ended::Signaled(signal) => {
            Err(RuntimeError::Refused(format!("the loopback interface: signal {signal}")))
        }
    }
}

/// Whether a process is in another time namespace than this one.
fn is_in_other_time(pid: i32) -> bool {
    let namespace = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/time")).ok();
    matches!((namespace(&pid.to_string()), namespace("self")), (Some(its), Some(own)) if its != own)
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_pipes_and_files_from_outside() {
        let list = br#"["pipe:[12]","/dev/null","pipe:[13]","pipe:[14]"]"#;
        let expected = vec![("pipe:[12]".to_owned(), 0), ("pipe:[13]".to_owned(), 2)];
        assert_eq!(from_outside(list), Some(expected));
        let list = br#"["file[1a:4]","file[1a:5]","file[1a:5]"]"#;
        let expected = vec![("file[1a:4]".to_owned(), 0), ("file[1a:5]".to_owned(), 1)];
        assert_eq!(from_outside(list), Some(expected));
        assert_eq!(from_outside(b"[]"), Some(Vec::new()));
        assert_eq!(from_outside(b"{}"), None);
        assert_eq!(from_outside(b"[1]"), None);
        assert_eq!(from_outside(br#"["/etc/shadow"]"#), Some(Vec::new()));
    }
}
