//! Running a hook and waiting for it, with its deadline. [`run`] allocates nothing, since the child
//! uses it too.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::plan::Prepared;
use crate::ahead::by_process_ahead;
use crate::arena::Arena;
use crate::failure::{Failure, Finding, Result};
use crate::sys::namespace::{Kind, setns};
use crate::sys::open::{close_others_on_exec, dup_onto, pipe, read, write_all};
use crate::sys::process::{
    Child, Clone3, Ended, ExecStrings, Watch, chdir, clone3, execve, execveat, pidfd_send_signal,
    poll, wait_child,
};
use crate::sys::signal::{stop_ignoring, unblock_all};

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
    drop(input_read);
    drop(output_write);
    // A state is far smaller than a pipe holds, so this never waits; a hook that does not read it
    // has closed its end, which is its right.
    let _ = write_all(&input_write, surroundings.state);
    drop(input_write);
    let ended = wait(&child, hook.timeout_ms, &output_read, output)?;
    match ended {
        Ended::Exited(0) => Ok(ended),
        _ => Err(Failure::Ended(ended)),
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

fn wait(child: &Child, timeout_ms: i32, pipe: &OwnedFd, output: &mut Output) -> Result<Ended> {
    let mut open = true;
    loop {
        let watches = [
            Watch { fd: Some(child.pidfd.as_fd()), events: libc::POLLIN },
            Watch { fd: open.then(|| pipe.as_fd()), events: libc::POLLIN },
        ];
        let [ended, readable] = poll(watches, timeout_ms)?;
        if readable != 0 {
            let mut chunk = [0; 512];
            match read(pipe, &mut chunk)? {
                0 => open = false,
                count => output.append(&chunk[..count]),
            }
        } else if ended != 0 {
            return Ok(wait_child(&child.pidfd)?);
        } else {
            pidfd_send_signal(&child.pidfd, libc::SIGKILL)?;
            wait_child(&child.pidfd)?;
            return Err(Failure::Found(Finding::HookTimeout));
        }
    }
}
