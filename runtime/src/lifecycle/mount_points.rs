//! Makes the mount points of a restore, in a short-lived child with a mount namespace of its own: what it
//! mounts on the way is gone with it.

use std::os::fd::AsFd;

use super::error::RuntimeError;
use crate::arena::Arena;
use crate::config::linux::NamespaceKind;
use crate::config::spec::Spec;
use crate::failure::Failure;
use crate::init::error::InitError;
use crate::limits::CHILD_WAIT_MS;
use crate::rootfs::apply::{Live, Trees, apply};
use crate::rootfs::mount_points::mount_points;
use crate::rootfs::show::Shown;
use crate::sys::open::{pipe, read, write_all};
use crate::sys::process::{Clone3, Ended, clone3, pidfd_send_signal, wait_child, wait_readable};

/// Makes what is missing in the root file system.
///
/// # Errors
/// The step that failed, by its field.
pub(super) fn make(spec: &Spec, bundle: &str) -> Result<(), RuntimeError> {
    let failed = || RuntimeError::system("making mount points");
    let mut arena = Arena::default();
    let steps = mount_points(spec, bundle, &mut arena);
    let (ours, theirs) = pipe().map_err(failed())?;
    let options = Clone3 { namespaces: NamespaceKind::Mount.flag(), ..Clone3::default() };
    let walk = || {
        let mut live = Live::default();
        for (index, (_, step)) in steps.iter().enumerate() {
            if let Err(failure) = apply(step, &arena, &Trees::NONE, &mut live) {
                // Who does not hear it sees the status.
                let _ = write_all(&theirs, &frame(index, failure));
                return 1;
            }
        }
        0
    };
    let child = clone3(&options, walk).map_err(failed())?;
    drop(theirs);
    if !wait_readable(&child.pidfd, CHILD_WAIT_MS).map_err(failed())? {
        let _ = pidfd_send_signal(&child.pidfd, libc::SIGKILL);
    }
    let ended = wait_child(child.pidfd.as_fd()).map_err(failed())?;
    if ended == Ended::Exited(0) {
        return Ok(());
    }
    let mut bytes = [0; FRAME_BYTES];
    let told = read(&ours, &mut bytes).is_ok_and(|length| length == FRAME_BYTES);
    let Some((index, source)) = told.then(|| parse(&bytes)).flatten() else {
        let text = format!("while mount points were made: {ended:?}");
        return Err(RuntimeError::Init(InitError::Died(text)));
    };
    let what = steps.get(index).map_or_else(String::new, |(origin, step)| {
        format!("{origin}: {}", Shown(step, &arena, &[]))
    });
    Err(RuntimeError::Init(InitError::Parent { what, source }))
}

const FRAME_BYTES: usize = 12;

fn frame(index: usize, failure: Failure) -> [u8; FRAME_BYTES] {
    let (kind, number, errno) = failure.to_wire();
    let mut frame = [0; FRAME_BYTES];
    frame[..4].copy_from_slice(&u32::try_from(index).unwrap_or(u32::MAX).to_le_bytes());
    frame[4..6].copy_from_slice(&kind.to_le_bytes());
    frame[6..8].copy_from_slice(&number.to_le_bytes());
    frame[8..].copy_from_slice(&errno.to_le_bytes());
    frame
}

fn parse(frame: &[u8; FRAME_BYTES]) -> Option<(usize, Failure)> {
    let [a, b, c, d, kind @ ..] = *frame;
    let [k, l, m, n, e, f, g, h] = kind;
    let index = usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()?;
    let (kind, number) = (u16::from_le_bytes([k, l]), u16::from_le_bytes([m, n]));
    Some((index, Failure::from_wire(kind, number, i32::from_le_bytes([e, f, g, h]))?))
}
