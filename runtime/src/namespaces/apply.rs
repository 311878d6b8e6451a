//! The steps of [`super::plan`], done by the child. Allocates nothing.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use super::plan::Step;
use crate::arena::Arena;
use crate::config::linux::NamespaceKind;
use crate::failure::{Finding, Result};
use crate::procfs::Procfs;
use crate::sys::credentials::{set_dumpable, setgroups, setresgid, setresuid};
use crate::sys::namespace::{self, NEWTIME, setns, unshare};
use crate::sys::open::{CWD, OpenFlags, fstat, openat};
use crate::sys::process::{setdomainname, sethostname};
use crate::sys::socket::loopback_up;

/// Makes sure that an opened file is a namespace of the kind the config says it is.
///
/// # Errors
/// [`Finding::WrongNamespace`].
pub fn check_kind(fd: &OwnedFd, kind: NamespaceKind) -> Result<()> {
    match namespace::kind_of(fd) {
        Ok(found) if found == kind.flag() => Ok(()),
        _ => Err(Finding::WrongNamespace.into()),
    }
}

/// Makes sure that an opened namespace is not the one this process is in: what is set in it would be
/// set for the host.
///
/// # Errors
/// The errno of the call, or [`Finding::HostNamespace`].
pub fn check_foreign(fd: &OwnedFd, kind: NamespaceKind) -> Result<()> {
    let own = CString::new(format!("/proc/self/ns/{}", kind.proc_name())).unwrap_or_default();
    let own = fstat(openat(CWD, &own, OpenFlags::O_RDONLY, 0)?)?;
    let other = fstat(fd)?;
    match (own.st_dev, own.st_ino) == (other.st_dev, other.st_ino) {
        true => Err(Finding::HostNamespace.into()),
        false => Ok(()),
    }
}

/// What the steps leave for one another: the kinds that are joined.
#[derive(Debug, Default)]
pub struct Live {
    joined: namespace::Kind,
}

/// Does one step. `joined` are the namespaces that the parent opened, `procfs` is the host's.
///
/// # Errors
/// The failure of the step.
#[inline]
pub fn apply(
    step: &Step,
    arena: &Arena,
    joined: &[OwnedFd],
    procfs: Option<&Procfs>,
    live: &mut Live,
) -> Result<()> {
    let at = |index: u16| joined.get(usize::from(index)).ok_or(Finding::WrongNamespace);
    match *step {
        Step::Join(_, kind) if live.joined & kind.flag() != 0 => Ok(()),
        Step::Join(index, kind) => Ok(setns(at(index)?, kind.flag())?),
        Step::JoinEarly(index, kind) => match setns(at(index)?, kind.flag()) {
            Ok(()) => {
                live.joined |= kind.flag();
                Ok(())
            }
            Err(error) if error.is_permission() => Ok(()),
            Err(error) => Err(error.into()),
        },
        Step::BecomeRoot => become_root(),
        Step::New(kind) => Ok(unshare(kind.flag())?),
        Step::NewCgroup => Ok(unshare(NamespaceKind::Cgroup.flag())?),
        Step::NewTime(offsets) => {
            let procfs = procfs.ok_or(Finding::NotProcfs)?;
            unshare(NEWTIME)?;
            let offsets = arena.c_str(offsets).to_bytes();
            if !offsets.is_empty() {
                // The files of a process that nobody may look into belong to the host's root, who is
                // not this one in a user namespace. No other process is here yet.
                set_dumpable(true)?;
                // The file belongs to the process, not to its thread; they are one here.
                let written = procfs.write(c"self/timens_offsets", offsets);
                set_dumpable(false)?;
                written?;
            }
            // Only children of an unshare are in the new namespace; joining it brings us there too.
            let own = c"thread-self/ns/time_for_children";
            let fd = openat(procfs, own, OpenFlags::O_RDONLY, 0)?;
            check_kind(&fd, NamespaceKind::Time)?;
            Ok(setns(&fd, NEWTIME)?)
        }
        Step::Loopback => Ok(loopback_up()?),
        Step::Hostname(name) => Ok(sethostname(arena.c_str(name))?),
        Step::Domainname(name) => Ok(setdomainname(arena.c_str(name))?),
        Step::Sysctl(path, value) => {
            let procfs = procfs.ok_or(Finding::NotProcfs)?;
            procfs.write(arena.c_str(path), arena.c_str(value).to_bytes())
        }
    }
}

/// Files that the child makes from here on shall belong to the namespace's root. The groups of the
/// caller go as well, where the namespace permits changing them.
///
/// # Errors
/// The errno of setresgid(2), setresuid(2) or setgroups(2).
pub fn become_root() -> Result<()> {
    setresgid(0)?;
    setresuid(0)?;
    match setgroups(&[]) {
        Err(error) if error.is_permission() => Ok(()),
        other => Ok(other?),
    }
}
