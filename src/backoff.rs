//! How long to wait before the next try.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;

const BASE: Duration = Duration::from_millis(100);
const CAP: Duration = Duration::from_secs(5);
/// The longest wait that a server may ask for; a flush must end.
const LONGEST_ASKED: Duration = Duration::from_secs(30);

/// Exponential backoff with full jitter: each pause is random between zero and a bound that doubles, so that plugins
/// that failed together do not retry together
/// (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause after another failure, but at least what the server asked for (up to half a minute).
    pub fn next(&mut self, random: &mut SmallRng, server_asked: Option<Duration>) -> Duration {
        let bound = BASE.saturating_mul(2_u32.saturating_pow(self.failures)).min(CAP);
        self.failures = self.failures.saturating_add(1);
        bound.mul_f64(random.random::<f64>()).max(server_asked.unwrap_or_default().min(LONGEST_ASKED))
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn longest_of_many(failures: u32) -> Duration {
        let mut random = SmallRng::seed_from_u64(7);
        let draw = |_| Backoff { failures }.next(&mut random, None);
        (0..2000).map(draw).max().unwrap()
    }

    #[test]
    fn the_bound_doubles_up_to_five_seconds_and_the_pause_fills_it() {
        for (failures, bound) in [(0, 100), (1, 200), (2, 400), (3, 800), (4, 1600), (5, 3200), (6, 5000), (60, 5000)] {
            let longest = longest_of_many(failures).as_millis();
            assert!(longest <= bound && longest > bound * 98 / 100, "{failures}: {longest} of {bound}");
        }
    }

    #[test]
    fn success_starts_it_over() {
        let mut random = SmallRng::seed_from_u64(7);
        let mut backoff = Backoff::default();
        for _ in 0..10 {
            backoff.next(&mut random, None);
        }
        backoff.reset();
        assert!(backoff.next(&mut random, None) <= BASE);
    }

    #[test]
    fn the_server_is_heard_up_to_half_a_minute() {
        let mut random = SmallRng::seed_from_u64(7);
        for (asked, pause) in [(2, 2), (20, 20), (3600, 30)] {
            let next = Backoff::default().next(&mut random, Some(Duration::from_secs(asked)));
            assert_eq!(next, Duration::from_secs(pause));
        }
    }
}
