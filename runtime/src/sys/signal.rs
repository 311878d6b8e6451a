//! Signals as descriptors, and the mask and dispositions a container process must start with.

use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::error::{Call, Named, Result};

/// Blocks every signal and gives a descriptor that reads them: signalfd(2), close-on-exec.
///
/// # Errors
/// The errno of whichever call failed.
pub fn all_as_descriptor() -> Result<OwnedFd> {
    let all = SigSet::all();
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_BLOCK, Some(&all), None)
        .named(Call::Sigprocmask)?;
    let fd = SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .named(Call::Signalfd)?;
    Ok(super::open::adopt(std::os::fd::IntoRawFd::into_raw_fd(IntoFd(fd).into_owned()?)))
}

/// `SignalFd` owns its descriptor but does not hand it out: a duplicate does.
struct IntoFd(SignalFd);

impl IntoFd {
    fn into_owned(self) -> Result<OwnedFd> {
        self.0
            .as_fd()
            .try_clone_to_owned()
            .map_err(|e| super::error::SyscallError {
                call: Call::Dup,
                errno: e.raw_os_error().unwrap_or(libc::EMFILE),
            })
    }
}

/// The next pending signal's number, or `None` when there is none.
///
/// # Errors
/// The errno of read(2).
pub fn read_descriptor(fd: impl AsFd) -> Result<Option<i32>> {
    let mut buffer = [0_u8; size_of::<libc::signalfd_siginfo>()];
    match super::open::read(fd, &mut buffer) {
        Ok(length) if length == buffer.len() => {
            let number = u32::from_ne_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]);
            Ok(i32::try_from(number).ok())
        }
        Ok(_) => Ok(None),
        Err(error) if error.errno == libc::EAGAIN => Ok(None),
        Err(error) => Err(error),
    }
}

/// Unblocks every signal.
///
/// # Errors
/// The errno of the call.
pub fn unblock_all() -> Result<()> {
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
        .named(Call::Sigprocmask)
}

/// Gives the signals that the Rust runtime or a careless caller ignores their default meaning
/// again: exec keeps what is ignored, and clone3 resets handlers only.
///
/// # Errors
/// The errno of the call.
pub fn stop_ignoring() -> Result<()> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGPIPE, Signal::SIGCHLD] {
        // SAFETY: the default action runs no code of this program.
        unsafe { nix::sys::signal::sigaction(signal, &default) }.named(Call::Sigprocmask)?;
    }
    Ok(())
}
