//! The messages between the parent and the child, in the only order they may have.
//!
//! ```text
//!   parent                                    child
//!     │ ── clone3 ───────────────────────────▶ │
//!     │ ── Mapped ───────────────────────────▶ │   only with a new user namespace
//!     │ ── Devices ──────────────────────────▶ │   only with network devices to move
//!     │                                        │   builds the file system …
//!     │ ◀──────────────────────────────── Tree │   for each tree that is not open yet, or is to
//!     │ ── TreeDone ─────────────────────────▶ │   be mapped, which then comes along
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
//! At any point the child may send `Failed` instead, its last message, with what a hook wrote behind
//! it. Messages are one fixed frame over a socket that keeps their borders; they are read and written with read(2) and write(2), which
//! no seccomp profile that lets a program run can deny. A listener comes with its message where the
//! profile permits that; where it does not, its number says which descriptor to fetch. `Placed` may come
//! while a tree is waited for.

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
    /// To the parent: open the tree with this index in the plan, or map the ids of the one that comes along.
    Tree {
        /// The index.
        source: u16,
    },
    /// To the child: here it is, or it is mapped.
    TreeDone,
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
/// The most bytes of text behind a frame.
const TEXT_MAX: usize = crate::hooks::apply::Output::BYTES_MAX;

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
            Self::Tree { source } => (11, source, (0, 0, 0)),
            Self::TreeDone => (12, 0, (0, 0, 0)),
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
            11 => Some(Self::Tree { source: word(2) }),
            12 => Some(Self::TreeDone),
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

    /// Receives a message, the descriptor that came with it and the text behind it, as
    /// [`Message::receive`].
    ///
    /// # Errors
    /// The errno of recvmsg(2); ECONNRESET where the other side has gone without reading what it was told.
    /// What it said before is received next.
    pub fn receive_with(
        socket: impl AsFd,
    ) -> std::result::Result<(Option<Self>, Option<OwnedFd>, String), SyscallError> {
        let mut packet = [0; FRAME + TEXT_MAX];
        let (length, descriptor) = receive_descriptor(socket, &mut packet)?;
        let (message, text) = Self::decode_with_text(&packet[..length]);
        Ok((message, descriptor, text))
    }

    /// Receives a message and the descriptor that came with it. Allocates nothing.
    ///
    /// # Errors
    /// The errno of recvmsg(2).
    pub fn receive_descriptor(
        socket: impl AsFd,
    ) -> std::result::Result<(Option<Self>, Option<OwnedFd>), SyscallError> {
        let mut frame = [0; FRAME];
        let (length, descriptor) = receive_descriptor(socket, &mut frame)?;
        Ok(((length == FRAME).then(|| Self::decode(frame)).flatten(), descriptor))
    }

    fn decode_with_text(packet: &[u8]) -> (Option<Self>, String) {
        match packet.split_first_chunk::<FRAME>() {
            Some((frame, rest)) => {
                (Self::decode(*frame), String::from_utf8_lossy(rest).trim().to_owned())
            }
            None => (None, String::new()),
        }
    }

    /// Sends the message with a text behind it, which is cut where it is too long. Allocates nothing.
    ///
    /// # Errors
    /// The errno of write(2).
    pub fn send_with_text(
        self,
        text: &[u8],
        socket: impl AsFd,
    ) -> std::result::Result<(), SyscallError> {
        let mut packet = [0; FRAME + TEXT_MAX];
        let length = FRAME + text.len().min(TEXT_MAX);
        packet[..FRAME].copy_from_slice(&self.encode());
        packet[FRAME..length].copy_from_slice(&text[..length - FRAME]);
        write_all(socket, &packet[..length])
    }

    /// Receives a message as [`Message::receive`] does, and the text behind it.
    ///
    /// # Errors
    /// As [`Message::receive`].
    pub fn receive_with_text(
        socket: impl AsFd,
    ) -> std::result::Result<(Option<Self>, String), SyscallError> {
        let mut packet = [0; FRAME + TEXT_MAX];
        let length = match read(socket, &mut packet) {
            Err(error) if error.errno == libc::ECONNRESET => 0,
            other => other?,
        };
        Ok(Self::decode_with_text(&packet[..length]))
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
            Message::Tree { source: 1234 },
            Message::TreeDone,
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
    fn carries_what_a_hook_wrote_behind_a_failure() {
        let (ours, theirs) = seqpacket_pair().unwrap();
        let failed = Message::Failed { step: 7, failure: Failure::Found(Finding::HookTimeout) };
        failed.send_with_text(b"cat: no such file\n", &ours).unwrap();
        failed.send_with_text(&[b'x'; TEXT_MAX + 1], &ours).unwrap();
        Message::Ready.send(&ours).unwrap();
        drop(ours);
        let receive = || Message::receive_with_text(&theirs).unwrap();
        assert_eq!(receive(), (Some(failed), "cat: no such file".to_owned()));
        assert_eq!(receive(), (Some(failed), "x".repeat(TEXT_MAX)));
        assert_eq!(receive(), (Some(Message::Ready), String::new()));
        assert_eq!(receive(), (None, String::new()));
    }

    #[test]
    fn takes_no_other_frame_for_a_message() {
        for first in [0_u8, 13, 255] {
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
