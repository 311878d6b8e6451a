//! Serving: one thread, one epoll set, and the state of all containers of the shim.
//!
//! Nothing here waits but the one call of epoll. Whatever takes time is a process of its own (a command of the
//! runtime, a logger) or a client, and each has a deadline.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use crate::args::Args;
use crate::error::{Code, Error};
use crate::events::{Event, Exit, Publisher};
use crate::job::{AwaitedLogger, Job};
use crate::limits;
use crate::log::warn;
use crate::task::{Caller, Container, Form, Key};
use crate::ttrpc::{self, Inbox};

/// What a descriptor of the epoll set is.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Listener,
    Children,
    Publisher,
    Connection,
    Terminal(Key),
    /// A client of a FIFO may have come, or its last writer has gone.
    Fifo(Key),
    Logger(Key),
    Oom(String),
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    inbox: Inbox,
    outbox: Vec<u8>,
    sent: usize,
}

/// The shim.
#[derive(Debug)]
pub struct Shim {
    pub(crate) namespace: String,
    pub(crate) socket: PathBuf,
    pub(crate) containers: BTreeMap<String, Container>,
    /// Commands of the runtime by their pid.
    pub(crate) jobs: BTreeMap<u32, Job>,
    /// Creations that wait for a logger.
    pub(crate) loggers: Vec<AwaitedLogger>,
    /// Processes that ended before the runtime said that they are a container's.
    pub(crate) early: Vec<(u32, Exit)>,
    /// Containers' processes by their pid.
    pub(crate) pids: BTreeMap<u32, Key>,
    pub(crate) consoles: u64,
    publisher: Publisher,
    epoll: OwnedFd,
    sources: BTreeMap<u64, Source>,
    next_source: u64,
    connections: BTreeMap<u64, Connection>,
    listener: UnixListener,
    children: UnixStream,
    /// Terminals that have more to say than one turn takes.
    unfinished: Vec<Key>,
    /// Asked to go: it goes when all events are taken, or then.
    pub(crate) leaving: Option<Instant>,
}

/// Serves until it is asked to go.
pub fn serve(args: &Args) -> Result<(), String> {
    let mut shim = Shim::new(args).map_err(|error| format!("serve: {error}"))?;
    let ended = shim.run();
    let _ = std::fs::remove_file(&shim.socket);
    ended.map_err(|error| format!("epoll: {error}"))
}

const EDGES: epoll::EventFlags = epoll::EventFlags::IN
    .union(epoll::EventFlags::OUT)
    .union(epoll::EventFlags::RDHUP)
    .union(epoll::EventFlags::ET);

impl Shim {
    fn new(args: &Args) -> io::Result<Self> {
        // Orphans come here to be reaped: the runtime ends, and what it began is the shim's.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let _ = rustix::process::setsid();
        let listener = UnixListener::from(io::stdin().as_fd().try_clone_to_owned()?);
        listener.set_nonblocking(true)?;
        rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
        let (children, signal) = UnixStream::pair()?;
        children.set_nonblocking(true)?;
        signal.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(signal_hook::consts::SIGCHLD, signal)?;
        let ttrpc = std::env::var("TTRPC_ADDRESS").ok().filter(|it| !it.is_empty());
        let mut shim = Self {
            namespace: args.namespace.clone(),
            socket: PathBuf::from(&args.socket),
            containers: BTreeMap::new(),
            jobs: BTreeMap::new(),
            loggers: Vec::new(),
            early: Vec::new(),
            pids: BTreeMap::new(),
            consoles: 0,
            publisher: Publisher::new(
                &args.namespace,
                &ttrpc.unwrap_or_else(|| format!("{}.ttrpc", args.address)),
            ),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            sources: BTreeMap::new(),
            next_source: 0,
            connections: BTreeMap::new(),
            listener,
            children,
            unfinished: Vec::new(),
            leaving: None,
        };
        let token = shim.token(Source::Listener);
        add(&shim.epoll, &shim.listener, token, epoll::EventFlags::IN)?;
        let token = shim.token(Source::Children);
        add(&shim.epoll, &shim.children, token, epoll::EventFlags::IN)?;
        Ok(shim)
    }

    fn token(&mut self, source: Source) -> u64 {
        self.next_source += 1;
        self.sources.insert(self.next_source, source);
        self.next_source
    }

    /// Polls a descriptor edge by edge. It leaves the set when it is closed; its token stays until `forget`.
    pub(crate) fn watch(&mut self, fd: impl AsFd, source: Source) {
        let token = self.token(source);
        if let Err(error) = add(&self.epoll, fd, token, EDGES) {
            self.sources.remove(&token);
            // A file on disk can be a stream of a terminal; it is always ready.
            if error.kind() != io::ErrorKind::PermissionDenied {
                warn(&format!("epoll: {error}"));
            }
        }
    }

    /// Drops the tokens of a process, or of a whole container.
    pub(crate) fn forget(&mut self, key: &Key) {
        let whole = key.exec.is_empty();
        self.sources.retain(|_, source| match source {
            Source::Terminal(it) | Source::Fifo(it) | Source::Logger(it) => {
                it != key && !(whole && it.id == key.id)
            }
            Source::Oom(id) => !(whole && *id == key.id),
            _ => true,
        });
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(16);
        loop {
            let now = Instant::now();
            self.pass_deadlines(now);
            if self.publisher.advance(now) {
                self.sources.retain(|_, source| !matches!(source, Source::Publisher));
                let token = self.token(Source::Publisher);
                if let Some(descriptor) = self.publisher.descriptor() {
                    add(&self.epoll, descriptor, token, EDGES)?;
                }
                continue;
            }
            if self.may_leave(now) {
                return Ok(());
            }
            let timeout = self.timeout(Instant::now());
            events.clear();
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                timeout.as_ref(),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for key in std::mem::take(&mut self.unfinished) {
                self.pump(&key);
            }
            for event in &events {
                let event: &epoll::Event = event;
                self.happened(event.data.u64());
            }
        }
    }

    fn may_leave(&mut self, now: Instant) -> bool {
        let Some(until) = self.leaving else { return false };
        let unsent = self.connections.values().any(|it| it.sent < it.outbox.len());
        (self.publisher.is_idle() && !unsent) || until <= now
    }

    fn timeout(&self, now: Instant) -> Option<Timespec> {
        let mut first = self.publisher.deadline();
        let mut sooner = |at: Option<Instant>| {
            if let Some(at) = at {
                first = Some(first.map_or(at, |first| first.min(at)));
            }
        };
        for job in self.jobs.values() {
            sooner(job.deadline);
        }
        for logger in &self.loggers {
            sooner(Some(logger.deadline));
        }
        for container in self.containers.values() {
            sooner(container.last);
        }
        sooner(self.leaving);
        sooner((!self.unfinished.is_empty()).then_some(now));
        let wait = first?.saturating_duration_since(now);
        // A deadline must have passed when it is looked at, so what is less than a millisecond is one.
        let wait = if wait.is_zero() { wait } else { wait + Duration::from_millis(1) };
        Timespec::try_from(wait).ok()
    }

    fn happened(&mut self, token: u64) {
        let Some(source) = self.sources.get(&token).cloned() else { return };
        match source {
            Source::Listener => self.accept(),
            Source::Children => {
                let mut buffer = [0; 64];
                while matches!(self.children.read(&mut buffer), Ok(1..)) {}
                self.reap();
            }
            // `run` looks after it in each turn.
            Source::Publisher => {}
            Source::Connection => self.converse(token),
            Source::Terminal(key) => self.pump(&key),
            Source::Fifo(key) => self.fifo_changed(&key),
            Source::Logger(key) => self.logger_is_ready(&key),
            Source::Oom(id) => self.tell_of_memory(&id),
        }
    }

    fn accept(&mut self) {
        // What is not taken now is told again: the listener is polled by its level.
        let Ok((stream, _)) = self.listener.accept() else { return };
        if let Err(error) = stream.set_nonblocking(true) {
            warn(&format!("connection: {error}"));
            return;
        }
        let token = self.token(Source::Connection);
        if let Err(error) = add(&self.epoll, &stream, token, EDGES) {
            warn(&format!("connection: {error}"));
            self.sources.remove(&token);
            return;
        }
        let connection =
            Connection { stream, inbox: Inbox::default(), outbox: Vec::new(), sent: 0 };
        self.connections.insert(token, connection);
    }

    /// Takes calls and hands out answers, as far as the client lets.
    fn converse(&mut self, token: u64) {
        let mut piece = [0; 16 << 10];
        let mut open = self.flush(token);
        while open {
            let Some(connection) = self.connections.get_mut(&token) else { return };
            match connection.stream.read(&mut piece) {
                Ok(0) => open = false,
                Ok(count) => connection.inbox.push(&piece[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => open = false,
            }
            while let Some(frame) = self.connections.get_mut(&token).and_then(|it| it.inbox.take())
            {
                let stream = frame.stream;
                let form = Form::default();
                let mut caller = Caller { connection: token, stream, until: None, form };
                match ttrpc::request(frame) {
                    Ok(request) => {
                        let timeout = Duration::from_nanos(request.timeout_nanos);
                        if !timeout.is_zero() {
                            caller.until = Instant::now().checked_add(timeout);
                        }
                        self.call(caller, &request);
                    }
                    Err(error) => self.answer(caller, Err(error)),
                }
            }
        }
        if !open {
            self.connections.remove(&token);
            self.sources.remove(&token);
            for container in self.containers.values_mut() {
                container.init.waiters.retain(|it| it.connection != token);
                for process in container.execs.values_mut() {
                    process.waiters.retain(|it| it.connection != token);
                }
            }
        }
    }

    /// Whether the connection is still of use.
    fn flush(&mut self, token: u64) -> bool {
        let Some(connection) = self.connections.get_mut(&token) else { return false };
        while connection.sent < connection.outbox.len() {
            match connection.stream.write(&connection.outbox[connection.sent..]) {
                Ok(0) => return false,
                Ok(count) => connection.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return connection.outbox.len() - connection.sent <= limits::OUTBOX_BYTES;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        connection.outbox = Vec::new();
        connection.sent = 0;
        true
    }

    /// Answers a call. One whose client has gone is answered to nobody.
    pub(crate) fn answer(&mut self, caller: Caller, answer: Result<Vec<u8>, Error>) {
        let answer = answer.and_then(|payload| {
            let payload = match caller.form {
                Form::Task | Form::Sandbox => payload,
                Form::Nothing => Vec::new(),
                Form::Started => self.sandbox_started(),
            };
            if payload.len() > limits::MESSAGE_BYTES - 64 {
                let text = format!("an answer of {} bytes", payload.len());
                return Err(Error::new(Code::ResourceExhausted, text));
            }
            Ok(payload)
        });
        let Some(connection) = self.connections.get_mut(&caller.connection) else { return };
        connection.outbox.extend(ttrpc::encode_response(caller.stream, &answer));
        if !self.flush(caller.connection)
            && let Some(connection) = self.connections.get(&caller.connection)
        {
            // The next turn sees the end and removes it.
            let _ = connection.stream.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Sends an event after all that were sent before.
    pub(crate) fn publish(&mut self, event: &Event<'_>) {
        // A sandbox is no task.
        if self.containers.get(event.container()).is_none_or(|it| it.sandbox.is_none()) {
            self.publisher.publish(event);
        }
    }

    fn pump(&mut self, key: &Key) {
        use crate::streams::terminal::Pumped;
        let process = self.containers.get_mut(&key.id).and_then(|it| it.process(&key.exec));
        let Some(terminal) = process.and_then(|it| it.streams.terminal.as_mut()) else { return };
        if terminal.pump() == Pumped::More {
            self.unfinished.push(key.clone());
        }
    }

    /// A client has come to a FIFO, or the last writer of one has gone.
    fn fifo_changed(&mut self, key: &Key) {
        let process = self.containers.get_mut(&key.id).and_then(|it| it.process(&key.exec));
        let Some(process) = process else { return };
        let mut watches = Vec::new();
        for kept in &mut process.streams.kept {
            if kept.look() {
                watches.extend(kept.watch.instance().and_then(|it| it.try_clone().ok()));
            }
        }
        for watch in &watches {
            self.watch(watch, Source::Fifo(key.clone()));
        }
        if !watches.is_empty() {
            // It may have come between the question and the poll.
            self.fifo_changed(key);
        }
    }

    /// Waits for the end of an output: only a hang-up wakes the shim, no output does.
    pub(crate) fn watch_for_its_end(&mut self, fd: impl AsFd, key: &Key) {
        let token = self.token(Source::Fifo(key.clone()));
        if let Err(error) = add(&self.epoll, fd, token, epoll::EventFlags::ET) {
            self.sources.remove(&token);
            warn(&format!("epoll: {error}"));
        }
    }

    pub(crate) fn tell_of_memory(&mut self, id: &str) {
        let watch = self.containers.get_mut(id).and_then(|it| it.oom.as_mut());
        if watch.is_some_and(crate::cgroup::OomWatch::happened) {
            self.publish(&Event::Oom(id));
        }
    }
}

fn add(epoll: &OwnedFd, fd: impl AsFd, token: u64, flags: epoll::EventFlags) -> io::Result<()> {
    Ok(epoll::add(epoll, fd, epoll::EventData::new_u64(token), flags)?)
}
