//! The runtime binary. Its command line, runc's, is all that the shim knows of it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid};
use serde::Deserialize;

use crate::error::{Code, Error};
use crate::limits;
use crate::options::Options;
use crate::streams::Ends;

/// Where runc keeps its state below containerd; tools look for containers there.
const ROOT: &str = "/run/containerd/runc";
const BINARY: &str = "keel";
const LOG: &str = "log.json";

/// The runtime of one container.
#[derive(Debug, Clone)]
pub struct Engine {
    options: Options,
    root: PathBuf,
    bundle: PathBuf,
}

/// A command that runs. Whoever holds it waits for it, and ends it at its deadline.
#[derive(Debug)]
pub struct Running {
    /// Its process.
    pub pid: u32,
    verb: &'static str,
    binary: String,
    output: Option<File>,
    log: PathBuf,
    log_from: u64,
}

/// What it is fed with and where its output goes.
#[derive(Debug)]
pub enum Streams {
    /// Those of the container's process.
    Process(Ends),
    /// Nothing, and a buffer of so many bytes.
    Captured(u64),
    /// These bytes, and a small buffer.
    Fed(Vec<u8>),
}

impl Engine {
    /// By the options, for a namespace of containerd's.
    pub fn new(options: &Options, namespace: &str, bundle: &Path) -> Self {
        let root = if options.root.is_empty() { ROOT } else { &options.root };
        let root = Path::new(root).join(namespace);
        Self { options: options.clone(), root, bundle: bundle.to_owned() }
    }

    /// The options.
    pub fn options(&self) -> &Options {
        &self.options
    }

    fn binary(&self) -> &str {
        if self.options.binary_name.is_empty() { BINARY } else { &self.options.binary_name }
    }

    /// Flags of `create`, `restore` and `run` that the options ask for.
    pub fn creation_flags(&self) -> Vec<OsString> {
        let mut flags = Vec::new();
        if self.options.no_pivot_root {
            flags.push("--no-pivot".into());
        }
        if self.options.no_new_keyring {
            flags.push("--no-new-keyring".into());
        }
        flags
    }

    /// Starts `verb` with its words.
    pub fn run(
        &self,
        verb: &'static str,
        words: &[OsString],
        streams: Streams,
    ) -> Result<Running, Error> {
        let log = self.bundle.join(LOG);
        let log_from = std::fs::metadata(&log).map_or(0, |it| it.len());
        let mut command = Command::new(self.binary());
        command.arg("--root").arg(&self.root).arg("--log").arg(&log).args(["--log-format", "json"]);
        if self.options.systemd_cgroup {
            command.arg("--systemd-cgroup");
        }
        if !self.options.criu_path.is_empty() {
            // Newer runtimes look for it in PATH alone.
            command.args(["--criu", &self.options.criu_path]);
            command.envs(path_with(&self.options.criu_path).map(|path| ("PATH", path)));
        }
        command.arg(verb).args(words).current_dir(&self.bundle);
        let mut output = None;
        match streams {
            Streams::Process(ends) => {
                command.stdin(ends.stdin).stdout(ends.stdout).stderr(ends.stderr);
                // The log has the runtime's error: keel does not tell it to the container's client, too.
                command.env("KEEL_ERRORS", "log");
            }
            Streams::Captured(bytes) => {
                command.stdin(Stdio::null());
                output = Some(capture(&mut command, bytes)?);
            }
            Streams::Fed(bytes) => {
                command.stdin(buffer_with(&bytes)?);
                output = Some(capture(&mut command, limits::OUTPUT_BYTES)?);
            }
        }
        let child = command.spawn().map_err(|error| not_started(self.binary(), &error))?;
        let binary = self.binary().to_owned();
        Ok(Running { pid: child.id(), verb, binary, output, log, log_from })
    }
}

/// `features` of the runtime that the options name: it belongs to no container.
pub fn features(options: &Options) -> Result<Running, Error> {
    let binary = if options.binary_name.is_empty() { BINARY } else { &options.binary_name };
    let mut command = Command::new(binary);
    command.arg("features").stdin(Stdio::null());
    let output = Some(capture(&mut command, limits::OUTPUT_BYTES)?);
    command.stderr(Stdio::null());
    let child = command.spawn().map_err(|error| not_started(binary, &error))?;
    let (binary, log) = (binary.to_owned(), PathBuf::new());
    Ok(Running { pid: child.id(), verb: "features", binary, output, log, log_from: 0 })
}

fn not_started(binary: &str, error: &io::Error) -> Error {
    Error::new(Code::Unknown, format!("unable to start the runtime {binary}: {error}"))
}

impl Running {
    /// Waits for the end, and ends what takes longer than its bound: for those who have nothing else to do.
    pub fn wait(mut self, bound: Duration) -> Result<Vec<u8>, Error> {
        let tell = |error: Errno| Error::host("the runtime", error);
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Error::host("the runtime", "a pid out of range"))?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(tell)?;
        let timeout = Timespec::try_from(bound).ok();
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        let ready = poll(&mut fds, timeout.as_ref()).map_err(tell)?;
        if ready == 0 {
            let _ = crate::sys::kill(self.pid, 9);
        }
        let status = waitpid(Some(pid), WaitOptions::empty()).map_err(tell)?;
        if ready == 0 {
            return Err(self.late(bound));
        }
        self.outcome(ExitStatus::from_raw(status.map_or(0, |it| it.1.as_raw())))
    }

    /// What the command came to: its output, or its error in its own words.
    pub fn outcome(&mut self, status: ExitStatus) -> Result<Vec<u8>, Error> {
        let output = self.output.as_mut().map(taken).unwrap_or_default();
        if status.success() {
            return Ok(output);
        }
        let words = self.logged_error().unwrap_or_else(|| {
            let said =
                String::from_utf8_lossy(&output).trim().chars().take(2000).collect::<String>();
            match (said.is_empty(), status.signal()) {
                (false, _) => said,
                (true, Some(signal)) => format!("{} was ended by signal {signal}", self.binary),
                (true, None) => format!("{} ended with {status} and said nothing", self.binary),
            }
        });
        Err(Error::new(Code::Unknown, format!("OCI runtime {} failed: {words}", self.verb)))
    }

    /// The error for one that did not end.
    pub fn late(&self, bound: Duration) -> Error {
        let text = format!(
            "OCI runtime {} failed: {} did not end within {bound:?}",
            self.verb, self.binary
        );
        Error::new(Code::DeadlineExceeded, text)
    }

    fn logged_error(&self) -> Option<String> {
        let mut file = File::open(&self.log).ok()?;
        let length = file.metadata().ok()?.len();
        let from = self.log_from.max(length.saturating_sub(limits::LOG_BYTES)).min(length);
        file.seek(SeekFrom::Start(from)).ok()?;
        let mut text = Vec::new();
        file.take(limits::LOG_BYTES).read_to_end(&mut text).ok()?;
        last_error(&text)
    }
}

/// PATH with the folder of a program first, where its path is absolute: the current folder belongs to the container.
fn path_with(program: &str) -> Option<OsString> {
    let mut path =
        Path::new(program).parent().filter(|it| it.is_absolute())?.as_os_str().to_owned();
    if let Some(rest) = std::env::var_os("PATH") {
        path.push(":");
        path.push(rest);
    }
    Some(path)
}

/// The message of the last record with the level `error`, or `fatal`.
pub fn last_error(log: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Record {
        level: String,
        msg: String,
    }
    let mut found = None;
    for line in log.split(|&byte| byte == b'\n') {
        let Ok(record) = serde_json::from_slice::<Record>(line) else { continue };
        if matches!(record.level.as_str(), "error" | "fatal") {
            found = Some(record.msg);
        }
    }
    found
}

/// The process ids that `ps --format json` prints.
pub fn pids(output: &[u8]) -> Result<Vec<u32>, Error> {
    serde_json::from_slice::<Option<Vec<u32>>>(output).map(Option::unwrap_or_default).map_err(
        |error| {
            Error::new(
                Code::Unknown,
                format!("OCI runtime ps failed: its output is no list of ids: {error}"),
            )
        },
    )
}

/// A file in memory that does not grow beyond its bound: a runtime that prints without end gets an error.
///
/// Nothing has to be read while the command runs, and a process that it leaves behind holds nobody up.
fn capture(command: &mut Command, bytes: u64) -> Result<File, Error> {
    let tell = |error: io::Error| Error::host("buffer", error);
    let file = memory()?;
    ftruncate(&file, bytes).map_err(|error| tell(error.into()))?;
    fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SEAL)
        .map_err(|error| tell(error.into()))?;
    command.stdout(OwnedFd::from(file.try_clone().map_err(tell)?));
    command.stderr(OwnedFd::from(file.try_clone().map_err(tell)?));
    Ok(file)
}

fn memory() -> Result<File, Error> {
    let fd = memfd_create("keel-shim", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING);
    fd.map(File::from).map_err(|error| Error::host("memfd_create", error))
}

/// A file in memory with these bytes, to be read from its beginning.
pub fn buffer_with(bytes: &[u8]) -> Result<OwnedFd, Error> {
    let tell = |error: io::Error| Error::host("buffer", error);
    let mut file = memory()?;
    io::Write::write_all(&mut file, bytes).map_err(tell)?;
    file.rewind().map_err(tell)?;
    Ok(file.into())
}

/// What was written: the descriptors share one position.
fn taken(file: &mut File) -> Vec<u8> {
    let mut output = Vec::new();
    let Ok(length) = file.stream_position() else { return output };
    if file.rewind().is_ok() {
        let _ = file.take(length).read_to_end(&mut output);
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_is_told() {
        let log = b"{\"level\":\"error\",\"msg\":\"first\",\"time\":\"t\"}\n{\"level\":\"warning\",\"msg\":\"w\"}\n\
            {\"level\":\"error\",\"msg\":\"last\"}\nnot json\n{\"level\":\"error\",\"ms";
        assert_eq!(last_error(log).as_deref(), Some("last"));
        assert_eq!(last_error(b""), None);
    }

    #[test]
    fn a_runtime_that_prints_without_end_is_bounded() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "printf head; exec yes"]).stdin(Stdio::null());
        let mut output = capture(&mut command, 1000).expect("a buffer");
        let status = command.status().expect("a shell");
        assert!(!status.success());
        let text = taken(&mut output);
        assert!(text.starts_with(b"head") && text.len() <= 1000, "{} bytes", text.len());
    }

    #[test]
    fn ids_are_a_list() {
        assert_eq!(pids(b"[1,22]\n"), Ok(vec![1, 22]));
        assert_eq!(pids(b"null"), Ok(Vec::new()));
        assert_eq!(pids(b"garbage").map_err(|e| e.code), Err(Code::Unknown));
    }
}
