//! The time of day, passed in.
//!
//! Durations and sleeps use tokio's clock, which tests can pause. Only signatures and expiry dates need the time of
//! day, from a [`Clock`].

use std::time::SystemTime;

/// A source of the time of day.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> SystemTime;
}

/// The system clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the only place that reads the system clock")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}
