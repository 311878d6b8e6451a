//! How the child comes into its cgroups: by files that it opens or inherits, and by birth.

use std::ffi::{CStr, CString};
use std::hint::black_box;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::cgroup::{Applied, Join};
use crate::sys::error::Result;
use crate::sys::open::{CWD, OpenFlags, leave_open, openat, write_all};

/// A file that moves whoever writes `0` to it.
#[derive(Debug)]
enum File {
    Open(OwnedFd),
    Path(CString),
    /// The second where the first refuses; and nothing where both do, if that is permitted.
    Either {
        first: OwnedFd,
        second: Option<OwnedFd>,
        optional: bool,
    },
}

/// All cgroups of a process.
#[derive(Debug, Default)]
pub struct Entrances {
    files: Vec<File>,
    born_in: Option<(OwnedFd, File)>,
}

impl Entrances {
    /// The entrances of cgroups that were made. A v2 cgroup is entered by birth.
    #[must_use]
    pub fn of(applied: Applied) -> Self {
        let mut entrances = Self::default();
        for member in applied.members {
            let path = member.join_path();
            let is_v2 = member.is_v2();
            let file = match member.join {
                Join::Tasks(fd) | Join::Procs(fd) => File::Open(fd),
                Join::Later => File::Path(c_path(&path)),
            };
            match member.directory {
                Some(directory) if is_v2 => entrances.born_in = Some((directory, file)),
                _ => entrances.files.push(file),
            }
        }
        entrances
    }

    /// Adds a file that is open already.
    pub fn push(&mut self, file: OwnedFd) {
        self.files.push(File::Open(file));
    }

    /// Adds a file that may refuse: then `second` is written to. `optional` is whether both may refuse.
    pub fn push_either(&mut self, first: OwnedFd, second: Option<OwnedFd>, optional: bool) {
        self.files.push(File::Either { first, second, optional });
    }

    /// The v2 directory to be born in.
    pub(super) fn birthplace(&self) -> Option<BorrowedFd<'_>> {
        self.born_in.as_ref().map(|(directory, _)| directory.as_fd())
    }

    /// Enters the v2 cgroup by writing too, where the kernel knows no birth.
    pub fn write_instead_of_birth(&mut self) {
        self.files.extend(self.born_in.take().map(|(_, file)| file));
    }

    /// Enters all of them but the one of birth. Allocates nothing.
    ///
    /// # Errors
    /// The errno of openat(2) or write(2).
    pub fn enter(&self) -> Result<()> {
        // Whoever writes it. Not a constant in a far part of the program's file, of which the kernel would map
        // 64 KiB for it.
        let own = [black_box(b'0')];
        for file in &self.files {
            match file {
                File::Open(fd) => write_all(fd, &own)?,
                File::Path(path) => enter_by_path(path, &own)?,
                File::Either { first, second, optional } => {
                    let other = |error| match second {
                        Some(second) => write_all(second, &own).map_err(|_| error),
                        None => Err(error),
                    };
                    match write_all(first, &own).or_else(other) {
                        Err(_) if *optional => {}
                        written => written?,
                    }
                }
            }
        }
        Ok(())
    }
}

fn enter_by_path(path: &CStr, own: &[u8]) -> Result<()> {
    let file = openat(CWD, path, OpenFlags::O_WRONLY | OpenFlags::O_NOFOLLOW, 0)?;
    let written = write_all(&file, own);
    leave_open(file);
    written
}

fn c_path(path: &Path) -> CString {
    // A path that was made as a directory holds no NUL.
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}
