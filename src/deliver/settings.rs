//! How requests are sent, as the user configured it.

use std::time::Duration;

/// How requests are sent and repeated.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Most requests in flight.
    pub concurrency: usize,
    /// Most retries of a request after pauses, within one flush.
    pub retries: usize,
    /// Whether an accepted record resets the backoff.
    pub reset_backoff_on_success: bool,
    /// Whether a request is sent again without a pause after its first network failure.
    pub immediate_retry: bool,
    /// Longest time of one flush.
    pub flush_timeout: Option<Duration>,
    /// A flush that lasts longer is counted and logged.
    pub slow_flush: Option<Duration>,
    /// The interval at which all metrics are logged.
    pub stats_interval: Option<Duration>,
}
