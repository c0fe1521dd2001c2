//! Gives up on Kinesis when the host is shutting down and nothing is accepted any more.

use std::sync::Arc;
use std::time::Duration;

/// Returns whether the host is shutting down. May be called on any thread.
pub type HostStops = Arc<dyn Fn() -> bool + Send + Sync>;

/// How long flushes may wait for Kinesis to accept anything once the host is shutting down, and for replies at the
/// stop. Fluent Bit's own `grace` is 5 s by default.
pub(super) const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// How often flushes in progress are checked.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// Watches the progress of Kinesis since the host began to shut down. A flush that outlasts the host's `grace` delays
/// its exit.
#[derive(Default)]
pub(super) struct ShutdownWatch {
    progress: u64,
    /// How long flushes have waited since Kinesis last accepted anything.
    waited: Duration,
    given_up: bool,
}

impl ShutdownWatch {
    /// Call this every [`CHECK_INTERVAL`] while flushes are in progress and the host is shutting down. Returns true
    /// once: when Kinesis has accepted nothing for [`SHUTDOWN_GRACE`].
    pub(super) fn check(&mut self, progress: u64) -> bool {
        if self.progress != progress {
            self.progress = progress;
            self.waited = Duration::ZERO;
        }
        self.waited += CHECK_INTERVAL;
        let gives_up = self.waited > SHUTDOWN_GRACE && !self.given_up;
        self.given_up |= gives_up;
        gives_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gives_up_once_when_there_was_no_progress_for_the_grace_period() {
        let mut watch = ShutdownWatch::default();
        let checks = SHUTDOWN_GRACE.div_duration_f64(CHECK_INTERVAL) as usize;
        // The first progress seen and each further one restart the period.
        for progress in [3, 4] {
            assert!((0..checks).all(|_| !watch.check(progress)), "{progress}");
        }
        assert!(watch.check(4));
        assert!((0..100).all(|_| !watch.check(4)), "once");
    }
}
