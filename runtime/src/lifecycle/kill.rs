//! kill: a signal for the container process (runtime-spec, runtime.md, "Kill").

use std::os::fd::OwnedFd;
use std::path::Path;

use super::error::RuntimeError;
use super::state::Container;
use crate::container::id::ContainerId;
use crate::sys::process::pidfd_send_signal;

/// Sends a signal. Without a pid namespace of its own the container's other processes would outlive
/// a SIGKILL of the first, or have done so already, so they all get it. With `all` it is no error when
/// the container does not run.
///
/// # Errors
/// `container not running`, which callers match; the errno of pidfd_send_signal(2).
pub fn kill(root: &Path, id: &ContainerId, signal: i32, all: bool) -> Result<(), RuntimeError> {
    let container = Container::open(root, id)?;
    let process = container.state.process.open();
    let process = process.map_err(RuntimeError::system("the container process"))?;
    if signal == libc::SIGKILL && !container.state.owns_pid_namespace {
        return match container.has_cgroup() {
            true => container.kill_all(),
            false => send(process.as_ref(), signal, all),
        };
    }
    send(process.as_ref(), signal, all)?;
    // A frozen process takes no signal, and the one that ends it must arrive.
    let cgroups = container.cgroups();
    if signal == libc::SIGKILL && cgroups.is_frozen()? {
        cgroups.thaw()?;
    }
    Ok(())
}

fn send(process: Option<&OwnedFd>, signal: i32, all: bool) -> Result<(), RuntimeError> {
    let sent = process.map(|process| pidfd_send_signal(process, signal));
    match sent {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) if error.errno != libc::ESRCH => {
            Err(RuntimeError::system(format!("signal {signal}"))(error))
        }
        _ if all => Ok(()),
        _ => Err(RuntimeError::Refused("container not running".to_owned())),
    }
}
