//! The directory of a container below the state root. All access goes through its descriptor.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::id::ContainerId;
use super::state_file::{InvalidState, State};
use crate::limits::{CONFIG_BYTES_MAX, STATE_BYTES_MAX};
use crate::sys::error::SyscallError;
use crate::sys::open::{
    self, CWD, Node, OpenFlags, exchange, flock, mkdirat, mknodat, openat, read_to_limit, renameat,
    rmdirat, unlinkat, write_all,
};

/// Why the directory of a container cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// There is no such container. Callers match on these words.
    #[error("container does not exist")]
    NotFound,
    /// There is one already.
    #[error("container with given ID already exists")]
    Exists,
    /// A system call failed.
    #[error("{}", path.display())]
    Syscall {
        /// The file or directory.
        path: PathBuf,
        /// Which and why.
        source: SyscallError,
    },
    /// The state file is damaged.
    #[error("{}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// In which way.
        source: InvalidState,
    },
    /// Somebody else could have written the state.
    #[error("{}: belongs to user {owner}, not to the user who runs keel", path.display())]
    Stranger {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
}

impl StateError {
    /// Whether the record itself is wrong: reading it again would give nothing else.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Invalid { .. } => true,
            Self::Syscall { source, .. } => {
                matches!(source.errno, libc::ELOOP | libc::EFBIG | libc::EISDIR | libc::ENXIO)
            }
            _ => false,
        }
    }
}

/// How often a directory that somebody removes under our hands is made anew.
const TRIES_MAX: u32 = 16;

const STATE: &std::ffi::CStr = c"state.json";
const STATE_NEW: &std::ffi::CStr = c".state.json.new";
const CONFIG: &std::ffi::CStr = c"config.json";
const FIFO: &std::ffi::CStr = c"exec.fifo";
const STATUS: &std::ffi::CStr = c"status.fifo";
const CRIU_ROOT: &std::ffi::CStr = c"criu-root";
const LAST_ERROR: &std::ffi::CStr = c"last_error.json";

/// What the process of a created container waits at, and where it says what kept it from its program.
///
/// Two FIFOs: a frame that came back through the one on which `start` writes could not be told from
/// that write while the process has not read it yet.
#[derive(Debug)]
pub struct Gate {
    /// A byte in it lets the process go.
    pub fifo: OwnedFd,
    /// A frame in it says why the program could not be executed; its last writer closes it by execve.
    pub status: OwnedFd,
}
const NOTIFY: &std::ffi::CStr = c"notify";

/// The directory of one container.
#[derive(Debug)]
pub struct StateDir {
    fd: OwnedFd,
    root: PathBuf,
    /// The same as a descriptor.
    root_fd: OwnedFd,
    id: ContainerId,
}

impl StateDir {
    /// Makes the directory, and the state root where it is missing, and locks it.
    ///
    /// # Errors
    /// [`StateError::Exists`], or the errno of a call.
    pub fn create(root: &Path, id: &ContainerId) -> Result<Self, StateError> {
        let failed = |source| StateError::Syscall { path: root.join(id.as_str()), source };
        let name = c_string(id.as_str());
        let root_fd = match open_directory(root) {
            Err(error) if error.errno == libc::ENOENT => {
                std::fs::DirBuilder::new()
                    .recursive(true)
                    .create(root)
                    .map_err(|e| failed(from_io(&e)))?;
                set_mode(root, 0o700).map_err(failed)?;
                open_directory(root).map_err(failed)?
            }
            other => other.map_err(failed)?,
        };
        for _ in 0..TRIES_MAX {
            match mkdirat(&root_fd, &name, 0o711) {
                Err(error) if error.errno == libc::EEXIST => return Err(StateError::Exists),
                other => other.map_err(failed)?,
            }
            let made = open_below(&root_fd, &name);
            match made.and_then(|fd| Ok(is_locked(&fd, true)?.then_some(fd))) {
                Ok(Some(fd)) => {
                    return Ok(Self { fd, root: root.to_owned(), root_fd, id: id.clone() });
                }
                // Whoever tidies up may have taken the new directory for one that was left behind.
                Ok(None) => {}
                Err(error) if error.errno == libc::ENOENT => {}
                Err(error) => {
                    // It is empty, if it is still this one.
                    let _ = rmdirat(&root_fd, &name);
                    return Err(failed(error));
                }
            }
        }
        Err(StateError::Exists)
    }

    /// Opens the directory of an existing container.
    ///
    /// # Errors
    /// [`StateError::NotFound`], [`StateError::Stranger`], or the errno of a call.
    pub fn open(root: &Path, id: &ContainerId) -> Result<Self, StateError> {
        let path = root.join(id.as_str());
        let failed = |source| StateError::Syscall { path: path.clone(), source };
        let opened = open_directory(root).and_then(|root_fd| {
            open_below(&root_fd, &c_string(id.as_str())).map(|fd| (root_fd, fd))
        });
        let (root_fd, fd) = match opened {
            Err(error) if error.errno == libc::ENOENT => return Err(StateError::NotFound),
            other => other.map_err(failed)?,
        };
        let owner = open::fstat(&fd).map_err(failed)?.st_uid;
        if owner != crate::sys::process::geteuid() && owner != 0 {
            return Err(StateError::Stranger { path, owner });
        }
        Ok(Self { fd, root: root.to_owned(), root_fd, id: id.clone() })
    }

    /// The folder that all containers of this kind are in.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The ids of all containers below a root, sorted; `None` when there is no such root.
    ///
    /// # Errors
    /// The failure of reading the directory.
    pub fn list(root: &Path) -> Result<Option<Vec<ContainerId>>, StateError> {
        let entries = match std::fs::read_dir(root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other
                .map_err(|e| StateError::Syscall { path: root.to_owned(), source: from_io(&e) })?,
        };
        let mut ids: Vec<ContainerId> = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| ContainerId::parse(entry.file_name().to_str()?).ok())
            .collect();
        ids.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        Ok(Some(ids))
    }

    /// Keeps other commands on this container waiting: all of them, or those that change it. The
    /// lock ends with the descriptor, so with whoever holds it.
    ///
    /// # Errors
    /// The errno of flock(2); [`StateError::NotFound`] when the container was deleted meanwhile.
    pub fn lock(&self, exclusive: bool) -> Result<(), StateError> {
        match is_locked(&self.fd, exclusive).map_err(|source| self.failed(None, source))? {
            true => Ok(()),
            false => Err(StateError::NotFound),
        }
    }

    /// Takes the lock if nobody has it; false when somebody does, or the container is gone.
    ///
    /// # Errors
    /// The errno of flock(2).
    pub fn try_lock(&self) -> Result<bool, StateError> {
        let failed = |source| self.failed(None, source);
        Ok(open::try_flock(&self.fd).map_err(failed)?
            && open::fstat(&self.fd).map_err(failed)?.st_nlink > 0)
    }

    /// Lets other commands go on. The lock belongs to the open file, of which a child that is on its
    /// way has a copy, so dropping this one's would not do.
    ///
    /// # Errors
    /// The errno of flock(2).
    pub fn unlock(&self) -> Result<(), StateError> {
        open::unlock(&self.fd).map_err(|source| self.failed(None, source))
    }

    /// Writes the first state, before anything is made that it tells of.
    ///
    /// # Errors
    /// The errno of a call.
    pub fn begin_state(&self, state: &State) -> Result<(), StateError> {
        let written = self.write_new(state).and_then(|()| renameat(&self.fd, STATE_NEW, STATE));
        written.map_err(|source| self.failed(Some(STATE), source))
    }

    /// Writes the state anew: readers see the old one or the new one, never a part.
    ///
    /// # Errors
    /// The errno of a call.
    pub fn write_state(&self, state: &State) -> Result<(), StateError> {
        let written = self.write_new(state).and_then(|()| {
            // ext4 would have the disk write a file at once that is renamed over another.
            match exchange(&self.fd, STATE_NEW, STATE) {
                Ok(()) => unlinkat(&self.fd, STATE_NEW),
                Err(_) => renameat(&self.fd, STATE_NEW, STATE),
            }
        });
        written.map_err(|source| self.failed(Some(STATE), source))
    }

    fn write_new(&self, state: &State) -> Result<(), SyscallError> {
        let flags =
            OpenFlags::O_WRONLY | OpenFlags::O_CREAT | OpenFlags::O_TRUNC | OpenFlags::O_NOFOLLOW;
        let file = openat(&self.fd, STATE_NEW, flags, 0o600)?;
        write_all(&file, state.to_json().as_bytes())
    }

    /// Reads the state; `None` when the container was never created whole.
    ///
    /// # Errors
    /// The errno of a call, or [`StateError::Invalid`].
    pub fn read_state(&self) -> Result<Option<State>, StateError> {
        let flags = OpenFlags::O_RDONLY | OpenFlags::O_NOFOLLOW;
        let file = match openat(&self.fd, STATE, flags, 0) {
            Err(error) if error.errno == libc::ENOENT => return Ok(None),
            other => other.map_err(|source| self.failed(Some(STATE), source))?,
        };
        let text = read_to_limit(file, STATE_BYTES_MAX)
            .map_err(|source| self.failed(Some(STATE), source))?;
        State::from_json(&text)
            .map(Some)
            .map_err(|source| StateError::Invalid { path: self.path(Some(STATE)), source })
    }

    /// Keeps the config as it was at creation: what the bundle says later has no effect
    /// (runtime-spec, runtime.md, "Create").
    ///
    /// # Errors
    /// The errno of a call.
    pub fn write_config(&self, bytes: &[u8]) -> Result<(), StateError> {
        let flags =
            OpenFlags::O_WRONLY | OpenFlags::O_CREAT | OpenFlags::O_EXCL | OpenFlags::O_NOFOLLOW;
        openat(&self.fd, CONFIG, flags, 0o600)
            .and_then(|file| write_all(file, bytes))
            .map_err(|source| self.failed(Some(CONFIG), source))
    }

    /// The config as it was at creation.
    ///
    /// # Errors
    /// The errno of a call.
    pub fn read_config(&self) -> Result<Vec<u8>, StateError> {
        openat(&self.fd, CONFIG, OpenFlags::O_RDONLY | OpenFlags::O_NOFOLLOW, 0)
            .and_then(|file| read_to_limit(file, CONFIG_BYTES_MAX))
            .map_err(|source| self.failed(Some(CONFIG), source))
    }

    /// Makes the FIFOs at which the container process waits for `start` and answers it. They are
    /// opened for reading and writing, so that a read waits for a byte and not for a writer.
    ///
    /// # Errors
    /// The errno of a call.
    pub fn make_gate(&self) -> Result<Gate, StateError> {
        let make = |name, mode| {
            mknodat(&self.fd, name, Node::Fifo, mode)
                .and_then(|()| openat(&self.fd, name, OpenFlags::O_RDWR | OpenFlags::O_NOFOLLOW, 0))
                .map_err(|source| self.failed(Some(name), source))
        };
        Ok(Gate { status: make(STATUS, 0o600)?, fifo: make(FIFO, 0o622)? })
    }

    /// The reading end of the FIFO through which the process answers `start`.
    ///
    /// # Errors
    /// The errno of the call.
    pub fn open_status(&self) -> Result<OwnedFd, StateError> {
        let flags = OpenFlags::O_RDONLY | OpenFlags::O_NONBLOCK | OpenFlags::O_NOFOLLOW;
        openat(&self.fd, STATUS, flags, 0).map_err(|source| self.failed(Some(STATUS), source))
    }

    /// Keeps the words of a failure, for whoever asks later why.
    ///
    /// # Errors
    /// The errno of a call.
    pub fn write_last_error(&self, text: &str) -> Result<(), StateError> {
        let flags =
            OpenFlags::O_WRONLY | OpenFlags::O_CREAT | OpenFlags::O_TRUNC | OpenFlags::O_NOFOLLOW;
        openat(&self.fd, LAST_ERROR, flags, 0o600)
            .and_then(|file| write_all(file, text.as_bytes()))
            .map_err(|source| self.failed(Some(LAST_ERROR), source))
    }

    /// What [`StateDir::write_last_error`] wrote; `None` where nothing failed.
    ///
    /// # Errors
    /// The errno of a call.
    pub fn read_last_error(&self) -> Result<Option<String>, StateError> {
        let flags = OpenFlags::O_RDONLY | OpenFlags::O_NOFOLLOW;
        match openat(&self.fd, LAST_ERROR, flags, 0) {
            Err(error) if error.errno == libc::ENOENT => Ok(None),
            opened => opened
                .and_then(|file| read_to_limit(file, STATE_BYTES_MAX))
                .map(|text| Some(String::from_utf8_lossy(&text).into_owned()))
                .map_err(|source| self.failed(Some(LAST_ERROR), source)),
        }
    }

    /// The writing end of the FIFO; `None` when nobody waits at it.
    ///
    /// # Errors
    /// The errno of the call.
    pub fn open_fifo(&self) -> Result<Option<OwnedFd>, StateError> {
        let flags = OpenFlags::O_WRONLY | OpenFlags::O_NONBLOCK | OpenFlags::O_NOFOLLOW;
        match openat(&self.fd, FIFO, flags, 0) {
            Ok(fd) => Ok(Some(fd)),
            Err(error) if matches!(error.errno, libc::ENOENT | libc::ENXIO) => Ok(None),
            Err(source) => Err(self.failed(Some(FIFO), source)),
        }
    }

    /// Whether a process waits at the FIFO: the container has not been started. That the FIFO is
    /// there says less: a `start` that was killed may have let the process go and not removed it.
    ///
    /// # Errors
    /// The errno of the call.
    pub fn is_awaiting_start(&self) -> Result<bool, StateError> {
        Ok(self.open_fifo()?.is_some())
    }

    /// Whether there are FIFOs.
    #[must_use]
    pub fn has_gate(&self) -> bool {
        [FIFO, STATUS].into_iter().any(|name| open::lstatat(&self.fd, name).is_ok())
    }

    /// Removes the FIFOs.
    ///
    /// # Errors
    /// The errno of the call.
    pub fn remove_gate(&self) -> Result<(), StateError> {
        for name in [FIFO, STATUS] {
            match unlinkat(&self.fd, name) {
                Err(error) if error.errno == libc::ENOENT => {}
                other => other.map_err(|source| self.failed(Some(name), source))?,
            }
        }
        Ok(())
    }

    /// Makes the directory on which criu finds the root file system, and gives its path without links.
    ///
    /// # Errors
    /// The errno of a call.
    pub fn make_criu_root(&self) -> Result<PathBuf, StateError> {
        mkdirat(&self.fd, CRIU_ROOT, 0o755)
            .and_then(|()| std::fs::canonicalize(self.path(None)).map_err(|e| from_io(&e)))
            .map(|directory| directory.join("criu-root"))
            .map_err(|source| self.failed(Some(CRIU_ROOT), source))
    }

    /// Removes that directory, on which nothing is mounted any more.
    ///
    /// # Errors
    /// The errno of the call.
    pub fn remove_criu_root(&self) -> Result<(), StateError> {
        rmdirat(&self.fd, CRIU_ROOT).map_err(|source| self.failed(Some(CRIU_ROOT), source))
    }

    /// Where the folder for the socket of sd_notify(3) is, or will be.
    #[must_use]
    pub fn notify_path(root: &Path, id: &ContainerId) -> PathBuf {
        root.join(id.as_str()).join(NOTIFY.to_string_lossy().as_ref())
    }

    /// Makes that folder; every user of the container may reach the socket in it.
    ///
    /// # Errors
    /// The errno of a call.
    pub fn make_notify_folder(&self) -> Result<(), StateError> {
        mkdirat(&self.fd, NOTIFY, 0o755)
            .and_then(|()| open_below(&self.fd, NOTIFY))
            .and_then(|folder| open::fchmod(&folder, 0o755))
            .map_err(|source| self.failed(Some(NOTIFY), source))
    }

    /// That folder; `None` where none was made.
    ///
    /// # Errors
    /// The errno of the call.
    pub fn notify_folder(&self) -> Result<Option<OwnedFd>, StateError> {
        match open_below(&self.fd, NOTIFY) {
            Ok(folder) => Ok(Some(folder)),
            Err(error) if error.errno == libc::ENOENT => Ok(None),
            Err(source) => Err(self.failed(Some(NOTIFY), source)),
        }
    }

    /// Removes the directory and what is in it.
    ///
    /// # Errors
    /// The errno of a call.
    pub fn remove(&self) -> Result<(), StateError> {
        for name in [STATE, CONFIG] {
            match unlinkat(&self.fd, name) {
                Err(error) if error.errno == libc::ENOENT => {}
                other => other.map_err(|source| self.failed(Some(name), source))?,
            }
        }
        match rmdirat(&self.root_fd, &c_string(self.id.as_str())) {
            Err(error) if error.errno == libc::ENOENT => Ok(()),
            // The FIFO of a container that was never started, or something that is not ours; the
            // standard library removes all of it without following links.
            Err(error) if error.errno == libc::ENOTEMPTY => {
                std::fs::remove_dir_all(self.path(None)).map_err(|e| self.failed(None, from_io(&e)))
            }
            other => other.map_err(|source| self.failed(None, source)),
        }
    }

    fn path(&self, name: Option<&std::ffi::CStr>) -> PathBuf {
        let directory = self.root.join(self.id.as_str());
        match name {
            Some(name) => directory.join(name.to_string_lossy().as_ref()),
            None => directory,
        }
    }

    fn failed(&self, name: Option<&std::ffi::CStr>, source: SyscallError) -> StateError {
        StateError::Syscall { path: self.path(name), source }
    }
}

/// Waits for the lock. False when the directory is gone by then.
fn is_locked(directory: &OwnedFd, exclusive: bool) -> Result<bool, SyscallError> {
    flock(directory, exclusive)?;
    Ok(open::fstat(directory)?.st_nlink > 0)
}

fn c_string(text: &str) -> CString {
    // Ids hold no NUL byte; the empty string would be refused by the call.
    CString::new(text).unwrap_or_default()
}

fn open_directory(path: &Path) -> Result<OwnedFd, SyscallError> {
    let path = CString::new(path.as_os_str().as_encoded_bytes()).unwrap_or_default();
    openat(CWD, &path, OpenFlags::O_PATH | OpenFlags::O_DIRECTORY, 0)
}

fn open_below(root: &OwnedFd, name: &std::ffi::CStr) -> Result<OwnedFd, SyscallError> {
    let flags = OpenFlags::O_RDONLY | OpenFlags::O_DIRECTORY | OpenFlags::O_NOFOLLOW;
    openat(root.as_fd(), name, flags, 0)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), SyscallError> {
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(path, permissions).map_err(|e| from_io(&e))
}

fn from_io(error: &std::io::Error) -> SyscallError {
    let errno = error.raw_os_error().unwrap_or(libc::EIO);
    SyscallError { call: crate::sys::error::Call::Open, errno }
}
