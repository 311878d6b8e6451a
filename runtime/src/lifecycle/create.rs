//! create: everything but the program (runtime-spec, runtime.md, "Create").

use std::os::fd::OwnedFd;
use std::path::Path;

use super::error::RuntimeError;
use super::launch::{Mode, launch};
use super::request::Request;
use crate::sys::socket::connect_stream;

/// Makes a container and leaves its process waiting for start. The warnings say what the user should
/// know.
///
/// # Errors
/// Why not; nothing is left then.
pub fn create(
    request: &Request,
    console_socket: Option<&Path>,
) -> Result<Vec<String>, RuntimeError> {
    let console = |terminal| console_for(terminal, console_socket);
    let launched = launch(request, Mode::AwaitStart, console)?;
    let started = &launched.started;
    if let Err(error) = started.commit().and_then(|()| started.await_visible(&launched.plan)) {
        return Err(launched.undo(RuntimeError::Init(error)));
    }
    Ok(launched.warnings)
}

/// Connects to the socket that takes the terminal of a process that nobody waits for.
///
/// # Errors
/// When socket and terminal do not come together, in runc's words, or the socket cannot be reached.
pub(super) fn console_for(
    terminal: bool,
    socket: Option<&Path>,
) -> Result<Option<OwnedFd>, RuntimeError> {
    match (terminal, socket) {
        (true, None) => Err(RuntimeError::Refused(
            "cannot allocate tty if runc will detach without setting console socket".to_owned(),
        )),
        (false, Some(_)) => Err(RuntimeError::Refused(
            "cannot use console socket if runc will not detach or allocate tty".to_owned(),
        )),
        (false, None) => Ok(None),
        (true, Some(path)) => connect_stream(path, 0)
            .map(Some)
            .map_err(RuntimeError::system(format!("--console-socket {}", path.display()))),
    }
}
