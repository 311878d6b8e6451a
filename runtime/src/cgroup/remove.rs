//! Removing a cgroup and what the container made below it.

use std::path::Path;
use std::time::Duration;

use super::error::CgroupError;
use super::file;
use super::freeze::{pause, wait_for_event};
use super::procs::tree;
use crate::sys::error::{Result as SyscallResult, SyscallError};
use crate::sys::open::{CWD, filesystem_magic, rmdirat};

/// Pauses before further tries while the last process is still leaving, in milliseconds: about a
/// second in all, as in runc. On v2 the kernel tells when it has left, and the pause ends.
const PAUSES_MS: [i32; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/// `CGROUP_SUPER_MAGIC` and `CGROUP2_SUPER_MAGIC` of linux/magic.h.
const CGROUP_V1: i64 = 0x0027_e0eb;
const CGROUP_V2: i64 = 0x6367_7270;

/// Removes the directory `path` if nothing is in its way. Says whether it is gone.
pub(super) fn remove_at_once(path: &Path) -> bool {
    rmdir(path).is_ok()
}

/// Removes the directory `path`. No error when it is not there.
pub(super) fn remove(path: &Path) -> Result<(), CgroupError> {
    let error = match rmdir(path) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    let failed = |source| CgroupError::Remove { path: path.to_owned(), source };
    // Before anything below it is touched: the path comes from a file.
    let magic = file::open_directory(path).and_then(filesystem_magic);
    match magic {
        Ok(CGROUP_V1 | CGROUP_V2) => {}
        Ok(_) => return Err(CgroupError::NoCgroup { path: path.to_owned() }),
        Err(error) if error.errno == libc::ENOENT => return Ok(()),
        Err(_) => return Err(failed(error)),
    }
    for directory in tree(path).iter().rev() {
        remove_patiently(directory, magic == Ok(CGROUP_V2)).map_err(failed)?;
    }
    Ok(())
}

fn remove_patiently(path: &Path, v2: bool) -> SyscallResult<()> {
    for milliseconds in PAUSES_MS {
        match rmdir(path) {
            Err(error) if error.errno == libc::EBUSY => {}
            other => return other,
        }
        let wait = Duration::from_millis(milliseconds.unsigned_abs().into());
        if !v2 || wait_for_event(path, "populated 0", wait).unwrap_or(true) {
            pause(milliseconds)?;
        }
    }
    rmdir(path)
}

fn rmdir(path: &Path) -> SyscallResult<()> {
    match rmdirat(CWD, &file::c_path(path)?) {
        Err(SyscallError { errno: libc::ENOENT, .. }) => Ok(()),
        other => other,
    }
}
