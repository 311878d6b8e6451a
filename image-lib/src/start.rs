//! Programs are started so that no mount is in use by accident: between its fork and its execve a new
//! process has a copy of every descriptor of this one, those of root file systems too, and whoever takes
//! such a mount away meanwhile is told that it is busy. Whoever implements a trait of this library by a program
//! starts it here.

use std::io;
use std::process::{Child, Command};
use std::sync::{PoisonError, RwLock};

static STARTING: RwLock<()> = RwLock::new(());

/// Starts a program. It has come to its execve when this returns.
///
/// # Errors
/// As [`Command::spawn`].
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    let _starting = STARTING.read().unwrap_or_else(PoisonError::into_inner);
    command.spawn()
}

/// Does something while no program of the library is on its way to its execve.
pub(crate) fn between_starts<T>(act: impl FnOnce() -> T) -> T {
    let _none = STARTING.write().unwrap_or_else(PoisonError::into_inner);
    act()
}
