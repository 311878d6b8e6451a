//! A containerd shim in the hands of a test: the test begins it as containerd does, speaks ttrpc with it, and is the
//! one that takes its events.

use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::message::{Fields, Message, receive_frame, send_frame};
use crate::{
    Outcome, Scratch, base_config, eventually, fill_rootfs, leftovers, output_within, program,
    within_a_while,
};

/// The program of the shim under test: `SHIM=runc` is Debian's `containerd-shim-runc-v2`.
pub fn shim_program() -> PathBuf {
    match std::env::var("SHIM").as_deref() {
        Ok("runc") => PathBuf::from("/usr/bin/containerd-shim-runc-v2"),
        _ => program("containerd-shim-keel-v2"),
    }
}

/// Whether the shim under test is another one than keel's.
pub fn shim_is_peer() -> bool {
    std::env::var("SHIM").is_ok_and(|it| it == "runc")
}

/// PATH with the release binaries in front: the shim finds `keel` there, containerd the shim.
pub fn path_with_binaries() -> String {
    let folder = program("keel").parent().expect("a folder").display().to_string();
    format!("{folder}:{}", std::env::var("PATH").unwrap_or_default())
}

/// The service by which a shim makes sandboxes.
pub const SANDBOXES: &str = "containerd.runtime.sandbox.v1.Sandbox";

/// An error of a call: gRPC's code and the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallError {
    /// The code.
    pub code: u64,
    /// The words.
    pub message: String,
}

/// One event: its topic and its message.
#[derive(Debug, Clone)]
pub struct SeenEvent {
    /// `/tasks/start`.
    pub topic: String,
    /// The event's fields.
    pub fields: Fields,
}

/// A shim with the folder in which its bundles are.
///
/// Dropping it ends its containers and fails the test when anything is left on the host.
#[derive(Debug)]
pub struct ShimUnderTest {
    scratch: Scratch,
    socket: PathBuf,
    events: Arc<Mutex<Vec<SeenEvent>>>,
    ids: Mutex<Vec<String>>,
    logs: Mutex<Vec<fs::File>>,
}

impl ShimUnderTest {
    /// A shim that was begun for the container `id`, whose bundle has the delta.
    #[track_caller]
    pub fn start(id: &str, delta: impl FnOnce(&mut Value)) -> Self {
        let mut shim = Self::not_started();
        shim.bundle(id, delta);
        let answer = shim.call_start(id, b"").succeeds().stdout;
        shim.socket = PathBuf::from(answer.strip_prefix("unix://").expect("a plain address"));
        shim
    }

    /// The folder and the one who takes events, without a shim.
    pub fn not_started() -> Self {
        let scratch = Scratch::new();
        for folder in ["io", "rootfs", "bundles"] {
            fs::create_dir(scratch.join(folder)).expect("a folder");
        }
        fill_rootfs(&scratch.join("rootfs"));
        let events = Arc::new(Mutex::new(Vec::new()));
        let listener = UnixListener::bind(scratch.join("c.sock.ttrpc")).expect("a socket");
        let taken = Arc::clone(&events);
        std::thread::spawn(move || take_events(&listener, &taken));
        Self {
            scratch,
            socket: PathBuf::new(),
            events,
            ids: Mutex::default(),
            logs: Mutex::default(),
        }
    }

    /// The test's folder.
    pub fn folder(&self) -> &Path {
        &self.scratch
    }

    /// containerd's namespace; also part of the names of cgroups.
    pub fn namespace(&self) -> &str {
        self.scratch.name()
    }

    /// The bundle of a container, which is made.
    pub fn bundle(&self, id: &str, delta: impl FnOnce(&mut Value)) -> PathBuf {
        let bundle = self.bundle_of(id);
        fs::create_dir_all(&bundle).expect("a bundle");
        let mut config = base_config();
        config["root"]["path"] = self.scratch.join("rootfs").display().to_string().into();
        config["linux"]["cgroupsPath"] = format!("/{}/{id}", self.namespace()).into();
        config["process"]["args"] = serde_json::json!(["sleep", "100000"]);
        delta(&mut config);
        fs::write(bundle.join("config.json"), config.to_string()).expect("config.json");
        self.note_bundle(id);
        bundle
    }

    /// The bundle of a sandbox that the shim is to make: there is no configuration in it.
    pub fn bundle_of_sandbox(&self, id: &str) -> PathBuf {
        let bundle = self.bundle_of(id);
        fs::create_dir_all(bundle.join("rootfs")).expect("a bundle");
        self.note_bundle(id);
        bundle
    }

    fn note_bundle(&self, id: &str) {
        let bundle = self.bundle_of(id);
        // containerd's end of the shim's log; open for both, so that nobody waits.
        let log = bundle.join("log");
        assert!(Command::new("mkfifo").arg(&log).status().expect("mkfifo").success());
        let log = fs::OpenOptions::new().read(true).write(true).open(log).expect("a FIFO");
        self.logs.lock().expect("logs").push(log);
        self.ids.lock().expect("ids").push(id.to_owned());
    }

    /// Where a container's bundle is.
    pub fn bundle_of(&self, id: &str) -> PathBuf {
        self.scratch.join("bundles").join(id)
    }

    /// `start` for a container whose bundle is there.
    pub fn call_start(&self, id: &str, input: &[u8]) -> Outcome {
        let mut command = self.command(id);
        command.arg("start").current_dir(self.bundle_of(id));
        let mut path = self.scratch.join("io/start-input");
        path.set_extension(id);
        fs::write(&path, input).expect("input");
        // output_within gives a text; this is none.
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "exec \"$@\" < \"$0\""]).arg(&path).arg(command.get_program());
        shell.args(command.get_args()).current_dir(self.bundle_of(id));
        shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        output_within(shell, &self.scratch.join("io"), None)
    }

    /// `delete` as containerd calls it.
    pub fn call_delete(&self, id: &str) -> (i32, Fields) {
        let mut command = self.command(id);
        command
            .arg("-bundle")
            .arg(self.bundle_of(id))
            .arg("delete")
            .current_dir(self.bundle_of(id));
        let output = command.stdin(Stdio::null()).output().expect("the shim");
        (output.status.code().unwrap_or(-1), Fields::parse(&output.stdout))
    }

    fn command(&self, id: &str) -> Command {
        let address = self.scratch.join("c.sock");
        let mut command = Command::new(shim_program());
        command.args(["-namespace", self.namespace(), "-id", id, "-publish-binary", "/bin/true"]);
        command.arg("-address").arg(&address);
        command.env("TTRPC_ADDRESS", format!("{}.ttrpc", address.display()));
        command.env("GOMAXPROCS", "2").env("PATH", path_with_binaries());
        command
    }

    /// Takes an address that `start` printed.
    pub fn at(mut self, address: &str) -> Self {
        self.socket = PathBuf::from(address.strip_prefix("unix://").expect("an address"));
        self
    }

    /// The shim's socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// A connection of its own.
    pub fn client(&self) -> TaskClient {
        TaskClient::connect(&self.socket)
    }

    /// A call on a connection of its own.
    pub fn call(&self, method: &str, message: Message) -> Result<Fields, CallError> {
        self.client().call(method, message)
    }

    /// What `Create` needs, without streams: null device for all three. Options name a root in the test's folder.
    pub fn creation(&self, id: &str) -> Message {
        self.creation_with(id, Message::new())
    }

    /// The same with more options of the runtime.
    pub fn creation_with(&self, id: &str, options: Message) -> Message {
        let root = self.scratch.join("state").display().to_string();
        let options = options.bytes(7, root);
        Message::new()
            .bytes(1, id)
            .bytes(2, self.bundle_of(id).display().to_string())
            .message(10, Message::any("containerd.runc.v1.Options", options.0))
    }

    /// A call of the sandbox service.
    ///
    /// # Errors
    /// What the shim answered.
    pub fn sandbox(&self, method: &str, message: Message) -> Result<Fields, CallError> {
        self.client().with_service(SANDBOXES).call(method, message)
    }

    /// `Create` and `Start`; the pid.
    #[track_caller]
    pub fn up(&self, id: &str) -> i32 {
        self.call("Create", self.creation(id)).expect("created");
        let started = self.call("Start", Message::new().bytes(1, id)).expect("started");
        started.number(1) as i32
    }

    /// The topics and containers of all events by now.
    pub fn events(&self) -> Vec<(String, String)> {
        let seen = self.events.lock().expect("events");
        seen.iter().map(|it| (it.topic.clone(), it.fields.text(1))).collect()
    }

    /// Waits for an event that answers the question, and gives all that were seen by then.
    #[track_caller]
    pub fn events_until(&self, what: &str, is_it: impl Fn(&SeenEvent) -> bool) -> Vec<SeenEvent> {
        eventually(what, || {
            let seen = self.events.lock().expect("events").clone();
            seen.iter().any(&is_it).then_some(seen)
        })
    }

    /// The serving process.
    pub fn pid(&self) -> i32 {
        let id = self.ids.lock().expect("ids").first().cloned().unwrap_or_default();
        let answer = self.call("Connect", Message::new().bytes(1, id)).expect("an answer");
        answer.number(1) as i32
    }

    fn clean_up(&self) {
        let ids = self.ids.lock().expect("ids").clone();
        if let Ok(stream) = UnixStream::connect(&self.socket) {
            let mut client = TaskClient::of(stream);
            let calls = ids.iter().flat_map(|id| {
                let of = || Message::new().bytes(1, id);
                let kill = of().number(3, 9).number(4, 1);
                [("Resume", of()), ("Kill", kill), ("Wait", of()), ("Delete", of())]
            });
            let first = Message::new().bytes(1, ids.first().cloned().unwrap_or_default());
            for (method, message) in calls.chain([("Shutdown", first)]) {
                // One that was asked to go already may go at any time.
                if !client.asks(method, message) {
                    break;
                }
            }
        }
        if let Ok(stream) = UnixStream::connect(&self.socket) {
            let mut client = TaskClient::of(stream).with_service(SANDBOXES);
            for id in ids {
                client.asks("ShutdownSandbox", Message::new().bytes(1, id));
            }
        }
        for folder in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            // The parent of the containers' cgroups is the test's.
            let _ = fs::remove_dir(folder.path().join(self.namespace()));
        }
        let _ = fs::remove_dir(Path::new("/sys/fs/cgroup").join(self.namespace()));
        let _ = fs::remove_dir(Path::new("/run/containerd/runc").join(self.namespace()));
    }
}

impl Drop for ShimUnderTest {
    fn drop(&mut self) {
        self.clean_up();
        let left = || {
            let name = self.namespace();
            let mut left = leftovers::named(name, &self.scratch, &self.scratch.join("none"));
            if !self.socket.as_os_str().is_empty() && self.socket.exists() {
                left.push(format!("socket {}", self.socket.display()));
            }
            left
        };
        if within_a_while(|| {
            self.clean_up();
            left().is_empty()
        }) {
            return;
        }
        let left = left();
        for pid in leftovers::processes_of(self.namespace()) {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        if !std::thread::panicking() {
            panic!("left on the host: {left:#?}");
        }
    }
}

/// A connection to a shim.
#[derive(Debug)]
pub struct TaskClient {
    stream: UnixStream,
    next: u32,
    service: String,
}

impl TaskClient {
    /// Connects.
    pub fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket);
        Self::of(stream.unwrap_or_else(|error| panic!("{}: {error}", socket.display())))
    }

    fn of(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a bound");
        Self { stream, next: 1, service: "containerd.task.v2.Task".to_owned() }
    }

    /// Speaks to another service.
    #[must_use]
    pub fn with_service(mut self, service: &str) -> Self {
        service.clone_into(&mut self.service);
        self
    }

    /// A call and its answer.
    ///
    /// # Errors
    /// What the shim answered.
    ///
    /// # Panics
    /// It does not answer within a minute.
    pub fn call(&mut self, method: &str, message: Message) -> Result<Fields, CallError> {
        let stream = self.send(method, message, 0);
        self.answer(stream)
    }

    /// A call of which the caller says how long it waits, in milliseconds.
    ///
    /// # Errors
    /// What the shim answered.
    pub fn call_within(
        &mut self,
        method: &str,
        message: Message,
        millis: u64,
    ) -> Result<Fields, CallError> {
        let stream = self.send(method, message, millis * 1_000_000);
        self.answer(stream)
    }

    /// A call whose answer does not matter; whether there was one.
    fn asks(&mut self, method: &str, message: Message) -> bool {
        let request = Message::new().bytes(1, &self.service).bytes(2, method).bytes(3, message.0);
        let stream = self.next;
        self.next += 2;
        send_frame(&mut self.stream, stream, 1, &request.0).is_ok()
            && receive_frame(&mut self.stream).is_ok()
    }

    /// Sends a call; its stream.
    pub fn send(&mut self, method: &str, message: Message, timeout_nanos: u64) -> u32 {
        let request = Message::new()
            .bytes(1, &self.service)
            .bytes(2, method)
            .bytes(3, message.0)
            .number(4, timeout_nanos);
        let stream = self.next;
        self.next += 2;
        send_frame(&mut self.stream, stream, 1, &request.0).expect("the shim takes a call");
        stream
    }

    /// The answer of a call; those of others that come first are passed over.
    ///
    /// # Errors
    /// What the shim answered.
    pub fn answer(&mut self, stream: u32) -> Result<Fields, CallError> {
        loop {
            let (seen, kind, message) = receive_frame(&mut self.stream).expect("an answer");
            assert_eq!(kind, 2, "an answer is a response");
            if seen != stream {
                continue;
            }
            let answer = Fields::parse(&message);
            let status = answer.message(1);
            return match status.number(1) {
                0 => Ok(answer.message(2)),
                code => Err(CallError { code, message: status.text(2) }),
            };
        }
    }

    /// The connection itself, for what is no call.
    pub fn stream(&mut self) -> &mut UnixStream {
        &mut self.stream
    }
}

fn take_events(listener: &UnixListener, taken: &Arc<Mutex<Vec<SeenEvent>>>) {
    while let Ok((mut stream, _)) = listener.accept() {
        let taken = Arc::clone(taken);
        std::thread::spawn(move || {
            while let Ok((number, _, message)) = receive_frame(&mut stream) {
                let request = Fields::parse(&message);
                let envelope = request.message(3).message(1);
                let fields = envelope.message(4).message(2);
                let event = SeenEvent { topic: envelope.text(3), fields };
                taken.lock().expect("events").push(event);
                if send_frame(&mut stream, number, 2, &[]).is_err() {
                    return;
                }
            }
        });
    }
}
