//! start: the program is executed (runtime-spec, runtime.md, "Start").

use std::os::fd::AsFd;
use std::path::Path;

use super::delete::delete;
use super::error::RuntimeError;
use super::hooks;
use super::state::Container;
use crate::container::id::ContainerId;
use crate::container::status::Status;
use crate::limits::START_WAIT_MS;
use crate::sys::open::write_all;
use crate::sys::process::{Watch, poll};

/// Lets the process of a created container go, and returns when it has executed its program.
///
/// # Errors
/// When the container is not `created`, or the process does not come to execute its program.
pub fn start(root: &Path, id: &ContainerId) -> Result<(), RuntimeError> {
    let container = Container::open(root, id)?;
    container.directory.lock(true)?;
    let status = container.status();
    if let Some(text) = status.refuses_start() {
        return Err(RuntimeError::Refused(text.to_owned()));
    }
    let stopped = || {
        let text = Status::Stopped.refuses_start().unwrap_or_default();
        RuntimeError::Refused(text.to_owned())
    };
    let fifo = container.directory.open_fifo()?.ok_or_else(stopped)?;
    write_all(&fifo, b"0").map_err(RuntimeError::system("exec.fifo"))?;
    container.directory.remove_fifo()?;
    // The process holds the only other end; it is closed by execve, or by the process's end.
    let watch = Watch { fd: Some(fifo.as_fd()), events: 0 };
    let [closed] = poll([watch], START_WAIT_MS).map_err(RuntimeError::system("exec.fifo"))?;
    if closed == 0 {
        let text = "the container process does not come to execute its program".to_owned();
        return Err(RuntimeError::Refused(text));
    }
    let Some(listed) = container.hooks()? else { return Ok(()) };
    let pid = container.state.process.pid;
    let Err(error) = hooks::after_start(&listed, &container.state, pid) else { return Ok(()) };
    // runtime-spec, "Lifecycle", step 8: the container is stopped and its life ends as by delete.
    container.directory.unlock()?;
    let error = RuntimeError::from(error);
    Err(match delete(root, id, true) {
        Ok(_) => error,
        Err(second) => error.and_cleaning_up(&second),
    })
}
