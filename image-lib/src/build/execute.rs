//! Running the command of a `RUN`. This is the only room of the library that starts a process, and
//! it does so through [`Executor`] alone.

use std::io::{self, BufRead, BufReader, PipeReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::error::StepError;

/// Runs one container to its end.
///
/// Laws: `run` returns only when the container and all its processes are gone and nothing of it is
/// left outside `bundle` and `state`; it reads nothing from the standard input; it may be called
/// from several threads at once with different ids; once `cancelled` says so, it ends the container
/// and returns within a second.
pub trait Executor: Sync {
    /// What the user knows it by, for messages.
    fn name(&self) -> String;

    /// Runs the bundle of `execution`; every line that the command writes goes to `output`. Gives
    /// the command's exit code.
    ///
    /// # Errors
    /// The command could not be started at all.
    fn run(
        &self,
        execution: &Execution<'_>,
        output: &mut dyn FnMut(&str),
    ) -> Result<i32, StepError>;
}

/// What is run.
#[derive(Clone, Copy)]
pub struct Execution<'a> {
    /// The OCI bundle.
    pub bundle: &'a Path,
    /// A directory for the runtime's own state; it is removed afterwards.
    pub state: &'a Path,
    /// A name that no other container has.
    pub id: &'a str,
    /// Whether nobody waits for the result any more.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
}

impl std::fmt::Debug for Execution<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Execution").field("id", &self.id).finish_non_exhaustive()
    }
}

/// How long a container may run on after it was cancelled: the wait for output is cut so often.
const CANCEL_LATENCY: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Runs any runtime with runc's command line.
#[derive(Debug, Clone)]
pub struct RuntimeExecutor {
    binary: PathBuf,
}

/// The runtimes that are looked for when none is named, in order.
const KNOWN: [&str; 3] = ["keel", "runc", "crun"];

impl RuntimeExecutor {
    /// Runs `binary`, a path or a name on the `PATH`.
    #[must_use]
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        Self { binary: binary.into() }
    }

    /// Runs the keel that stands beside this program, or else the first known runtime on the
    /// `PATH`.
    #[must_use]
    pub fn find() -> Self {
        let beside = std::env::current_exe().ok().and_then(|own| {
            let keel = own.parent()?.join(KNOWN[0]);
            keel.is_file().then_some(keel)
        });
        let path = std::env::var_os("PATH").unwrap_or_default();
        let on_path = || {
            KNOWN.iter().find_map(|name| {
                std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
            })
        };
        Self::new(beside.or_else(on_path).unwrap_or_else(|| PathBuf::from(KNOWN[0])))
    }

    fn command(&self, execution: &Execution<'_>) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--root").arg(execution.state);
        command.arg("--log").arg(log_file(execution)).arg("--log-format").arg("json");
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command of the runtime on the container, whose outcome does not matter: the container
    /// may be gone already.
    fn quietly(&self, execution: &Execution<'_>, words: &[&str]) {
        let mut command = self.command(execution);
        let (verb, flags) = words.split_at(1);
        command.args(verb).args(flags.iter().filter(|word| word.starts_with('-')));
        command.arg(execution.id).args(flags.iter().filter(|word| !word.starts_with('-')));
        let started = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let _ = started.and_then(|mut child| child.wait());
    }

    /// Ends a container that may be gone already.
    pub(super) fn end(&self, bundle: &Path, state: &Path, id: &str) {
        let execution = Execution { bundle, state, id, cancelled: &|| true };
        self.quietly(&execution, &["delete", "--force"]);
    }

    /// Runs the bundle with the streams of this process, and gives the exit code.
    ///
    /// # Errors
    /// The command could not be started at all.
    pub(super) fn enter(&self, execution: &Execution<'_>) -> Result<i32, StepError> {
        let mut command = self.command(execution);
        command.arg("run").arg("--bundle").arg(execution.bundle).arg(execution.id);
        let status = command.stdin(Stdio::inherit()).status();
        self.quietly(execution, &["delete", "--force"]);
        let status = status.map_err(|error| self.failure(error.to_string()))?;
        self.code_of(status, execution)
    }

    /// The command's exit code, unless the runtime failed.
    fn code_of(&self, status: ExitStatus, execution: &Execution<'_>) -> Result<i32, StepError> {
        let Some(code) = status.code() else {
            return Err(self.failure(format!("it ended by {status}")));
        };
        if code != 0
            && let Some(reason) = logged_error(&log_file(execution))
        {
            return Err(StepError::Start { runtime: self.name(), reason });
        }
        Ok(code)
    }

    fn failure(&self, reason: impl Into<String>) -> StepError {
        StepError::Runtime { runtime: self.name(), reason: reason.into() }
    }
}

fn log_file(execution: &Execution<'_>) -> PathBuf {
    execution.bundle.join("runtime.log")
}

impl Executor for RuntimeExecutor {
    fn name(&self) -> String {
        self.binary.to_string_lossy().into_owned()
    }

    fn run(
        &self,
        execution: &Execution<'_>,
        output: &mut dyn FnMut(&str),
    ) -> Result<i32, StepError> {
        // One pipe for both outputs keeps the order in which the command wrote.
        let piped =
            io::pipe().and_then(|(reader, writer)| Ok((reader, writer.try_clone()?, writer)));
        let (reader, stdout, stderr) = piped.map_err(|error| self.failure(error.to_string()))?;
        let mut command = self.command(execution);
        command.arg("run").arg("--bundle").arg(execution.bundle).arg(execution.id);
        let mut child = command
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .map_err(|error| self.failure(error.to_string()))?;
        // The command's ends of the pipe would keep it open for ever.
        drop(command);
        let source = Cancellable { pipe: reader, executor: self, execution, killed: false };
        let copied = copy_lines(BufReader::new(source), output);
        let status = child.wait();
        // A runtime that was killed could not clean up after its container.
        self.quietly(execution, &["delete", "--force"]);
        copied.map_err(|error| self.failure(error.to_string()))?;
        let status = status.map_err(|error| self.failure(error.to_string()))?;
        self.code_of(status, execution)
    }
}

/// The output of a container, which is killed when nobody waits for it any more. Then its output
/// ends, and with it the reading.
struct Cancellable<'a> {
    pipe: PipeReader,
    executor: &'a RuntimeExecutor,
    execution: &'a Execution<'a>,
    killed: bool,
}

impl Read for Cancellable<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut pipe = [PollFd::new(&self.pipe, PollFlags::IN)];
            match poll(&mut pipe, Some(&CANCEL_LATENCY)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return self.pipe.read(buffer),
                Err(errno) => return Err(errno.into()),
            }
            if !self.killed && (self.execution.cancelled)() {
                self.killed = true;
                self.executor.quietly(self.execution, &["kill", "KILL"]);
            }
        }
    }
}

/// Hands on whole lines. A carriage return ends one as well: progress bars are lines too.
fn copy_lines(mut reader: impl BufRead, output: &mut dyn FnMut(&str)) -> io::Result<()> {
    // A line without an end must not fill the memory.
    const LINE_BYTES_MAX: usize = 64 << 10;
    let mut line = Vec::new();
    let mut after_return = false;
    loop {
        let bytes = match reader.fill_buf() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if bytes.is_empty() {
            break;
        }
        let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let room = LINE_BYTES_MAX - line.len();
        let end = end.filter(|at| *at <= room);
        let taken = end.unwrap_or(bytes.len().min(room));
        line.extend_from_slice(&bytes[..taken]);
        let ended_by = end.map(|at| bytes[at]);
        reader.consume(taken + usize::from(end.is_some()));
        let is_full = line.len() >= LINE_BYTES_MAX;
        // The second half of a DOS line end has had its line already.
        let is_blank = ended_by == Some(b'\n') && !after_return;
        if is_full || (ended_by.is_some() && (is_blank || !line.is_empty())) {
            output(&String::from_utf8_lossy(&line));
            line.clear();
        }
        after_return =
            ended_by == Some(b'\r') || (ended_by.is_none() && after_return && line.is_empty());
    }
    if !line.is_empty() {
        output(&String::from_utf8_lossy(&line));
    }
    Ok(())
}

/// The last error that a runtime wrote to its log, in which every line is a JSON object.
fn logged_error(log: &Path) -> Option<String> {
    let text = std::fs::read_to_string(log).ok()?;
    text.lines().rev().find_map(|line| {
        let entry: serde_json::Value = serde_json::from_str(line).ok()?;
        let level = entry.get("level")?.as_str()?;
        let message = entry.get("msg")?.as_str()?;
        matches!(level, "error" | "fatal").then(|| message.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::copy_lines;

    #[test]
    fn copies_whole_lines() {
        let lines = |bytes: &[u8]| {
            let mut lines = Vec::new();
            copy_lines(bytes, &mut |line| lines.push(line.to_owned())).unwrap();
            lines
        };
        assert_eq!(lines(b"a\n\nb"), ["a", "", "b"]);
        assert_eq!(lines(b"1%\r2%\r\nc\r\n"), ["1%", "2%", "c"]);
        assert_eq!(lines(b"\xff\n"), ["\u{fffd}"]);
        assert_eq!(lines(&[b'x'; 200_000]).len(), 4);
    }
}
