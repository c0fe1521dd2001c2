//! Settings for sending requests.

use std::time::Duration;

/// How requests are sent and retried.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Most requests in flight.
    pub concurrency: usize,
    /// Most retries, after pauses, of a request within one flush.
    pub retries: usize,
    /// Whether an accepted record resets the backoff.
    pub reset_backoff_on_success: bool,
    /// Whether a request is retried immediately after its first network failure.
    pub immediate_retry: bool,
    /// Longest time of one flush.
    pub flush_timeout: Option<Duration>,
    /// The time after which a flush counts as slow and is logged.
    pub slow_flush: Option<Duration>,
    /// The interval at which all metrics are logged.
    pub stats_interval: Option<Duration>,
    /// Who chooses the shard of a record.
    pub record_distribution: RecordDistribution,
    /// Whether the size limit of records is the stream's own, as soon as it is known.
    pub follows_record_size: bool,
    /// How many threads compress blocks of lines; 0 for the delivery thread itself.
    pub compression_threads: usize,
}

impl Settings {
    /// Requests and retries alone: nothing that a clock starts or ends, and no questions about the stream.
    pub fn plain(concurrency: usize, retries: usize) -> Settings {
        Settings {
            concurrency,
            retries,
            reset_backoff_on_success: true,
            immediate_retry: true,
            flush_timeout: None,
            slow_flush: None,
            stats_interval: None,
            record_distribution: RecordDistribution::User,
            follows_record_size: false,
            compression_threads: 0,
        }
    }
}

/// Who chooses the shard of a record: its keys, or the service, whatever the keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordDistribution {
    /// It may change at any time, so it is found out.
    #[default]
    Detect,
    /// Its keys.
    User,
    /// The service. Consumers drop aggregates.
    Auto,
}
