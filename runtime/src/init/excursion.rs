//! Some namespaces are entered by the children of whoever joins them, or must be joined before a right
//! is given up: the thread goes there, makes a child, and comes back.

use std::ffi::CString;
use std::os::fd::{BorrowedFd, OwnedFd};

use crate::config::linux::NamespaceKind;
use crate::failure::Failure;
use crate::sys::namespace::setns;
use crate::sys::open::{CWD, OpenFlags, openat};

/// A stay of this thread in other namespaces, for the time of the clone.
#[derive(Debug)]
pub struct Excursion {
    own: Vec<(OwnedFd, NamespaceKind)>,
}

impl Excursion {
    /// Enters the namespaces; none of them where there is no way back. Root of a user namespace may not
    /// enter the namespaces that it has from the user namespace above.
    ///
    /// # Errors
    /// The errno of openat(2) or setns(2); the thread is then where it was, or the caller ends it.
    pub fn begin(there: &[(BorrowedFd<'_>, NamespaceKind)]) -> Result<Option<Self>, Failure> {
        let mut excursion = Self { own: Vec::new() };
        for (fd, kind) in there {
            let name = match kind {
                NamespaceKind::Pid => "pid_for_children",
                other => other.proc_name(),
            };
            let path = CString::new(format!("/proc/thread-self/ns/{name}")).unwrap_or_default();
            let own = openat(CWD, &path, OpenFlags::O_RDONLY, 0)?;
            match setns(&own, kind.flag()) {
                Err(error) if error.errno == libc::EPERM => {
                    excursion.end()?;
                    return Ok(None);
                }
                tried => tried?,
            }
            setns(fd, kind.flag())?;
            excursion.own.push((own, *kind));
        }
        Ok(Some(excursion))
    }

    /// Comes back.
    ///
    /// # Errors
    /// The errno of setns(2).
    pub fn end(&self) -> Result<(), Failure> {
        for (own, kind) in self.own.iter().rev() {
            setns(own, kind.flag())?;
        }
        Ok(())
    }
}
