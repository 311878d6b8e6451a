//! Finding the program in the container, as the container's process would. Allocates nothing.

use std::ffi::CStr;

use super::plan::Plan;
use crate::arena::Arena;
use crate::failure::{Failure, Finding, Result};
use crate::limits::PATH_BYTES_MAX;
use crate::sys::error::{Call, SyscallError};
use crate::sys::open::{CWD, can_execute, stat};
use crate::sys::text::until_nul;

/// The path of the program that was found.
pub struct Program {
    bytes: [u8; PATH_BYTES_MAX],
}

impl Default for Program {
    fn default() -> Self {
        Self { bytes: [0; PATH_BYTES_MAX] }
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.path().fmt(f)
    }
}

impl Program {
    /// The path for execve(2).
    #[must_use]
    pub fn path(&self) -> &CStr {
        until_nul(&self.bytes).unwrap_or(c"")
    }

    /// Puts the parts together; false when they do not fit.
    fn set(&mut self, parts: &[&[u8]]) -> bool {
        let mut end = 0;
        for part in parts {
            let Some(room) = self.bytes.get_mut(end..end + part.len()) else { return false };
            room.copy_from_slice(part);
            end += part.len();
        }
        match self.bytes.get_mut(end) {
            Some(last) => {
                *last = 0;
                true
            }
            None => false,
        }
    }

    /// Finds the program of a plan: a name with a slash is a path, any other is searched for.
    ///
    /// # Errors
    /// The errno of what stands at the path; [`Finding::CommandNotFound`] when the search ends
    /// without anything that could be executed.
    pub fn find(&mut self, plan: &Plan, arena: &Arena) -> Result<()> {
        let name = arena.c_str(plan.program).to_bytes();
        if name.contains(&b'/') {
            if !self.set(&[name]) {
                return Err(Finding::PathTooLong.into());
            }
            return check(self.path());
        }
        if name.is_empty() {
            return Err(Finding::CommandNotFound.into());
        }
        let mut denied = None;
        for directory in &plan.search {
            if !self.set(&[arena.c_str(*directory).to_bytes(), b"/", name]) {
                continue;
            }
            match check(self.path()) {
                Ok(()) => return Ok(()),
                Err(Failure::Syscall(error)) if error.errno == libc::EACCES => denied = Some(error),
                Err(_) => {}
            }
        }
        // A file that was there but may not be run explains more than its absence elsewhere.
        Err(denied.map_or(Failure::Found(Finding::CommandNotFound), Failure::Syscall))
    }
}

fn check(path: &CStr) -> Result<()> {
    let mode = stat(path)?.st_mode;
    if mode & libc::S_IFMT == libc::S_IFDIR {
        return Err(SyscallError { call: Call::Execve, errno: libc::EISDIR }.into());
    }
    match can_execute(CWD, path) {
        Err(error) if error.errno != libc::EACCES => {
            // A kernel without faccessat2, or a filter that was written before there was one and denies
            // it: the mode tells what is no program at all, and execve the rest.
            match mode & 0o111 {
                0 => Err(SyscallError { call: Call::Access, errno: libc::EACCES }.into()),
                _ => Ok(()),
            }
        }
        other => Ok(other?),
    }
}
