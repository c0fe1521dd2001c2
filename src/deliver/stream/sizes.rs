//! The request and group sizes that actually reach Kinesis, when the settings allow more.
//!
//! Proxies and load balancers have their own limits, and a stream's record limit may be below `max_record_size`. What
//! is refused as too large is sent in smaller pieces, and later requests are no larger than what got through.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// After this long without a refusal the limit rises by a quarter, in case the real one has changed.
const PROBE_INTERVAL: Duration = Duration::from_secs(600);

/// Both limits.
pub(crate) struct Sizes {
    pub(crate) request: SizeLimit,
    /// For aggregated records.
    pub(crate) group: SizeLimit,
}

/// One limit, in bytes.
pub(crate) struct SizeLimit {
    /// What the settings allow.
    max: usize,
    now: Cell<usize>,
    /// The largest size accepted since the limit was lowered.
    passed: Cell<usize>,
    changed_at: Cell<Option<Instant>>,
}

impl SizeLimit {
    pub(super) fn new(max: usize) -> Self {
        SizeLimit { max, now: Cell::new(max), passed: Cell::new(0), changed_at: Cell::new(None) }
    }

    /// The current limit.
    pub(crate) fn get(&self) -> usize {
        if let Some(changed_at) = self.changed_at.get()
            && changed_at.elapsed() >= PROBE_INTERVAL
        {
            let now = self.now.get();
            let raised = now.saturating_add((now / 4).max(1)).min(self.max);
            self.now.set(raised);
            self.changed_at.set(Some(Instant::now()));
        }
        self.now.get()
    }

    /// Notes that this many bytes were accepted.
    pub(super) fn accepted(&self, bytes: usize) {
        if self.now.get() < self.max {
            self.passed.set(self.passed.get().max(bytes));
        }
    }

    /// Notes that this many bytes were refused, and how many the service allows if it said so. If `bytes` is within
    /// the current limit, lowers the limit and returns true.
    pub(crate) fn refused(&self, bytes: usize, allowed: Option<usize>) -> bool {
        if bytes > self.now.get() {
            return false;
        }
        if self.passed.get() >= bytes {
            self.passed.set(0);
        }
        let lower = allowed.filter(|&allowed| allowed < bytes).unwrap_or(bytes / 2);
        self.now.set(lower.max(self.passed.get()).max(1));
        self.changed_at.set(Some(Instant::now()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_halves_until_something_passes_and_creeps_up_again() {
        let limit = SizeLimit::new(1000);
        assert!(limit.refused(900, None));
        assert!(!limit.refused(800, None), "packed before the limit was lowered");
        assert!(limit.refused(450, None));
        assert_eq!(limit.get(), 225);
        limit.accepted(220);
        tokio::time::advance(PROBE_INTERVAL).await;
        assert_eq!(limit.get(), 281);
        assert!(limit.refused(270, None));
        assert_eq!(limit.get(), 220, "the accepted size, not half of the refused one");
        for _ in 0..7 {
            tokio::time::advance(PROBE_INTERVAL).await;
            limit.get();
        }
        assert_eq!(limit.get(), 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn it_follows_what_the_service_says_and_what_passed_before_may_not_pass_now() {
        let limit = SizeLimit::new(1000);
        assert!(limit.refused(1000, Some(700)));
        assert_eq!(limit.get(), 700);
        limit.accepted(690);
        assert!(limit.refused(600, Some(900)));
        assert_eq!(limit.get(), 300);
        assert!(limit.refused(1, None));
        assert_eq!(limit.get(), 1);
    }

    #[test]
    fn what_passed_before_a_limit_was_found_is_not_held_against_a_refusal() {
        let limit = SizeLimit::new(1000);
        limit.accepted(900);
        assert!(limit.refused(1000, None));
        assert_eq!(limit.get(), 500);
    }

    /// Otherwise the same size would be sent and refused forever.
    #[test]
    fn a_service_that_refuses_what_it_says_it_allows_is_not_believed() {
        let limit = SizeLimit::new(1000);
        assert!(limit.refused(700, Some(700)));
        assert_eq!(limit.get(), 350);
    }
}
