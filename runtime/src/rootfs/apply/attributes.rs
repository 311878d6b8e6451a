//! Attributes and propagation of a mount that a descriptor refers to, on kernels old and new. Allocates
//! nothing.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

use super::propagation;
use crate::decimal::Decimal;
use crate::failure::{Failure, Result};
use crate::sys::mount::{
    self, ATTR_ATIME_MASK, ATTR_NOATIME, ATTR_NODEV, ATTR_NODIRATIME, ATTR_NOEXEC, ATTR_NOSUID,
    ATTR_NOSYMFOLLOW, ATTR_RDONLY, ATTR_RELATIME_LOCKED, ATTR_STRICTATIME, Attributes, MountFlags,
};
use crate::sys::open::{self, fstat};
use crate::sys::process::fchdir;
use crate::sys::text::until_nul;

/// The flags that mount(8) sets anew when it is given any for a bind mount.
const FLAGS: u64 = ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC | ATTR_NOSYMFOLLOW;

/// The flags that a user namespace may not take from a mount that it did not make
/// (mount_namespaces(7)).
const LOCKABLE: u64 = ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC;

/// Gives a mount exactly the flags that were asked for. Flags that are locked may stay, unless they were
/// asked to go. `keep` has them locked though this process could change them: the parent made the tree
/// before it was in the container's user namespace, whose root shall get no more than it could have
/// itself.
pub(super) fn set_flags(place: impl AsFd, asked: Attributes, keep: bool) -> Result<()> {
    let place = place.as_fd();
    if keep {
        return keep_locked(place, asked);
    }
    let exact = Attributes { clear: asked.clear | FLAGS & !asked.set, ..asked };
    // Before Linux 5.14 there is no nosymfollow, and nothing to clear.
    let old = Attributes { clear: exact.clear & !ATTR_NOSYMFOLLOW, ..exact };
    let set = match set_attributes(place, exact, false) {
        Err(failure)
            if failure.errno() == Some(libc::EINVAL) && asked.clear & ATTR_NOSYMFOLLOW == 0 =>
        {
            set_attributes(place, old, false)
        }
        other => other,
    };
    match set {
        Err(failure) if failure.errno() == Some(libc::EPERM) => {
            set_attributes(place, asked, false).map_err(|failure| locked(place, asked, failure))
        }
        other => other,
    }
}

fn keep_locked(place: BorrowedFd<'_>, asked: Attributes) -> Result<()> {
    let present = open::mount_flags(place)?;
    let locked = present & LOCKABLE;
    let refused = locked & asked.clear & !asked.set;
    let atime = match present & libc::MS_NOATIME != 0 && asked.clear & ATTR_ATIME_MASK != 0 {
        true if asked.set & ATTR_ATIME_MASK != ATTR_NOATIME => ATTR_NOATIME,
        _ => 0,
    };
    if refused | atime != 0 {
        return Err(Failure::Locked(u32::try_from(refused | atime).unwrap_or(u32::MAX)));
    }
    let clear = asked.clear | FLAGS & !asked.set & !locked;
    let kept = Attributes { clear: clear & !locked, ..asked };
    set_attributes(place, kept, false).map_err(|failure| self::locked(place, asked, failure))
}

/// Names the flags that stand and were asked to go, where that is why the call was refused.
fn locked(place: BorrowedFd<'_>, asked: Attributes, failure: Failure) -> Failure {
    let present = match (failure.errno(), open::mount_flags(place)) {
        (Some(libc::EPERM), Ok(present)) => present,
        _ => return failure,
    };
    let mut attributes = present & asked.clear & FLAGS;
    if asked.clear & ATTR_ATIME_MASK != 0 && present & libc::MS_NOATIME != 0 {
        attributes |= ATTR_NOATIME;
    }
    let other = asked.set & (ATTR_NOATIME | ATTR_STRICTATIME) != 0;
    if other && present & libc::MS_RELATIME != 0 {
        attributes |= ATTR_RELATIME_LOCKED;
    }
    if asked.clear & ATTR_NODIRATIME != 0 && present & libc::MS_NODIRATIME != 0 {
        attributes |= ATTR_NODIRATIME;
    }
    match u32::try_from(attributes) {
        Ok(attributes) if attributes != 0 => Failure::Locked(attributes),
        _ => failure,
    }
}

/// mount_setattr(2), or before Linux 5.12 a remount, which can do one mount only.
pub(super) fn set_attributes(
    place: impl AsFd,
    attributes: Attributes,
    recursive: bool,
) -> Result<()> {
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

pub(super) fn set_propagation(place: impl AsFd, flags: u64) -> Result<()> {
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
    until_nul(buffer).unwrap_or(c"")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_a_descriptor() {
        let mut buffer = [0; 40];
        let stdin = open::inherited(0).unwrap();
        assert_eq!(descriptor_path(&mut buffer, stdin), c"/proc/self/fd/0");
    }
}
