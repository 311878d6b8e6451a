//! run: create and start in one, without the detour over the FIFO, and the wait for the end.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use super::create::console_for;
use super::delete::{clear, clear_ended};
use super::error::RuntimeError;
use super::foreground::Foreground;
use super::hooks;
use super::launch::{Launched, Mode, launch};
use super::notify::Notify;
use super::request::Request;
use crate::causes::with_causes;
use crate::config::hooks::Hooks;
use crate::container::state_dir::{StateDir, StateError};
use crate::container::state_file::State;
use crate::sys::credentials::set_child_subreaper;

/// How a run goes on once the program was executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Nobody waits for it.
    Detach,
    /// Wait for its end, and delete the container.
    Wait {
        /// Leave the stopped container behind.
        keep: bool,
        /// Take the container's orphans as children.
        subreaper: bool,
    },
}

/// What a run gave.
#[derive(Debug)]
pub struct Outcome {
    /// The exit status as a shell shows it; 0 when detached.
    pub status: i32,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Makes a container, executes its program, and waits for its end unless told otherwise.
///
/// # Errors
/// Why not; nothing is left then.
pub fn run(
    request: &Request,
    console_socket: Option<&Path>,
    after: After,
) -> Result<Outcome, RuntimeError> {
    let mut foreground = None;
    let console = |terminal| {
        let (waiting, console) = prepare(after, terminal, console_socket)?;
        foreground = waiting;
        Ok(console)
    };
    let launched = launch(request, Mode::GoOn, console)?;
    let host = request.notify_socket.as_deref();
    let notify = match host.map(|host| Notify::open(&launched.directory, host)).transpose() {
        Ok(notify) => notify,
        Err(error) => return Err(launched.undo(error)),
    };
    let ready = foreground.as_mut().map_or(Ok(()), Foreground::take_terminal);
    let executed = ready.and_then(|()| {
        let going = launched.started.commit();
        going
            .and_then(|()| launched.started.await_program(&launched.plan))
            .map_err(RuntimeError::Init)?;
        poststart(&launched)
    });
    if let Err(error) = executed {
        return Err(launched.undo(error));
    }
    let Launched { directory, state, hooks: listed, started, moved, mut warnings, .. } = launched;
    // They belong to the namespace now, which this process shall not keep alive.
    drop(moved);
    let child = started.into_child();
    let Some(foreground) = foreground else {
        if let Some(notify) = notify {
            // The program runs, whatever the manager does not want to hear.
            warnings
                .extend(notify.wait(child.pidfd.as_fd(), child.pid).err().map(|e| with_causes(&e)));
        }
        return Ok(Outcome { status: 0, warnings });
    };
    let ended = foreground.wait(&child, notify.as_ref());
    if !matches!(after, After::Wait { keep: true, .. }) {
        warnings.extend(end(&directory, &state, &listed, ended.is_ok())?);
    }
    Ok(Outcome { status: ended?.shell_status(), warnings })
}

/// Deletes a container whose process has ended, and was `waited` for if its end is known. Another command may be about
/// to, such as a checkpoint, which ends the process: it is waited for, and then nothing is left to do.
///
/// # Errors
/// What could not be removed.
pub(super) fn end(
    directory: &StateDir,
    state: &State,
    listed: &Hooks,
    waited: bool,
) -> Result<Vec<String>, RuntimeError> {
    match directory.lock(true) {
        Err(StateError::NotFound) => return Ok(Vec::new()),
        other => other?,
    }
    let clear = if waited { clear_ended } else { clear };
    clear(directory, state)?;
    Ok(hooks::after_deletion(listed, state))
}

/// What waits for the process in the foreground, and where its terminal goes.
///
/// # Errors
/// When socket and terminal do not come together, or this process cannot be made to wait.
pub(super) fn prepare(
    after: After,
    terminal: bool,
    console_socket: Option<&Path>,
) -> Result<(Option<Foreground>, Option<OwnedFd>), RuntimeError> {
    match after {
        After::Detach => Ok((None, console_for(terminal, console_socket)?)),
        After::Wait { .. } if console_socket.is_some() => {
            let text = "cannot use console socket if runc will not detach or allocate tty";
            Err(RuntimeError::Refused(text.to_owned()))
        }
        After::Wait { subreaper, .. } => {
            if subreaper {
                set_child_subreaper().map_err(RuntimeError::system("own process"))?;
            }
            let (waiting, console) = Foreground::prepare(terminal)?;
            Ok((Some(waiting), console))
        }
    }
}

fn poststart(launched: &Launched) -> Result<(), RuntimeError> {
    let pid = launched.started.pid();
    Ok(hooks::after_start(&launched.hooks, &launched.state, pid)?)
}
