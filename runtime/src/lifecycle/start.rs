//! start: the program is executed (runtime-spec, runtime.md, "Start").

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use super::delete::delete;
use super::error::RuntimeError;
use super::filter;
use super::hooks;
use super::notify::Notify;
use super::state::Container;
use crate::config::hooks::Point;
use crate::container::id::ContainerId;
use crate::container::status::Status;
use crate::init::error::{InitError, explain_after_start};
use crate::init::protocol::Message;
use crate::limits::START_WAIT_MS;
use crate::sys::open::write_all;
use crate::sys::process::{Watch, poll};

/// Lets the process of a created container go, and returns when it has executed its program; with a
/// manager's socket in `notify`, when the program is ready or has ended.
///
/// # Errors
/// When the container is not `created`, or why the process could not execute its program: the
/// container has stopped then.
pub fn start(root: &Path, id: &ContainerId, notify: Option<&OsStr>) -> Result<(), RuntimeError> {
    let container = Container::open(root, id)?;
    container.directory.lock(true)?;
    let status = container.status()?;
    if let Some(text) = status.refuses_start() {
        return Err(RuntimeError::Refused(text.to_owned()));
    }
    let stopped = || {
        let text = Status::Stopped.refuses_start().unwrap_or_default();
        RuntimeError::Refused(text.to_owned())
    };
    let notify = match notify {
        Some(host) => {
            let opened = container.state.process.open();
            let process = opened.map_err(RuntimeError::system("the container process"))?;
            Some((Notify::open(&container.directory, host)?, process.ok_or_else(stopped)?))
        }
        None => None,
    };
    let fifo = container.directory.open_fifo()?.ok_or_else(stopped)?;
    // Before the process is let go: it holds the writing end until its program is executed.
    let answer = container.directory.open_status()?;
    write_all(&fifo, b"0").map_err(RuntimeError::system("exec.fifo"))?;
    container.directory.remove_gate()?;
    if let Err(error) = await_program(&container, answer) {
        // It says why and then ends: whoever asks next shall find the container stopped.
        container.has_ended_soon();
        // A record that cannot be written must not hide what it would have said.
        let _ = container.directory.write_last_error(&error.to_record("start"));
        return Err(error);
    }
    let pid = container.state.process.pid;
    let hooked = match container.hooks()? {
        Some(listed) => hooks::after_start(&listed, &container.state, pid),
        None => Ok(()),
    };
    let Err(error) = hooked else {
        let Some((notify, process)) = notify else { return Ok(()) };
        // Other commands shall not have to wait for the program.
        container.directory.unlock()?;
        return notify.wait(process.as_fd(), pid);
    };
    // runtime-spec, "Lifecycle", step 8: the container is stopped and its life ends as by delete.
    container.directory.unlock()?;
    let error = RuntimeError::from(error);
    Err(match delete(root, id, true) {
        Ok(_) => error,
        Err(second) => error.and_cleaning_up(&second),
    })
}

/// Waits for the end of the stream, which is execve's doing, or for a frame that says what failed.
fn await_program(container: &Container, answer: OwnedFd) -> Result<(), RuntimeError> {
    let failed = || RuntimeError::system("status.fifo");
    let watch = Watch { fd: Some(answer.as_fd()), events: libc::POLLIN };
    let [seen] = poll([watch], START_WAIT_MS).map_err(failed())?;
    if seen == 0 {
        let text = "the container process does not come to execute its program".to_owned();
        return Err(RuntimeError::Refused(text));
    }
    let (Some(Message::Failed { step, failure }), output) =
        Message::receive_with_text(&answer).map_err(failed())?
    else {
        return killed_by_filter(container);
    };
    drop(answer);
    let spec = container.config()?;
    let listed = spec.hooks.at(Point::StartContainer).iter();
    let paths: Vec<String> = listed.map(|hook| hook.path.clone()).collect();
    let program = spec.process.and_then(|process| process.args.into_iter().next());
    let program = program.unwrap_or_default();
    Err(RuntimeError::Init(explain_after_start(
        usize::from(step),
        failure,
        output,
        &paths,
        &program,
    )))
}

/// A filter that answers execve with death leaves nobody to say so: the stream ends as it does when
/// the program was executed.
fn killed_by_filter(container: &Container) -> Result<(), RuntimeError> {
    // Its descriptors are closed before it is seen to be dead, so that being alive says nothing. Few
    // configs have such an action; the others need not be compiled to know it.
    const DEADLY: [&str; 4] =
        ["SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP"];
    if !container.config_mentions(&DEADLY)? {
        return Ok(());
    }
    let spec = container.config()?;
    let (Some(filter), _) = filter::compile(&spec)? else { return Ok(()) };
    let kills = crate::seccomp::kills(&filter.program, "execve");
    // A rule may look at arguments: only who is dead was killed.
    match kills && container.has_ended_soon() {
        true => Err(RuntimeError::Init(InitError::Died(
            "linux.seccomp kills a process that calls execve".to_owned(),
        ))),
        false => Ok(()),
    }
}
