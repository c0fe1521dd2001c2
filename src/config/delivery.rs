//! The options about sending requests.

use std::time::Duration;

use super::parse;
use super::reader::Options;
use crate::deliver;

/// Highest value of `concurrency`.
const MAX_CONCURRENCY: usize = 256;

/// How requests are sent, and the timeout of each.
pub(super) fn read(options: &mut Options<'_>) -> (deliver::Settings, Option<Duration>) {
    let concurrency = match options.value("concurrency", parse::integer(0..=MAX_CONCURRENCY)) {
        // As in AWS's Go plugin.
        0 => options.default("concurrency", parse::integer(1..=MAX_CONCURRENCY)),
        concurrency => concurrency,
    };
    let settings = deliver::Settings {
        concurrency,
        retries: options.value("retries_on_batch_request", parse::integer(0..=100)),
        reset_backoff_on_success: options.value("reset_backoff_if_success", parse::boolean),
        immediate_retry: options.value("auto_retry_requests", parse::boolean),
        flush_timeout: options.value("flush_timeout", parse::limit),
        slow_flush: options.value("slow_flush_log_threshold", parse::limit),
        stats_interval: options.value("stats_interval", parse::limit),
    };
    (settings, options.value("http_request_timeout", parse::limit))
}
