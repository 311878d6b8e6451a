//! A child that is made by another process, which is sent ahead into namespaces and ends.

use std::os::fd::{AsFd, OwnedFd};

use crate::failure::{Failure, Finding, Result};
use crate::sys::process::{Child, Clone3, clone3, wait_child};
use crate::sys::socket::{receive_descriptor, send, send_descriptor, seqpacket_pair};

/// Length of what the process that was sent ahead reports: the child's pid, or why there is none and at
/// which step.
const REPORT: usize = 10;

/// Sends a process ahead, which goes where this one could not come back from and makes the child there, as a
/// sibling of its own: `make` runs in it. Allocates nothing.
///
/// # Errors
/// What `make` failed with, or the errno of socketpair(2), clone3(2) or waitid(2).
pub fn by_process_ahead(make: impl FnOnce() -> Result<Child>) -> Result<Child> {
    by_steps_ahead(|_| make()).map_err(|(_, failure)| failure)
}

/// The same for a `make` that counts its steps, with the number at which it failed.
///
/// # Errors
/// As [`by_process_ahead`].
pub fn by_steps_ahead(
    make: impl FnOnce(&mut u16) -> Result<Child>,
) -> std::result::Result<Child, (u16, Failure)> {
    let mut at = 0;
    go_ahead(make, &mut at).map_err(|failure| (at, failure))
}

fn go_ahead(make: impl FnOnce(&mut u16) -> Result<Child>, failed_at: &mut u16) -> Result<Child> {
    let (ours, theirs) = seqpacket_pair()?;
    let ahead = clone3(&Clone3::default(), || {
        let mut at = 0;
        let made = make(&mut at);
        match report(&theirs, at, made) {
            Ok(()) => 0,
            Err(_) => 1,
        }
    })?;
    drop(theirs);
    let mut bytes = [0; REPORT];
    let received = receive_descriptor(&ours, &mut bytes);
    wait_child(&ahead.pidfd)?;
    let (length, pidfd) = received?;
    match (pidfd, decode(bytes)) {
        (Some(pidfd), Report::Pid(pid)) if length == REPORT => Ok(Child { pid, pidfd }),
        (None, Report::Failed(at, failure)) if length == REPORT => {
            *failed_at = at;
            Err(failure)
        }
        _ => Err(Finding::ParentGone.into()),
    }
}

enum Report {
    Pid(i32),
    Failed(u16, Failure),
}

/// Allocates nothing, and closes nothing: the process ends.
fn report(socket: &OwnedFd, at: u16, made: Result<Child>) -> crate::sys::error::Result<()> {
    let mut bytes = [0; REPORT];
    match made {
        Ok(made) => {
            bytes[4..8].copy_from_slice(&made.pid.to_ne_bytes());
            send_descriptor(socket.as_fd(), &bytes, &made.pidfd)
        }
        Err(failure) => {
            let (kind, call, value) = failure.to_wire();
            bytes[0] = 1;
            bytes[1] = u8::try_from(kind).unwrap_or(u8::MAX);
            bytes[2..4].copy_from_slice(&call.to_ne_bytes());
            bytes[4..8].copy_from_slice(&value.to_ne_bytes());
            bytes[8..].copy_from_slice(&at.to_ne_bytes());
            send(socket.as_fd(), &bytes)
        }
    }
}

fn decode(bytes: [u8; REPORT]) -> Report {
    let [report, kind, call_low, call_high, a, b, c, d, at_low, at_high] = bytes;
    let value = i32::from_ne_bytes([a, b, c, d]);
    match report {
        0 => Report::Pid(value),
        _ => {
            let call = u16::from_ne_bytes([call_low, call_high]);
            let failure = Failure::from_wire(kind.into(), call, value);
            let at = u16::from_ne_bytes([at_low, at_high]);
            Report::Failed(at, failure.unwrap_or(Failure::Found(Finding::ParentGone)))
        }
    }
}
