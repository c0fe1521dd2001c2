//! How records are sent, as the user configured it.

use std::time::Duration;

/// How records are sent.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Requests in flight at once.
    pub concurrency: usize,
    /// How often what failed is sent again within one flush.
    pub retries: usize,
    /// Whether an accepted record resets the backoff.
    pub reset_backoff_on_success: bool,
    /// Whether a network failure is followed by one more try at once.
    pub immediate_retry: bool,
    /// Longest time of one flush.
    pub flush_timeout: Option<Duration>,
    /// A flush that lasts longer is told about.
    pub slow_flush: Option<Duration>,
    /// How often the counts are written into the log.
    pub stats_interval: Option<Duration>,
}
