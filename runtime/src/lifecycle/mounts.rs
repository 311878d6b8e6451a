//! What the plan of a file system must know of the host: where mounts are, what sources are.

use std::path::{Path, PathBuf};

use super::error::RuntimeError;
use super::request::Request;
use crate::causes::io_text;
use crate::cgroup::unescape;
use crate::config::spec::Spec;

fn rootfs(request: &Request, spec: &Spec) -> PathBuf {
    request.bundle.join(&spec.root_path)
}

/// The fields of each line of mountinfo, and what follows its separator (proc_pid_mountinfo(5)).
fn mount_table() -> std::io::Result<String> {
    Ok(String::from_utf8_lossy(&std::fs::read("/proc/self/mountinfo")?).into_owned())
}

fn failed(rootfs: &Path) -> impl Fn(std::io::Error) -> RuntimeError + '_ {
    move |e| RuntimeError::Refused(format!("root.path ({}): {}", rootfs.display(), io_text(&e)))
}

/// The mount point that holds the rootfs; asked for only where the root shall be shared.
///
/// # Errors
/// [`RuntimeError::Refused`], naming the rootfs.
pub(super) fn root_parent_mount(request: &Request, spec: &Spec) -> Result<String, RuntimeError> {
    let shared = spec.linux.rootfs_propagation.is_some_and(|flags| flags & libc::MS_SHARED != 0);
    if !shared {
        return Ok(String::new());
    }
    let rootfs = rootfs(request, spec);
    let path = std::fs::canonicalize(&rootfs).map_err(failed(&rootfs))?;
    let mounts = mount_table().map_err(failed(&rootfs))?;
    // The longest mount point that leads there counts.
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
    let holding = points.filter(|point| path.starts_with(Path::new(point)));
    Ok(holding.max_by_key(String::len).unwrap_or_else(|| "/".to_owned()))
}

/// Every whole procfs and sysfs of the host; asked for only where the root is not pivoted, and they would
/// stay in reach.
///
/// # Errors
/// [`RuntimeError::Refused`], naming the rootfs.
pub(super) fn kernel_mounts(request: &Request, spec: &Spec) -> Result<Vec<String>, RuntimeError> {
    if !request.no_pivot {
        return Ok(Vec::new());
    }
    let rootfs = rootfs(request, spec);
    let path = std::fs::canonicalize(&rootfs).map_err(failed(&rootfs))?;
    let mounts = mount_table().map_err(failed(&rootfs))?;
    let places = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let kind = line.split_once(" - ")?.1.split(' ').next()?;
        (root == "/" && matches!(kind, "proc" | "sysfs")).then(|| unescape(point))
    });
    Ok(places.filter(|point| !Path::new(point).starts_with(&path)).collect())
}

/// What the sources of mounts with `copy-symlink` point to, where they are links.
pub(super) fn source_links(request: &Request, spec: &Spec) -> Vec<(usize, String)> {
    let copied = spec.mounts.iter().enumerate().filter(|(_, mount)| mount.options.copy_link);
    copied
        .filter_map(|(index, mount)| {
            let link = std::fs::read_link(request.bundle.join(&mount.source)).ok()?;
            Some((index, link.into_os_string().into_string().ok()?))
        })
        .collect()
}

/// Refuses what only the owner of the host's file systems may do.
///
/// # Errors
/// [`RuntimeError::Refused`], naming the field.
pub(super) fn check_privilege(spec: &Spec, privileged: bool) -> Result<(), RuntimeError> {
    match spec.mounts.iter().position(|mount| mount.idmap.is_some()) {
        Some(index) if !privileged => Err(RuntimeError::Refused(format!(
            "mounts[{index}].options: id-mapped mounts are not supported for rootless containers"
        ))),
        _ => Ok(()),
    }
}
