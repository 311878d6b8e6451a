//! Delegation: a container that sees its own v2 cgroup and may write to it gets the files that the
//! kernel says can be given away (cgroup-v2.rst, "Delegation").

use std::path::Path;

use super::apply::Applied;
use super::error::CgroupError;
use super::file;
use crate::sys::open::{CWD, fchownat};

/// The kernel's list of the files, one a line.
const LIST: &str = "/sys/kernel/cgroup/delegate";

/// What the list has at the least; kernels before 4.15 have none.
const ALWAYS: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

/// Gives the v2 directory and those files to `owner`, an id of this user namespace.
///
/// # Errors
/// [`CgroupError::File`]. A file that this kernel has not is passed over.
pub fn delegate(applied: &Applied, owner: u32) -> Result<(), CgroupError> {
    let Some(member) = applied.members.iter().find(|member| member.is_v2()) else { return Ok(()) };
    let list = file::read_value(CWD, Path::new(LIST)).unwrap_or_else(|_| ALWAYS.to_owned());
    for name in std::iter::once("").chain(list.lines()).filter(|name| !name.contains('/')) {
        let path = if name.is_empty() { member.path.clone() } else { member.path.join(name) };
        let given = file::c_path(&path).and_then(|path| fchownat(CWD, &path, Some(owner), None));
        match given {
            Err(error) if error.errno == libc::ENOENT && !name.is_empty() => {}
            other => other.map_err(|source| CgroupError::File { file: path, source })?,
        }
    }
    Ok(())
}
