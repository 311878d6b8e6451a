//! kill: a signal for the container process (runtime-spec, runtime.md, "Kill").

use std::path::Path;

use super::error::RuntimeError;
use super::state::{Container, kill_in};
use crate::container::id::ContainerId;
use crate::container::status::Status;
use crate::sys::process::pidfd_send_signal;

/// Sends a signal. Without a pid namespace of its own the container's other processes would outlive
/// a SIGKILL of the first, so they all get it.
///
/// # Errors
/// `container not running`, which callers match; the errno of pidfd_send_signal(2).
pub fn kill(root: &Path, id: &ContainerId, signal: i32, all: bool) -> Result<(), RuntimeError> {
    let container = Container::open(root, id)?;
    let process = container.state.process.open();
    let process = process.map_err(RuntimeError::system("the container process"))?;
    let Some(pidfd) = process else {
        if all || signal == libc::SIGKILL {
            kill_in(&container.cgroups())?;
        }
        return match all {
            true => Ok(()),
            false => Err(RuntimeError::Refused("container not running".to_owned())),
        };
    };
    let status = container.status();
    if status == Status::Stopped {
        return Err(RuntimeError::Refused("container not running".to_owned()));
    }
    if signal == libc::SIGKILL && !container.state.owns_pid_namespace {
        return container.kill_all();
    }
    pidfd_send_signal(&pidfd, signal).map_err(|error| match error.errno {
        libc::ESRCH => RuntimeError::Refused("container not running".to_owned()),
        _ => RuntimeError::system(format!("signal {signal}"))(error),
    })?;
    // A frozen process takes no signal, and the one that ends it must arrive.
    if signal == libc::SIGKILL && status == Status::Paused {
        container.cgroups().thaw()?;
    }
    Ok(())
}
