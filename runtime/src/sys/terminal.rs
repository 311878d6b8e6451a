//! Pseudo-terminals: ioctl_tty(2), pty(7), termios(3).

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::termios::{self, OutputFlags, SetArg, Termios};

use super::error::{Call, Named, Result, SyscallError};
use super::open::adopt;

/// Rows and columns of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

/// Unlocks the peer of a pseudo-terminal master and opens it: `TIOCSPTLCK`, `TIOCGPTPEER`. The peer
/// comes from the master itself, so no path is involved that could be somebody else's.
///
/// # Errors
/// The errno of the request.
pub fn open_peer(master: impl AsFd) -> Result<OwnedFd> {
    let fd = master.as_fd().as_raw_fd();
    let unlock: libc::c_int = 0;
    // SAFETY: the request reads one int.
    if unsafe { libc::ioctl(fd, libc::TIOCSPTLCK, &raw const unlock) } != 0 {
        return Err(SyscallError::last(Call::Ioctl));
    }
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the request takes open flags and returns a new descriptor.
    match unsafe { libc::ioctl(fd, libc::TIOCGPTPEER, flags) } {
        -1 => Err(SyscallError::last(Call::Ioctl)),
        peer => Ok(adopt(peer)),
    }
}

/// The number of the peer in its devpts: `TIOCGPTN`.
///
/// # Errors
/// The errno of the request.
pub fn peer_number(master: impl AsFd) -> Result<u32> {
    let mut number: libc::c_uint = 0;
    // SAFETY: the request writes one unsigned int.
    match unsafe { libc::ioctl(master.as_fd().as_raw_fd(), libc::TIOCGPTN, &raw mut number) } {
        0 => Ok(number),
        _ => Err(SyscallError::last(Call::Ioctl)),
    }
}

/// Makes the terminal the controlling one of this session: `TIOCSCTTY`.
///
/// # Errors
/// The errno of the request.
pub fn make_controlling(terminal: impl AsFd) -> Result<()> {
    // SAFETY: the request takes an integer.
    match unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSCTTY, 0) } {
        0 => Ok(()),
        _ => Err(SyscallError::last(Call::Ioctl)),
    }
}

/// The size of a terminal: `TIOCGWINSZ`.
///
/// # Errors
/// ENOTTY when it is none.
pub fn size(terminal: impl AsFd) -> Result<Size> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the request writes one winsize.
    match unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) } {
        0 => Ok(Size { rows: size.ws_row, columns: size.ws_col }),
        _ => Err(SyscallError::last(Call::Ioctl)),
    }
}

/// Sets the size of a terminal: `TIOCSWINSZ`.
///
/// # Errors
/// The errno of the request.
pub fn set_size(terminal: impl AsFd, size: Size) -> Result<()> {
    let size =
        libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the request reads one winsize.
    match unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) } {
        0 => Ok(()),
        _ => Err(SyscallError::last(Call::Ioctl)),
    }
}

/// Whether the descriptor is a terminal.
#[must_use]
pub fn is_terminal(fd: impl AsFd) -> bool {
    size(fd).is_ok()
}

/// The settings of a terminal before [`make_raw`]; dropping them does nothing, [`restore`] does.
#[derive(Debug, Clone)]
pub struct Settings(Termios);

/// Lets every byte through untouched, as cfmakeraw(3); gives the former settings.
///
/// # Errors
/// The errno of tcgetattr(3) or tcsetattr(3).
pub fn make_raw(terminal: impl AsFd) -> Result<Settings> {
    let before = termios::tcgetattr(terminal.as_fd()).named(Call::Tcgetattr)?;
    let mut raw = before.clone();
    termios::cfmakeraw(&mut raw);
    termios::tcsetattr(terminal, SetArg::TCSANOW, &raw).named(Call::Tcsetattr)?;
    Ok(Settings(before))
}

/// Puts former settings back.
///
/// # Errors
/// The errno of tcsetattr(3).
pub fn restore(terminal: impl AsFd, settings: &Settings) -> Result<()> {
    termios::tcsetattr(terminal, SetArg::TCSANOW, &settings.0).named(Call::Tcsetattr)
}

/// Stops the terminal from turning each newline into carriage return and newline, which whoever
/// copies the master's bytes to a real terminal would get twice.
///
/// # Errors
/// The errno of tcgetattr(3) or tcsetattr(3).
pub fn clear_newline_translation(terminal: impl AsFd) -> Result<()> {
    let mut settings = termios::tcgetattr(terminal.as_fd()).named(Call::Tcgetattr)?;
    settings.output_flags.remove(OutputFlags::ONLCR);
    termios::tcsetattr(terminal, SetArg::TCSANOW, &settings).named(Call::Tcsetattr)
}
