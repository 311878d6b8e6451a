//! Mounts: the new calls where descriptors are the arguments, and mount(2) on the working directory.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::mount::{MntFlags, MsFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};

use super::error::{Call, Named, Result, SyscallError};

pub use nix::mount::MsFlags as MountFlags;

/// mount(2) of a new file system on `target`.
///
/// # Errors
/// The errno of the call.
pub fn mount(
    source: &CStr,
    target: &CStr,
    kind: &CStr,
    flags: MsFlags,
    data: Option<&CStr>,
) -> Result<()> {
    nix::mount::mount(Some(source), target, Some(kind), flags, data).named(Call::Mount)
}

/// mount(2) that changes the propagation of `target`.
///
/// # Errors
/// The errno of the call.
pub fn mount_propagation(target: &CStr, flags: MsFlags) -> Result<()> {
    nix::mount::mount(None::<&CStr>, target, None::<&CStr>, flags, None::<&CStr>).named(Call::Mount)
}

/// mount(2) that sets the flags of the mount at `target`, not of its file system.
///
/// # Errors
/// The errno of the call.
pub fn mount_remount_bind(target: &CStr, flags: MsFlags) -> Result<()> {
    let flags = flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
    nix::mount::mount(None::<&CStr>, target, None::<&CStr>, flags, None::<&CStr>).named(Call::Mount)
}

/// umount2(2) with `MNT_DETACH`.
///
/// # Errors
/// The errno of the call.
pub fn umount_detach(target: &CStr) -> Result<()> {
    nix::mount::umount2(target, MntFlags::MNT_DETACH).named(Call::Umount)
}

/// pivot_root(2).
///
/// # Errors
/// The errno of the call.
pub fn pivot_root(new_root: &CStr, put_old: &CStr) -> Result<()> {
    nix::unistd::pivot_root(new_root, put_old).named(Call::PivotRoot)
}

/// A detached copy of the mount at `path` below `dir`: open_tree(2) with `OPEN_TREE_CLONE`. An empty
/// path means `dir` itself.
///
/// # Errors
/// The errno of the call.
pub fn open_tree_clone(dir: impl AsFd, path: &CStr, recursive: bool) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(dir, path, flags).named(Call::OpenTree)
}

/// Attaches the detached mount `tree` to what `target` refers to: move_mount(2), fd to fd.
///
/// # Errors
/// The errno of the call.
pub fn move_mount(tree: impl AsFd, target: impl AsFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, c"", target, c"", flags).named(Call::MoveMount)
}

/// Attaches the detached mount `tree` to `name` in `directory`; a link there is not followed.
///
/// # Errors
/// The errno of the call.
pub fn move_mount_below(tree: impl AsFd, directory: impl AsFd, name: &CStr) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(tree, c"", directory, name, flags).named(Call::MoveMount)
}

/// Attaches the detached mount `tree` to the root directory of this process.
///
/// # Errors
/// The errno of the call.
pub fn move_mount_onto_root(tree: impl AsFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(tree, c"", super::open::CWD, c"/", flags).named(Call::MoveMount)
}

/// A detached, empty, read-only tmpfs: fsopen(2), fsconfig(2), fsmount(2).
///
/// # Errors
/// The errno of whichever call failed.
pub fn empty_readonly_tmpfs() -> Result<OwnedFd> {
    let context =
        rustix::mount::fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).named(Call::Fsopen)?;
    rustix::mount::fsconfig_set_string(context.as_fd(), c"size", c"0").named(Call::Fsconfig)?;
    rustix::mount::fsconfig_create(context.as_fd()).named(Call::Fsconfig)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .named(Call::Fsmount)
}

/// `MOUNT_ATTR_RDONLY` of mount_setattr(2).
pub const ATTR_RDONLY: u64 = 0x1;
/// `MOUNT_ATTR_NOSUID`.
pub const ATTR_NOSUID: u64 = 0x2;
/// `MOUNT_ATTR_NODEV`.
pub const ATTR_NODEV: u64 = 0x4;
/// `MOUNT_ATTR_NOEXEC`.
pub const ATTR_NOEXEC: u64 = 0x8;
/// `MOUNT_ATTR__ATIME`: the mask over the three values of the access time setting.
pub const ATTR_ATIME_MASK: u64 = 0x70;
/// `MOUNT_ATTR_NOATIME`.
pub const ATTR_NOATIME: u64 = 0x10;
/// `MOUNT_ATTR_STRICTATIME`.
pub const ATTR_STRICTATIME: u64 = 0x20;
/// `MOUNT_ATTR_NODIRATIME`.
pub const ATTR_NODIRATIME: u64 = 0x80;
/// `MOUNT_ATTR_NOSYMFOLLOW`, Linux 5.14.
pub const ATTR_NOSYMFOLLOW: u64 = 0x0020_0000;

/// What mount_setattr(2) changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Attributes to set.
    pub set: u64,
    /// Attributes to clear, before the others are set.
    pub clear: u64,
    /// One of the `MS_*` propagation types, or 0.
    pub propagation: u64,
}

/// mount_setattr(2), Linux 5.12, on the mount that `mount` refers to.
///
/// # Errors
/// The errno of the call.
pub fn mount_setattr(mount: impl AsFd, attributes: Attributes, recursive: bool) -> Result<()> {
    super::probe::allow(Call::MountSetattr)?;
    let attr = libc::mount_attr {
        attr_set: attributes.set,
        attr_clr: attributes.clear,
        propagation: attributes.propagation,
        userns_fd: 0,
    };
    let recursive_flag = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the structure lives through the call and its size is passed with it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive_flag,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(SyscallError::last(Call::MountSetattr)) }
}
