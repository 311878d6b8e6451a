//! Events on their way to containerd: one after the other, each until it was taken, over one connection.
//!
//! Order is the point: a start before its end, an end before its deletion. So the next event is sent when the last
//! one was acknowledged, and all of them wait while containerd is away.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use crate::limits;
use crate::messages::{Any, Create, timestamp};
use crate::protobuf::Writer;
use crate::socket::connect_now;
use crate::ttrpc::{self, Inbox, Request};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Its status: 128 and the signal's number where one ended it.
    pub status: u32,
    /// When the shim saw it.
    pub at: SystemTime,
}

/// What happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// A container was created, with its process.
    Create(&'a Create, u32),
    /// Its process began.
    Start(&'a str, u32),
    /// A process ended: container, process, pid.
    Exit(&'a str, &'a str, u32, Exit),
    /// A container was deleted.
    Delete(&'a str, u32, Exit),
    /// A process was announced.
    ExecAdded(&'a str, &'a str),
    /// It began.
    ExecStarted(&'a str, &'a str, u32),
    /// Frozen.
    Paused(&'a str),
    /// Thawed.
    Resumed(&'a str),
    /// Saved into a folder.
    Checkpointed(&'a str, &'a str),
    /// The kernel ended a process for want of memory.
    Oom(&'a str),
}

impl Event<'_> {
    /// Of which container it tells.
    pub fn container(&self) -> &str {
        match *self {
            Self::Create(create, _) => &create.id,
            Self::Start(id, _)
            | Self::Exit(id, ..)
            | Self::Delete(id, ..)
            | Self::ExecAdded(id, _)
            | Self::ExecStarted(id, ..)
            | Self::Paused(id)
            | Self::Resumed(id)
            | Self::Checkpointed(id, _)
            | Self::Oom(id) => id,
        }
    }

    /// Topic and message.
    fn encode(&self) -> (&'static str, Any) {
        let (topic, kind, message) = match *self {
            Self::Create(create, pid) => {
                let io = Writer::new()
                    .text(1, &create.streams.stdin)
                    .text(2, &create.streams.stdout)
                    .text(3, &create.streams.stderr)
                    .flag(4, create.streams.terminal);
                let mut message = Writer::new().text(1, &create.id).text(2, &create.bundle);
                for mount in &create.rootfs {
                    message = message.message(3, mount.encode());
                }
                let message = message.message(4, io).text(5, &create.checkpoint).number32(6, pid);
                ("/tasks/create", "TaskCreate", message)
            }
            Self::Start(id, pid) => {
                ("/tasks/start", "TaskStart", Writer::new().text(1, id).number32(2, pid))
            }
            Self::Exit(id, process, pid, exit) => {
                let message = Writer::new()
                    .text(1, id)
                    .text(2, process)
                    .number32(3, pid)
                    .number32(4, exit.status)
                    .message(5, timestamp(exit.at));
                ("/tasks/exit", "TaskExit", message)
            }
            Self::Delete(id, pid, exit) => {
                let message = Writer::new()
                    .text(1, id)
                    .number32(2, pid)
                    .number32(3, exit.status)
                    .message(4, timestamp(exit.at));
                ("/tasks/delete", "TaskDelete", message)
            }
            Self::ExecAdded(id, exec) => {
                ("/tasks/exec-added", "TaskExecAdded", Writer::new().text(1, id).text(2, exec))
            }
            Self::ExecStarted(id, exec, pid) => {
                let message = Writer::new().text(1, id).text(2, exec).number32(3, pid);
                ("/tasks/exec-started", "TaskExecStarted", message)
            }
            Self::Paused(id) => ("/tasks/paused", "TaskPaused", Writer::new().text(1, id)),
            Self::Resumed(id) => ("/tasks/resumed", "TaskResumed", Writer::new().text(1, id)),
            Self::Checkpointed(id, path) => {
                ("/tasks/checkpointed", "TaskCheckpointed", Writer::new().text(1, id).text(2, path))
            }
            Self::Oom(id) => ("/tasks/oom", "TaskOOM", Writer::new().text(1, id)),
        };
        (topic, Any { type_url: format!("containerd.events.{kind}"), value: message.done() })
    }
}

/// The queue and the connection.
#[derive(Debug)]
pub struct Publisher {
    namespace: String,
    path: String,
    queue: VecDeque<Vec<u8>>,
    stream: Option<UnixStream>,
    inbox: Inbox,
    /// Of the event that is on its way: its stream, what of it is not sent, and until when it must be taken.
    sent: Option<(u32, usize, Instant)>,
    next_stream: u32,
    /// When containerd is looked for again, and how long the pause was.
    again: Option<(Instant, Duration)>,
    pause: Duration,
}

impl Publisher {
    /// To containerd's ttrpc socket.
    pub fn new(namespace: &str, path: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            path: path.strip_prefix("unix://").unwrap_or(path).to_owned(),
            queue: VecDeque::new(),
            stream: None,
            inbox: Inbox::default(),
            sent: None,
            next_stream: 1,
            again: None,
            pause: limits::RECONNECT.0,
        }
    }

    /// Puts an event at the end of the queue.
    pub fn publish(&mut self, event: &Event<'_>) {
        let (topic, any) = event.encode();
        let envelope = Writer::new()
            .message(1, timestamp(SystemTime::now()))
            .text(2, &self.namespace)
            .text(3, topic)
            .message(4, any.encode());
        if self.queue.len() >= limits::EVENTS {
            crate::log::warn("containerd takes no events; the oldest is dropped");
            // The one on its way stays: its answer is waited for.
            let at = usize::from(self.sent.is_some()).min(self.queue.len() - 1);
            self.queue.remove(at);
        }
        self.queue.push_back(Writer::new().message(1, envelope).done());
    }

    /// Whether everything was taken.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// What to poll, when there is a connection.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.stream.as_ref().map(AsFd::as_fd)
    }

    /// When to come back although nothing came.
    pub fn deadline(&self) -> Option<Instant> {
        if self.queue.is_empty() {
            return None;
        }
        self.sent.map(|it| it.2).or(self.again.map(|it| it.0))
    }

    /// Does what can be done without waiting. Whether there is a new connection to poll.
    pub fn advance(&mut self, now: Instant) -> bool {
        let had = self.stream.is_some();
        if self.stream.is_some() && !self.receive() {
            self.lost(now, "the connection was closed");
        }
        if self.sent.is_some_and(|it| it.2 <= now) {
            self.lost(now, "an event was not taken in time");
        }
        if self.queue.is_empty() || self.again.is_some_and(|it| it.0 > now) {
            return false;
        }
        if self.stream.is_none() {
            match connect_now(Path::new(&self.path)) {
                Ok(stream) => {
                    self.stream = Some(stream);
                    self.again = None;
                }
                Err(error) => {
                    self.lost(now, &error.to_string());
                    return false;
                }
            }
        }
        if !self.send(now) {
            self.lost(now, "it takes no bytes");
        }
        !had && self.stream.is_some()
    }

    fn lost(&mut self, now: Instant, why: &str) {
        if self.pause == limits::RECONNECT.0 && !self.queue.is_empty() {
            crate::log::warn(&format!("events wait for containerd at {}: {why}", self.path));
        }
        self.stream = None;
        self.inbox = Inbox::default();
        self.sent = None;
        self.again = Some((now + self.pause, self.pause));
        self.pause = (self.pause * 2).min(limits::RECONNECT.1);
    }

    /// Reads answers; false when the connection is of no use any more.
    fn receive(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        let mut piece = [0; 1024];
        let open = loop {
            match stream.read(&mut piece) {
                Ok(0) => break false,
                Ok(count) => self.inbox.push(&piece[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break false,
            }
        };
        while let Some(frame) = self.inbox.take() {
            let (stream, outcome) = ttrpc::response(&frame);
            if self.sent.is_none_or(|it| it.0 != stream) {
                continue;
            }
            // Refused is taken too: the same bytes would be refused again.
            if let Err(error) = outcome {
                crate::log::warn(&format!("containerd refused an event: {error}"));
            }
            self.queue.pop_front();
            self.sent = None;
            self.pause = limits::RECONNECT.0;
        }
        open
    }

    /// Sends the first event, or the rest of it.
    fn send(&mut self, now: Instant) -> bool {
        let (Some(stream), Some(payload)) = (&mut self.stream, self.queue.front()) else {
            return true;
        };
        let (id, from, until) = self.sent.unwrap_or_else(|| {
            let id = self.next_stream;
            // Streams of a client are odd; after two thousand million events they begin anew.
            self.next_stream = id.wrapping_add(2) | 1;
            (id, 0, now + limits::EVENT)
        });
        let request = Request {
            service: "containerd.services.events.ttrpc.v1.Events".to_owned(),
            method: "Forward".to_owned(),
            payload: payload.clone(),
            timeout_nanos: u64::try_from(limits::EVENT.as_nanos()).unwrap_or(0),
        };
        let bytes = ttrpc::encode_request(id, &request);
        let mut at = from;
        while at < bytes.len() {
            match stream.write(&bytes[at..]) {
                Ok(0) => return false,
                Ok(count) => at += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        self.sent = Some((id, at, until));
        true
    }
}
