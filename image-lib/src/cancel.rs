//! Ending work early, from another thread.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

type Action = Box<dyn Fn() + Send + Sync>;

/// Tells work that nobody wants its result any more. Clones are the same one.
///
/// ```
/// let cancellation = keel_image::cancel::Cancellation::default();
/// let other = cancellation.clone();
/// assert!(!other.is_cancelled());
/// cancellation.cancel();
/// assert!(other.is_cancelled());
/// ```
#[derive(Clone, Default)]
pub struct Cancellation(Arc<Inner>);

#[derive(Default)]
struct Inner {
    is_cancelled: AtomicBool,
    actions: Mutex<Vec<Action>>,
    changed: Condvar,
}

impl Cancellation {
    /// Ends the work; what waits on the network is woken.
    pub fn cancel(&self) {
        let actions = self.0.actions.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.is_cancelled.store(true, Ordering::Release);
        self.0.changed.notify_all();
        actions.iter().for_each(|action| action());
    }

    /// Is the work not wanted any more?
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled.load(Ordering::Acquire)
    }

    /// Waits for `time`, or until the work is cancelled, which is what it returns.
    #[must_use]
    pub fn pause(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut actions = self.0.actions.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.is_cancelled() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let woken = self.0.changed.wait_timeout(actions, left);
            actions = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        self.is_cancelled()
    }

    /// Has `action` run when the work is cancelled; now, if it is already.
    pub(crate) fn on_cancel(&self, action: impl Fn() + Send + Sync + 'static) {
        let mut actions = self.0.actions.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_cancelled() {
            action();
        }
        actions.push(Box::new(action));
    }
}

impl fmt::Debug for Cancellation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cancellation({})", self.is_cancelled())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wakes_who_waits_and_runs_actions() {
        let cancellation = Cancellation::default();
        let seen = Arc::new(AtomicBool::new(false));
        let action = Arc::clone(&seen);
        cancellation.on_cancel(move || action.store(true, Ordering::Relaxed));
        assert!(!cancellation.pause(Duration::from_millis(1)));
        let other = cancellation.clone();
        let waiting = std::thread::spawn(move || other.pause(Duration::from_secs(600)));
        cancellation.cancel();
        assert!(waiting.join().is_ok_and(|cancelled| cancelled));
        assert!(seen.load(Ordering::Relaxed));
    }
}
