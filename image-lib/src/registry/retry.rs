//! How often and when a request is sent again.

use std::time::Duration;

use rustix::rand::{GetRandomFlags, getrandom};

use super::RegistryError;
use crate::cancel::Cancellation;

/// How often a request is sent again, and how long is waited before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often after the first time.
    pub retries: u32,
    /// The wait before the first repetition; it doubles with each.
    pub first: Duration,
    /// The longest wait, also if the server asks for a longer one: then its answer is the result.
    pub longest: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { retries: 5, first: Duration::from_millis(250), longest: Duration::from_mins(1) }
    }
}

impl RetryPolicy {
    /// How long to wait before repetition number `attempt`, which counts from one. `chance` spreads
    /// clients that failed at the same time: the wait is between half of it and all of it.
    fn wait(&self, attempt: u32, chance: u8) -> Duration {
        let whole = self.first.saturating_mul(1 << attempt.saturating_sub(1).min(16));
        let whole = whole.min(self.longest);
        whole / 2 + whole.mul_f64(f64::from(chance) / 512.0)
    }

    /// Waits before repetition number `attempt` of what failed with `error`.
    ///
    /// # Errors
    /// `error`, if nothing is to be repeated; that the work was cancelled.
    pub(super) fn pause(
        &self,
        attempt: u32,
        error: RegistryError,
        cancellation: &Cancellation,
    ) -> Result<(), RegistryError> {
        let asked = error.refusal().and_then(|refusal| refusal.retry_after);
        let too_long = asked.is_some_and(|asked| asked > self.longest);
        if attempt > self.retries || !error.is_transient() || too_long {
            return Err(error);
        }
        self.pause_for(attempt, asked, cancellation)
    }

    /// Waits before repetition number `attempt`, at least as long as the server asked for.
    ///
    /// # Errors
    /// That the work was cancelled.
    pub(super) fn pause_for(
        &self,
        attempt: u32,
        asked: Option<Duration>,
        cancellation: &Cancellation,
    ) -> Result<(), RegistryError> {
        let mut chance = [0_u8; 1];
        // Without chance the wait is the shortest; that harms nothing.
        let _ = getrandom(&mut chance[..], GetRandomFlags::empty());
        let wait = asked.unwrap_or_else(|| self.wait(attempt, chance[0]));
        if cancellation.pause(wait) { Err(RegistryError::Cancelled) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_within_bounds() {
        let policy = RetryPolicy { longest: Duration::from_secs(2), ..RetryPolicy::default() };
        let millis = |attempt, chance| policy.wait(attempt, chance).as_millis();
        assert_eq!(millis(1, 0), 125);
        assert!((240..250).contains(&millis(1, 255)));
        assert_eq!(millis(3, 0), 500);
        assert_eq!(millis(40, 0), 1000);
    }
}
