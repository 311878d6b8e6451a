//! What is looked up on the host before a container is planned: the rights of this process, its cgroups
//! and its mounts.

use std::path::Path;

use super::error::RuntimeError;
use super::mounts;
use super::request::Request;
use super::systemd::Scope;
use crate::cgroup;
use crate::config::linux::NamespaceKind;
use crate::config::process::Process;
use crate::config::spec::Spec;
use crate::container::id::ContainerId;
use crate::procfs::Procfs;
use crate::rootfs;
use crate::sys::credentials::{CAP_SYS_ADMIN, capget};
use crate::sys::mount::open_tree_clone;
use crate::sys::namespace;
use crate::sys::open::CWD;
use crate::sys::process::geteuid;

/// What the compiler needs to know of the host.
pub(super) struct Host {
    pub(super) cgroups: cgroup::Plan,
    /// The unit, where systemd makes the cgroup.
    pub(super) scope: Option<Scope>,
    /// To whom the cgroup is delegated.
    pub(super) cgroup_owner: Option<u32>,
    pub(super) cgroup_mounts: Vec<rootfs::plan::CgroupMount>,
    pub(super) root_parent_mount: String,
    pub(super) kernel_mounts: Vec<String>,
    pub(super) source_links: Vec<(usize, String)>,
    pub(super) opening: cgroup::Opening,
    pub(super) permitted: Option<u64>,
    pub(super) privileged: bool,
    /// Whether this process is in a user namespace, or might as well be.
    pub(super) in_user_namespace: bool,
    /// Whether this process may copy mounts for the child.
    pub(super) prepare_trees: bool,
    /// What concerns cgroups and the host's processes may be refused.
    pub(super) rootless: bool,
}

/// What this process may do.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rights {
    /// Its capabilities.
    pub(super) permitted: u64,
    /// Whether it is root for most purposes: of the host, or of a user namespace.
    pub(super) privileged: bool,
    /// Whether it has no rights over the host's cgroups and devices: root of a user namespace has all
    /// capabilities, and none over those.
    pub(super) in_user_namespace: bool,
}

impl Rights {
    /// # Errors
    /// The errno of capget(2).
    pub(super) fn own() -> Result<Self, RuntimeError> {
        let (_, permitted) = capget().map_err(RuntimeError::system("own capabilities"))?;
        let privileged = permitted & 1 << CAP_SYS_ADMIN != 0;
        let in_user_namespace = !privileged || namespace::is_nested();
        Ok(Self { permitted, privileged, in_user_namespace })
    }
}

impl Host {
    pub(super) fn look(request: &Request, spec: &Spec) -> Result<Self, RuntimeError> {
        let Rights { permitted, privileged, in_user_namespace } = Rights::own()?;
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

pub(super) fn plan_cgroups(
    spec: &Spec,
    id: &ContainerId,
    by_systemd: bool,
    rootless: bool,
) -> Result<(cgroup::Plan, Option<Scope>), RuntimeError> {
    let procfs = Procfs::open().map_err(RuntimeError::Procfs)?;
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

/// A label cannot be kept where SELinux is not active. Said before anything is made, in runc's words.
///
/// # Errors
/// [`RuntimeError::Refused`], with the field.
pub(super) fn check_label(process: &Process) -> Result<(), RuntimeError> {
    if process.selinux_label.is_none() || has_selinux() {
        return Ok(());
    }
    let text = "process.selinuxLabel: selinux label is specified in config, but selinux is disabled \
                or not supported";
    Err(RuntimeError::Refused(text.to_owned()))
}

/// Whether SELinux is active on the host.
pub(super) fn has_selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}
