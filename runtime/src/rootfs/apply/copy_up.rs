//! A tmpfs that begins with a copy of the directory it covers. Allocates nothing.
//!
//! The tmpfs is filled before it is attached anywhere: nobody else sees it half done, and after a failure
//! it is gone with its descriptor. Files are opened by name in an open directory and no link is
//! followed, so whoever changes the image meanwhile gets an error and not another file copied.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::Live;
use super::attach::check_place;
use crate::arena::{Arena, Text};
use crate::failure::{Finding, Result};
use crate::limits::{COPY_DEPTH_MAX, PATH_BYTES_MAX};
use crate::root::{Links, Make};
use crate::rootfs::plan::OnProcfs;
use crate::sys::copy::{fgetxattr, flistxattr, fsetxattr, getdents, set_times, split_entry};
use crate::sys::error::{Call, SyscallError};
use crate::sys::mount::{self, Attributes};
use crate::sys::open::{
    OpenFlags, Status, fchmod, fchownat, fstat, leave_open, lstatat, mkdirat, mknodat_like, openat,
    read, readlinkat, symlinkat, write_all,
};

/// What the new tmpfs shall be.
pub(super) struct Wanted {
    pub(super) target: Text,
    pub(super) source: Text,
    pub(super) attributes: Attributes,
    pub(super) data: Text,
    pub(super) inherit_mode: bool,
}

/// Mounts the tmpfs. Its buffers stand on the stack, where nobody else shall pay for them.
#[inline(never)]
pub(super) fn copy_up(live: &Live, arena: &Arena, wanted: &Wanted) -> Result<()> {
    let target = arena.c_str(wanted.target);
    let place = live.root()?.find_or_make(target, Make::Directory, Links::Follow)?;
    check_place(live, &place, OnProcfs::Nowhere)?;
    let status = fstat(&place.fd)?;
    let mut octal = [0_u8; 5];
    let mode =
        (wanted.inherit_mode && place.existed).then(|| octal_mode(&mut octal, status.st_mode));
    let (source, data) = (arena.c_str(wanted.source), arena.c_str(wanted.data));
    let tmpfs = mount::new_tmpfs(source, data, mode, wanted.attributes.set)?;
    if place.existed {
        let flags = OpenFlags::O_RDONLY | OpenFlags::O_DIRECTORY;
        let from = openat(&place.fd, c".", flags, 0)?;
        let to = openat(&tmpfs, c".", flags, 0)?;
        let mut buffers = Buffers { bytes: [0; 65536], names: [0; 8192] };
        copy_entries(from.as_fd(), to.as_fd(), 0, &mut buffers)?;
    }
    mount::move_mount(&tmpfs, &place.fd)?;
    leave_open(tmpfs);
    leave_open(place.fd);
    Ok(())
}

fn octal_mode(buffer: &mut [u8; 5], mode: u32) -> &CStr {
    for (at, shift) in [9, 6, 3, 0].into_iter().enumerate() {
        buffer[at] = b'0' + u8::try_from(mode >> shift & 7).unwrap_or(0);
    }
    CStr::from_bytes_until_nul(buffer).unwrap_or(c"")
}

/// Memory that every level of the tree uses in turn. An extended attribute holds at most 64 KiB
/// (xattr(7)).
struct Buffers {
    bytes: [u8; 65536],
    names: [u8; 8192],
}

fn copy_entries(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    depth: u32,
    buffers: &mut Buffers,
) -> Result<()> {
    if depth > COPY_DEPTH_MAX {
        return Err(Finding::TooDeep.into());
    }
    let mut entries = [0_u8; 1024];
    loop {
        let length = getdents(from, &mut entries)?;
        if length == 0 {
            return Ok(());
        }
        let mut rest = &entries[..length];
        while let Some((name, after)) = split_entry(rest) {
            rest = after;
            if name != c"." && name != c".." {
                copy_entry(from, to, name, depth, buffers)?;
            }
        }
    }
}

fn copy_entry(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &CStr,
    depth: u32,
    buffers: &mut Buffers,
) -> Result<()> {
    let status = lstatat(from, name)?;
    let owner = (Some(status.st_uid), Some(status.st_gid));
    match status.st_mode & libc::S_IFMT {
        libc::S_IFDIR => {
            let flags = OpenFlags::O_RDONLY | OpenFlags::O_DIRECTORY | OpenFlags::O_NOFOLLOW;
            let source = openat(from, name, flags, 0)?;
            mkdirat(to, name, 0o700)?;
            let copy = openat(to, name, flags, 0)?;
            copy_entries(source.as_fd(), copy.as_fd(), depth + 1, buffers)?;
            let status = finish(&source, &copy, buffers)?;
            Ok(set_times(to, name, &status)?)
        }
        libc::S_IFREG => {
            let source = open_regular(from, name)?;
            let flags = OpenFlags::O_WRONLY | OpenFlags::O_CREAT | OpenFlags::O_EXCL;
            let copy = openat(to, name, flags, 0o600)?;
            copy_bytes(&source, &copy, buffers)?;
            let status = finish(&source, &copy, buffers)?;
            Ok(set_times(to, name, &status)?)
        }
        libc::S_IFLNK => {
            let mut target = [0_u8; PATH_BYTES_MAX];
            let length = readlinkat(from, name, &mut target[..PATH_BYTES_MAX - 1])?.len();
            target[length] = 0;
            symlinkat(CStr::from_bytes_until_nul(&target).unwrap_or(c""), to, name)?;
            fchownat(to, name, owner.0, owner.1)?;
            Ok(set_times(to, name, &status)?)
        }
        _ => {
            mknodat_like(to, name, status.st_mode, status.st_rdev)?;
            fchownat(to, name, owner.0, owner.1)?;
            Ok(set_times(to, name, &status)?)
        }
    }
}

/// What was a regular file a moment ago must still be one: to open a device can do things.
fn open_regular(from: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    let flags =
        OpenFlags::O_RDONLY | OpenFlags::O_NOFOLLOW | OpenFlags::O_NONBLOCK | OpenFlags::O_NOCTTY;
    let file = openat(from, name, flags, 0)?;
    if fstat(&file)?.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(SyscallError { call: Call::Open, errno: libc::ESTALE }.into());
    }
    Ok(file)
}

fn copy_bytes(source: &OwnedFd, copy: &OwnedFd, buffers: &mut Buffers) -> Result<()> {
    loop {
        let length = read(source, &mut buffers.bytes)?;
        if length == 0 {
            return Ok(());
        }
        write_all(copy, &buffers.bytes[..length])?;
    }
}

/// Owner, mode and extended attributes, in this order: a change of owner clears the set-id bits and
/// file capabilities.
fn finish(source: &OwnedFd, copy: &OwnedFd, buffers: &mut Buffers) -> Result<Status> {
    let status = fstat(source)?;
    fchownat(copy, c"", Some(status.st_uid), Some(status.st_gid))?;
    fchmod(copy, status.st_mode & 0o7777)?;
    copy_attributes(source, copy, buffers)?;
    Ok(status)
}

/// Attributes that a tmpfs cannot carry on this kernel stay behind (`user.*` before Linux 6.6), as do all
/// where the image's file system has none.
fn copy_attributes(source: &OwnedFd, copy: &OwnedFd, buffers: &mut Buffers) -> Result<()> {
    let length = match flistxattr(source, &mut buffers.names) {
        Err(error) if error.is_unsupported() => return Ok(()),
        other => other?,
    };
    let mut rest = &buffers.names[..length];
    while let Ok(name) = CStr::from_bytes_until_nul(rest) {
        rest = &rest[name.count_bytes() + 1..];
        let length = fgetxattr(source, name, &mut buffers.bytes)?;
        match fsetxattr(copy, name, &buffers.bytes[..length]) {
            Err(error) if error.is_unsupported() => {}
            other => other?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_a_mode_in_octal() {
        assert_eq!(octal_mode(&mut [0; 5], 0o41777), c"1777");
        assert_eq!(octal_mode(&mut [0; 5], 0o40755), c"0755");
    }
}
