//! The messages between the parent and the child, in the only order they may have.
//!
//! ```text
//!   parent                                    child
//!     │ ── clone3 ───────────────────────────▶ │
//!     │ ── Mapped ───────────────────────────▶ │   only with a new user namespace
//!     │ ── Devices ──────────────────────────▶ │   only with network devices to move
//!     │                                        │   builds the file system …
//!     │ ── Placed ───────────────────────────▶ │   only where systemd makes the cgroup
//!     │ ◀─────────────────────────────── Hooks │   only where hooks are to run
//!     │ ── HooksDone ────────────────────────▶ │
//!     │                                        │   … enters it, changes its ids
//!     │ ◀────────────────────────────── Filter │   only with a seccomp listener
//!     │ ── FilterKnown ──────────────────────▶ │
//!     │ ◀─────────────────────────────── Ready │
//!     │    limits, state file, pid file        │
//!     │ ── Commit ───────────────────────────▶ │
//!     │ ◀─────────────────────── end of stream │   execve closed the socket
//! ```
//!
//! At any point the child may send `Failed` instead, its last message. Messages are one fixed frame
//! over a socket that keeps their borders; they are read and written with read(2) and write(2), which
//! no seccomp profile that lets a program run can deny. A listener comes with its message where the
//! profile permits that; where it does not, its number says which descriptor to fetch.

use std::os::fd::{AsFd, OwnedFd};

use crate::failure::{Failure, Finding, Result};
use crate::sys::error::SyscallError;
use crate::sys::open::{read, write_all};
use crate::sys::socket::{receive_descriptor, send_descriptor};

/// A message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// To the child: the id maps are written.
    Mapped,
    /// To the child: the network devices are in its namespace.
    Devices,
    /// To the parent: a seccomp filter was loaded whose listener has this number in the child.
    Filter {
        /// The descriptor.
        listener: i32,
    },
    /// To the child: the listener is in the agent's hands.
    FilterKnown,
    /// To the parent: the mounts are there, the hooks may run.
    Hooks,
    /// To the child: the hooks have run.
    HooksDone,
    /// To the parent: all is done but to execute the program.
    Ready,
    /// To the child: the container is recorded; go on.
    Commit,
    /// To the child: it is in its cgroup.
    Placed,
    /// To the parent: a step failed.
    Failed {
        /// The index of the step in the plan.
        step: u16,
        /// Why.
        failure: Failure,
    },
}

/// Length of a frame in bytes.
const FRAME: usize = 12;

impl Message {
    fn encode(self) -> [u8; FRAME] {
        let (kind, step, failure) = match self {
            Self::Mapped => (1, 0, (0, 0, 0)),
            Self::Hooks => (2, 0, (0, 0, 0)),
            Self::HooksDone => (3, 0, (0, 0, 0)),
            Self::Ready => (4, 0, (0, 0, 0)),
            Self::Commit => (5, 0, (0, 0, 0)),
            Self::Placed => (10, 0, (0, 0, 0)),
            Self::Failed { step, failure } => (6, step, failure.to_wire()),
            Self::Devices => (7, 0, (0, 0, 0)),
            Self::Filter { listener } => (8, 0, (0, 0, listener)),
            Self::FilterKnown => (9, 0, (0, 0, 0)),
        };
        let mut frame = [0; FRAME];
        frame[0..2].copy_from_slice(&u16::to_ne_bytes(kind));
        frame[2..4].copy_from_slice(&step.to_ne_bytes());
        frame[4..6].copy_from_slice(&failure.0.to_ne_bytes());
        frame[6..8].copy_from_slice(&failure.1.to_ne_bytes());
        frame[8..12].copy_from_slice(&failure.2.to_ne_bytes());
        frame
    }

    fn decode(frame: [u8; FRAME]) -> Option<Self> {
        let word = |at: usize| u16::from_ne_bytes([frame[at], frame[at + 1]]);
        let number = i32::from_ne_bytes([frame[8], frame[9], frame[10], frame[11]]);
        match word(0) {
            1 => Some(Self::Mapped),
            2 => Some(Self::Hooks),
            3 => Some(Self::HooksDone),
            4 => Some(Self::Ready),
            5 => Some(Self::Commit),
            10 => Some(Self::Placed),
            6 => {
                let failure = Failure::from_wire(word(4), word(6), number)?;
                Some(Self::Failed { step: word(2), failure })
            }
            7 => Some(Self::Devices),
            8 => Some(Self::Filter { listener: number }),
            9 => Some(Self::FilterKnown),
            _ => None,
        }
    }

    /// Sends the message. Allocates nothing.
    ///
    /// # Errors
    /// The errno of write(2).
    pub fn send(self, socket: impl AsFd) -> std::result::Result<(), SyscallError> {
        write_all(socket, &self.encode())
    }

    /// Sends the message with a descriptor. Allocates nothing.
    ///
    /// # Errors
    /// The errno of sendmsg(2).
    pub fn send_with(
        self,
        socket: impl AsFd,
        descriptor: impl AsFd,
    ) -> std::result::Result<(), SyscallError> {
        send_descriptor(socket, &self.encode(), descriptor)
    }

    /// Receives a message and the descriptor that came with it, as [`Message::receive`].
    ///
    /// # Errors
    /// The errno of recvmsg(2), but for a reset.
    pub fn receive_with(
        socket: impl AsFd,
    ) -> std::result::Result<(Option<Self>, Option<OwnedFd>), SyscallError> {
        let mut frame = [0; FRAME];
        match receive_descriptor(socket, &mut frame) {
            Ok((FRAME, descriptor)) => Ok((Self::decode(frame), descriptor)),
            Ok(_) => Ok((None, None)),
            Err(error) if error.errno == libc::ECONNRESET => Ok((None, None)),
            Err(error) => Err(error),
        }
    }

    /// Receives a message; `None` at the end of the stream, and for what is no message. Allocates
    /// nothing.
    ///
    /// # Errors
    /// The errno of read(2), but for a reset, which is an end too.
    pub fn receive(socket: impl AsFd) -> std::result::Result<Option<Self>, SyscallError> {
        let mut frame = [0; FRAME];
        match read(socket, &mut frame) {
            Ok(FRAME) => Ok(Self::decode(frame)),
            Ok(_) => Ok(None),
            Err(error) if error.errno == libc::ECONNRESET => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits in the child for exactly this message. The end of the stream means that the parent is
    /// gone, and with it whoever wanted this container.
    ///
    /// # Errors
    /// [`Finding::ParentGone`], or the errno of read(2).
    pub fn expect(self, socket: impl AsFd) -> Result<()> {
        match Self::receive(socket)? {
            Some(message) if message == self => Ok(()),
            _ => Err(Finding::ParentGone.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sys::error::Call;
    use crate::sys::socket::seqpacket_pair;

    #[test]
    fn carries_every_message() {
        let failure = Failure::Syscall(SyscallError { call: Call::Mount, errno: libc::EPERM });
        let all = [
            Message::Mapped,
            Message::Hooks,
            Message::HooksDone,
            Message::Ready,
            Message::Commit,
            Message::Devices,
            Message::Filter { listener: 9 },
            Message::FilterKnown,
            Message::Placed,
            Message::Failed { step: 300, failure },
            Message::Failed { step: 0, failure: Failure::Found(Finding::OnProcfs) },
        ];
        let (ours, theirs) = seqpacket_pair().unwrap();
        for message in all {
            message.send(&ours).unwrap();
            assert_eq!(Message::receive(&theirs).unwrap(), Some(message));
        }
        drop(ours);
        assert_eq!(Message::receive(&theirs).unwrap(), None);
    }

    #[test]
    fn takes_no_other_frame_for_a_message() {
        for first in [0_u8, 11, 255] {
            let mut frame = [0; FRAME];
            frame[0] = first;
            assert_eq!(Message::decode(frame), None);
        }
        let mut frame = [0; FRAME];
        frame[0] = 6;
        frame[4] = 9;
        assert_eq!(Message::decode(frame), None);
    }
}
