//! The task service, `containerd.task.v2.Task` and `v3`: a method's message becomes a change of a container.
//!
//! A method answers at once, or it hands its caller to a command of the runtime and answers when that has ended.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Instant;

use crate::args::check_id;
use crate::bundle::{self, Config};
use crate::cgroup::Cgroup;
use crate::engine::{Engine, Streams, buffer_with};
use crate::error::{Code, Error};
use crate::events::{Event, Exit};
use crate::exits::wait_answer;
use crate::job::{AwaitedLogger, What, delete_answer};
use crate::limits;
use crate::log::warn;
use crate::messages::{Call, Create, Exec};
use crate::metrics;
use crate::options::Options;
use crate::protobuf::Writer;
use crate::rootfs_mounts;
use crate::sandbox::{self, Sandbox};
use crate::serve::{Shim, Source};
use crate::streams::{self, Owner, console::ConsoleSocket};
use crate::task::{Caller, Container, Form, Key, Process, Status, not_found, not_in};
use crate::ttrpc::Request;

/// An answer; `None` when a command under way will give it.
pub(crate) type Answer = Result<Option<Vec<u8>>, Error>;

pub(crate) const NOTHING: Answer = Ok(Some(Vec::new()));

impl Shim {
    /// Takes a call.
    pub(crate) fn call(&mut self, caller: Caller, request: &Request) {
        let form = match request.service.as_str() {
            "containerd.task.v2.Task" | "containerd.task.v3.Task" => Form::Task,
            sandbox::SERVICE => Form::Sandbox,
            other => {
                let text = format!("service {other} is not served here");
                return self.answer(caller, Err(Error::new(Code::Unimplemented, text)));
            }
        };
        self.dispatch(Caller { form, ..caller }, &request.method, &request.payload);
    }

    /// Does a method, or notes that it has to wait for its process.
    pub(crate) fn dispatch(&mut self, caller: Caller, method: &str, payload: &[u8]) {
        let answer = match caller.form {
            Form::Task => self.method(caller, method, payload),
            _ => self.sandbox_method(caller, method, payload),
        };
        match answer {
            Ok(None) => {}
            Ok(Some(answer)) => self.answer(caller, Ok(answer)),
            Err(error) => self.answer(caller, Err(error)),
        }
    }

    fn method(&mut self, caller: Caller, method: &str, payload: &[u8]) -> Answer {
        let call = match method {
            "Create" => return self.create(caller, Create::parse(payload)?),
            "Exec" => return self.exec(Exec::parse(payload)?),
            "Checkpoint" => Call::of_checkpoint(payload)?,
            "Update" => Call::of_update(payload)?,
            "Pids" | "Pause" | "Resume" | "Stats" | "Connect" => Call::of_container(payload)?,
            "State" | "Start" | "Delete" | "Wait" | "Kill" | "CloseIO" | "ResizePty" => {
                Call::of_process(payload)?
            }
            "Shutdown" => {
                self.leave();
                return NOTHING;
            }
            _ => return Err(Error::new(Code::Unimplemented, format!("method {method}"))),
        };
        let exec = if method == "Checkpoint" { "" } else { call.second.as_str() };
        let key = Key::of(&call.id, exec);
        let container = self.containers.get_mut(&key.id);
        // After a restart containerd asks of every shim by its id whether it is there.
        let container = container.filter(|it| it.sandbox.is_none() || method == "Connect");
        let process = container.and_then(|it| it.process(&key.exec));
        let process = process.ok_or_else(|| not_found(&key))?;
        let waits = match method {
            "Start" | "Delete" | "Pause" | "Resume" | "Checkpoint" | "Update" => process.busy,
            // Before it has a pid there is nobody to be signalled; afterwards a signal must get through.
            "Kill" | "Pids" | "Stats" => process.busy && process.pid == 0,
            _ => false,
        };
        if waits {
            return process.defer(&key, caller, method, payload);
        }
        match method {
            "State" => self.container(&key)?.state(&key.id, &key.exec).map(Some),
            "Start" => self.start(caller, &key),
            "Delete" => self.delete(caller, &key),
            "Wait" => self.wait(caller, &key),
            "Kill" => self.kill(caller, &key, &call),
            "CloseIO" => self.close_io(&key, call.number != 0),
            "ResizePty" => self.resize(&key, &call),
            "Pids" => self.pids(caller, &key),
            "Pause" => self.ask(
                caller,
                &key,
                What::Pause,
                "pause",
                &[],
                Streams::Captured(limits::OUTPUT_BYTES),
            ),
            "Resume" => self.ask(
                caller,
                &key,
                What::Resume,
                "resume",
                &[],
                Streams::Captured(limits::OUTPUT_BYTES),
            ),
            "Update" => {
                let resources = call.any.map(|it| it.value).unwrap_or_default();
                self.ask(
                    caller,
                    &key,
                    What::Update,
                    "update",
                    &["--resources", "-"],
                    Streams::Fed(resources),
                )
            }
            "Stats" => self.stats(&key),
            "Connect" => self.connect(&key),
            _ => self.checkpoint(caller, &key, &call),
        }
    }

    pub(crate) fn container(&mut self, key: &Key) -> Result<&mut Container, Error> {
        self.containers.get_mut(&key.id).ok_or_else(|| not_found(key))
    }

    fn create(&mut self, caller: Caller, request: Create) -> Answer {
        let options = request.options.as_ref().map(Options::parse).transpose()?.unwrap_or_default();
        self.create_as(caller, request, &options, None)
    }

    /// What every new container has to have; its bundle.
    pub(crate) fn check_new(&self, id: &str, bundle: &str) -> Result<PathBuf, Error> {
        let invalid = |why: String| Error::new(Code::InvalidArgument, why);
        check_id("id", id).map_err(invalid)?;
        if self.leaving.is_some() {
            return Err(Error::new(Code::FailedPrecondition, "the shim is about to go"));
        }
        if self.containers.contains_key(id) {
            return Err(Error::new(
                Code::AlreadyExists,
                format!("{}: there is one", Key::init(id)),
            ));
        }
        let path = PathBuf::from(bundle);
        if !path.is_absolute() {
            return Err(invalid(format!("bundle {bundle:?} is no absolute path")));
        }
        Ok(path)
    }

    /// Creates a container, which may be a sandbox.
    pub(crate) fn create_as(
        &mut self,
        caller: Caller,
        request: Create,
        options: &Options,
        sandbox: Option<Sandbox>,
    ) -> Answer {
        let bundle = self.check_new(&request.id, &request.bundle)?;
        let key = Key::init(&request.id);
        let config = Config::load(&bundle)
            .map_err(|error| Error::new(Code::InvalidArgument, format!("config.json: {error}")))?;
        self.join_sandbox(&key.id, &bundle, config.group())?;
        rootfs_mounts::mount_all(&request.rootfs, &bundle.join("rootfs"))?;
        let _ = std::fs::remove_file(bundle::pid_file(&bundle, ""));
        let mut init = Process::new(request.streams.clone(), Status::Fresh, Vec::new());
        init.busy = true;
        let container = Container {
            engine: Engine::new(options, &self.namespace, &bundle),
            bundle,
            request,
            init,
            execs: std::collections::BTreeMap::new(),
            own_pids: config.has_own_pids(),
            cgroup: Cgroup::default(),
            oom: None,
            last: None,
            killing: false,
            sandbox,
        };
        let written = bundle::write_journal(&container.bundle, options);
        self.containers.insert(key.id.clone(), container);
        let begun = written
            .map_err(|error| Error::file("shim.json", &error))
            .and_then(|()| self.open_streams(&key, options));
        match begun {
            Ok(()) => self.go_on_when_logged(&key, caller),
            Err(error) => self.not_begun(&key, caller, error),
        }
        Ok(None)
    }

    /// Opens what the client named for a process, and a socket for its terminal.
    fn open_streams(&mut self, key: &Key, options: &Options) -> Result<(), Error> {
        let namespace = self.namespace.clone();
        self.consoles += 1;
        let mut console = self.socket.clone().into_os_string();
        console.push(format!(".{}", self.consoles));
        let process = self.container(key)?.process(&key.exec).ok_or_else(|| not_found(key))?;
        let owner =
            Owner { namespace: &namespace, id: &key.id, uid: options.io_uid, gid: options.io_gid };
        let (ends, mut streams) = streams::open(&process.names, owner)?;
        if process.names.terminal {
            streams.console = Some(ConsoleSocket::listen(console.into())?);
        }
        let watches: Vec<_> =
            streams.kept.iter().filter_map(|it| it.watch.instance()?.try_clone().ok()).collect();
        let outputs: Vec<_> =
            streams.kept.iter().filter_map(|kept| kept.hangs_up()?.try_clone().ok()).collect();
        let ready = streams.logger.as_ref().and_then(|it| it.ready.as_ref()?.try_clone().ok());
        process.streams = streams;
        process.ends = Some(ends);
        for watch in &watches {
            self.watch(watch, Source::Fifo(key.clone()));
        }
        for output in &outputs {
            self.watch_for_its_end(output, key);
        }
        if let Some(ready) = &ready {
            self.watch(ready, Source::Logger(key.clone()));
        }
        Ok(())
    }

    /// Goes on with a beginning, when its logger is ready if it has one.
    fn go_on_when_logged(&mut self, key: &Key, caller: Caller) {
        let process = self.containers.get_mut(&key.id).and_then(|it| it.process(&key.exec));
        let Some(process) = process else { return };
        process.busy = true;
        let ready =
            process.streams.logger.as_mut().is_none_or(crate::streams::logger::Logger::is_ready);
        if ready {
            return self.go_on(key, caller);
        }
        let deadline = Instant::now() + limits::LOGGER;
        self.loggers.push(AwaitedLogger { key: key.clone(), caller, deadline });
    }

    /// The streams are there: has the runtime begin the process.
    pub(crate) fn go_on(&mut self, key: &Key, caller: Caller) {
        let begun = if key.exec.is_empty() {
            self.run_create(key, caller)
        } else {
            self.run_exec(key, caller)
        };
        if let Err(error) = begun {
            self.not_begun(key, caller, error);
        }
    }

    /// A process whose runtime was not asked yet, or could not be.
    pub(crate) fn not_begun(&mut self, key: &Key, caller: Caller, error: Error) {
        if key.exec.is_empty() {
            if let Some(container) = self.containers.get(&key.id) {
                bundle::remove_journal(&container.bundle);
            }
            self.drop_container(&key.id);
        } else {
            self.exec_failed(key);
        }
        self.answer(caller, Err(error));
        self.free(key);
    }

    fn run_create(&mut self, key: &Key, caller: Caller) -> Result<(), Error> {
        let container = self.container(key)?;
        if !container.request.checkpoint.is_empty() {
            // The process comes with `Start`, out of the images.
            container.init.status = Status::Created;
            let request = container.request.clone();
            self.publish(&Event::Create(&request, 0));
            self.answer(caller, Ok(Vec::new()));
            self.free(key);
            return Ok(());
        }
        let mut words: Vec<OsString> = vec!["--bundle".into(), container.bundle.clone().into()];
        words.extend(container.beginning_words(""));
        words.extend(container.engine.creation_flags());
        words.push(key.id.clone().into());
        let ends = container.init.ends.take().ok_or_else(|| not_found(key))?;
        let running = container.engine.run("create", &words, Streams::Process(ends))?;
        self.begin(What::Create, key.clone(), Some(caller), running, limits::BEGIN);
        Ok(())
    }

    fn run_exec(&mut self, key: &Key, caller: Caller) -> Result<(), Error> {
        let container = self.container(key)?;
        let process = container.execs.get_mut(&key.exec).ok_or_else(|| not_found(key))?;
        let spec = buffer_with(&process.spec)?;
        let ends = process.ends.take().ok_or_else(|| not_found(key))?;
        let number = std::os::fd::AsRawFd::as_raw_fd(&spec);
        let path = format!("/proc/{}/fd/{number}", std::process::id());
        let mut words: Vec<OsString> = vec!["--process".into(), path.into(), "--detach".into()];
        words.extend(container.beginning_words(&key.exec));
        words.push(key.id.clone().into());
        let running = container.engine.run("exec", &words, Streams::Process(ends))?;
        let pid = running.pid;
        self.begin(What::StartExec, key.clone(), Some(caller), running, limits::BEGIN);
        if let Some(job) = self.jobs.get_mut(&pid) {
            job.held = Some(spec);
        }
        Ok(())
    }

    pub(crate) fn start(&mut self, caller: Caller, key: &Key) -> Answer {
        let container = self.container(key)?;
        let init = container.init.status;
        let process = container.process(&key.exec).ok_or_else(|| not_found(key))?;
        if process.status != Status::Created || process.exit.is_some() {
            let status = if process.exit.is_some() { Status::Stopped } else { process.status };
            return Err(not_in(key, status, "start"));
        }
        if !key.exec.is_empty() {
            if init == Status::Stopped || init == Status::Created {
                return Err(not_in(&Key::init(&key.id), init, "start a process in"));
            }
            let options = container.engine.options().clone();
            let _ = std::fs::remove_file(bundle::pid_file(&container.bundle, &key.exec));
            match self.open_streams(key, &options) {
                Ok(()) => self.go_on_when_logged(key, caller),
                Err(error) => self.not_begun(key, caller, error),
            }
            return Ok(None);
        }
        if !container.request.checkpoint.is_empty() {
            return self.restore(caller, key);
        }
        let words = [key.id.clone().into()];
        let running =
            container.engine.run("start", &words, Streams::Captured(limits::OUTPUT_BYTES))?;
        self.begin(What::Start, key.clone(), Some(caller), running, limits::BEGIN);
        Ok(None)
    }

    fn delete(&mut self, caller: Caller, key: &Key) -> Answer {
        let container = self.container(key)?;
        if container.init.status == Status::Paused && key.exec.is_empty() {
            return Err(not_in(key, Status::Paused, "delete"));
        }
        let process = container.process(&key.exec).ok_or_else(|| not_found(key))?;
        if process.status == Status::Running {
            return Err(not_in(key, Status::Running, "delete"));
        }
        if key.exec.is_empty() {
            return self.ask(
                caller,
                key,
                What::Delete,
                "delete",
                &[],
                Streams::Captured(limits::OUTPUT_BYTES),
            );
        }
        let (pid, exit) = (process.pid, process.exit);
        let exit = exit.unwrap_or_else(|| Exit { status: 0, at: std::time::SystemTime::now() });
        let _ = std::fs::remove_file(bundle::pid_file(&container.bundle, &key.exec));
        let process = container.execs.remove(&key.exec);
        self.forget(key);
        for waiter in process.map(|it| it.waiters).unwrap_or_default() {
            self.answer(waiter, Ok(wait_answer(exit)));
        }
        Ok(Some(delete_answer(pid, exit)))
    }

    pub(crate) fn wait(&mut self, caller: Caller, key: &Key) -> Answer {
        let process = self.container(key)?.process(&key.exec).ok_or_else(|| not_found(key))?;
        match process.exit {
            Some(exit) if process.status == Status::Stopped => Ok(Some(wait_answer(exit))),
            _ => {
                process.waiters.push(caller);
                Ok(None)
            }
        }
    }

    fn kill(&mut self, caller: Caller, key: &Key, call: &Call) -> Answer {
        if call.number > 64 {
            let text = format!("signal {}: there is none", call.number);
            return Err(Error::new(Code::InvalidArgument, text));
        }
        let process = self.container(key)?.process(&key.exec).ok_or_else(|| not_found(key))?;
        let ended =
            |key: &Key| Error::new(Code::NotFound, format!("{key}: process already finished"));
        if process.exit.is_some() && call.fourth == 0 {
            return Err(ended(key));
        }
        if process.pid == 0 {
            return Err(not_in(key, process.status, "signal"));
        }
        if !key.exec.is_empty() {
            return match crate::sys::kill(process.pid, call.number) {
                Ok(()) => NOTHING,
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Err(ended(key)),
                Err(error) => Err(Error::host(format!("signal to {key}"), error)),
            };
        }
        let mut words: Vec<OsString> = Vec::new();
        if call.fourth != 0 {
            words.push("--all".into());
        }
        words.extend([key.id.clone().into(), call.number.to_string().into()]);
        let engine = &self.container(key)?.engine;
        let running = engine.run("kill", &words, Streams::Captured(limits::OUTPUT_BYTES))?;
        self.begin(What::Kill, key.clone(), Some(caller), running, limits::ASK);
        Ok(None)
    }

    fn pids(&mut self, caller: Caller, key: &Key) -> Answer {
        let init = &self.container(key)?.init;
        if init.status == Status::Stopped {
            // A containerd that has just begun takes a task without any for a leak, and deletes it with its status.
            let own = Writer::new().number32(1, init.pid);
            return Ok(Some(Writer::new().message(1, own).done()));
        }
        let streams = Streams::Captured(limits::PIDS_BYTES);
        self.ask(caller, key, What::Pids, "ps", &["--format", "json"], streams)
    }

    /// A command with flags and the container's id.
    pub(crate) fn ask(
        &mut self,
        caller: Caller,
        key: &Key,
        what: What,
        verb: &'static str,
        flags: &[&str],
        streams: Streams,
    ) -> Answer {
        let container = self.container(key)?;
        let mut words: Vec<OsString> = flags.iter().map(OsString::from).collect();
        words.push(key.id.clone().into());
        let running = container.engine.run(verb, &words, streams)?;
        self.begin(what, key.clone(), Some(caller), running, limits::END);
        Ok(None)
    }

    fn exec(&mut self, request: Exec) -> Answer {
        check_id("exec id", &request.exec_id)
            .map_err(|why| Error::new(Code::InvalidArgument, why))?;
        let key = Key::of(&request.id, &request.exec_id);
        let container = self.container(&Key::init(&request.id))?;
        if container.sandbox.is_some() {
            return Err(not_found(&Key::init(&request.id)));
        }
        if container.init.exit.is_some() || container.init.status == Status::Stopped {
            return Err(not_in(&Key::init(&key.id), Status::Stopped, "begin a process in"));
        }
        if container.execs.contains_key(&key.exec) || key.exec == key.id {
            return Err(Error::new(Code::AlreadyExists, format!("{key}: there is one")));
        }
        let spec = with_terminal(request.spec.value, request.streams.terminal);
        let process = Process::new(request.streams, Status::Created, spec);
        container.execs.insert(key.exec.clone(), process);
        self.publish(&Event::ExecAdded(&key.id, &key.exec));
        NOTHING
    }

    fn close_io(&mut self, key: &Key, stdin: bool) -> Answer {
        let process = self.container(key)?.process(&key.exec).ok_or_else(|| not_found(key))?;
        if stdin {
            process.streams.kept.retain(|kept| !kept.input);
            if let Some(client) = &mut process.streams.client {
                client.stdin = None;
            }
            if let Some(terminal) = &mut process.streams.terminal {
                terminal.client.stdin = None;
            }
        }
        NOTHING
    }

    fn resize(&mut self, key: &Key, call: &Call) -> Answer {
        let process = self.container(key)?.process(&key.exec).ok_or_else(|| not_found(key))?;
        if let Some(terminal) = &process.streams.terminal {
            terminal.resize(call.number, call.fourth)?;
        }
        NOTHING
    }

    fn stats(&mut self, key: &Key) -> Answer {
        let container = self.container(key)?;
        if container.cgroup == Cgroup::default() {
            return Err(not_in(key, container.init.status, "count"));
        }
        Ok(Some(Writer::new().message(1, metrics::of(&container.cgroup).encode()).done()))
    }

    fn connect(&mut self, key: &Key) -> Answer {
        let pid = self.container(key)?.init.pid;
        Ok(Some(Writer::new().number32(1, std::process::id()).number32(2, pid).done()))
    }

    /// Goes, when nothing is left to look after.
    pub(crate) fn leave(&mut self) {
        if self.containers.is_empty() && self.leaving.is_none() {
            self.leaving = Some(Instant::now() + limits::FAREWELL);
            // A new shim for the same pod must be able to take the name.
            if let Err(error) = std::fs::remove_file(&self.socket) {
                warn(&format!("{}: {error}", self.socket.display()));
            }
        }
    }
}

impl Container {
    /// The flags that all commands have which begin a process.
    pub(crate) fn beginning_words(&mut self, exec: &str) -> Vec<OsString> {
        let file = bundle::pid_file(&self.bundle, exec);
        let mut words: Vec<OsString> = vec!["--pid-file".into(), file.into()];
        let console = self.process(exec).and_then(|it| it.streams.console.as_ref());
        if let Some(console) = console {
            words.extend(["--console-socket".into(), console.path().into()]);
        }
        words
    }
}

/// The process as it is given to the runtime: whether it has a terminal is what the call says, as in runc's shim. What
/// is no process is left for the runtime to refuse.
fn with_terminal(spec: Vec<u8>, terminal: bool) -> Vec<u8> {
    let Ok(mut process) = serde_json::from_slice::<serde_json::Map<_, _>>(&spec) else {
        return spec;
    };
    process.insert("terminal".to_owned(), serde_json::Value::Bool(terminal));
    serde_json::to_vec(&process).unwrap_or(spec)
}
