//! A process by its identity: its number and when it started, because numbers are used again.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use crate::sys::error::SyscallError;
use crate::sys::open::{CWD, OpenFlags, openat, read};
use crate::sys::process::{names_no_process, pidfd_open};

/// A process that was there once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProcessIdentity {
    /// Its pid on the host.
    pub pid: i32,
    /// When it started, in clock ticks after boot (proc_pid_stat(5), field 22).
    pub start_time: u64,
}

/// What `/proc/PID/stat` says about a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    state: u8,
    start_time: u64,
}

impl ProcessIdentity {
    /// The identity of a running process; `None` when there is none with this pid.
    ///
    /// # Errors
    /// The errno of a call: whether it runs is not known.
    pub fn of(pid: i32) -> Result<Option<Self>, SyscallError> {
        Ok(stat(pid)?.map(|stat| Self { pid, start_time: stat.start_time }))
    }

    /// Whether the very process is alive: a zombie is not.
    ///
    /// # Errors
    /// The errno of a call: whoever took it for dead then would give up a process that runs.
    pub fn is_alive(&self) -> Result<bool, SyscallError> {
        Ok(stat(self.pid)?.is_some_and(|stat| {
            stat.start_time == self.start_time && !matches!(stat.state, b'Z' | b'X')
        }))
    }

    /// A descriptor of the very process; `None` when it has ended. The identity is checked after
    /// the descriptor is there, so that a number used again in between is noticed.
    ///
    /// # Errors
    /// The errno of pidfd_open(2) for which [`names_no_process`] does not hold, and as [`ProcessIdentity::is_alive`].
    pub fn open(&self) -> Result<Option<OwnedFd>, SyscallError> {
        match pidfd_open(self.pid) {
            Ok(fd) => Ok(self.is_alive()?.then_some(fd)),
            Err(error) if names_no_process(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn stat(pid: i32) -> Result<Option<Stat>, SyscallError> {
    if pid <= 0 {
        return Ok(None);
    }
    let path = CString::new(format!("/proc/{pid}/stat")).unwrap_or_default();
    // One read gives the whole line: a name of 64 bytes and 52 numbers.
    let mut line = [0; 2048];
    let read = openat(CWD, &path, OpenFlags::O_RDONLY, 0).and_then(|file| read(&file, &mut line));
    match read {
        Ok(length) => Ok(parse_stat(&line[..length])),
        // ESRCH: it ended between the two calls.
        Err(error) if matches!(error.errno, libc::ENOENT | libc::ESRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The name of the program stands in parentheses and may hold any byte, so the fields are counted
/// from the last closing one.
fn parse_stat(content: &[u8]) -> Option<Stat> {
    let end_of_name = content.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(content.get(end_of_name + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    // The state is field 3, the start time field 22.
    let start_time = fields.nth(18)?.parse().ok()?;
    Some(Stat { state, start_time })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_a_stat_whose_name_imitates_one() {
        let line = b"7 (a) R 1 (b)) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 2";
        let stat = parse_stat(line).unwrap();
        assert_eq!(stat, Stat { state: b'S', start_time: 4242 });
        assert_eq!(parse_stat(b"7 (a) S 1"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn knows_itself_and_not_another() {
        let own = ProcessIdentity::of(crate::sys::process::getpid()).unwrap().unwrap();
        assert!(own.is_alive().unwrap());
        let other = ProcessIdentity { start_time: own.start_time + 1, ..own };
        assert!(!other.is_alive().unwrap());
        assert!(other.open().unwrap().is_none());
    }
}
