//! The steps of [`super::plan`], done by the child. Allocates nothing.
//!
//! New file systems are mounted on the working directory, which is set to the descriptor of the
//! destination just before: the kernel then looks up no path. Trees are moved descriptor to
//! descriptor. Neither can be led elsewhere by somebody who changes the rootfs at the same time.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::plan::{Step, Tree};
use crate::arena::{Arena, Text};
use crate::decimal::Decimal;
use crate::failure::{Failure, Finding, Result};
use crate::root::{Links, Make, Root, host_null, is_on_procfs};
use crate::sys::error::{Call, SyscallError};
use crate::sys::mount::{
    self, ATTR_ATIME_MASK, ATTR_NOATIME, ATTR_NODEV, ATTR_NODIRATIME, ATTR_NOEXEC, ATTR_NOSUID,
    ATTR_RDONLY, Attributes, MountFlags,
};
use crate::sys::open::{
    self, CWD, Node, OpenFlags, fchownat, fstat, leave_open, lstatat, mkdirat, mknodat, openat,
};
use crate::sys::process::{chdir, chroot_here, fchdir};

/// What the steps leave for one another.
#[derive(Debug, Default)]
pub struct Live {
    root: Option<Root>,
    directory: Option<OwnedFd>,
    null: Option<OwnedFd>,
    empty_directory: Option<OwnedFd>,
    /// Whether the attributes of a whole tree are set part by part.
    in_parts: bool,
}

impl Live {
    /// The rootfs.
    ///
    /// # Errors
    /// EBADF before the step that opens it.
    pub fn root(&self) -> Result<&Root> {
        self.root.as_ref().ok_or_else(|| missing().into())
    }

    fn directory(&self) -> Result<BorrowedFd<'_>> {
        self.directory.as_ref().map(AsFd::as_fd).ok_or_else(|| missing().into())
    }
}

fn missing() -> SyscallError {
    SyscallError { call: Call::Open, errno: libc::EBADF }
}

/// Does one step. `prepared` are the trees that the parent opened.
///
/// # Errors
/// The failure of the step.
pub fn apply(step: &Step, arena: &Arena, prepared: &[OwnedFd], live: &mut Live) -> Result<()> {
    let text = |text: Text| arena.c_str(text);
    match *step {
        Step::PropagateHost(flags) => Ok(mount::mount_propagation(c"/", propagation(flags))?),
        Step::PropagateHostAt { target, flags } => {
            Ok(mount::mount_propagation(text(target), propagation(flags))?)
        }
        Step::AttachRoot { tree, path } => attach_root(tree, text(path), prepared, live),
        Step::OpenRoot(path) => {
            let flags = OpenFlags::O_PATH | OpenFlags::O_DIRECTORY | OpenFlags::O_NOFOLLOW;
            live.root = Some(Root::new(openat(CWD, text(path), flags, 0)?));
            Ok(())
        }
        Step::Mount { target, kind, source, flags, data, ordinary, inherit_mode } => {
            let links = if ordinary { Links::Refuse } else { Links::Follow };
            let request = NewMount {
                kind: text(kind),
                source: text(source),
                flags: MountFlags::from_bits_retain(flags),
                data: text(data),
                inherit_mode,
            };
            mount_new(live.root()?, text(target), links, &request)
        }
        Step::Bind { tree, recursive, target, on_procfs } => {
            with_tree(tree, recursive, arena, prepared, |tree| {
                bind(live.root()?, tree, text(target), on_procfs)
            })
        }
        Step::BindInto { tree, name, optional } => {
            mkdirat(live.directory()?, text(name), 0o755)?;
            let bound = with_tree(tree, false, arena, prepared, |tree| {
                Ok(mount::move_mount_below(tree, live.directory()?, text(name))?)
            });
            match bound {
                Err(failure) if optional && is_absence(failure) => Ok(()),
                other => other,
            }
        }
        Step::Attributes { target, attributes, recursive } => {
            let place = live.root()?.find(text(target))?;
            set_attributes(&place, attributes, recursive)
        }
        Step::WholeAttributes { target, attributes } => {
            let place = live.root()?.find(text(target))?;
            live.in_parts = match set_attributes(&place, attributes, true) {
                Err(Failure::Syscall(error)) if error.is_unsupported() => {
                    set_attributes(&place, attributes, false)?;
                    true
                }
                other => other.map(|()| false)?,
            };
            Ok(())
        }
        Step::PartAttributes { .. } if !live.in_parts => Ok(()),
        Step::PartAttributes { target, attributes } => {
            let place = live.root()?.find(text(target))?;
            set_attributes(&place, attributes, false)
        }
        Step::Propagate { target, flags } => {
            let place = live.root()?.find(text(target))?;
            set_propagation(&place, flags)
        }
        Step::OpenDirectory(path) => {
            let root = live.root()?;
            let place = root.find_or_make(text(path), Make::Directory, Links::Follow)?;
            live.directory = Some(place.fd);
            Ok(())
        }
        Step::Device { name, node, mode, uid, gid } => {
            make_device(live.directory()?, text(name), node, mode, (uid, gid))
        }
        Step::DeviceAt { path, node, mode, uid, gid } => {
            let (parent, name) = live.root()?.parent_of(text(path))?;
            make_device(parent.as_fd(), name.as_c_str(), node, mode, (uid, gid))
        }
        Step::Link { name, target, replace } => {
            make_link(live.directory()?, text(name), text(target), replace)
        }
        Step::Mask(path) => mask(live, text(path)),
        Step::Readonly(path) => make_readonly(live.root()?, text(path)),
        Step::Directory(path) => {
            live.root()?.find_or_make(text(path), Make::Directory, Links::Follow)?;
            Ok(())
        }
        Step::RootReadonly => {
            let attributes = Attributes { set: ATTR_RDONLY, ..Attributes::default() };
            set_attributes(live.root()?.fd(), attributes, false)
        }
        Step::Pivot { leave_peers } => pivot(live.root()?, leave_peers),
        Step::Chroot => {
            fchdir(live.root()?.fd())?;
            chroot_here()?;
            Ok(chdir(c"/")?)
        }
        Step::PropagateRoot(flags) => Ok(mount::mount_propagation(c"/", propagation(flags))?),
    }
}

fn with_tree(
    tree: Tree,
    recursive: bool,
    arena: &Arena,
    prepared: &[OwnedFd],
    attach: impl FnOnce(BorrowedFd<'_>) -> Result<()>,
) -> Result<()> {
    match tree {
        Tree::Prepared(index) => attach(prepared_tree(prepared, index)?),
        Tree::Path(path) => {
            let tree = mount::open_tree_clone(CWD, arena.c_str(path), recursive)?;
            let attached = attach(tree.as_fd());
            leave_open(tree);
            attached
        }
    }
}

fn propagation(flags: u64) -> MountFlags {
    MountFlags::from_bits_retain(flags)
}

fn prepared_tree(prepared: &[OwnedFd], index: u16) -> Result<BorrowedFd<'_>> {
    prepared.get(usize::from(index)).map(AsFd::as_fd).ok_or_else(|| missing().into())
}

/// A copy of the rootfs and its mounts is laid over it, because pivot_root(2) wants a mount point and
/// the mounts of the container shall be seen where hooks look for them. In a user namespace the
/// path may be out of reach; then the copy that the parent made is stacked on `/`.
fn attach_root(tree: Tree, path: &CStr, prepared: &[OwnedFd], live: &mut Live) -> Result<()> {
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

struct NewMount<'a> {
    kind: &'a CStr,
    source: &'a CStr,
    flags: MountFlags,
    data: &'a CStr,
    inherit_mode: bool,
}

fn mount_new(root: &Root, target: &CStr, links: Links, request: &NewMount<'_>) -> Result<()> {
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

fn bind(root: &Root, tree: BorrowedFd<'_>, target: &CStr, procfs_allowed: bool) -> Result<()> {
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

/// mount_setattr(2), or before Linux 5.12 a remount, which can do one mount only.
fn set_attributes(place: impl AsFd, attributes: Attributes, recursive: bool) -> Result<()> {
    match mount::mount_setattr(place.as_fd(), attributes, recursive) {
        Err(error) if error.is_unsupported() && !recursive => {
            let wanted = remount_flags(open::mount_flags(place.as_fd())?, attributes);
            on_path_of(place.as_fd(), |path| {
                mount::mount_remount_bind(path, MountFlags::from_bits_retain(wanted))
            })
        }
        other => Ok(other?),
    }
}

fn remount_flags(present: u64, attributes: Attributes) -> u64 {
    const FLAGS: [(u64, u64); 6] = [
        (ATTR_RDONLY, libc::MS_RDONLY),
        (ATTR_NOSUID, libc::MS_NOSUID),
        (ATTR_NODEV, libc::MS_NODEV),
        (ATTR_NOEXEC, libc::MS_NOEXEC),
        (ATTR_NODIRATIME, libc::MS_NODIRATIME),
        (ATTR_NOATIME, libc::MS_NOATIME),
    ];
    let mut flags = present;
    if attributes.clear & ATTR_ATIME_MASK != 0 {
        flags &= !(libc::MS_NOATIME | libc::MS_RELATIME);
    }
    for (attribute, flag) in FLAGS {
        if attributes.clear & attribute != 0 {
            flags &= !flag;
        }
        if attributes.set & attribute != 0 {
            flags |= flag;
        }
    }
    flags
}

fn set_propagation(place: impl AsFd, flags: u64) -> Result<()> {
    let attributes = Attributes { propagation: flags & !libc::MS_REC, ..Attributes::default() };
    let recursive = flags & libc::MS_REC != 0;
    match mount::mount_setattr(place.as_fd(), attributes, recursive) {
        Err(error) if error.is_unsupported() => {
            on_path_of(place.as_fd(), |path| mount::mount_propagation(path, propagation(flags)))
        }
        other => Ok(other?),
    }
}

/// Calls `change` with a path that means exactly what `place` refers to: the working directory for
/// a directory, the magic link of the host's procfs for a file.
fn on_path_of(
    place: BorrowedFd<'_>,
    change: impl FnOnce(&CStr) -> crate::sys::error::Result<()>,
) -> Result<()> {
    if fstat(place)?.st_mode & libc::S_IFMT == libc::S_IFDIR {
        fchdir(place)?;
        return Ok(change(c".")?);
    }
    let mut buffer = [0_u8; 40];
    let path = descriptor_path(&mut buffer, place);
    Ok(change(path)?)
}

fn descriptor_path<'b>(buffer: &'b mut [u8; 40], fd: BorrowedFd<'_>) -> &'b CStr {
    const PREFIX: &[u8] = b"/proc/self/fd/";
    let number = Decimal::new(std::os::fd::AsRawFd::as_raw_fd(&fd).unsigned_abs());
    let end = PREFIX.len() + number.bytes().len();
    buffer[..PREFIX.len()].copy_from_slice(PREFIX);
    buffer[PREFIX.len()..end].copy_from_slice(number.bytes());
    CStr::from_bytes_until_nul(buffer).unwrap_or(c"")
}

fn make_device(
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

fn make_link(directory: BorrowedFd<'_>, name: &CStr, target: &CStr, replace: bool) -> Result<()> {
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

/// Paths that are not there need no hiding.
fn is_absence(error: Failure) -> bool {
    matches!(error.errno(), Some(libc::ENOENT | libc::ENOTDIR))
}

fn mask(live: &mut Live, path: &CStr) -> Result<()> {
    let place = match live.root()?.find(path) {
        Err(error) if is_absence(error) => return Ok(()),
        other => other?,
    };
    if fstat(&place)?.st_mode & libc::S_IFMT == libc::S_IFDIR {
        return mask_directory(live, place);
    }
    let null = match live.null.take() {
        Some(null) => null,
        None => host_null()?,
    };
    let cover = mount::open_tree_clone(&null, c"", false)?;
    live.null = Some(null);
    lay(cover, place)
}

/// One empty tmpfs serves all directories: each gets a copy of the mount, not a superblock.
fn mask_directory(live: &mut Live, place: OwnedFd) -> Result<()> {
    if let Some(first) = &live.empty_directory {
        let cover = mount::open_tree_clone(first, c"", false)?;
        return lay(cover, place);
    }
    let cover = mount::empty_readonly_tmpfs()?;
    mount::move_mount(&cover, &place)?;
    leave_open(place);
    live.empty_directory = Some(cover);
    Ok(())
}

/// Lays a mount over a place; neither is needed again.
fn lay(cover: OwnedFd, place: OwnedFd) -> Result<()> {
    let laid = mount::move_mount(&cover, &place);
    leave_open(cover);
    leave_open(place);
    Ok(laid?)
}

fn make_readonly(root: &Root, path: &CStr) -> Result<()> {
    let place = match root.find(path) {
        Err(error) if is_absence(error) => return Ok(()),
        other => other?,
    };
    let copy = mount::open_tree_clone(&place, c"", true)?;
    mount::move_mount(&copy, &place)?;
    let attributes = Attributes { set: ATTR_RDONLY, ..Attributes::default() };
    let set = set_attributes(&copy, attributes, false);
    leave_open(copy);
    leave_open(place);
    set
}

fn pivot(root: &Root, leave_peers: bool) -> Result<()> {
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

    #[test]
    fn names_a_descriptor() {
        let mut buffer = [0; 40];
        let stdin = open::inherited(0).unwrap();
        assert_eq!(descriptor_path(&mut buffer, stdin), c"/proc/self/fd/0");
    }
}
