//! The nouns: a container and its processes, in which states they may be, and who waits for what.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Instant;

use crate::cgroup::{Cgroup, OomWatch};
use crate::engine::Engine;
use crate::error::{Code, Error};
use crate::events::Exit;
use crate::limits;
use crate::messages::{Create, StreamNames};
use crate::protobuf::Writer;
use crate::sandbox::Sandbox;
use crate::streams::{Ends, Streams};

/// Who waits for an answer: a connection and a stream of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The connection.
    pub connection: u64,
    /// Its stream.
    pub stream: u32,
    /// Until when the caller itself waits.
    pub until: Option<Instant>,
    /// By which service it asked, and what it takes for an answer.
    pub form: Form,
}

/// What is made of an answer on its way out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Form {
    /// A call of the task service.
    #[default]
    Task,
    /// One of the sandbox service; the answers are the same.
    Sandbox,
    /// One of the sandbox service that is answered without words.
    Nothing,
    /// `StartSandbox`.
    Started,
}

/// A process by container and id; the container's own has an empty id.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The container.
    pub id: String,
    /// The process.
    pub exec: String,
}

impl Key {
    /// The container's own process.
    pub fn init(id: &str) -> Self {
        Self { id: id.to_owned(), exec: String::new() }
    }

    /// Any process.
    pub fn of(id: &str, exec: &str) -> Self {
        Self { id: id.to_owned(), exec: exec.to_owned() }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.exec.as_str() {
            "" => write!(f, "task {}", self.id),
            exec => write!(f, "process {exec} of task {}", self.id),
        }
    }
}

/// The status of a process.
///
/// ```text
/// Fresh ──create, or announced──▶ Created ──start──▶ Running ◀──pause, resume──▶ Paused
///                                    │                  │                          │
///                                    └──────────────────┴────────end───────────────┴──▶ Stopped
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The runtime is creating it.
    Fresh,
    /// It waits for `Start`.
    Created,
    /// It runs.
    Running,
    /// Its cgroup is frozen.
    Paused,
    /// It has ended.
    Stopped,
}

impl Status {
    /// The number in messages.
    pub fn number(self) -> u32 {
        match self {
            Self::Fresh => 0,
            Self::Created => 1,
            Self::Running => 2,
            Self::Stopped => 3,
            Self::Paused => 4,
        }
    }

    /// The word in errors.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fresh => "being created",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// A call that waits until its process is free.
#[derive(Debug)]
pub struct Deferred {
    /// Who asked.
    pub caller: Caller,
    /// What.
    pub method: String,
    /// With which message.
    pub payload: Vec<u8>,
}

/// A process.
#[derive(Debug)]
pub struct Process {
    /// Where it is in its life.
    pub status: Status,
    /// Its pid; 0 before it has one.
    pub pid: u32,
    /// What the client named.
    pub names: StreamNames,
    /// What the shim keeps of them.
    pub streams: Streams,
    /// What the runtime will get of them.
    pub ends: Option<Ends>,
    /// How it ended. It may be known before the answer of `Start`, and is told after it.
    pub exit: Option<Exit>,
    /// Who waits for its end.
    pub waiters: Vec<Caller>,
    /// A command of the runtime that changes it is under way.
    pub busy: bool,
    /// What is asked meanwhile.
    pub deferred: VecDeque<Deferred>,
    /// What `exec` shall run, as the client wrote it.
    pub spec: Vec<u8>,
}

impl Process {
    /// One without a pid.
    pub fn new(names: StreamNames, status: Status, spec: Vec<u8>) -> Self {
        Self {
            status,
            pid: 0,
            names,
            streams: Streams::default(),
            ends: None,
            exit: None,
            waiters: Vec::new(),
            busy: false,
            deferred: VecDeque::new(),
            spec,
        }
    }

    /// Has a call wait until the process is free.
    pub fn defer(
        &mut self,
        key: &Key,
        caller: Caller,
        method: &str,
        payload: &[u8],
    ) -> Result<Option<Vec<u8>>, Error> {
        if self.deferred.len() >= limits::DEFERRED {
            let text = format!("{key}: too many calls wait");
            return Err(Error::new(Code::ResourceExhausted, text));
        }
        let (method, payload) = (method.to_owned(), payload.to_vec());
        self.deferred.push_back(Deferred { caller, method, payload });
        Ok(None)
    }

    /// Whether it has a process that has not ended.
    pub fn lives(&self) -> bool {
        self.pid != 0 && self.exit.is_none()
    }
}

/// A container.
#[derive(Debug)]
pub struct Container {
    /// Its folder.
    pub bundle: PathBuf,
    /// Its runtime.
    pub engine: Engine,
    /// As it was asked for; the event of its creation repeats it.
    pub request: Create,
    /// Its own process.
    pub init: Process,
    /// The others.
    pub execs: BTreeMap<String, Process>,
    /// Whether all processes end with the first one, by the kernel.
    pub own_pids: bool,
    /// Where it is counted.
    pub cgroup: Cgroup,
    /// Tells when memory runs out.
    pub oom: Option<OomWatch>,
    /// Its own process has ended, and that is told when the others have ended too, or then.
    pub last: Option<Instant>,
    /// What it is doing to end the others.
    pub killing: bool,
    /// It is the pod, not one of its containers.
    pub(crate) sandbox: Option<Sandbox>,
}

impl Container {
    /// One of its processes.
    pub fn process(&mut self, exec: &str) -> Option<&mut Process> {
        if exec.is_empty() { Some(&mut self.init) } else { self.execs.get_mut(exec) }
    }

    /// The answer of `State`.
    pub fn state(&self, id: &str, exec: &str) -> Result<Vec<u8>, Error> {
        let process = if exec.is_empty() { Some(&self.init) } else { self.execs.get(exec) };
        let process = process.ok_or_else(|| not_found(&Key::of(id, exec)))?;
        // The container is frozen as a whole.
        let paused = process.status == Status::Running && self.init.status == Status::Paused;
        let status = if paused { Status::Paused } else { process.status };
        let state = Writer::new()
            .text(1, id)
            .text(2, &self.request.bundle)
            .number32(3, process.pid)
            .number32(4, status.number())
            .text(5, &process.names.stdin)
            .text(6, &process.names.stdout)
            .text(7, &process.names.stderr)
            .flag(8, process.names.terminal);
        let state = match (status, process.exit) {
            (Status::Stopped, Some(exit)) => {
                state.number32(9, exit.status).message(10, crate::messages::timestamp(exit.at))
            }
            _ => state,
        };
        Ok(state.text(11, exec).done())
    }
}

/// The error for what is not there.
pub fn not_found(key: &Key) -> Error {
    Error::new(Code::NotFound, format!("{key}: there is none"))
}

/// The error for what a status does not permit.
pub fn not_in(key: &Key, status: Status, wish: &str) -> Error {
    Error::new(Code::FailedPrecondition, format!("cannot {wish} {key}: it is {}", status.word()))
}
