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

    /// Runs the bundle of `execution`; what the command writes goes to `output` by lines, or pieces of
    /// lines that are long: the bytes without the line's end, and whether the line ends there. Gives the
    /// command's exit code.
    ///
    /// # Errors
    /// The command could not be started at all.
    fn run(
        &self,
        execution: &Execution<'_>,
        output: &mut dyn FnMut(&[u8], bool),
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

/// As much as a pipe holds is read at once.
const PIPE_BYTES: usize = 64 << 10;

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
        output: &mut dyn FnMut(&[u8], bool),
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
        let copied = copy_lines(BufReader::with_capacity(PIPE_BYTES, source), output);
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
            // A command that never stops writing ends as well.
            if !self.killed && (self.execution.cancelled)() {
                self.killed = true;
                self.executor.quietly(self.execution, &["kill", "KILL"]);
            }
            let mut pipe = [PollFd::new(&self.pipe, PollFlags::IN)];
            match poll(&mut pipe, Some(&CANCEL_LATENCY)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return self.pipe.read(buffer),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// Hands on lines, and long ones in pieces. A carriage return ends a line as well: progress bars are lines
/// too. The last line may have no end.
fn copy_lines(mut reader: impl BufRead, output: &mut dyn FnMut(&[u8], bool)) -> io::Result<()> {
    // A line without an end must not fill the memory.
    const PIECE_BYTES_MAX: usize = 64 << 10;
    let mut piece = Vec::new();
    // Whether an earlier piece of this line was handed on.
    let mut is_begun = false;
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
        let room = bytes.len().min(PIECE_BYTES_MAX - piece.len());
        let end = bytes[..room].iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let (taken, ended_by) = end.map_or((room, None), |at| (at, Some(bytes[at])));
        piece.extend_from_slice(&bytes[..taken]);
        reader.consume(taken + usize::from(end.is_some()));
        let has_content = is_begun || !piece.is_empty();
        if let Some(ended_by) = ended_by {
            // The second half of a DOS line end has had its line already.
            if has_content || (ended_by == b'\n' && !after_return) {
                output(&piece, true);
            }
            piece.clear();
            (is_begun, after_return) = (false, ended_by == b'\r');
            continue;
        }
        after_return = false;
        if piece.len() == PIECE_BYTES_MAX {
            output(&piece, false);
            piece.clear();
            is_begun = true;
        }
    }
    if !piece.is_empty() {
        output(&piece, false);
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

    /// What is handed on: pieces without an end have a `+` behind them.
    fn lines(bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut take = |piece: &[u8], is_ended: bool| {
            let mark = if is_ended { "" } else { "+" };
            lines.push(format!("{}{mark}", piece.escape_ascii()));
        };
        copy_lines(bytes, &mut take).unwrap();
        lines
    }

    #[test]
    fn copies_lines() {
        assert_eq!(lines(b"a\n\nb"), ["a", "", "b+"]);
        assert_eq!(lines(b"1%\r2%\r\nc\r\n"), ["1%", "2%", "c"]);
        assert_eq!(lines(b"a\r\n\nb\n"), ["a", "", "b"]);
        assert_eq!(lines(b"\xff\n"), ["\\xff"]);
    }

    #[test]
    fn copies_long_lines_in_pieces() {
        let long = "x".repeat(64 << 10);
        let piece = format!("{long}+");
        assert_eq!(lines(format!("{long}{long}y\nz\n").as_bytes()), [&piece, &piece, "y", "z"]);
        // The end is told where the last piece is full, too.
        assert_eq!(lines(format!("{long}\nz\n").as_bytes()), [&piece, "", "z"]);
        assert_eq!(lines(format!("\r{long}\nz\n").as_bytes()), [&piece, "", "z"]);
        assert_eq!(lines(format!("{long}\r\nz\n").as_bytes()), [&piece, "", "z"]);
        assert_eq!(lines(long.as_bytes()), [piece]);
    }
}
