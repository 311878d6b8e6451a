//! The mounts of a container without a mount namespace, which are the host's: where they are is recorded
//! before they are made, and they are taken away with the container.

use std::ffi::CString;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::error::RuntimeError;
use crate::config::spec::Spec;
use crate::container::state_file::{HostMounts, State};
use crate::rootfs::plan::mounts_on_host;
use crate::sys::error::SyscallError;
use crate::sys::mount::{mount_id, umount_detach_here};

/// How many mounts are looked for over the rootfs: one is made, others may have been laid over it.
const MOUNTS_MAX: usize = 16;

/// What is to be known to undo the mounts that will be made, if any will.
///
/// # Errors
/// The errno of what looks, with the field.
pub(super) fn look(spec: &Spec, rootfs: &Path) -> Result<Option<HostMounts>, RuntimeError> {
    if !mounts_on_host(spec) {
        return Ok(None);
    }
    let path = c_path(rootfs.to_string_lossy().as_ref());
    let below = mount_id(&path).map_err(RuntimeError::system("root.path"))?;
    let namespace = own_namespace().unwrap_or_default();
    Ok(Some(HostMounts { namespace, below }))
}

/// Takes away what lies over the rootfs. In another mount namespace than theirs, and where they are gone
/// already, nothing is done.
///
/// # Errors
/// The errno of umount2(2).
pub(super) fn undo(state: &State) -> Result<(), RuntimeError> {
    let Some(mounts) = state.host_mounts else { return Ok(()) };
    if own_namespace() != Some(mounts.namespace) {
        return Ok(());
    }
    let path = c_path(&state.rootfs);
    for _ in 0..MOUNTS_MAX {
        match mount_id(&path) {
            Err(SyscallError { errno: libc::ENOENT, .. }) => return Ok(()),
            Ok(id) if id == mounts.below => return Ok(()),
            other => other.map_err(RuntimeError::system("root.path"))?,
        };
        match umount_detach_here(&path) {
            // What was below is gone, and nothing is mounted here.
            Err(SyscallError { errno: libc::EINVAL, .. }) => return Ok(()),
            other => other.map_err(RuntimeError::system("the mounts over root.path"))?,
        }
    }
    Ok(())
}

fn own_namespace() -> Option<u64> {
    Some(std::fs::metadata("/proc/self/ns/mnt").ok()?.ino())
}

fn c_path(path: &str) -> CString {
    // The path of a config holds no NUL.
    CString::new(path).unwrap_or_default()
}
