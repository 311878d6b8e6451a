//! The way into a pid namespace that this process has no right over: the namespace belongs to a user
//! namespace in which it would have the right, but from which it could not come back. So a process is
//! sent ahead, makes the child there as this process's own, and ends.

use std::os::fd::{AsFd, OwnedFd};

use super::child::{self, Inherited};
use super::plan::Plan;
use crate::failure::{Failure, Finding, Result};
use crate::sys::namespace::{Kind, setns};
use crate::sys::process::{Child, Clone3, clone3, wait_child};
use crate::sys::socket::{receive_descriptor, send, send_descriptor, seqpacket_pair};

/// Length of what the process that was sent ahead reports: the child's pid, or why there is none.
const REPORT: usize = 8;

/// Makes the child in the namespaces `kinds` of the process that is joined.
///
/// # Errors
/// The errno of setns(2) or clone3(2), wherever it failed.
pub(super) fn clone_beyond(plan: &mut Plan, inherited: &Inherited, kinds: Kind) -> Result<Child> {
    let (there, _) = inherited.join.as_ref().ok_or(Finding::ParentGone)?;
    let (ours, theirs) = seqpacket_pair()?;
    let ahead = clone3(&Clone3::default(), || {
        let made = setns(there, kinds).and_then(|()| {
            let options = Clone3 { sibling: true, ..Clone3::default() };
            clone3(&options, || child::run(plan, inherited))
        });
        match report(&theirs, made) {
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
        (None, Report::Failed(failure)) if length == REPORT => Err(failure),
        _ => Err(Finding::ParentGone.into()),
    }
}

enum Report {
    Pid(i32),
    Failed(Failure),
}

/// Allocates nothing, and closes nothing: the process ends.
fn report(
    socket: &OwnedFd,
    made: crate::sys::error::Result<Child>,
) -> crate::sys::error::Result<()> {
    let mut bytes = [0; REPORT];
    match made {
        Ok(made) => {
            bytes[4..].copy_from_slice(&made.pid.to_ne_bytes());
            send_descriptor(socket.as_fd(), &bytes, &made.pidfd)
        }
        Err(error) => {
            let (call, errno) = error.to_wire();
            bytes[0] = 1;
            bytes[2..4].copy_from_slice(&call.to_ne_bytes());
            bytes[4..].copy_from_slice(&errno.to_ne_bytes());
            send(socket.as_fd(), &bytes)
        }
    }
}

fn decode(bytes: [u8; REPORT]) -> Report {
    let [kind, _, call_low, call_high, value @ ..] = bytes;
    let value = i32::from_ne_bytes(value);
    match kind {
        0 => Report::Pid(value),
        _ => {
            let call = u16::from_ne_bytes([call_low, call_high]);
            let failure = Failure::from_wire(0, call, value);
            Report::Failed(failure.unwrap_or(Failure::Found(Finding::ParentGone)))
        }
    }
}
