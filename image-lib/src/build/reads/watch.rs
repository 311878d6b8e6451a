//! Following what a command asks for: the kernel holds each of its calls with a path until this has read the path.
//!
//! A path is read from the memory of the caller, which another of its threads may change before the kernel reads
//! it: what is noted is no proof against a program that hides what it reads. See
//! `specs/decisions/read-sets.md` for why that does no harm.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, IoSliceMut, PipeReader, PipeWriter};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2, readlinkat};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};

use super::calls::{self, Usage};
use super::tree::{Depth, is_foreign};
use crate::sys::{self, Call};

/// The longest path that the kernel takes, with its end.
const PATH_BYTES_MAX: usize = 4096;
/// A command that asks for paths of more bytes is not followed further.
const BYTES_MAX: usize = 32 << 20;
/// How many programs may each be started by the next: scripts and loaders.
const INTERPRETERS_MAX: usize = 5;
/// What a runtime says of the container takes less.
const STATE_BYTES_MAX: usize = 64 << 10;

/// A watch over one container.
pub(in super::super) struct Watch {
    thread: JoinHandle<Observed>,
    /// Its end tells the thread that the container has ended.
    stop: PipeWriter,
    /// Where the runtime finds the socket, whatever the length of its path.
    socket: PathBuf,
    _directory: OwnedFd,
}

/// What a command asked for.
#[derive(Default)]
pub(super) struct Observed {
    /// Paths as the container sees them, absolute, with links and `..` in them.
    pub(super) paths: HashMap<OsString, Depth>,
    bytes: usize,
    /// Why there may be more.
    pub(super) gap: Option<String>,
}

impl Watch {
    /// Waits, in `directory`, for the runtime to hand over the container's calls.
    /// `has_links` says that what is lent to the container may have links that lead into its root file system.
    pub(in super::super) fn start(directory: &Path, has_links: bool) -> io::Result<Self> {
        const NAME: &str = "reads";
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(directory, flags, Mode::empty())?;
        let place = format!("/proc/{}/fd/{}/{NAME}", std::process::id(), folder.as_raw_fd());
        let socket = PathBuf::from(place);
        let listener = UnixListener::bind(&socket)?;
        let (stopped, stop) = io::pipe()?;
        let builder = std::thread::Builder::new().name("reads".to_owned());
        let thread = builder.spawn(move || {
            let mut follower = Follower { has_links, ..Follower::default() };
            if let Err(error) = follower.follow(&listener, &stopped) {
                follower.observed.miss(&error.to_string());
            }
            follower.observed
        })?;
        Ok(Self { thread, stop, socket, _directory: folder })
    }

    /// The container's configuration with a filter that holds the calls; nothing if it filters none.
    pub(in super::super) fn configure(&self, spec: &[u8]) -> Option<Vec<u8>> {
        let mut config: Value = serde_json::from_slice(spec).ok()?;
        let seccomp = config.pointer_mut("/linux/seccomp")?;
        seccomp["listenerPath"] = json!(self.socket);
        let held: Vec<&str> = calls::all().map(|call| call.name).collect();
        let rules = seccomp.get_mut("syscalls")?.as_array_mut()?;
        let mut watched = Vec::new();
        for rule in &mut *rules {
            let Some(names) = rule.get_mut("names").and_then(Value::as_array_mut) else { continue };
            names.retain(|name| {
                let name = name.as_str().unwrap_or_default();
                // What is not allowed anyway stays so.
                if held.contains(&name) {
                    watched.push(name.to_owned());
                }
                !held.contains(&name) && !calls::YOUNGER.contains(&name)
            });
        }
        rules.retain(|rule| rule["names"].as_array().is_none_or(|names| !names.is_empty()));
        rules.push(json!({ "names": watched, "action": "SCMP_ACT_NOTIFY" }));
        let missing = json!({
            "names": calls::YOUNGER, "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSYS,
        });
        rules.push(missing);
        serde_json::to_vec(&config).ok()
    }

    /// What was seen of a container that has ended.
    pub(super) fn finish(self) -> Observed {
        drop(self.stop);
        self.thread.join().unwrap_or_else(|_| {
            let mut lost = Observed::default();
            lost.miss("the watch failed");
            lost
        })
    }
}

impl Observed {
    fn miss(&mut self, why: &str) {
        self.gap.get_or_insert_with(|| why.to_owned());
    }

    fn add(&mut self, path: OsString, depth: Depth) {
        if is_foreign(&path) {
            return;
        }
        if let Some(known) = self.paths.get_mut(&path) {
            *known = depth.max(*known);
            return;
        }
        self.bytes += path.len();
        if self.bytes > BYTES_MAX {
            self.miss("it asks for too many files");
            return;
        }
        self.paths.insert(path, depth);
    }
}

#[derive(Default)]
struct Follower {
    observed: Observed,
    /// The root of the container.
    view: Option<OwnedFd>,
    /// Whether there may be links that were not there before the command.
    has_links: bool,
    /// Whether somebody may have another root.
    has_roots: bool,
}

impl Follower {
    fn follow(&mut self, listener: &UnixListener, stopped: &PipeReader) -> io::Result<()> {
        let calls = loop {
            if !wait(listener.as_fd(), stopped)? {
                return Err(io::Error::other("the runtime handed over no calls"));
            }
            let (connection, _) = listener.accept()?;
            if wait(connection.as_fd(), stopped)?
                && let Some(calls) = descriptor(connection.as_fd())?
            {
                break calls;
            }
        };
        // Older kernels do without.
        let _ = sys::take_turns(&calls);
        while wait(calls.as_fd(), stopped)? {
            let call = match sys::receive(&calls) {
                Ok(call) => call,
                // It was killed while it waited, or a signal came.
                Err(error) if is_over(&error) => continue,
                Err(error) => return Err(error),
            };
            self.note(&call);
            match sys::resume(&calls, &call) {
                Err(error) if !is_over(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn note(&mut self, call: &Call) {
        if call.architecture != calls::ARCHITECTURE {
            self.observed.miss("it runs a program for another kind of processor");
            return;
        }
        let Some(known) = calls::find(call.number) else {
            self.observed.miss(&format!("it makes the unknown system call {}", call.number));
            return;
        };
        self.has_links |= known.makes_links;
        self.has_roots |= known.name == "chroot";
        for argument in known.paths {
            let directory = argument.directory.map(|index| call.arguments[index]);
            let read = self.path(call.thread, directory, call.arguments[argument.path]);
            let path = match read {
                Ok(Some(path)) => path,
                Ok(None) => continue,
                // The caller has ended, or the kernel will not be able to read the path either.
                Err(Errno::NOENT | Errno::SRCH | Errno::FAULT | Errno::IO) => continue,
                Err(errno) => {
                    self.observed.miss(&format!("{}: {}", known.name, io::Error::from(errno)));
                    continue;
                }
            };
            self.see(call.thread, path, argument.usage, argument.usage.depth(&call.arguments));
        }
    }

    /// The path of a call as the container sees it; nothing if it is empty and the call is about a descriptor.
    fn path(
        &mut self,
        thread: u32,
        directory: Option<u64>,
        address: u64,
    ) -> Result<Option<OsString>, Errno> {
        if thread == 0 {
            return Err(Errno::PERM);
        }
        let errno = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        let mut bytes = [0; PATH_BYTES_MAX];
        let count = sys::read_memory(thread, address, &mut bytes).map_err(errno)?;
        let end = bytes[..count].iter().position(|byte| *byte == 0).ok_or(Errno::FAULT)?;
        let given = &bytes[..end];
        let process = PathBuf::from(format!("/proc/{thread}"));
        if self.view.is_none() {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            self.view = Some(rustix::fs::open(process.join("root"), flags, Mode::empty())?);
        }
        let link = match directory.map(descriptor_of) {
            // Nobody has another root than the container's.
            _ if given.starts_with(b"/") && !self.has_roots => {
                return Ok(Some(OsStr::from_bytes(given).to_owned()));
            }
            _ if given.starts_with(b"/") => process.join("root"),
            Some(Some(fd)) => process.join("fd").join(fd.to_string()),
            _ => process.join("cwd"),
        };
        let mut path = readlinkat(rustix::fs::CWD, &link, Vec::new())?.into_bytes();
        // What is no directory and no file has no path.
        if !path.starts_with(b"/") {
            return Ok(None);
        }
        if !given.is_empty() {
            // The root's own path ends so.
            path.truncate(path.len() - usize::from(path.ends_with(b"/")));
            if !given.starts_with(b"/") {
                path.push(b'/');
            }
            path.extend(given);
        }
        Ok(Some(OsString::from_vec(path)))
    }

    /// Notes a path, and where it leads in the container as it is now: the command may have made links.
    fn see(&mut self, thread: u32, path: OsString, usage: Usage, depth: Depth) {
        let mut next = Some(path);
        for _ in 0..=INTERPRETERS_MAX {
            let Some(path) = next.take().and_then(|path| beyond_procfs(thread, path)) else {
                return;
            };
            // Without new links the tree as it was tells where a path led.
            let view = self.view.as_ref();
            let view = view.filter(|_| self.has_links || usage == Usage::Execute || is_odd(&path));
            match view.map(|view| resolve(view, &path)) {
                Some(Ok((file, real))) => {
                    if usage == Usage::Execute {
                        next = interpreter(&file);
                    }
                    if real != path {
                        self.observed.add(real, depth);
                    }
                }
                // Links of procfs lead anywhere, and of another process nobody knows here where.
                Some(Err(Errno::XDEV | Errno::LOOP)) => {
                    self.observed.miss("it goes through links of /proc");
                }
                _ => {}
            }
            self.observed.add(path, depth);
        }
    }
}

/// Whether a path may lead through procfs unseen: by `//`, `.` or `..`, or because it begins there.
fn is_odd(path: &OsStr) -> bool {
    let bytes = path.as_bytes();
    bytes.starts_with(b"/proc")
        || bytes.windows(2).any(|two| two == b"//")
        || bytes.windows(2).any(|two| two == b"/.")
}

/// The path that a caller means by one through its own links in procfs; nothing if those lead to no file.
fn beyond_procfs(thread: u32, mut path: OsString) -> Option<OsString> {
    const OWN: [&[u8]; 3] = [b"/proc/self/", b"/proc/thread-self/", b"/dev/"];
    // A descriptor may be of another link.
    for _ in 0..4 {
        let bytes = path.as_bytes();
        let Some((start, rest)) =
            OWN.iter().find_map(|own| Some((*own, bytes.strip_prefix(*own)?)))
        else {
            return Some(path);
        };
        let mut words = rest.splitn(2, |byte| *byte == b'/');
        let (first, mut after) = (words.next()?, words.next().unwrap_or_default());
        let link = match (start, first) {
            (b"/dev/", b"stdin") => "fd/0".to_owned(),
            (b"/dev/", b"stdout") => "fd/1".to_owned(),
            (b"/dev/", b"stderr") => "fd/2".to_owned(),
            (_, b"fd") => {
                let mut words = after.splitn(2, |byte| *byte == b'/');
                let number: u32 = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
                after = words.next().unwrap_or_default();
                format!("fd/{number}")
            }
            (b"/dev/", _) => return Some(path),
            (_, b"root" | b"cwd" | b"exe") => String::from_utf8_lossy(first).into_owned(),
            _ => return Some(path),
        };
        let target = readlinkat(rustix::fs::CWD, format!("/proc/{thread}/{link}"), Vec::new());
        let mut target = target.ok()?.into_bytes();
        if !target.starts_with(b"/") {
            return None;
        }
        target.push(b'/');
        target.extend(after);
        path = OsString::from_vec(target);
    }
    Some(path)
}

/// The descriptor of an argument, which is an int; nothing if it stands for the working directory.
fn descriptor_of(argument: u64) -> Option<u64> {
    let int = argument & u64::from(u32::MAX);
    (int >> 31 == 0).then_some(int)
}

/// Waits until there is something to read; nothing more is to come if not.
fn wait(fd: BorrowedFd<'_>, stopped: &PipeReader) -> io::Result<bool> {
    loop {
        let mut fds = [PollFd::new(&fd, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        if fds[0].revents().contains(PollFlags::IN) {
            return Ok(true);
        }
        // Nobody is left who could make a call, or the container has ended.
        if !fds[0].revents().is_empty() || !fds[1].revents().is_empty() {
            return Ok(false);
        }
    }
}

fn is_over(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::INTR))
}

/// The descriptor that comes with a runtime's message.
fn descriptor(connection: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut state = vec![0; STATE_BYTES_MAX];
    let mut message = [IoSliceMut::new(&mut state)];
    recvmsg(connection, &mut message, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let rights = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok(rights)
}

/// The file that a path leads to, and its path without links.
fn resolve(view: &OwnedFd, path: &OsString) -> Result<(OwnedFd, OsString), Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let file = openat2(view, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
    let own = format!("/proc/self/fd/{}", file.as_raw_fd());
    let real = readlinkat(rustix::fs::CWD, own, Vec::new())?;
    Ok((file, OsString::from_vec(real.into_bytes())))
}

/// The program that the kernel runs in a program's place: that of a script, or the loader.
fn interpreter(file: &OwnedFd) -> Option<OsString> {
    if FileType::from_raw_mode(fstat(file).ok()?.st_mode) != FileType::RegularFile {
        return None;
    }
    let file = File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    let mut head = [0; 4096];
    let count = file.read_at(&mut head, 0).ok()?;
    let named = super::program::interpreter(&head[..count])?;
    Some(OsString::from_vec(match named {
        super::program::Named::Path(path) => path.to_vec(),
        super::program::Named::At { offset, bytes } => {
            let mut path = vec![0; bytes.min(PATH_BYTES_MAX)];
            file.read_exact_at(&mut path, offset).ok()?;
            path.truncate(path.iter().position(|byte| *byte == 0)?);
            path
        }
    }))
}
