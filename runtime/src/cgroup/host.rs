//! Reading the host's layout: two files of procfs, and one of the v2 mount.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::error::CgroupError;
use super::file;
use super::router::Layout;
use crate::sys;
use crate::sys::open::{CWD, OpenFlags, openat, read_made_at_once, read_to_limit};

/// Hosts with tens of thousands of mounts exist; each takes some 200 bytes.
const MOUNTINFO_BYTES_MAX: usize = 64 << 20;

/// The layout as the calling thread sees it. `proc` is a directory of procfs that the caller trusts.
///
/// # Errors
/// [`CgroupError::Host`] and [`CgroupError::Layout`].
pub fn layout(proc: impl AsFd) -> Result<Layout, CgroupError> {
    let read = |name: &str, read: fn(OwnedFd, usize) -> sys::error::Result<Vec<u8>>| {
        let bytes = file::c_path(name)
            .and_then(|path| openat(proc.as_fd(), &path, OpenFlags::O_RDONLY, 0))
            .and_then(|fd| read(fd, MOUNTINFO_BYTES_MAX))
            .map_err(|source| CgroupError::Host { file: Path::new("/proc").join(name), source })?;
        Ok::<_, CgroupError>(String::from_utf8_lossy(&bytes).into_owned())
    };
    // The child is cloned from this thread, which on v1 may be elsewhere than the rest.
    let own = read("thread-self/cgroup", read_made_at_once)?;
    let mut layout = Layout::parse(&own, &read("thread-self/mountinfo", read_to_limit)?)?;
    if let Some(mount_point) = layout.v2_mount_point().map(PathBuf::from) {
        let file = mount_point.join("cgroup.controllers");
        let controllers = file::read_value(CWD, &file)
            .map_err(|source| CgroupError::Host { file: file.clone(), source })?;
        layout.set_v2_controllers(&controllers);
    }
    Ok(layout)
}
