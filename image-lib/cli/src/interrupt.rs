//! What happens to work in progress when the user ends it. The store's directories of work in
//! progress are locked by this process and removed by whoever opens the store next; so this process
//! becomes one that does just that.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use keel_image::store::Store;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::Failure;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The exit code
    code: u8,
}

type Undone = Box<dyn FnOnce() + Send>;

/// What must be undone outside the store.
static PENDING: Mutex<BTreeMap<u64, Undone>> = Mutex::new(BTreeMap::new());

/// Something that is undone when this is dropped, and also if a signal ends the command before.
pub(crate) struct Undo(u64);

impl Undo {
    pub(crate) fn with(undo: impl FnOnce() + Send + 'static) -> Self {
        let mut pending = PENDING.lock().unwrap_or_else(PoisonError::into_inner);
        let number = pending.last_key_value().map_or(0, |(last, _)| last + 1);
        pending.insert(number, Box::new(undo));
        Self(number)
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        // A signal waits for the end of what has begun here.
        let mut pending = PENDING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(undo) = pending.remove(&self.0) {
            undo();
        }
    }
}

/// From here on a signal ends the command and leaves nothing in the store at `root`.
pub(crate) fn clean_up_on_signals(root: &Path) -> Result<(), Failure> {
    let mut signals =
        Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(|error| Failure::of(&error))?;
    let root = root.to_owned();
    std::thread::spawn(move || {
        let Some(signal) = signals.forever().next() else { return };
        // Kept to the end: nothing more is begun.
        let mut pending = PENDING.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((_, undo)) = pending.pop_last() {
            undo();
        }
        let code = (128 + signal).to_string();
        let mut sweep = Command::new("/proc/self/exe");
        sweep.arg("--root").arg(&root).args(["sweep", &code]);
        // The other threads end here, and all locks go with the descriptors. If this fails, the next
        // to open the store does the same.
        let _ = sweep.exec();
        std::process::exit(128 + signal);
    });
    Ok(())
}

/// `keel-image sweep CODE`: opening the store has removed what was left; ends with the code.
pub(crate) fn run(_store: &Store, arguments: &Arguments) -> std::process::ExitCode {
    std::process::ExitCode::from(arguments.code)
}
