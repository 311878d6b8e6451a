//! `keel-image run`: a container of an image, from its start to its end, by any runtime with runc's
//! command line. Whatever happens, mount, directories and container are gone afterwards.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use keel_image::build::{BuildOptions, BuildOutcome};
use keel_image::bundle::{Mount, Options, Privilege, Spec};
use keel_image::fsroot::Root;
use keel_image::identity::Digest;
use keel_image::reference::Reference;
use keel_image::snapshot::Overlay;
use keel_image::spec::{Platform, Preferences};
use keel_image::store::{Image, Scratch, Store};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::build;
use crate::commit;
use crate::container_flags::ContainerFlags;
use crate::failure::Failure;
use crate::obtain::ObtainFlags;
use crate::output;
use crate::progress::Bars;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    container: ContainerFlags,
    #[command(flatten)]
    obtain: ObtainFlags,
    /// Build the Dockerfile in DIR first and run what comes of it
    #[arg(long, value_name = "DIR")]
    build: Option<PathBuf>,
    /// Keep the standard input open
    #[arg(short, long)]
    interactive: bool,
    /// The container's id
    #[arg(long)]
    name: Option<String>,
    /// Accepted for docker's sake: a container is always removed when it ends
    #[arg(long)]
    rm: bool,
    /// The runtime [default: keel beside this program or in PATH, then runc, then crun]
    #[arg(long, value_name = "PATH")]
    runtime: Option<PathBuf>,
    /// The image, unless --build names it, and then a command in place of the image's
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "IMAGE [COMMAND")]
    words: Vec<String>,
}

/// Docker's exit codes for what is not the command's own.
const NOT_STARTED: u8 = 125;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;
/// How long a container has to end after a signal: docker's time for stopping one.
const GRACE: Duration = Duration::from_secs(10);

pub(crate) fn run(store: &Store, arguments: &Arguments) -> Result<ExitCode, Failure> {
    start(store, arguments).map_err(|failure| match failure.code {
        1 => failure.with_code(NOT_STARTED),
        _ => failure,
    })
}

fn start(store: &Store, arguments: &Arguments) -> Result<ExitCode, Failure> {
    if arguments.container.tty && arguments.interactive && !io::stdin().is_terminal() {
        return Err(Failure::new("the input device is not a TTY").with_code(1));
    }
    let runtime = find_runtime(arguments.runtime.as_deref())?;
    // What is found or fetched is still there when it gets its protection.
    let hold = store.hold()?;
    let (image, args) = match (&arguments.build, arguments.words.split_first()) {
        (Some(directory), _) => (build_first(store, directory, &runtime)?, &arguments.words[..]),
        (None, Some((flag, _))) if flag.starts_with('-') => {
            return Err(Failure::new(format!("unknown flag: {flag}"))
                .with_hint("keel-image run --help lists the flags"));
        }
        (None, Some((name, args))) => (arguments.obtain.image(store, name)?, args),
        (None, None) => return Err(Failure::new("\"run\" requires an image, or --build")),
    };
    let mut options = arguments.container.options(args)?;
    if arguments.obtain.platform.is_none() {
        warn_of_platform(&image);
    }
    // From here on nothing of the image may be collected, until the container is gone.
    let scratch = store.scratch()?;
    store.protect(&scratch, &digests(&image))?;
    drop(hold);
    let layers = store.unpack(image.layers(), &Bars::new(false))?;
    let unique = scratch.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let id = arguments.name.clone().unwrap_or(unique);
    let hostname = arguments.container.hostname().unwrap_or(&id);
    let hostname: String = hostname.chars().take(64).collect();
    let bundle = Bundle::prepare(&scratch, &layers)?;
    options.mounts.splice(0..0, bundle.network_files(&hostname, arguments)?);
    options.hostname = Some(hostname);
    bundle.write_config(&image, &options)?;
    commit::note_origin(&bundle.path, &image, Some((&id, &runtime)))?;
    let overlay = Overlay { lowers: &layers, upper: Some((&bundle.upper, &bundle.work)) };
    let mount = overlay.mount(&bundle.rootfs)?;
    let is_users = options.privilege != Privilege::Root;
    let state = is_users.then(|| bundle.path.join(commit::STATE));
    let container = Container { runtime: &runtime, state, bundle: &bundle.path, id: &id };
    let code = container.run(arguments.interactive || arguments.container.tty);
    // The container is gone; if its mount is not, that is worth telling.
    let unmounted = mount.unmount();
    let code = code?;
    unmounted?;
    Ok(ExitCode::from(code))
}

/// Everything of the image that must stay while a container uses it.
fn digests(image: &Image) -> Vec<Digest> {
    let manifest = image.manifest().value();
    let blobs = manifest.layers.iter().chain([&manifest.config, image.descriptor(), image.root()]);
    let blobs = blobs.map(|descriptor| descriptor.digest.clone());
    blobs.chain(image.layers().iter().map(|layer| layer.diff_id.digest().clone())).collect()
}

/// A program for another processor fails with a message that nobody understands.
fn warn_of_platform(image: &Image) {
    let (host, of_image) = (Platform::detected(), image.config().value().platform());
    if Preferences::of(&host).rank(&of_image).is_none() {
        output::error_line(&format!(
            "WARNING: The requested image's platform ({of_image}) does not match the detected host \
             platform ({host}); it runs only with an emulator registered in binfmt_misc"
        ));
    }
}

fn build_first(store: &Store, directory: &Path, runtime: &Path) -> Result<Image, Failure> {
    let mut options = BuildOptions::new(directory);
    options.networks = crate::bridge::networks();
    // The image is called as its directory, if that is a name.
    let canonical = directory.canonicalize();
    let canonical = canonical.map_err(|error| Failure::at("open", directory, &error))?;
    let name = canonical.file_name().map(|name| name.to_string_lossy().to_lowercase());
    let tag = name.and_then(|name| name.parse::<Reference>().ok()).map(Reference::or_latest);
    options.tags.extend(tag);
    let display = build::Display::fitting();
    let outcome = build::build(store, &options, Some(runtime.to_owned()), display)?;
    let BuildOutcome { image_id, .. } = outcome;
    Ok(store.resolve(&image_id.to_string())?)
}

/// A path as it is; a name by `PATH`; without either keel, wherever it is.
fn find_runtime(given: Option<&Path>) -> Result<PathBuf, Failure> {
    let in_path = |name: &Path| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
    };
    if let Some(given) = given {
        let found =
            if given.components().count() > 1 { Some(given.to_owned()) } else { in_path(given) };
        let found = found.filter(|path| path.is_file());
        return found.ok_or_else(|| Failure::new(format!("there is no runtime {given:?}")));
    }
    let own = std::env::current_exe().ok();
    let beside = own.and_then(|own| Some(own.parent()?.join("keel"))).filter(|p| p.is_file());
    let known = || ["keel", "runc", "crun"].iter().find_map(|name| in_path(Path::new(name)));
    beside.or_else(known).ok_or_else(|| {
        Failure::new("there is no runtime: neither keel nor runc nor crun is in PATH")
            .with_hint("name one with --runtime")
    })
}

/// The bundle in its scratch directory.
struct Bundle {
    path: PathBuf,
    rootfs: PathBuf,
    upper: PathBuf,
    work: PathBuf,
    /// The image's tree as it is before the container runs.
    layers: Vec<PathBuf>,
}

impl Bundle {
    fn prepare(scratch: &Scratch, layers: &[PathBuf]) -> Result<Self, Failure> {
        let path = scratch.path().to_owned();
        let place = |name: &str| {
            let directory = path.join(name);
            fs::create_dir(&directory)
                .map_err(|error| Failure::at("create", &directory, &error))
                .map(|()| directory)
        };
        Ok(Self {
            rootfs: place("rootfs")?,
            upper: place("upper")?,
            work: place("work")?,
            layers: layers.to_vec(),
            path,
        })
    }

    /// The files by which a container finds itself and others.
    fn network_files(&self, hostname: &str, arguments: &Arguments) -> Result<Vec<Mount>, Failure> {
        let host = arguments.container.has_host_network();
        let from_host = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let own_hosts =
            format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
        let files = [
            ("hostname", format!("{hostname}\n")),
            ("hosts", if host { from_host("/etc/hosts") } else { own_hosts }),
            // Without a network there is nobody to ask.
            ("resolv.conf", if host { from_host("/etc/resolv.conf") } else { String::new() }),
        ];
        let lend = |(name, content): (&str, String)| {
            let path = self.path.join(name);
            fs::write(&path, content).map_err(|error| Failure::at("write", &path, &error))?;
            Ok(Mount {
                destination: format!("/etc/{name}"),
                kind: "bind".to_owned(),
                source: path.to_string_lossy().into_owned(),
                options: vec!["rbind".to_owned(), "rprivate".to_owned()],
            })
        };
        files.into_iter().map(lend).collect()
    }

    fn write_config(&self, image: &Image, options: &Options) -> Result<(), Failure> {
        // Users are looked up before anything is mounted where others can see it.
        let config = image.config().value();
        let rootfs = if self.layers.is_empty() {
            Root::open(&self.rootfs).map_err(|error| Failure::of(&error))?
        } else {
            Overlay::open(&self.layers)?
        };
        let spec = Spec::new(&config.execution(), &rootfs, options)?.annotated(config);
        let path = self.path.join("config.json");
        // The environment may hold secrets, and the path stands in the list of processes.
        let mut options = File::options();
        let written = options.write(true).create_new(true).mode(0o600).open(&path);
        written
            .and_then(|mut file| file.write_all(&spec.to_json()))
            .map_err(|error| Failure::at("write", &path, &error))
    }
}

/// A container while it runs.
struct Container<'a> {
    runtime: &'a Path,
    /// The runtime's own, in which an ordinary user may write.
    state: Option<PathBuf>,
    bundle: &'a Path,
    id: &'a str,
}

impl Container<'_> {
    fn command(&self) -> Command {
        let mut command = Command::new(self.runtime);
        if let Some(state) = &self.state {
            command.arg("--root").arg(state);
        }
        command
    }

    fn run(&self, keep_input: bool) -> Result<u8, Failure> {
        let failed = |error: io::Error| Failure::at("run", self.runtime, &error);
        let log = self.bundle.join("runtime.log");
        // Signals are caught before there is anything to clean up after.
        let signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT]).map_err(failed)?;
        let mut command = self.command();
        command.arg("--log").arg(&log).args(["--log-format", "json", "run", "--bundle"]);
        command.arg(self.bundle).arg(self.id);
        if !keep_input {
            command.stdin(Stdio::null());
        }
        let mut child = command.spawn().map_err(failed)?;
        let status = self.wait(&mut child, signals).map_err(failed)?;
        let code = exit_code(status);
        let reason = if code == 0 { None } else { failure_in(&log) };
        if status.code().is_none() || reason.is_some() {
            // A runtime that failed or was killed may have left the container behind.
            self.ask_runtime(&["delete", "--force", self.id]);
        }
        Ok(match reason {
            // The runtime's own code for its own failures is 1; any other is the command's.
            Some(reason) if code == 1 => classify(&reason),
            _ => code,
        })
    }
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(NOT_STARTED)
}

/// What the one who waits is told.
enum News {
    Ended(io::Result<ExitStatus>),
    Signal(i32),
}

impl Container<'_> {
    /// Waits for the runtime and hands signals on to it, which hands them on to the container. One
    /// that does not end by them is killed: after a while, or at once by a second signal.
    fn wait(&self, child: &mut Child, mut signals: Signals) -> io::Result<ExitStatus> {
        let handle = signals.handle();
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let (sender, news) = mpsc::channel();
        let of_signals = sender.clone();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for signal in signals.forever() {
                    // Nobody listens any more when the container has ended.
                    let _ = of_signals.send(News::Signal(signal));
                }
            });
            scope.spawn(move || sender.send(News::Ended(child.wait())));
            let mut deadline: Option<Instant> = None;
            let status = loop {
                let next = match deadline {
                    Some(at) => news.recv_timeout(at.saturating_duration_since(Instant::now())),
                    None => news.recv().map_err(|_| RecvTimeoutError::Disconnected),
                };
                match next {
                    Ok(News::Ended(status)) => break status,
                    Ok(News::Signal(signal)) if deadline.is_none() => {
                        hand_on(pid, signal);
                        deadline = Some(Instant::now() + GRACE);
                    }
                    Ok(News::Signal(_)) | Err(RecvTimeoutError::Timeout) => {
                        self.ask_runtime(&["kill", self.id, "KILL"]);
                        deadline = Some(Instant::now() + GRACE);
                    }
                    // The waiting thread always tells how it went.
                    Err(RecvTimeoutError::Disconnected) => {
                        break Err(io::Error::from(io::ErrorKind::BrokenPipe));
                    }
                }
            };
            handle.close();
            status
        })
    }

    /// Runs a further command of the runtime, whose answer does not matter.
    fn ask_runtime(&self, arguments: &[&str]) {
        let mut command = self.command();
        let quiet = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        let _ = quiet.stderr(Stdio::null()).status();
    }
}

fn hand_on(pid: Option<Pid>, signal: i32) {
    let signal = match signal {
        // From a terminal these two reach the runtime anyway.
        SIGINT | SIGQUIT if io::stdin().is_terminal() => return,
        SIGINT => Signal::INT,
        SIGQUIT => Signal::QUIT,
        SIGHUP => Signal::HUP,
        _ => Signal::TERM,
    };
    if let Some(pid) = pid {
        // It may just have ended.
        let _ = kill_process(pid, signal);
    }
}

/// Why the runtime failed, by its log; nothing if it did not.
fn failure_in(log: &Path) -> Option<String> {
    let text = fs::read_to_string(log).ok()?;
    let lines = text.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let is_error = |line: &Value| matches!(line["level"].as_str(), Some("error" | "fatal"));
    lines.into_iter().find(is_error)?.get("msg")?.as_str().map(str::to_owned)
}

/// Docker's code for a command that could not be started.
fn classify(reason: &str) -> u8 {
    let has = |text: &str| reason.contains(text);
    if !has("exec") {
        return NOT_STARTED;
    }
    match () {
        () if has("executable file not found") || has("no such file or directory") => NOT_FOUND,
        () if has("permission denied") || has("is a directory") || has("exec format error") => {
            NOT_EXECUTABLE
        }
        () => NOT_STARTED,
    }
}
