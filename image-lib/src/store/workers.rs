//! Work on many things by as many threads as there are processors.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// What `work` gives for each of `items`, in no order; after one that `is_last` none is begun any more.
pub(super) fn map_all<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
    is_last: impl Fn(&R) -> bool + Sync,
) -> Vec<R> {
    let (next, has_ended) = (AtomicUsize::new(0), AtomicBool::new(false));
    let results = Mutex::new(Vec::new());
    let thread = || {
        while !has_ended.load(Ordering::Relaxed) {
            let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
            let result = work(item);
            if is_last(&result) {
                has_ended.store(true, Ordering::Relaxed);
            }
            // A thread that panicked has not left the list half-changed.
            results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 1..threads.min(items.len()) {
            scope.spawn(thread);
        }
        thread();
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}
