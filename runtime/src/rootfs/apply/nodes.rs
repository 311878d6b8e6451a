//! Device nodes and links, made in an open directory. Allocates nothing.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use crate::failure::{Finding, Result};
use crate::limits::PATH_BYTES_MAX;
use crate::root::Root;
use crate::sys::mount;
use crate::sys::open::{self, CWD, Node, fchownat, leave_open, lstatat, mknodat};

pub(super) fn make_device(
    directory: BorrowedFd<'_>,
    name: &CStr,
    node: Node,
    mode: u32,
    (uid, gid): (u32, u32),
) -> Result<()> {
    match mknodat(directory, name, node, mode) {
        Err(error) if error.errno == libc::EEXIST => {
            let status = lstatat(directory, name)?;
            if !is_node(status.st_mode, status.st_rdev, node) {
                return Err(Finding::OtherFileExists.into());
            }
        }
        other => other?,
    }
    if (uid, gid) != (0, 0) {
        fchownat(directory, name, Some(uid), Some(gid))?;
    }
    Ok(())
}

fn is_node(mode: u32, device: u64, node: Node) -> bool {
    let (kind, number) = match node {
        Node::File => (libc::S_IFREG, None),
        Node::Fifo => (libc::S_IFIFO, None),
        Node::Character { major, minor } => (libc::S_IFCHR, Some((major, minor))),
        Node::Block { major, minor } => (libc::S_IFBLK, Some((major, minor))),
    };
    let same_number =
        number.is_none_or(|(major, minor)| open::device_number(major, minor) == device);
    mode & libc::S_IFMT == kind && same_number
}

pub(super) fn make_link(
    directory: BorrowedFd<'_>,
    name: &CStr,
    target: &CStr,
    replace: bool,
) -> Result<()> {
    match open::symlinkat(target, directory, name) {
        Err(error) if error.errno == libc::EEXIST => {
            if replace {
                open::unlinkat(directory, name)?;
                open::symlinkat(target, directory, name)?;
            }
            Ok(())
        }
        other => Ok(other?),
    }
}

/// Makes a link at a path; one that is there must point to the same.
pub(super) fn make_link_at(root: &Root, path: &CStr, target: &CStr) -> Result<()> {
    let (directory, name) = root.parent_of(path)?;
    match open::symlinkat(target, &directory, name.as_c_str()) {
        Err(error) if error.errno == libc::EEXIST => {
            let mut present = [0; PATH_BYTES_MAX];
            match open::readlinkat(&directory, name.as_c_str(), &mut present) {
                Ok(present) if present == target.to_bytes() => Ok(()),
                _ => Err(Finding::OtherFileExists.into()),
            }
        }
        other => Ok(other?),
    }
}

/// Where no node may be made, as in a user namespace, the host's is shown. Its owner is the host's.
pub(super) fn show_device(directory: BorrowedFd<'_>, name: &CStr, host: &CStr) -> Result<()> {
    let tree = mount::open_tree_clone(CWD, host, false)?;
    match mknodat(directory, name, Node::File, 0o666) {
        Err(error) if error.errno != libc::EEXIST => return Err(error.into()),
        _ => {}
    }
    let moved = mount::move_mount_below(&tree, directory, name);
    leave_open(tree);
    Ok(moved?)
}
