//! Bringing mounts to their places: the root, new file systems, trees of the host. Allocates nothing.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::attributes::set_attributes;
use super::{Live, Trees, last_name};
use crate::failure::{Failure, Finding, Result};
use crate::root::{Links, Make, Place, Root, is_on_procfs};
use crate::rootfs::attributes::attributes;
use crate::rootfs::plan::{OnProcfs, Tree};
use crate::sys::mount::{self, MountFlags};
use crate::sys::open::{CWD, OpenFlags, fstat, leave_open, mkdirat, openat};
use crate::sys::process::{chdir, fchdir};
use crate::sys::text::until_nul;

/// A copy of the rootfs and its mounts is laid over it, because pivot_root(2) wants a mount point and
/// the mounts of the container shall be seen where hooks look for them. In a user namespace the
/// path may be out of reach; then the copy that the parent made is stacked on `/`.
pub(super) fn attach_root(
    tree: Tree,
    path: &CStr,
    trees: &Trees<'_>,
    live: &mut Live,
) -> Result<()> {
    let flags = OpenFlags::O_PATH | OpenFlags::O_DIRECTORY | OpenFlags::O_NOFOLLOW;
    let place = openat(CWD, path, flags, 0);
    let root = match (tree, place) {
        (Tree::Path(_) | Tree::LinkPath(_) | Tree::Mapped { .. }, place) => {
            let place = place?;
            let copy = mount::open_tree_clone(&place, c"", true)?;
            mount::move_mount(&copy, &place)?;
            leave_open(place);
            copy
        }
        (Tree::Prepared(index), Ok(place)) => {
            let tree = trees.prepared(index)?;
            mount::move_mount(tree, &place)?;
            openat(tree, c".", flags, 0)?
        }
        (Tree::Prepared(index), Err(_)) => {
            let tree = trees.prepared(index)?;
            mount::move_mount_onto_root(tree)?;
            openat(tree, c".", flags, 0)?
        }
    };
    let status = fstat(&root)?;
    live.identity = Some((status.st_dev, status.st_ino));
    live.root = Some(Root::new(root));
    Ok(())
}

/// A mount may not cover the rootfs itself, nor files of procfs but for what `procfs` says.
pub(super) fn check_place(live: &Live, place: &Place, procfs: OnProcfs) -> Result<()> {
    if !place.existed {
        return Ok(());
    }
    let status = fstat(&place.fd)?;
    let (device, inode) = live.identity.unwrap_or_default();
    if status.st_dev == device {
        // The file system of the rootfs, so not procfs.
        return if status.st_ino == inode { Err(Finding::IsRoot.into()) } else { Ok(()) };
    }
    if procfs == OnProcfs::Nowhere && is_on_procfs(&place.fd)? {
        return Err(Finding::OnProcfs.into());
    }
    Ok(())
}

pub(super) struct NewMount<'a> {
    pub(super) in_directory: bool,
    pub(super) kind: &'a CStr,
    pub(super) source: &'a CStr,
    pub(super) flags: MountFlags,
    pub(super) data: &'a CStr,
    pub(super) inherit_mode: bool,
    pub(super) procfs: OnProcfs,
    pub(super) as_written: bool,
}

pub(super) fn mount_new(
    live: &Live,
    target: &CStr,
    links: Links,
    request: &NewMount<'_>,
) -> Result<()> {
    if request.in_directory {
        let place = make_directory(live.directory()?, last_name(target))?;
        return mount_on(place, request, request.data);
    }
    let place = destination(live, target, links, request)?;
    let mut buffer = [0_u8; 4096];
    let mut data = request.data;
    if request.inherit_mode && place.existed {
        let mode = fstat(&place.fd)?.st_mode & 0o7777;
        data = append_mode(&mut buffer, request.data.to_bytes(), mode)?;
    }
    mount_on(place.fd, request, data)
}

fn destination(live: &Live, target: &CStr, links: Links, request: &NewMount<'_>) -> Result<Place> {
    let root = live.root()?;
    if request.as_written {
        match root.find_or_make(target, Make::Directory, Links::Refuse) {
            Err(Failure::Found(Finding::NotOrdinaryDirectory)) if links == Links::Follow => {}
            other => return other,
        }
    }
    let place = root.find_or_make(target, Make::Directory, links)?;
    check_place(live, &place, request.procfs)?;
    Ok(place)
}

/// A name that is most likely new. A link is not followed.
fn make_directory(directory: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    match mkdirat(directory, name, 0o755) {
        Err(error) if error.errno != libc::EEXIST => return Err(error.into()),
        _ => {}
    }
    let flags = OpenFlags::O_PATH | OpenFlags::O_NOFOLLOW | OpenFlags::O_DIRECTORY;
    Ok(openat(directory, name, flags, 0)?)
}

fn mount_on(place: OwnedFd, request: &NewMount<'_>, data: &CStr) -> Result<()> {
    fchdir(&place)?;
    leave_open(place);
    let data = (!data.is_empty()).then_some(data);
    Ok(mount::mount(request.source, c".", request.kind, request.flags, data)?)
}

/// Shows the host's tree where a file system may not be mounted, with the same flags: for all of it where
/// the kernel can do that at once. Access times stay as the host has them, which may be locked.
pub(super) fn show_instead(
    live: &Live,
    tree: &CStr,
    target: &CStr,
    links: Links,
    request: &NewMount<'_>,
) -> Result<()> {
    const FLAGS: u64 = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    let tree = mount::open_tree_clone(CWD, tree, true)?;
    let wanted = attributes(request.flags.bits() & FLAGS, 0);
    match mount::mount_setattr(&tree, wanted, true) {
        Err(error) if error.is_unsupported() => {
            bind(live, tree.as_fd(), target, links, request.procfs)?;
            set_attributes(live.root()?.find(target)?, wanted, false)?;
        }
        other => {
            other?;
            bind(live, tree.as_fd(), target, links, request.procfs)?;
        }
    }
    leave_open(tree);
    Ok(())
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
    until_nul(buffer).ok_or_else(|| Finding::PathTooLong.into())
}

pub(super) fn bind(
    live: &Live,
    tree: BorrowedFd<'_>,
    target: &CStr,
    links: Links,
    procfs: OnProcfs,
) -> Result<()> {
    if procfs == OnProcfs::Top && !is_on_procfs(tree)? {
        return Err(Finding::NotOfProc.into());
    }
    let is_directory = fstat(tree)?.st_mode & libc::S_IFMT == libc::S_IFDIR;
    let make = if is_directory { Make::Directory } else { Make::File };
    let place = live.root()?.find_or_make(target, make, links)?;
    check_place(live, &place, procfs)?;
    let moved = mount::move_mount(tree, &place.fd);
    leave_open(place.fd);
    Ok(moved?)
}

/// Changes what is mounted at `target`.
pub(super) fn remount(root: &Root, target: &CStr, flags: u64, data: &CStr) -> Result<()> {
    fchdir(root.find(target)?)?;
    let data = (!data.is_empty()).then_some(data);
    Ok(mount::mount_remount(c".", MountFlags::from_bits_retain(flags), data)?)
}

/// Without pivot_root(2) the host's mounts stay in reach of a program that may call chroot(2): the
/// container's root is laid over theirs.
pub(super) fn move_root(root: &Root) -> Result<()> {
    Ok(mount::move_mount_onto_root(root.fd())?)
}

/// Takes a mount of the host away, or hides it where that is not permitted.
pub(super) fn forget(place: &CStr) -> Result<()> {
    match mount::mount_propagation(place, MountFlags::MS_SLAVE | MountFlags::MS_REC) {
        // It was below another one that is gone already.
        Err(error) if error.errno == libc::ENOENT => return Ok(()),
        other => other?,
    }
    match mount::umount_detach(place) {
        Err(error) if matches!(error.errno, libc::EINVAL | libc::EPERM) => {
            Ok(mount::mount(c"tmpfs", place, c"tmpfs", MountFlags::MS_RDONLY, None)?)
        }
        other => Ok(other?),
    }
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
