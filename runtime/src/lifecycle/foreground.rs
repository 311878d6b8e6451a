//! Waiting for a process in the foreground: signals go to it, and with a terminal every byte goes
//! through this program. The wait is on a pidfd, so no end can be missed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::error::RuntimeError;
use super::notify::Notify;
use crate::sys::error::{SyscallError, errno_text};
use crate::sys::open::{CWD, OpenFlags, duplicate, inherited, openat, read, write_all};
use crate::sys::process::{
    Child, Ended, Watch, getpid, pidfd_send_signal, poll, reap_others, wait_child, wait_readable,
};
use crate::sys::signal::{all_as_descriptor, read_descriptor};
use crate::sys::socket::receive_descriptor;
use crate::sys::terminal::{self, Settings};

/// What must be set up before the process is made.
#[derive(Debug)]
pub struct Foreground {
    signals: OwnedFd,
    console: Option<OwnedFd>,
    master: Option<OwnedFd>,
    /// The caller's terminal.
    host: Option<OwnedFd>,
}

impl Foreground {
    /// Takes over the signals of this process, so that none is lost between now and [`wait`].
    ///
    /// [`wait`]: Foreground::wait
    ///
    /// # Errors
    /// [`RuntimeError::System`]; [`RuntimeError::Refused`] where there is no terminal to show the process's on.
    pub fn prepare(terminal: bool) -> Result<(Self, Option<OwnedFd>), RuntimeError> {
        let signals = all_as_descriptor().map_err(RuntimeError::system("signals"))?;
        if !terminal {
            return Ok((Self { signals, console: None, master: None, host: None }, None));
        }
        let host = callers_terminal().map_err(|error| {
            // The words are runc's, as far as it has any.
            let reason = errno_text(error.errno);
            RuntimeError::Refused(format!(
                "open /dev/tty: {reason} (the process gets a terminal, and there is none here to show it on)"
            ))
        })?;
        let pair = crate::sys::socket::seqpacket_pair();
        let (ours, theirs) = pair.map_err(RuntimeError::system("the console"))?;
        Ok((Self { signals, console: Some(ours), master: None, host: Some(host) }, Some(theirs)))
    }

    /// Takes the master of the container's terminal, which the process has sent once it is ready, and
    /// sets it up. To be done before the program runs: what it writes shall find the settings.
    ///
    /// # Errors
    /// [`RuntimeError::System`]; [`RuntimeError::Refused`] when the process sent none.
    pub fn take_terminal(&mut self) -> Result<(), RuntimeError> {
        let Some(console) = &self.console else { return Ok(()) };
        let failed = || RuntimeError::system("the console");
        let master = match wait_readable(console, 0).map_err(failed())? {
            true => receive_descriptor(console, &mut [0; 64]).map_err(failed())?.1,
            false => None,
        };
        let master = master.ok_or_else(|| {
            RuntimeError::Refused("the container process sent no terminal".to_owned())
        })?;
        terminal::clear_newline_translation(&master).map_err(failed())?;
        self.master = Some(master);
        Ok(())
    }

    /// Waits until the process ends. Meanwhile its readiness is handed on to a manager, who watches this
    /// process for it.
    ///
    /// # Errors
    /// [`RuntimeError::System`].
    pub(super) fn wait(
        self,
        child: &Child,
        mut notify: Option<&Notify>,
    ) -> Result<Ended, RuntimeError> {
        let failed = || RuntimeError::system("waiting for the container process");
        let mut relay = match (&self.master, &self.host) {
            (Some(master), Some(host)) => Some(Relay::begin(master.as_fd(), host.as_fd())?),
            _ => None,
        };
        let mut handed_on = None;
        loop {
            let of_relay = relay.as_ref().map_or([None, None], Relay::watches);
            let watch = |fd| Watch { fd, events: libc::POLLIN };
            let watches = [
                watch(Some(child.pidfd.as_fd())),
                watch(Some(self.signals.as_fd())),
                watch(of_relay[0]),
                watch(of_relay[1]),
                watch(notify.map(Notify::fd)),
            ];
            let [ended, signalled, input, output, said] = poll(watches, -1).map_err(failed())?;
            if let Some(relay) = &mut relay {
                relay.carry(input != 0, output != 0);
            }
            if said != 0
                && let Some(from) = notify
            {
                // A manager that does not want to hear it is no reason to leave the process alone.
                handed_on = from.hand_on(getpid()).unwrap_or_default();
                notify = notify.filter(|_| handed_on.is_none());
                continue;
            }
            if ended != 0 {
                if let Some(relay) = &mut relay {
                    relay.drain();
                }
                if let Some(handed_on) = handed_on {
                    let _ = handed_on.settle();
                }
                return wait_child(&child.pidfd).map_err(failed());
            }
            if signalled != 0 {
                while let Some(signal) = read_descriptor(&self.signals).map_err(failed())? {
                    deliver(signal, child, relay.as_ref());
                }
            }
        }
    }
}

/// What a signal to this program means for the process.
fn deliver(signal: i32, child: &Child, relay: Option<&Relay<'_>>) {
    match signal {
        libc::SIGCHLD => reap_others(child.pid),
        libc::SIGWINCH => {
            if let Some(relay) = relay {
                relay.resize();
            }
        }
        // The scheduler of some language runtimes sends it to itself.
        libc::SIGURG => {}
        // The process may have ended meanwhile; then its end is what the next poll shows.
        other => drop(pidfd_send_signal(&child.pidfd, other)),
    }
}

/// The terminal that the caller sits at: one of the streams, or where all were redirected, the controlling
/// one.
fn callers_terminal() -> Result<OwnedFd, SyscallError> {
    let streams = [2, 1, 0].into_iter().filter_map(|number| inherited(number).ok());
    match streams.into_iter().find(|stream| terminal::is_terminal(*stream)) {
        Some(stream) => duplicate(stream),
        None => openat(CWD, c"/dev/tty", OpenFlags::O_RDWR | OpenFlags::O_NOCTTY, 0),
    }
}

/// Carries bytes between this program's streams and the master of a terminal.
struct Relay<'fd> {
    master: BorrowedFd<'fd>,
    host: BorrowedFd<'fd>,
    input: Option<BorrowedFd<'static>>,
    output: Option<BorrowedFd<'static>>,
    before: Settings,
    open: bool,
}

impl<'fd> Relay<'fd> {
    fn begin(master: BorrowedFd<'fd>, host: BorrowedFd<'fd>) -> Result<Self, RuntimeError> {
        let raw = terminal::make_raw(host);
        let before = raw.map_err(RuntimeError::system("the caller's terminal"))?;
        let (input, output) = (inherited(0).ok(), inherited(1).ok());
        let relay = Self { master, host, input, output, before, open: true };
        relay.resize();
        Ok(relay)
    }

    fn watches(&self) -> [Option<BorrowedFd<'_>>; 2] {
        [self.input, self.open.then_some(self.master)]
    }

    fn resize(&self) {
        // A terminal that is gone has no size to hand on.
        if let Ok(size) = terminal::size(self.host) {
            let _ = terminal::set_size(self.master, size);
        }
    }

    fn carry(&mut self, input: bool, output: bool) {
        let mut buffer = [0; 8192];
        if input && let Some(from) = self.input {
            match read(from, &mut buffer) {
                Ok(count) if count > 0 => {
                    if write_all(self.master, &buffer[..count]).is_err() {
                        self.input = None;
                    }
                }
                _ => self.input = None,
            }
        }
        if output {
            match read(self.master, &mut buffer) {
                Ok(count) if count > 0 => {
                    let written = self.output.map(|to| write_all(to, &buffer[..count]));
                    if matches!(written, Some(Err(_))) {
                        self.output = None;
                    }
                }
                // EIO: the last process that had the terminal open is gone.
                _ => self.open = false,
            }
        }
    }

    /// What the process wrote before it ended.
    fn drain(&mut self) {
        while self.open && wait_readable(self.master, 0).unwrap_or(false) {
            self.carry(false, true);
        }
    }
}

impl Drop for Relay<'_> {
    fn drop(&mut self) {
        // There is nothing to be done for a terminal that is gone.
        let _ = terminal::restore(self.host, &self.before);
    }
}
