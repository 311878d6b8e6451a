//! The console socket: where the runtime sends a terminal's descriptor.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::error::{Code, Error};

/// A socket that is removed when it is dropped.
#[derive(Debug)]
pub struct ConsoleSocket {
    path: PathBuf,
    listener: UnixListener,
}

impl ConsoleSocket {
    /// Listens at a path.
    pub fn listen(path: PathBuf) -> Result<Self, Error> {
        let tell = |error| Error::host(format!("console socket {}", path.display()), error);
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).map_err(tell)?;
        listener.set_nonblocking(true).map_err(tell)?;
        Ok(Self { path, listener })
    }

    /// For the runtime's `--console-socket`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The terminal. A runtime that has succeeded has sent it, so nothing is waited for.
    pub fn receive(&self) -> Result<OwnedFd, Error> {
        let none =
            |why: String| Error::new(Code::Unknown, format!("the runtime sent no terminal: {why}"));
        let (stream, _) = self.listener.accept().map_err(|error| none(error.to_string()))?;
        let mut text = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        recvmsg(&stream, &mut [IoSliceMut::new(&mut text)], &mut control, flags)
            .map_err(|error| none(error.to_string()))?;
        let mut terminal = None;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                terminal = descriptors.into_iter().next().or(terminal);
            }
        }
        terminal.ok_or_else(|| none("its message has no descriptor".to_owned()))
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
