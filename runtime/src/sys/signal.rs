//! Signals as descriptors, and the mask and dispositions a container process must start with.

use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal};

use super::error::{Call, Named, Result};

/// Blocks every signal and gives a descriptor that reads them: signalfd(2), close-on-exec.
///
/// # Errors
/// The errno of whichever call failed.
pub fn all_as_descriptor() -> Result<OwnedFd> {
    let all = SigSet::all();
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_BLOCK, Some(&all), None)
        .named(Call::Sigprocmask)?;
    let mask: *const libc::sigset_t = all.as_ref();
    // SAFETY: the set lives through the call. nix's type keeps the descriptor to itself.
    match unsafe { libc::signalfd(-1, mask, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) } {
        -1 => Err(super::error::SyscallError::last(Call::Signalfd)),
        fd => Ok(super::open::adopt(fd)),
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

/// Has the signals that ask a program to end do so for the first process of a pid namespace too, which
/// takes none that it does not handle; execve(2) undoes it. For a process that only waits.
///
/// # Errors
/// The errno of the call.
pub fn end_on_termination() -> Result<()> {
    extern "C" fn end(signal: libc::c_int) {
        super::process::exit_now(128 + signal);
    }
    let action = SigAction::new(SigHandler::Handler(end), SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM] {
        // SAFETY: the handler does nothing but _exit(2), which is safe in a signal handler.
        unsafe { nix::sys::signal::sigaction(signal, &action) }.named(Call::Sigprocmask)?;
    }
    Ok(())
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
