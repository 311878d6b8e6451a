//! The receiving side of the console-socket protocol, as conmon and containerd's shim have it.

use std::fs::File;
use std::io::{IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// A listening socket to which a runtime sends one terminal.
#[derive(Debug)]
pub struct ConsoleSocket {
    path: PathBuf,
    listener: UnixListener,
}

/// The terminal's master side and the name that came with it.
#[derive(Debug)]
pub struct Console {
    /// The payload of the message: the name of the slave inside the container.
    pub name: String,
    /// How many descriptors came; the protocol says one.
    pub fds: usize,
    master: File,
}

impl ConsoleSocket {
    /// Listens at a path.
    pub fn listen(path: PathBuf) -> Self {
        let listener = UnixListener::bind(&path).expect("a socket in the test's folder");
        Self { path, listener }
    }

    /// The path to give to the runtime.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the terminal that a runtime sent.
    #[track_caller]
    pub fn receive(&self) -> Console {
        readable(&self.listener, "no connection came to the console socket");
        let (stream, _) = self.listener.accept().expect("a connection");
        readable(&stream, "no message came over the console socket");
        let mut payload = [0_u8; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut payload)];
        let message = recvmsg(&stream, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)
            .expect("the console message");
        let fds: Vec<OwnedFd> = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            })
            .flatten()
            .collect();
        let count = fds.len();
        let master = fds.into_iter().next().expect("the message carries a descriptor").into();
        let name = String::from_utf8_lossy(&payload[..message.bytes]).into_owned();
        Console { name, fds: count, master }
    }
}

impl Console {
    /// Reads until the text was seen or the other side is closed.
    #[track_caller]
    pub fn read_until(&mut self, text: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(text) {
            readable(&self.master, &format!("the terminal never printed {text:?}, only {seen:?}"));
            let mut buffer = [0_u8; 4096];
            match self.master.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(count) => seen.push_str(&String::from_utf8_lossy(&buffer[..count])),
            }
        }
        assert!(seen.contains(text), "the terminal closed before {text:?}; it printed {seen:?}");
        seen
    }

    /// Types.
    pub fn write(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("the terminal takes input");
    }
}

#[track_caller]
fn readable(fd: &impl std::os::fd::AsFd, otherwise: &str) {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    let timeout = Timespec { tv_sec: 60, tv_nsec: 0 };
    assert!(poll(&mut fds, Some(&timeout)).unwrap_or(0) > 0, "{otherwise}");
}
