//! `delete`: cleans up after a shim, whether it went in order or was killed, and prints how the container ended.
//!
//! containerd calls it after every task. Where the shim deleted the container itself its journal is gone, and nothing
//! has to be asked of the runtime any more.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitStatus;
use std::time::SystemTime;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid};

use crate::args::Args;
use crate::bundle;
use crate::engine::{Engine, Running, Streams};
use crate::events::Exit;
use crate::job::delete_answer;
use crate::limits;
use crate::rootfs_mounts;
use crate::socket::is_served;

/// Does `delete`.
pub fn delete(args: &Args) -> Result<(), String> {
    let bundle = match args.bundle.as_str() {
        "" => std::env::current_dir().map_err(|error| format!("working directory: {error}"))?,
        path => path.into(),
    };
    if !bundle.is_absolute() {
        return Err(format!("bundle {}: it is no absolute path", bundle.display()));
    }
    let pid = bundle::read_pid(&bundle::pid_file(&bundle, "")).unwrap_or(0);
    let mut failed = None;
    if let Some(options) = bundle::journal(&bundle) {
        let engine = Engine::new(&options, &args.namespace, &bundle);
        let words = ["--force".into(), args.id.clone().into()];
        let ended = engine
            .run("delete", &words, Streams::Captured(limits::OUTPUT_BYTES))
            .map_err(|error| error.message)
            .and_then(wait);
        match ended {
            Ok(()) => bundle::remove_journal(&bundle),
            Err(error) => failed = Some(error),
        }
    }
    rootfs_mounts::unmount_all(&bundle.join("rootfs"));
    remove_socket(&bundle);
    if let Some(error) = failed {
        return Err(error);
    }
    let exit = Exit { status: 128 + 9, at: SystemTime::now() };
    io::stdout()
        .write_all(&delete_answer(pid, exit))
        .map_err(|error| format!("standard output: {error}"))
}

/// Waits for the runtime, and not longer than it may take.
fn wait(mut running: Running) -> Result<(), String> {
    let tell = |error: rustix::io::Errno| format!("the runtime: {error}");
    let pid =
        i32::try_from(running.pid).ok().and_then(Pid::from_raw).ok_or("a pid out of range")?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(tell)?;
    let bound = Timespec::try_from(limits::END).ok();
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    let ready = poll(&mut fds, bound.as_ref()).map_err(tell)?;
    if ready == 0 {
        let _ = crate::sys::kill(running.pid, 9);
        return Err(running.late(limits::END).message);
    }
    let status = waitpid(Some(pid), WaitOptions::empty()).map_err(tell)?;
    let raw = status.map_or(0, |it| it.1.as_raw());
    let status = <ExitStatus as std::os::unix::process::ExitStatusExt>::from_raw(raw);
    running.outcome(status).map(|_| ()).map_err(|error| error.message)
}

/// Removes the socket of a shim that was killed; the pod's other containers may still have theirs.
fn remove_socket(bundle: &Path) {
    let Some(address) = bundle::address(bundle) else { return };
    let Some(path) = address.strip_prefix("unix://").map(Path::new) else { return };
    if path.exists() && !is_served(path) {
        let _ = std::fs::remove_file(path);
    }
}
