//! Bringing mounts to their places: the root, new file systems, trees of the host. Allocates nothing.

use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::{Live, prepared_tree};
use crate::failure::{Finding, Result};
use crate::root::{Links, Make, Root, is_on_procfs};
use crate::rootfs::plan::Tree;
use crate::sys::mount::{self, MountFlags};
use crate::sys::open::{CWD, OpenFlags, fstat, leave_open, openat};
use crate::sys::process::{chdir, fchdir};

/// A copy of the rootfs and its mounts is laid over it, because pivot_root(2) wants a mount point and
/// the mounts of the container shall be seen where hooks look for them. In a user namespace the
/// path may be out of reach; then the copy that the parent made is stacked on `/`.
pub(super) fn attach_root(
    tree: Tree,
    path: &CStr,
    prepared: &[OwnedFd],
    live: &mut Live,
) -> Result<()> {
    let flags = OpenFlags::O_PATH | OpenFlags::O_DIRECTORY | OpenFlags::O_NOFOLLOW;
    let place = openat(CWD, path, flags, 0);
    let root = match (tree, place) {
        (Tree::Path(_), place) => {
            let place = place?;
            let copy = mount::open_tree_clone(&place, c"", true)?;
            mount::move_mount(&copy, &place)?;
            leave_open(place);
            copy
        }
        (Tree::Prepared(index), Ok(place)) => {
            let tree = prepared_tree(prepared, index)?;
            mount::move_mount(tree, &place)?;
            openat(tree, c".", flags, 0)?
        }
        (Tree::Prepared(index), Err(_)) => {
            let tree = prepared_tree(prepared, index)?;
            mount::move_mount_onto_root(tree)?;
            openat(tree, c".", flags, 0)?
        }
    };
    live.root = Some(Root::new(root));
    Ok(())
}

pub(super) struct NewMount<'a> {
    pub(super) kind: &'a CStr,
    pub(super) source: &'a CStr,
    pub(super) flags: MountFlags,
    pub(super) data: &'a CStr,
    pub(super) inherit_mode: bool,
}

pub(super) fn mount_new(
    root: &Root,
    target: &CStr,
    links: Links,
    request: &NewMount<'_>,
) -> Result<()> {
    let place = root.find_or_make(target, Make::Directory, links)?;
    if links == Links::Follow && place.existed && is_on_procfs(&place.fd)? {
        return Err(Finding::OnProcfs.into());
    }
    let mut buffer = [0_u8; 4096];
    let mut data = request.data;
    if request.inherit_mode && place.existed {
        let mode = fstat(&place.fd)?.st_mode & 0o7777;
        data = append_mode(&mut buffer, request.data.to_bytes(), mode)?;
    }
    fchdir(&place.fd)?;
    leave_open(place.fd);
    let data = (!data.is_empty()).then_some(data);
    Ok(mount::mount(request.source, c".", request.kind, request.flags, data)?)
}

/// `data` with `mode=…` in octal, put together in `buffer`.
fn append_mode<'b>(buffer: &'b mut [u8; 4096], data: &[u8], mode: u32) -> Result<&'b CStr> {
    let digit = |shift: u32| b'0' + u8::try_from(mode >> shift & 7).unwrap_or(0);
    let digits = [digit(9), digit(6), digit(3), digit(0)];
    let comma: &[u8] = if data.is_empty() { b"" } else { b"," };
    let mut end = 0;
    for part in [data, comma, b"mode=", &digits] {
        let room = buffer.get_mut(end..end + part.len()).ok_or(Finding::PathTooLong)?;
        room.copy_from_slice(part);
        end += part.len();
    }
    CStr::from_bytes_until_nul(buffer).map_err(|_| Finding::PathTooLong.into())
}

pub(super) fn bind(
    root: &Root,
    tree: BorrowedFd<'_>,
    target: &CStr,
    procfs_allowed: bool,
) -> Result<()> {
    let is_directory = fstat(tree)?.st_mode & libc::S_IFMT == libc::S_IFDIR;
    let make = if is_directory { Make::Directory } else { Make::File };
    let place = root.find_or_make(target, make, Links::Follow)?;
    if !procfs_allowed && place.existed && is_on_procfs(&place.fd)? {
        return Err(Finding::OnProcfs.into());
    }
    let moved = mount::move_mount(tree, &place.fd);
    leave_open(place.fd);
    Ok(moved?)
}

pub(super) fn pivot(root: &Root, leave_peers: bool) -> Result<()> {
    let old = if leave_peers {
        Some(openat(CWD, c"/", OpenFlags::O_PATH | OpenFlags::O_DIRECTORY, 0)?)
    } else {
        None
    };
    fchdir(root.fd())?;
    mount::pivot_root(c".", c".")?;
    if let Some(old) = old {
        fchdir(&old)?;
        mount::mount_propagation(c".", MountFlags::MS_SLAVE | MountFlags::MS_REC)?;
    }
    mount::umount_detach(c".")?;
    Ok(chdir(c"/")?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn appends_a_mode_in_octal() {
        let mut buffer = [0; 4096];
        assert_eq!(append_mode(&mut buffer, b"size=1k", 0o1777).unwrap(), c"size=1k,mode=1777");
        let mut buffer = [0; 4096];
        assert_eq!(append_mode(&mut buffer, b"", 0o755).unwrap(), c"mode=0755");
    }
}
