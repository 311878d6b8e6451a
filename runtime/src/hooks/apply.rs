//! Running a hook and waiting for it, with its deadline. [`run`] allocates nothing, since the child
//! uses it too.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::plan::Prepared;
use crate::ahead::by_process_ahead;
use crate::arena::Arena;
use crate::failure::{Failure, Finding, Result};
use crate::sys::namespace::{Kind, setns};
use crate::sys::open::{
    close_others_on_exec, dup_onto, pipe, read, set_nonblocking, write_all, write_some,
};
use crate::sys::process::{
    Child, Clone3, Ended, ExecStrings, Watch, chdir, clone3, execve, execveat, pidfd_send_signal,
    poll, wait_child,
};
use crate::sys::signal::{stop_ignoring, unblock_all};

/// What is read of a hook's output at once, in bytes.
const CHUNK: usize = 512;

/// What a pipe holds, in bytes (pipe(7)).
const PIPE_BYTES: usize = 64 << 10;

/// Where a hook runs.
#[derive(Debug, Clone, Copy)]
pub enum Place<'fd> {
    /// Where this process is.
    Here,
    /// In namespaces of another process, executing a program that was opened before.
    Namespaces {
        /// The process.
        of: BorrowedFd<'fd>,
        /// `CLONE_NEW*` flags.
        kinds: Kind,
        /// Those that must be entered before the hook's process is made, by a process that is sent ahead.
        ahead: Kind,
        /// The program, opened in the runtime namespace, as the specification has it.
        program: BorrowedFd<'fd>,
    },
}

/// The last bytes of what a hook wrote, for the error message.
#[derive(Debug)]
pub struct Output {
    bytes: [u8; Self::BYTES_MAX],
    length: usize,
}

impl Default for Output {
    fn default() -> Self {
        Self { bytes: [0; Self::BYTES_MAX], length: 0 }
    }
}

impl Output {
    /// The most that is kept.
    pub const BYTES_MAX: usize = 1024;

    /// What was written.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// What was written, as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes()).trim().to_owned()
    }

    fn append(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.length == self.bytes.len() {
                self.bytes.copy_within(1.., 0);
                self.length -= 1;
            }
            self.bytes[self.length] = byte;
            self.length += 1;
        }
    }
}

/// What a hook gets beside its own.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// Where it runs.
    pub place: Place<'a>,
    /// Its working directory; stays as it is where that cannot be entered.
    pub directory: Option<&'a CStr>,
    /// The container's state, for its standard input.
    pub state: &'a [u8],
    /// The environment of a hook that has none of its own.
    pub env: &'a ExecStrings,
}

/// Runs a hook with the state on its standard input and waits for its end.
///
/// # Errors
/// The failure to start it, [`Finding::HookTimeout`] after it was killed, or [`Failure::Ended`] with
/// what it wrote in `output`.
pub fn run(
    hook: &Prepared,
    arena: &Arena,
    surroundings: &Surroundings<'_>,
    output: &mut Output,
) -> Result<Ended> {
    let (input_read, input_write) = pipe()?;
    let (output_read, output_write) = pipe()?;
    // The reading end stays open until all is written: a hook that does not read its input, which is its
    // right, must not end this process by SIGPIPE, nor keep it waiting.
    set_nonblocking(&input_write)?;
    let written = write_some(&input_write, surroundings.state)?;
    let body = || match become_hook(hook, arena, surroundings, &input_read, &output_write) {
        Ok(never) => match never {},
        Err(_) => 127,
    };
    let child = match surroundings.place {
        Place::Namespaces { of, ahead, .. } if ahead != 0 => by_process_ahead(|| {
            setns(of, ahead)?;
            Ok(clone3(&Clone3 { sibling: true, ..Clone3::default() }, body)?)
        })?,
        _ => clone3(&Clone3::default(), body)?,
    };
    drop(output_write);
    let mut streams = Streams {
        rest: surroundings.state.get(written..).unwrap_or_default(),
        input: Some((input_read, input_write)),
        pipe: &output_read,
        output,
    };
    match streams.wait(&child, hook.timeout_ms) {
        Ok(ended @ Ended::Exited(0)) => Ok(ended),
        Ok(ended) => Err(Failure::Ended(ended)),
        Err(failure) => {
            let _ = pidfd_send_signal(&child.pidfd, libc::SIGKILL);
            let _ = wait_child(&child.pidfd);
            Err(failure)
        }
    }
}

fn become_hook(
    hook: &Prepared,
    arena: &Arena,
    surroundings: &Surroundings<'_>,
    input: &OwnedFd,
    output: &OwnedFd,
) -> Result<std::convert::Infallible> {
    dup_onto(input, 0)?;
    dup_onto(output, 1)?;
    dup_onto(output, 2)?;
    close_others_on_exec(3)?;
    stop_ignoring()?;
    unblock_all()?;
    let enter = || {
        if let Some(directory) = surroundings.directory {
            // A bundle that this hook cannot reach is no reason not to run it.
            let _ = chdir(directory);
        }
    };
    let env = hook.env.as_ref().unwrap_or(surroundings.env);
    let failure = match surroundings.place {
        Place::Here => {
            enter();
            execve(arena.c_str(hook.path), &hook.args, env)
        }
        Place::Namespaces { of, kinds, program, .. } => {
            setns(of, kinds)?;
            enter();
            // A script needs the descriptor to be open for its interpreter.
            crate::sys::open::set_cloexec(program, false)?;
            execveat(program, &hook.args, env)
        }
    };
    // The message goes where the hook's own would have gone.
    let _ = write_all(output, failure.call.name().as_bytes());
    let _ = write_all(output, b": ");
    let text = nix::errno::Errno::from_raw(failure.errno).desc();
    let _ = write_all(output, text.as_bytes());
    Err(failure.into())
}

/// What goes to a hook and comes from it while it runs.
struct Streams<'a> {
    /// The state, as far as it is not written yet.
    rest: &'a [u8],
    /// Both ends of its standard input, until all is written.
    input: Option<(OwnedFd, OwnedFd)>,
    /// What it writes.
    pipe: &'a OwnedFd,
    output: &'a mut Output,
}

impl Streams<'_> {
    /// Until its end, or to the deadline.
    fn wait(&mut self, child: &Child, timeout_ms: i32) -> Result<Ended> {
        let limit = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
        let begun = Instant::now();
        let mut open = true;
        loop {
            if self.rest.is_empty() {
                self.input = None;
            }
            let left =
                limit.map_or(-1, |limit| milliseconds(limit.saturating_sub(begun.elapsed())));
            let input = self.input.as_ref().map(|(_, write)| write.as_fd());
            let [ended, readable, writable] = poll(
                [
                    Watch { fd: Some(child.pidfd.as_fd()), events: libc::POLLIN },
                    Watch { fd: open.then(|| self.pipe.as_fd()), events: libc::POLLIN },
                    Watch { fd: input, events: libc::POLLOUT },
                ],
                left,
            )?;
            if ended != 0 {
                self.drain()?;
                return Ok(wait_child(&child.pidfd)?);
            }
            if readable != 0 {
                open = self.read()?;
            }
            if let (true, Some((_, write))) = (writable != 0, &self.input) {
                let written = write_some(write, self.rest)?;
                self.rest = self.rest.get(written..).unwrap_or_default();
            }
            if limit.is_some_and(|limit| begun.elapsed() >= limit) {
                return Err(Failure::Found(Finding::HookTimeout));
            }
        }
    }

    /// False at the end.
    fn read(&mut self) -> Result<bool> {
        let mut chunk = [0; CHUNK];
        let count = read(self.pipe, &mut chunk)?;
        self.output.append(&chunk[..count]);
        Ok(count > 0)
    }

    /// What it wrote before it ended: no more than a pipe holds, because what it left running may go on.
    fn drain(&mut self) -> Result<()> {
        for _ in 0..PIPE_BYTES / CHUNK {
            let watch = Watch { fd: Some(self.pipe.as_fd()), events: libc::POLLIN };
            if poll([watch], 0)?[0] == 0 || !self.read()? {
                break;
            }
        }
        Ok(())
    }
}

/// For poll(2), which takes no longer time; rounded up, so that no time is left when it is over.
fn milliseconds(time: Duration) -> i32 {
    i32::try_from(time.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
}
