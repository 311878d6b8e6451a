//! Which newer calls this process does without. Every fallback can thus be run on one kernel:
//! `KEEL_WITHOUT=openat2,mount_setattr` makes the named calls answer ENOSYS (for tests).

use std::sync::atomic::{AtomicU8, Ordering};

use super::error::{Call, Result, SyscallError};

/// Calls that have a fallback.
const OPTIONAL: &[(Call, u8)] =
    &[(Call::Openat2, 1), (Call::MountSetattr, 2), (Call::CloseRange, 4), (Call::OpenTreeAttr, 8)];

static OFF: AtomicU8 = AtomicU8::new(0);

/// Reads `KEEL_WITHOUT`. To be called once, before anything else of this layer.
pub fn read_environment() {
    let Some(list) = std::env::var_os("KEEL_WITHOUT") else { return };
    let list = list.to_string_lossy();
    for (call, bit) in OPTIONAL {
        if list.split(',').any(|name| name.trim() == call.name()) {
            OFF.fetch_or(*bit, Ordering::Relaxed);
        }
    }
}

/// ENOSYS when `call` is switched off.
pub(super) fn allow(call: Call) -> Result<()> {
    let off = OFF.load(Ordering::Relaxed);
    if off != 0 && OPTIONAL.iter().any(|(known, bit)| *known == call && off & bit != 0) {
        return Err(SyscallError { call, errno: libc::ENOSYS });
    }
    Ok(())
}
