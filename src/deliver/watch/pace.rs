//! When to ask again.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Jitter of the first call.
const JITTER: Duration = Duration::from_secs(30);
/// Minimum time between two calls, however long a change takes. Doubles with each call that brings nothing new.
const MIN_INTERVAL: Duration = Duration::from_secs(60);
/// Average time between two `ListShards` calls when nothing changes.
const SHARDS_INTERVAL: Duration = Duration::from_secs(600);
/// Average time before retrying a failed one.
const SHARDS_RETRY: Duration = Duration::from_secs(30);

/// Average time between two `DescribeStreamSummary` calls when nothing changes: 6 per second from 10,000 instances.
const DESCRIPTION_INTERVAL: Duration = Duration::from_secs(1800);
/// Average time before retrying a failed one, and jitter of those after throttling or a change: 17 per second from
/// 10,000 instances.
const DESCRIPTION_SPREAD: Duration = Duration::from_secs(600);

/// When to ask again.
pub(in crate::deliver) struct Pace {
    /// Average time between two calls when nothing changes; varies by ±50 %.
    interval: Duration,
    /// Average time before retrying a failed call. Doubles with each failure, up to `interval`.
    first_retry: Duration,
    /// Jitter of calls after a change that all instances see.
    spread: Duration,
    /// Notified when a reply shows that what is known is outdated.
    outdated: Notify,
    failures: Cell<u32>,
    /// The number of calls in a row that brought nothing new although a reply had announced it.
    fruitless: Cell<u32>,
}

/// The result of a call.
pub(super) enum Call {
    News,
    NothingNew,
    Failed,
    /// Too many calls: other instances make them too.
    Throttled,
}

impl Pace {
    /// For `ListShards`: a stream allows 1,000 calls per second over all callers
    /// (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html>, read 2026-11). 10,000 instances
    /// that start together or see the same shards split make 333.
    pub(super) fn of_shards() -> Pace {
        Pace::new(SHARDS_INTERVAL, SHARDS_RETRY, JITTER)
    }

    /// For `DescribeStreamSummary`: an account allows 20 calls per second
    /// (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_DescribeStreamSummary.html>, read 2026-11), and
    /// others need them too. So everything but the first call is spread over ten minutes or more.
    pub(super) fn of_description() -> Pace {
        Pace::new(DESCRIPTION_INTERVAL, DESCRIPTION_SPREAD, DESCRIPTION_SPREAD)
    }

    /// The time until the first call.
    pub(super) fn first(random: &mut SmallRng) -> Duration {
        JITTER.mul_f64(random.random())
    }

    fn new(interval: Duration, first_retry: Duration, spread: Duration) -> Pace {
        let (outdated, failures, fruitless) = (Notify::new(), Cell::new(0), Cell::new(0));
        Pace { interval, first_retry, spread, outdated, failures, fruitless }
    }

    /// Whether the last call failed.
    pub(super) fn has_failed(&self) -> bool {
        self.failures.get() > 0
    }

    /// Asks again soon: what is known is outdated.
    pub(in crate::deliver) fn hurry(&self) {
        self.outdated.notify_one();
    }

    /// Notes the result of a call. Returns the time until the next one if no reply shows a change earlier.
    pub(super) fn next(&self, call: &Call, was_announced: bool, random: &mut SmallRng) -> Duration {
        let average = match call {
            Call::Throttled => return self.spread.mul_f64(random.random()),
            Call::Failed => {
                let failures = self.failures.get();
                self.failures.set(failures.saturating_add(1));
                self.first_retry.saturating_mul(2_u32.saturating_pow(failures)).min(self.interval)
            }
            Call::News | Call::NothingNew => {
                self.failures.set(0);
                self.interval
            }
        };
        match call {
            Call::NothingNew if was_announced => self.fruitless.set(self.fruitless.get().saturating_add(1)),
            Call::NothingNew => {}
            _ => self.fruitless.set(0),
        }
        average.mul_f64(random.random_range(0.5..1.5))
    }

    /// Waits until a reply shows a change, plus jitter. Never returns after a failure, which has its own pause.
    pub(super) async fn announced(&self, random: &RefCell<SmallRng>) {
        let asked_at = Instant::now();
        self.outdated.notified().await;
        if self.failures.get() > 0 {
            std::future::pending::<()>().await;
        }
        let least = MIN_INTERVAL.saturating_mul(2_u32.saturating_pow(self.fruitless.get())).min(self.interval);
        let jitter = self.spread.mul_f64(random.borrow_mut().random());
        tokio::time::sleep_until(Instant::now().max(asked_at + least) + jitter).await;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn each_failure_doubles_the_time_until_the_next_call_up_to_the_interval() {
        let mut random = SmallRng::seed_from_u64(1);
        for (failures, average) in [(0, 30), (1, 60), (2, 120), (4, 480), (5, 600), (40, 600)] {
            let average = Duration::from_secs(average);
            for _ in 0..100 {
                let pace = Pace::new(Duration::from_secs(600), Duration::from_secs(30), JITTER);
                pace.failures.set(failures);
                let pause = pace.next(&Call::Failed, false, &mut random);
                assert!(average / 2 <= pause && pause <= average * 3 / 2, "{failures}: {pause:?}");
            }
        }
    }
}
