//! Commands of the runtime that are under way: what each is for, until when it may take, and what follows its end.

use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use crate::bundle;
use crate::cgroup::{Cgroup, OomWatch};
use crate::engine::{self, Running, Streams};
use crate::error::{Code, Error};
use crate::events::{Event, Exit};
use crate::limits;
use crate::log::warn;
use crate::messages::{Any, timestamp};
use crate::protobuf::Writer;
use crate::rootfs_mounts;
use crate::serve::{Shim, Source};
use crate::streams::terminal::Terminal;
use crate::task::{Caller, Key, Status, not_found};

/// What a command is for.
#[derive(Debug)]
pub(crate) enum What {
    Create,
    /// After a creation that did not come to its end; the error is the creation's.
    Undo(Error),
    Start,
    Restore,
    StartExec,
    Kill,
    /// The end of a container without a pid namespace of its own.
    KillAll,
    Pause,
    Resume,
    Update,
    Pids,
    Checkpoint(String),
    Delete,
}

impl What {
    /// Whether the shim gets a process by it that it does not know yet.
    pub(crate) fn begins_a_process(&self) -> bool {
        matches!(self, Self::Create | Self::Restore | Self::StartExec)
    }

    /// Whether others have to wait that want to change the same process.
    fn excludes(&self) -> bool {
        !matches!(self, Self::Kill | Self::KillAll | Self::Pids)
    }
}

/// A command under way.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) what: What,
    key: Key,
    caller: Option<Caller>,
    running: Running,
    /// `None` once it was ended for being late.
    pub(crate) deadline: Option<Instant>,
    bound: Duration,
    /// What the command reads while it runs.
    pub(crate) held: Option<OwnedFd>,
}

/// A beginning that waits for a logger.
#[derive(Debug)]
pub(crate) struct AwaitedLogger {
    pub(crate) key: Key,
    pub(crate) caller: Caller,
    pub(crate) deadline: Instant,
}

impl Shim {
    /// Takes a command into care.
    pub(crate) fn begin(
        &mut self,
        what: What,
        key: Key,
        caller: Option<Caller>,
        running: Running,
        bound: Duration,
    ) {
        if what.excludes() {
            self.set_busy(&key, true);
        }
        let now = Instant::now();
        let theirs = caller.and_then(|it| it.until).map(|it| it.saturating_duration_since(now));
        let bound = theirs.map_or(bound, |it| it.min(bound));
        let job =
            Job { what, key, caller, deadline: Some(now + bound), bound, held: None, running };
        self.jobs.insert(job.running.pid, job);
    }

    fn set_busy(&mut self, key: &Key, busy: bool) {
        let process = self.containers.get_mut(&key.id).and_then(|it| it.process(&key.exec));
        if let Some(process) = process {
            process.busy = busy;
        }
    }

    /// Ends what is late, and tells those who wait for it.
    pub(crate) fn pass_deadlines(&mut self, now: Instant) {
        let late = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let pids: Vec<u32> =
            self.jobs.iter().filter(|it| late(it.1.deadline)).map(|it| *it.0).collect();
        for pid in pids {
            let _ = crate::sys::kill(pid, 9);
            let Some(job) = self.jobs.get_mut(&pid) else { continue };
            job.deadline = None;
            let error = job.running.late(job.bound);
            // A creation is answered when it was undone, unless that hangs as well.
            let undone_first = matches!(job.what, What::Create | What::Restore);
            if let Some(caller) = (!undone_first).then(|| job.caller.take()).flatten() {
                self.answer(caller, Err(error));
            }
        }
        let keys: Vec<Key> =
            self.loggers.iter().filter(|it| it.deadline <= now).map(|it| it.key.clone()).collect();
        for key in keys {
            let error = self.logger(&key).map(|logger| {
                let _ = crate::sys::kill(logger.pid, 9);
                logger.late()
            });
            self.logger_answered(&key, error);
        }
        let ended: Vec<String> =
            self.containers.iter().filter(|it| late(it.1.last)).map(|it| it.0.clone()).collect();
        for id in ended {
            self.tell_end(&Key::init(&id));
            if let Some(container) = self.containers.get_mut(&id) {
                container.last = None;
            }
        }
    }

    /// A command has ended.
    pub(crate) fn finish(&mut self, mut job: Job, status: ExitStatus) {
        let cut_short = job.deadline.is_none() || status.signal().is_some();
        let mut outcome = job.running.outcome(status);
        if job.deadline.is_none() {
            outcome = Err(job.running.late(job.bound));
        }
        let (key, caller) = (job.key, job.caller);
        let answer = match job.what {
            What::Create | What::Restore => {
                let restored = matches!(job.what, What::Restore);
                match outcome.and_then(|_| self.created(&key, restored)) {
                    Ok(answer) => Ok(answer),
                    Err(error) if cut_short || status.success() => {
                        return self.undo(&key, caller, error);
                    }
                    Err(error) if restored => Err(error),
                    Err(error) => {
                        self.drop_container(&key.id);
                        Err(error)
                    }
                }
            }
            What::Undo(error) => {
                if let Err(further) = outcome {
                    warn(&further.message);
                } else if let Some(container) = self.containers.get(&key.id) {
                    bundle::remove_journal(&container.bundle);
                }
                self.drop_container(&key.id);
                Err(error)
            }
            What::Start => outcome.map(|_| self.started(&key)),
            What::StartExec => match outcome.and_then(|_| self.exec_started(&key)) {
                Ok(answer) => Ok(answer),
                Err(error) => {
                    self.exec_failed(&key);
                    Err(error)
                }
            },
            What::Kill => outcome.map(|_| Vec::new()).map_err(gone_is_not_found),
            What::KillAll => {
                if let Some(container) = self.containers.get_mut(&key.id) {
                    container.killing = false;
                }
                Ok(Vec::new())
            }
            What::Pause => outcome.map(|_| self.frozen(&key, true)),
            What::Resume => outcome.map(|_| self.frozen(&key, false)),
            What::Update => outcome.map(|_| Vec::new()),
            What::Pids => outcome.and_then(|output| self.list(&key.id, &output)),
            What::Checkpoint(path) => outcome.map(|_| {
                self.publish(&Event::Checkpointed(&key.id, &path));
                Vec::new()
            }),
            What::Delete => match outcome {
                // Somebody deleted it behind the shim's back: what was asked for is so.
                Err(error) if !error.message.contains("does not exist") => Err(error),
                _ => Ok(self.deleted(&key.id)),
            },
        };
        if let Some(caller) = caller {
            self.answer(caller, answer);
        }
        self.free(&key);
    }

    /// The process may be changed again: what was held back is told, and who was held back is heard.
    pub(crate) fn free(&mut self, key: &Key) {
        let others = self.jobs.values().any(|job| job.key == *key && job.what.excludes());
        self.set_busy(key, others);
        self.tell_end(key);
        loop {
            let process = self.containers.get_mut(&key.id).and_then(|it| it.process(&key.exec));
            let Some(process) = process.filter(|it| !it.busy) else { return };
            let Some(next) = process.deferred.pop_front() else { return };
            self.dispatch(next.caller, &next.method, &next.payload);
        }
    }

    /// After `create` or `restore`: the pid, the terminal, the cgroup.
    fn created(&mut self, key: &Key, restored: bool) -> Result<Vec<u8>, Error> {
        let pid = self.take_process(key)?;
        let container = self.containers.get_mut(&key.id).ok_or_else(|| not_found(key))?;
        // A process that has ended already has no cgroup to be found.
        container.cgroup = Cgroup::of(pid).unwrap_or_default();
        let watch = OomWatch::begin(&container.cgroup);
        let watch =
            watch.inspect_err(|error| warn(&format!("out of memory of {}: {error}", key.id)));
        container.oom = watch.unwrap_or_default();
        container.init.status = if restored { Status::Running } else { Status::Created };
        let watched = container.oom.as_ref().and_then(|it| it.descriptor.try_clone().ok());
        let request = container.request.clone();
        if let Some(descriptor) = watched {
            self.watch(&descriptor, Source::Oom(key.id.clone()));
        }
        if restored {
            self.publish(&Event::Start(&key.id, pid));
        } else {
            self.publish(&Event::Create(&request, pid));
        }
        self.meet(pid, key);
        Ok(Writer::new().number32(1, pid).done())
    }

    /// Reads the pid of a process that the runtime has begun, and takes its terminal.
    fn take_process(&mut self, key: &Key) -> Result<u32, Error> {
        let container = self.containers.get_mut(&key.id).ok_or_else(|| not_found(key))?;
        let file = bundle::pid_file(&container.bundle, &key.exec);
        let pid = bundle::read_pid(&file).map_err(|why| {
            Error::new(Code::Unknown, format!("the runtime succeeded, but {why}"))
        })?;
        let process = container.process(&key.exec).ok_or_else(|| not_found(key))?;
        process.pid = pid;
        let mut watched = Vec::new();
        if let Some(console) = process.streams.console.take() {
            let client = process.streams.client.take().unwrap_or_default();
            let terminal = Terminal::new(console.receive()?, client)?;
            let ends = [
                Some(&terminal.master),
                terminal.client.stdin.as_ref(),
                terminal.client.stdout.as_ref(),
            ];
            // The set keeps the files, the copies of the descriptors go at the end of this function.
            for fd in ends.into_iter().flatten() {
                watched.push(fd.try_clone().map_err(|error| Error::host("terminal", error))?);
            }
            process.streams.terminal = Some(terminal);
        }
        for fd in &watched {
            self.watch(fd, Source::Terminal(key.clone()));
        }
        Ok(pid)
    }

    /// From here on the end of the pid is the end of the process; it may have come already.
    fn meet(&mut self, pid: u32, key: &Key) {
        if let Some(exit) = self.adopt(pid, key) {
            self.ended(key, exit);
        }
    }

    /// Has the runtime remove what a creation that was cut short may have left.
    fn undo(&mut self, key: &Key, caller: Option<Caller>, error: Error) {
        let Some(container) = self.containers.get(&key.id) else { return };
        let words = ["--force".into(), key.id.clone().into()];
        match container.engine.run("delete", &words, Streams::Captured(limits::OUTPUT_BYTES)) {
            Ok(running) => {
                let caller = caller.map(|it| Caller { until: None, ..it });
                self.begin(What::Undo(error), key.clone(), caller, running, limits::END);
            }
            Err(further) => {
                warn(&further.message);
                self.drop_container(&key.id);
                if let Some(caller) = caller {
                    self.answer(caller, Err(error));
                }
            }
        }
    }

    /// Forgets a container: its place in its pod, its mounts, its streams, and those who still wait for it.
    pub(crate) fn drop_container(&mut self, id: &str) {
        let Some(container) = self.containers.remove(id) else { return };
        self.leave_sandbox(id);
        self.forget(&Key::init(id));
        self.pids.retain(|_, key| key.id != id);
        if !container.request.rootfs.is_empty() {
            rootfs_mounts::unmount_all(&container.bundle.join("rootfs"));
        }
        if let Some(sandbox) = &container.sandbox {
            sandbox.unmake(&container.bundle);
        }
        let error = not_found(&Key::init(id));
        for process in std::iter::once(container.init).chain(container.execs.into_values()) {
            let deferred = process.deferred.into_iter().map(|it| it.caller);
            for caller in process.waiters.into_iter().chain(deferred) {
                self.answer(caller, Err(error.clone()));
            }
        }
    }

    fn started(&mut self, key: &Key) -> Vec<u8> {
        let Some(container) = self.containers.get_mut(&key.id) else { return Vec::new() };
        container.init.status = Status::Running;
        let pid = container.init.pid;
        self.publish(&Event::Start(&key.id, pid));
        Writer::new().number32(1, pid).done()
    }

    fn exec_started(&mut self, key: &Key) -> Result<Vec<u8>, Error> {
        let pid = self.take_process(key)?;
        let container = self.containers.get_mut(&key.id).ok_or_else(|| not_found(key))?;
        if let Some(process) = container.process(&key.exec) {
            process.status = Status::Running;
        }
        self.publish(&Event::ExecStarted(&key.id, &key.exec, pid));
        self.meet(pid, key);
        Ok(Writer::new().number32(1, pid).done())
    }

    /// A process that could not begin has ended for those who wait for it; no event tells of it.
    pub(crate) fn exec_failed(&mut self, key: &Key) {
        let Some(container) = self.containers.get_mut(&key.id) else { return };
        let Some(process) = container.process(&key.exec) else { return };
        let exit = Exit { status: 255, at: std::time::SystemTime::now() };
        process.status = Status::Stopped;
        process.exit = Some(exit);
        process.streams = crate::streams::Streams::default();
        process.ends = None;
        let waiters = std::mem::take(&mut process.waiters);
        // A terminal that never came may have left a process behind.
        let pid = std::mem::take(&mut process.pid);
        if pid != 0 {
            let _ = crate::sys::kill(pid, 9);
        }
        self.forget(key);
        for caller in waiters {
            self.answer(caller, Ok(crate::exits::wait_answer(exit)));
        }
    }

    fn frozen(&mut self, key: &Key, frozen: bool) -> Vec<u8> {
        let Some(container) = self.containers.get_mut(&key.id) else { return Vec::new() };
        let (from, to) = if frozen {
            (Status::Running, Status::Paused)
        } else {
            (Status::Paused, Status::Running)
        };
        if container.init.status == from {
            container.init.status = to;
        }
        self.publish(&if frozen { Event::Paused(&key.id) } else { Event::Resumed(&key.id) });
        Vec::new()
    }

    /// The answer of `Pids`: those that the client began itself bear their ids.
    fn list(&self, id: &str, output: &[u8]) -> Result<Vec<u8>, Error> {
        let pids = engine::pids(output)?;
        let mut list = Writer::new();
        for pid in pids {
            let mut entry = Writer::new().number32(1, pid);
            if let Some(key) =
                self.pids.get(&pid).filter(|key| key.id == id && !key.exec.is_empty())
            {
                let details = Writer::new().text(1, &key.exec).done();
                let any = Any {
                    type_url: "containerd.runc.v1.ProcessDetails".to_owned(),
                    value: details,
                };
                entry = entry.message(2, any.encode());
            }
            list = list.message(1, entry);
        }
        Ok(list.done())
    }

    fn deleted(&mut self, id: &str) -> Vec<u8> {
        let Some(container) = self.containers.get_mut(id) else { return Vec::new() };
        bundle::remove_journal(&container.bundle);
        let pid = container.init.pid;
        // A container that was deleted before it began was ended by that.
        let exit = container.init.exit;
        let exit = exit.unwrap_or_else(|| Exit { status: 137, at: std::time::SystemTime::now() });
        container.init.exit = Some(exit);
        container.killing = false;
        container.last = Some(Instant::now());
        let sandbox = container.sandbox.is_some();
        self.tell_end(&Key::init(id));
        self.publish(&Event::Delete(id, pid, exit));
        self.drop_container(id);
        if sandbox {
            self.leave();
        }
        delete_answer(pid, exit)
    }

    fn logger(&mut self, key: &Key) -> Option<&mut crate::streams::logger::Logger> {
        let container = self.containers.get_mut(&key.id)?;
        container.process(&key.exec)?.streams.logger.as_mut()
    }

    /// A logger may have said that it is ready.
    pub(crate) fn logger_is_ready(&mut self, key: &Key) {
        if self.logger(key).is_some_and(|it| it.ready.is_some() && it.is_ready()) {
            self.logger_answered(key, None);
        }
    }

    fn logger_answered(&mut self, key: &Key, error: Option<Error>) {
        let Some(at) = self.loggers.iter().position(|it| it.key == *key) else { return };
        let caller = self.loggers.swap_remove(at).caller;
        match error {
            None => self.go_on(key, caller),
            Some(error) => self.not_begun(key, caller, error),
        }
    }
}

/// The answer of `Delete`.
pub(crate) fn delete_answer(pid: u32, exit: Exit) -> Vec<u8> {
    Writer::new().number32(1, pid).number32(2, exit.status).message(3, timestamp(exit.at)).done()
}

/// runc's and crun's words for a process that has ended already.
fn gone_is_not_found(error: Error) -> Error {
    let words = [
        "process already finished",
        "not running",
        "no such process",
        "does not exist",
        "No such process",
    ];
    if words.iter().any(|it| error.message.contains(it)) {
        return Error::new(Code::NotFound, error.message);
    }
    error
}
