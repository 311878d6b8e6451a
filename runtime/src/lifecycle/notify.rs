//! `NOTIFY_SOCKET`: a program in a container tells the manager of services that it is ready
//! (sd_notify(3)). The manager's socket is out of its reach, so it is given one of ours, and what it
//! says about its readiness is handed on, with the pid that the manager shall watch.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use super::error::RuntimeError;
use crate::config::mounts::{Mount, Options};
use crate::config::spec::Spec;
use crate::container::state_dir::StateDir;
use crate::limits::NOTIFY_BARRIER_WAIT_MS;
use crate::sys::open::pipe;
use crate::sys::process::{Watch, poll, wait_readable};
use crate::sys::socket::{bind_datagram, connect_datagram, receive, send, send_descriptor};

/// The folder of the socket in the container, and the socket in it; where the other runtimes have it.
const FOLDER: &str = "/run/notify";
const SOCKET: &CStr = c"notify.sock";

/// Longest message that is read, in bytes.
const MESSAGE_BYTES_MAX: usize = 4096;

/// Adds the folder of the socket, which is `folder` on the host, to the mounts of a container, and the
/// socket to its environment.
pub(super) fn show(spec: &mut Spec, folder: &std::path::Path) {
    spec.mounts.push(Mount {
        destination: FOLDER.to_owned(),
        kind: "bind".to_owned(),
        source: folder.to_string_lossy().into_owned(),
        options: Options::bind(
            libc::MS_NOSUID | libc::MS_NOEXEC | libc::MS_NODEV | libc::MS_RDONLY,
        ),
        idmap: None,
    });
    if let Some(process) = &mut spec.process {
        process.env.push(format!("NOTIFY_SOCKET={FOLDER}/{}", SOCKET.to_string_lossy()));
    }
}

/// The socket of a container, and the one its messages go to.
#[derive(Debug)]
pub(super) struct Notify {
    container: OwnedFd,
    manager: OwnedFd,
}

/// A readiness that was handed on. The manager closes the other end of this pipe when it has seen it;
/// a sender that ends before that may be a stranger to it (sd_notify_barrier(3)).
#[derive(Debug)]
pub(super) struct HandedOn {
    barrier: OwnedFd,
}

impl Notify {
    /// Makes the socket of a container and connects to the manager's, `host`: a path, or an abstract
    /// name behind `@`.
    ///
    /// # Errors
    /// The container was made without a folder for it, or the manager is not there.
    pub(super) fn open(directory: &StateDir, host: &OsStr) -> Result<Self, RuntimeError> {
        let failed = || RuntimeError::system(format!("NOTIFY_SOCKET ({})", host.display()));
        let folder = directory.notify_folder()?.ok_or_else(|| {
            let text = "NOTIFY_SOCKET is set, but was not when the container was created";
            RuntimeError::Refused(text.to_owned())
        })?;
        let manager = connect_datagram(host.as_bytes()).map_err(failed())?;
        let container = bind_datagram(&folder, SOCKET).map_err(RuntimeError::system("notify"))?;
        Ok(Self { container, manager })
    }

    /// Readable when the container's program said something.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.container.as_fd()
    }

    /// Reads one message, and hands it on if it tells of readiness; `pid` is whom the manager shall
    /// watch.
    ///
    /// # Errors
    /// [`RuntimeError::System`].
    pub(super) fn hand_on(&self, pid: i32) -> Result<Option<HandedOn>, RuntimeError> {
        let failed = || RuntimeError::system("NOTIFY_SOCKET");
        let mut message = [0; MESSAGE_BYTES_MAX];
        let length = receive(&self.container, &mut message).map_err(failed())?;
        let Some(ready) = readiness(&message[..length]) else { return Ok(None) };
        send(&self.manager, &[ready, b"\n"].concat()).map_err(failed())?;
        send(&self.manager, format!("MAINPID={pid}\n").as_bytes()).map_err(failed())?;
        let (barrier, theirs) = pipe().map_err(failed())?;
        send_descriptor(&self.manager, b"BARRIER=1", &theirs).map_err(failed())?;
        Ok(Some(HandedOn { barrier }))
    }

    /// Waits until the container is ready, or its process has ended. How long that may take is the
    /// manager's to decide, who ends us.
    ///
    /// # Errors
    /// [`RuntimeError::System`].
    pub(super) fn wait(&self, process: BorrowedFd<'_>, pid: i32) -> Result<(), RuntimeError> {
        let failed = || RuntimeError::system("NOTIFY_SOCKET");
        loop {
            let watch = |fd| Watch { fd: Some(fd), events: libc::POLLIN };
            let [said, ended] = poll([watch(self.fd()), watch(process)], -1).map_err(failed())?;
            // The last word of a process that has ended since is heard, too.
            if said != 0 {
                if let Some(handed_on) = self.hand_on(pid)? {
                    return handed_on.settle();
                }
            } else if ended != 0 {
                return Ok(());
            }
        }
    }
}

impl HandedOn {
    /// Waits until the manager has seen it. One that knows nothing of barriers may not tell.
    ///
    /// # Errors
    /// [`RuntimeError::System`].
    pub(super) fn settle(&self) -> Result<(), RuntimeError> {
        let waited = wait_readable(&self.barrier, NOTIFY_BARRIER_WAIT_MS);
        waited.map(drop).map_err(RuntimeError::system("NOTIFY_SOCKET: barrier"))
    }
}

/// The line of a message that tells of readiness.
fn readiness(message: &[u8]) -> Option<&[u8]> {
    message.split(|byte| *byte == b'\n').find(|line| line.starts_with(b"READY="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_line_of_readiness() {
        assert_eq!(readiness(b"STATUS=up\nREADY=1\nX=2"), Some(&b"READY=1"[..]));
        assert_eq!(readiness(b"READY=1"), Some(&b"READY=1"[..]));
        assert_eq!(readiness(b"STATUS=NOTREADY=1\n"), None);
        assert_eq!(readiness(b""), None);
    }
}
