//! The file of this program must be out of reach for containers.
//!
//! A process that is about to be a container's is still this program, and `/proc/PID/exe` leads from
//! it to the file on the host, which a container's root could then write (CVE-2019-5736). So commands
//! that enter a container first execute themselves again from a read-only view of the file: a detached
//! read-only mount of it, or where that cannot be had, a sealed copy in memory.
//!
//! Refusing to execute `/proc/self/exe` by looking at the program would not do: it races.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use super::error::CommandError;
use crate::sys::error::SyscallError;
use crate::sys::mount::{ATTR_RDONLY, Attributes, mount_setattr, open_tree_clone};
use crate::sys::open::{CWD, OpenFlags, is_on_readonly_mount, is_sealed, memfd, openat, seal};
use crate::sys::process::{ExecStrings, execveat};

const OWN_FILE: &std::ffi::CStr = c"/proc/self/exe";

/// Makes sure that this process runs from a file that nobody can write, by executing it again from one
/// if need be.
///
/// # Errors
/// When neither form of protection can be had.
pub(super) fn protect_own_file() -> Result<(), CommandError> {
    let failed = |error: SyscallError| {
        CommandError::new(format!("cannot protect keel's own file from containers: {error}"))
    };
    if is_on_readonly_mount(OWN_FILE).map_err(failed)? {
        return Ok(());
    }
    let safe = match readonly_mount() {
        Ok(tree) => tree,
        // Not privileged, or before Linux 5.12.
        Err(_) => {
            let own = openat(CWD, OWN_FILE, OpenFlags::O_RDONLY, 0).map_err(failed)?;
            if is_sealed(&own) {
                return Ok(());
            }
            sealed_copy(own).map_err(failed)?
        }
    };
    match execute_again(&safe) {
        Ok(never) => match never {},
        Err(error) => Err(failed(error)),
    }
}

fn readonly_mount() -> Result<OwnedFd, SyscallError> {
    let tree = open_tree_clone(CWD, OWN_FILE, false)?;
    let attributes = Attributes { set: ATTR_RDONLY, ..Attributes::default() };
    mount_setattr(&tree, attributes, false)?;
    Ok(tree)
}

fn sealed_copy(own: OwnedFd) -> Result<OwnedFd, SyscallError> {
    let copy = memfd(c"keel")?;
    let mut target = File::from(copy);
    std::io::copy(&mut File::from(own), &mut target).map_err(|error| SyscallError {
        call: crate::sys::error::Call::Write,
        errno: error.raw_os_error().unwrap_or(libc::EIO),
    })?;
    let copy = OwnedFd::from(target);
    seal(&copy)?;
    Ok(copy)
}

fn execute_again(file: &OwnedFd) -> Result<Infallible, SyscallError> {
    let arguments = ExecStrings::new(std::env::args_os().map(|a| a.as_bytes().to_vec()));
    let variable =
        |(name, value): (OsString, OsString)| [name.as_bytes(), b"=", value.as_bytes()].concat();
    let environment = ExecStrings::new(std::env::vars_os().map(variable));
    Err(execveat(file, &arguments, &environment))
}
