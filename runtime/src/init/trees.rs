//! Trees of the host that the parent opens for the child, and the mapping of their ids.
//!
//! A mapping is given by a user namespace. Where the config writes it down, a helper is born into a new
//! one, its maps are written, its namespace is opened, and it is ended: the open file keeps the
//! namespace. All that happens before the container's process is made.

use std::ffi::{CStr, CString};
use std::fmt::Write as _;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::error::InitError;
use super::plan::Plan;
use crate::config::linux::NamespaceKind;
use crate::failure::{Failure, Origin};
use crate::limits::OPEN_TREES_MAX;
use crate::namespaces::apply::check_kind;
use crate::procfs::Procfs;
use crate::rootfs::plan::{Source, TreeMap, UserNamespace};
use crate::sys::error::SyscallError;
use crate::sys::mount::{
    Attributes, copy_with_other_ids, map_ids, mount_setattr, open_tree_clone, open_tree_clone_link,
};
use crate::sys::open::{CWD, OpenFlags, close_borrowed, openat, pipe, read};
use crate::sys::process::{Clone3, clone3, pidfd_send_signal, wait_child};

/// Opens the trees of a plan, in its order, as far as that is done before there is a child; with them comes
/// what those take that follow.
///
/// # Errors
/// [`InitError::Parent`], naming the field and the path.
pub(super) fn open_trees(plan: &Plan) -> Result<(Vec<Option<OwnedFd>>, Namespaces), InitError> {
    let mut namespaces = Vec::new();
    for namespace in &plan.user_namespaces {
        namespaces.push(user_namespace(namespace).map_err(|source| InitError::Parent {
            what: format!("{}: a user namespace for its ids", first_use(plan, namespaces.len())),
            source,
        })?);
    }
    let open = |(index, source): (usize, &Source)| match source.inside || index >= OPEN_TREES_MAX {
        true => Ok(None),
        false => open_tree(plan, source, &namespaces).map(Some),
    };
    let trees = plan.sources.iter().enumerate().map(open).collect::<Result<Vec<_>, _>>()?;
    let is_whole = trees.iter().all(Option::is_some);
    Ok((trees, Namespaces(if is_whole { Vec::new() } else { namespaces })))
}

/// The user namespaces of a plan's mappings.
#[derive(Debug)]
pub(super) struct Namespaces(Vec<OwnedFd>);

impl Namespaces {
    /// Opens a tree that the child asks for, or maps the ids of the one that it has opened itself.
    ///
    /// # Errors
    /// [`InitError::Parent`], naming the field and the path.
    pub(super) fn tree(
        &self,
        plan: &Plan,
        source: u16,
        opened: Option<OwnedFd>,
    ) -> Result<Option<OwnedFd>, InitError> {
        let unknown = || InitError::Died("it asked for a tree that is not in the plan".to_owned());
        let source = plan.sources.get(usize::from(source)).ok_or_else(unknown)?;
        match (opened, source.idmap) {
            (None, _) => open_tree(plan, source, &self.0).map(Some),
            (Some(tree), Some(map)) => map_tree(plan, source, tree, map, &self.0).map(|_| None),
            (Some(_), None) => Err(unknown()),
        }
    }
}

/// Where in the config a namespace is first used.
fn first_use(plan: &Plan, index: usize) -> Origin {
    let uses =
        |source: &&Source| source.idmap.is_some_and(|map| usize::from(map.namespace) == index);
    plan.sources.iter().find(uses).map_or(Origin::field("mounts"), |source| source.origin)
}

fn open_tree(plan: &Plan, source: &Source, namespaces: &[OwnedFd]) -> Result<OwnedFd, InitError> {
    let path = plan.arena.c_str(source.path);
    let failed =
        |error: SyscallError| InitError::Parent { what: place(plan, source), source: error.into() };
    let open = if source.link { open_tree_clone_link } else { open_tree_clone };
    let mut tree = open(CWD, path, source.recursive).map_err(failed)?;
    if let Some(map) = source.idmap {
        tree = map_tree(plan, source, tree, map, namespaces)?;
    }
    if source.propagation != 0 {
        let attributes = Attributes { propagation: source.propagation, ..Attributes::default() };
        match mount_setattr(&tree, attributes, true) {
            // Before Linux 5.12 a tree that is attached nowhere cannot be changed.
            Err(error) if error.is_unsupported() => {}
            other => other.map_err(failed)?,
        }
    }
    Ok(tree)
}

fn place(plan: &Plan, source: &Source) -> String {
    format!("{} ({})", source.origin, plan.arena.show(source.path))
}

fn map_tree(
    plan: &Plan,
    source: &Source,
    tree: OwnedFd,
    map: TreeMap,
    namespaces: &[OwnedFd],
) -> Result<OwnedFd, InitError> {
    mapped(tree, map, namespaces, !source.inside).map_err(|error| {
        // On the host something else may be there.
        let path = (!source.inside).then(|| plan.arena.c_str(source.path));
        let why = why_not_mapped(error, path);
        InitError::Parent { what: format!("{}: {why}", place(plan, source)), source: error.into() }
    })
}

fn mapped(
    tree: OwnedFd,
    map: TreeMap,
    namespaces: &[OwnedFd],
    may_copy: bool,
) -> Result<OwnedFd, SyscallError> {
    // The plan made the index together with the namespaces.
    let Some(namespace) = namespaces.get(usize::from(map.namespace)) else { return Ok(tree) };
    match map_ids(&tree, namespace, map.recursive) {
        Ok(()) => Ok(tree),
        // The ids of the source are mapped already; a newer call may give a copy another mapping. What the
        // child has opened can be copied by the child alone.
        Err(error) if error.errno == libc::EPERM && may_copy => {
            copy_with_other_ids(&tree, namespace, map.recursive).map_err(|_| error)
        }
        Err(error) => Err(error),
    }
}

/// Words for the common reasons: an old kernel, a file system that cannot, a mapping over another.
fn why_not_mapped(error: SyscallError, path: Option<&CStr>) -> String {
    match error.errno {
        libc::ENOSYS => "id-mapped mounts need Linux 5.12 or later".to_owned(),
        libc::EINVAL => match path.and_then(file_system) {
            Some(kind) => format!("{kind} does not support id-mapped mounts on this kernel"),
            None => "the file system does not support id-mapped mounts on this kernel".to_owned(),
        },
        libc::EPERM => "its ids are mapped already, or the right to map them is missing".to_owned(),
        _ => "its ids cannot be mapped".to_owned(),
    }
}

/// The type of the file system that holds a path, as mountinfo names it.
fn file_system(path: &CStr) -> Option<String> {
    let procfs = Procfs::open().ok()?;
    let file = openat(CWD, path, OpenFlags::O_PATH, 0).ok()?;
    let info = CString::new(format!("self/fdinfo/{}", file.as_raw_fd())).ok()?;
    let info = String::from_utf8(procfs.read(&info).ok()?).ok()?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim();
    let mounts = procfs.read(c"self/mountinfo").ok()?;
    let mounts = String::from_utf8_lossy(&mounts);
    let mount = mounts.lines().find(|line| line.split(' ').next() == Some(id))?;
    mount.split_once(" - ")?.1.split(' ').next().map(str::to_owned)
}

fn user_namespace(wanted: &UserNamespace) -> Result<OwnedFd, Failure> {
    match wanted {
        UserNamespace::New { uids, gids } => new_user_namespace(uids, gids),
        UserNamespace::At(path) => {
            let path = CString::new(path.as_str()).unwrap_or_default();
            let flags = OpenFlags::O_RDONLY | OpenFlags::O_NONBLOCK | OpenFlags::O_NOCTTY;
            let fd = openat(CWD, &path, flags, 0)?;
            check_kind(&fd, NamespaceKind::User)?;
            Ok(fd)
        }
    }
}

/// The helper waits for the end of a pipe that only this process holds: it cannot outlive it.
fn new_user_namespace(uids: &str, gids: &str) -> Result<OwnedFd, Failure> {
    let procfs = Procfs::open()?;
    let (wait, hold) = pipe()?;
    let options = Clone3 { namespaces: NamespaceKind::User.flag(), ..Clone3::default() };
    let helper = clone3(&options, || {
        close_borrowed(hold.as_fd());
        let _ = read(&wait, &mut [0]);
        0
    })?;
    let opened = open_mapped(&procfs, helper.pid, uids, gids);
    // Already gone is what is wanted.
    let _ = pidfd_send_signal(&helper.pidfd, libc::SIGKILL);
    wait_child(&helper.pidfd)?;
    opened
}

fn open_mapped(procfs: &Procfs, pid: i32, uids: &str, gids: &str) -> Result<OwnedFd, Failure> {
    let mut path = String::new();
    let mut file = |name: &str| {
        path.clear();
        let _ = write!(path, "{pid}/{name}");
        CString::new(path.as_str()).unwrap_or_default()
    };
    procfs.write(&file("gid_map"), gids.as_bytes())?;
    procfs.write(&file("uid_map"), uids.as_bytes())?;
    // The file is a magic link, which the trusted procfs follows for nobody else.
    let fd = openat(procfs, &file("ns/user"), OpenFlags::O_RDONLY, 0)?;
    check_kind(&fd, NamespaceKind::User)?;
    Ok(fd)
}
