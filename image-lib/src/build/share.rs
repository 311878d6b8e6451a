//! Builds of several processes, or stages of one, that come to the same step: the first one does it, the
//! others wait and take its result.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::event::{Timespec, poll};

use super::cache::{BuildCache, make_private};
use super::cache_key::CacheKey;

/// A flock cannot be waited for together with a cancellation, so that it is asked for again and again.
const ASK_AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// The right to do a step, given back when dropped.
#[derive(Debug)]
pub(super) struct Turn {
    path: PathBuf,
    _lock: File,
}

impl Drop for Turn {
    fn drop(&mut self) {
        // While the lock is held, so that whoever takes it next sees that it is no name any more.
        let _ = fs::remove_file(&self.path);
    }
}

impl BuildCache {
    /// Waits until nobody else does the step of `key`, or nobody waits for it any more. Without locks, on a
    /// file system that has none, steps are done twice, and no worse.
    pub(super) fn turn(&self, key: &CacheKey, is_cancelled: &dyn Fn() -> bool) -> Option<Turn> {
        let path = self.turn_file(key);
        make_private(path.parent()?).ok()?;
        while !is_cancelled() {
            let lock = File::create(&path).ok()?;
            match lock.try_lock() {
                Ok(()) if is_named(&lock, &path) => return Some(Turn { path, _lock: lock }),
                // The one before has taken the name away.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => drop(poll(&mut [], Some(&ASK_AGAIN))),
                Err(TryLockError::Error(_)) => return None,
            }
        }
        None
    }
}

fn is_named(lock: &File, path: &Path) -> bool {
    let own = lock.metadata().map(|metadata| (metadata.dev(), metadata.ino()));
    let named = fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
    matches!((own, named), (Ok(own), Ok(named)) if own == named)
}
