//! Mounts: the new calls where descriptors are the arguments, and mount(2) on the working directory.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

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

/// umount2(2) with `MNT_DETACH`, of what is mounted at `target` itself: a link is not followed.
///
/// # Errors
/// The errno of the call: EINVAL where nothing is mounted.
pub fn umount_detach_here(target: &CStr) -> Result<()> {
    nix::mount::umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
        .named(Call::Umount)
}

/// The id of the mount on which `path` lies, by statx(2); a last link is not followed.
///
/// # Errors
/// The errno of the call.
pub fn mount_id(path: &CStr) -> Result<u64> {
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::statx(rustix::fs::CWD, path, flags, rustix::fs::StatxFlags::MNT_ID)
        .map(|status| status.stx_mnt_id)
        .named(Call::Statx)
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

/// As [`open_tree_clone`], but a last symbolic link is itself what is copied.
///
/// # Errors
/// The errno of the call.
pub fn open_tree_clone_link(dir: impl AsFd, path: &CStr, recursive: bool) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
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
    let tmpfs = rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes);
    super::open::leave_open(context);
    tmpfs.named(Call::Fsmount)
}

/// A detached, empty, writable tmpfs with these attributes (`MOUNT_ATTR_*`). `data` holds the options of
/// the file system as mount(2) takes them, `mode` the mode of its root where they do not.
///
/// # Errors
/// The errno of whichever call failed: EINVAL of fsconfig for an unknown option.
pub fn new_tmpfs(
    source: &CStr,
    data: &CStr,
    mode: Option<&CStr>,
    attributes: u64,
) -> Result<OwnedFd> {
    let context =
        rustix::mount::fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).named(Call::Fsopen)?;
    let context = context.as_fd();
    if !source.is_empty() {
        rustix::mount::fsconfig_set_string(context, c"source", source).named(Call::Fsconfig)?;
    }
    let mut rest = data.to_bytes();
    while !rest.is_empty() {
        let (option, after) = next_option(rest);
        rest = after;
        configure(context, option)?;
    }
    if let Some(mode) = mode {
        rustix::mount::fsconfig_set_string(context, c"mode", mode).named(Call::Fsconfig)?;
    }
    rustix::mount::fsconfig_create(context).named(Call::Fsconfig)?;
    let attributes = MountAttrFlags::from_bits_retain(u32::try_from(attributes).unwrap_or(0));
    rustix::mount::fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).named(Call::Fsmount)
}

/// The first of comma-separated options, and what follows; a comma between quotes belongs to the value,
/// as in the label of `context="…"`.
fn next_option(data: &[u8]) -> (&[u8], &[u8]) {
    let mut quoted = false;
    for (at, byte) in data.iter().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b',' if !quoted => return (&data[..at], &data[at + 1..]),
            _ => {}
        }
    }
    (data, &[])
}

/// Sets one option, `KEY` or `KEY=VALUE`, whose quotes are for its reader.
fn configure(context: std::os::fd::BorrowedFd<'_>, option: &[u8]) -> Result<()> {
    let mut buffer = [0_u8; 4096];
    let too_long = SyscallError { call: Call::Fsconfig, errno: libc::E2BIG };
    let mut length = 0;
    for &byte in option.iter().filter(|byte| **byte != b'"') {
        *buffer.get_mut(length).ok_or(too_long)? = byte;
        length += 1;
    }
    if length + 1 >= buffer.len() {
        return Err(too_long);
    }
    let equals = buffer[..length].iter().position(|byte| *byte == b'=');
    if let Some(at) = equals {
        buffer[at] = 0;
    }
    let text = |from: usize| CStr::from_bytes_until_nul(&buffer[from..]).unwrap_or(c"");
    match equals {
        Some(at) => rustix::mount::fsconfig_set_string(context, text(0), text(at + 1)),
        None => rustix::mount::fsconfig_set_flag(context, text(0)),
    }
    .named(Call::Fsconfig)
}

/// mount(2) that changes the mount at `target`, file system and all (`MS_REMOUNT`).
///
/// # Errors
/// The errno of the call.
pub fn mount_remount(target: &CStr, flags: MsFlags, data: Option<&CStr>) -> Result<()> {
    let flags = flags | MsFlags::MS_REMOUNT;
    nix::mount::mount(None::<&CStr>, target, None::<&CStr>, flags, data).named(Call::Mount)
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
/// Stands for relatime where it is told that it is locked: the kernel has no bit for it, and this value of
/// the access time setting is none.
pub const ATTR_RELATIME_LOCKED: u64 = 0x40;
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
    let attr = libc::mount_attr {
        attr_set: attributes.set,
        attr_clr: attributes.clear,
        propagation: attributes.propagation,
        userns_fd: 0,
    };
    set(mount, &attr, recursive)
}

/// Maps the ids of a detached mount by `namespace`: mount_setattr(2) with `MOUNT_ATTR_IDMAP`.
///
/// # Errors
/// EINVAL where the file system cannot; EPERM where ids are mapped already; ENOSYS before Linux 5.12.
pub fn map_ids(mount: impl AsFd, namespace: impl AsFd, recursive: bool) -> Result<()> {
    set(mount, &mapping_by(namespace), recursive)
}

fn mapping_by(namespace: impl AsFd) -> libc::mount_attr {
    const ATTR_IDMAP: u64 = 0x0010_0000;
    libc::mount_attr {
        attr_set: ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::from(namespace.as_fd().as_raw_fd().unsigned_abs()),
    }
}

fn set(mount: impl AsFd, attr: &libc::mount_attr, recursive: bool) -> Result<()> {
    super::probe::allow(Call::MountSetattr)?;
    let recursive_flag = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the structure lives through the call and its size is passed with it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive_flag,
            &raw const *attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(SyscallError::last(Call::MountSetattr)) }
}

/// A detached copy of a mount whose ids are mapped already, with another mapping instead:
/// open_tree_attr(2), Linux 6.15. The whole tree is copied and mapped, or one mount.
///
/// # Errors
/// The errno of the call; ENOSYS on older kernels.
pub fn copy_with_other_ids(
    mount: impl AsFd,
    namespace: impl AsFd,
    recursive: bool,
) -> Result<OwnedFd> {
    let recursive_flag = if recursive { libc::AT_RECURSIVE } else { 0 };
    let flags = libc::AT_EMPTY_PATH | recursive_flag;
    open_tree_attr(mount.as_fd(), c"", flags, &mapping_by(namespace))
}

/// A detached read-only copy of the mount at `name` in `directory`, without those below it: open_tree_attr(2),
/// Linux 6.15. A last symbolic link is not followed.
///
/// # Errors
/// The errno of the call; ENOSYS on older kernels.
pub fn open_tree_readonly(directory: impl AsFd, name: &CStr) -> Result<OwnedFd> {
    let attr =
        libc::mount_attr { attr_set: ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    open_tree_attr(directory.as_fd(), name, libc::AT_SYMLINK_NOFOLLOW, &attr)
}

fn open_tree_attr(
    directory: BorrowedFd<'_>,
    path: &CStr,
    flags: libc::c_int,
    attr: &libc::mount_attr,
) -> Result<OwnedFd> {
    // The same number on every machine, as all calls since Linux 5.1.
    const SYS_OPEN_TREE_ATTR: libc::c_long = 467;
    const OPEN_TREE_CLONE: libc::c_int = 1;
    super::probe::allow(Call::OpenTreeAttr)?;
    // SAFETY: the structure lives through the call and its size is passed with it.
    let result = unsafe {
        libc::syscall(
            SYS_OPEN_TREE_ATTR,
            directory.as_raw_fd(),
            path.as_ptr(),
            OPEN_TREE_CLONE | libc::O_CLOEXEC | flags,
            &raw const *attr,
            size_of::<libc::mount_attr>(),
        )
    };
    match i32::try_from(result) {
        Ok(fd) if fd >= 0 => Ok(super::open::adopt(fd)),
        _ => Err(SyscallError::last(Call::OpenTreeAttr)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_options_apart_but_not_labels() {
        let (first, rest) = next_option(b"size=1k,context=\"u:o:t:s0:c1,c2\",noswap");
        assert_eq!(first, b"size=1k");
        let (second, rest) = next_option(rest);
        assert_eq!(second, b"context=\"u:o:t:s0:c1,c2\"");
        assert_eq!(next_option(rest), (&b"noswap"[..], &b""[..]));
    }
}
