//! A seccomp agent: it takes listeners at a socket, as the specification has them sent, and answers every
//! call that notifies.

use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::Value;

use crate::sys::{Answer, answer_notification, receive_notification};

/// A listening socket with threads that answer; they end with the listeners' processes, and the one that
/// accepts ends when this is dropped.
#[derive(Debug)]
pub struct Agent {
    path: PathBuf,
    heard: Arc<Mutex<Heard>>,
}

/// What the agent was told and asked.
#[derive(Debug, Default)]
struct Heard {
    states: Vec<Value>,
    calls: Vec<i32>,
    ended: bool,
}

impl Agent {
    /// Listens at a path. Calls are answered by number; those that are not named are carried out.
    pub fn listen(path: PathBuf, answers: &[(i32, Answer)]) -> Self {
        let socket = UnixListener::bind(&path).expect("a socket in the test's folder");
        let heard = Arc::new(Mutex::new(Heard::default()));
        let answers: BTreeMap<i32, Answer> = answers.iter().copied().collect();
        let shared = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in socket.incoming().flatten() {
                if locked(&shared).ended {
                    return;
                }
                let (shared, answers) = (Arc::clone(&shared), answers.clone());
                std::thread::spawn(move || serve(&stream, &shared, &answers));
            }
        });
        Self { path, heard }
    }

    /// The path for `listenerPath`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The container process states that came, in order.
    pub fn states(&self) -> Vec<Value> {
        locked(&self.heard).states.clone()
    }

    /// How often a call was asked about.
    pub fn count(&self, number: i32) -> usize {
        locked(&self.heard).calls.iter().filter(|call| **call == number).count()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        locked(&self.heard).ended = true;
        // The thread that accepts looks again when somebody comes.
        let _ = UnixStream::connect(&self.path);
    }
}

fn locked(heard: &Mutex<Heard>) -> std::sync::MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(stream: &UnixStream, heard: &Mutex<Heard>, answers: &BTreeMap<i32, Answer>) {
    let Some((state, listener)) = receive(stream) else { return };
    locked(heard).states.push(state);
    while waits(&listener) {
        let Ok(call) = receive_notification(&listener) else { continue };
        locked(heard).calls.push(call.number);
        let answer = answers.get(&call.number).copied().unwrap_or(Answer::Continue);
        // A caller that was killed meanwhile needs no answer.
        let _ = answer_notification(&listener, call, answer);
    }
}

/// False when every process with the filter has ended.
fn waits(listener: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(listener, PollFlags::IN)];
    let timeout = Timespec { tv_sec: 60, tv_nsec: 0 };
    let came = poll(&mut fds, Some(&timeout)).unwrap_or(0) > 0;
    came && fds[0].revents().contains(PollFlags::IN)
}

/// The state, and the one descriptor that came with its beginning. The end of the stream is not waited
/// for: the packaged runc closes it when it ends itself.
fn receive(stream: &UnixStream) -> Option<(Value, OwnedFd)> {
    let mut text = Vec::new();
    let mut listener = None;
    loop {
        let mut part = [0_u8; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut part)];
        let message = recvmsg(stream, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC).ok()?;
        for received in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = received {
                let mut fds: Vec<OwnedFd> = fds.collect();
                assert!(
                    text.is_empty() && fds.len() == 1,
                    "one descriptor, with the first message"
                );
                listener = fds.pop();
            }
        }
        text.extend_from_slice(&part[..message.bytes]);
        match serde_json::from_slice(&text) {
            Ok(state) => return Some((state, listener?)),
            Err(_) if message.bytes == 0 => return None,
            Err(_) => {}
        }
    }
}
