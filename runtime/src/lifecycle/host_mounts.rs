//! The mounts of a container without a mount namespace, which are the host's: where they are is recorded
//! before they are made, and they are taken away with the container.

use std::ffi::CString;
use std::path::Path;

use super::error::RuntimeError;
use crate::config::spec::Spec;
use crate::container::state_file::{HostMounts, State};
use crate::rootfs::plan::mounts_on_host;
use crate::sys::error::SyscallError;
use crate::sys::mount::{mount_id, umount_detach_here};
use crate::sys::open::{CWD, OpenFlags, fstat, openat};

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
    if std::fs::canonicalize(rootfs).is_ok_and(|path| path == Path::new("/")) {
        let text =
            "root.path: / needs a mount namespace: nothing can be laid over the host's own root";
        return Err(RuntimeError::Refused(text.to_owned()));
    }
    let path = c_path(rootfs.to_string_lossy().as_ref());
    let below = mount_id(&path).map_err(RuntimeError::system("root.path"))?;
    Ok(Some(HostMounts { namespace: own_namespace()?, below }))
}

/// Takes away what lies over the rootfs. In another mount namespace than theirs, and where they are gone
/// already, nothing is done.
///
/// # Errors
/// The errno of umount2(2).
pub(super) fn undo(state: &State) -> Result<(), RuntimeError> {
    let Some(mounts) = state.host_mounts else { return Ok(()) };
    if own_namespace()? != mounts.namespace {
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

/// The mount namespace of this thread.
fn own_namespace() -> Result<u64, RuntimeError> {
    let own = openat(CWD, c"/proc/thread-self/ns/mnt", OpenFlags::O_RDONLY, 0);
    let status = own.and_then(|own| fstat(&own));
    Ok(status.map_err(RuntimeError::system("/proc/thread-self/ns/mnt"))?.st_ino)
}

fn c_path(path: &str) -> CString {
    // The path of a config holds no NUL.
    CString::new(path).unwrap_or_default()
}
