//! The options about sending requests.

use std::time::Duration;

use super::reader::Options;
use super::{parse, records};
use crate::deliver::{self, RecordDistribution};
use crate::pack::{Aggregation, RequestSettings};

/// Highest value of `concurrency`.
const MAX_CONCURRENCY: usize = 256;

/// Highest value of `compression_threads`.
const MAX_COMPRESSION_THREADS: usize = 4;

const DISTRIBUTIONS: &[(&str, RecordDistribution)] =
    &[("detect", RecordDistribution::Detect), ("user", RecordDistribution::User), ("auto", RecordDistribution::Auto)];

/// How requests are sent, and the timeout of each.
pub(super) fn read(options: &mut Options<'_>, requests: &RequestSettings) -> (deliver::Settings, Option<Duration>) {
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
        record_distribution: record_distribution(options, requests),
        follows_record_size: options.is_set_to("max_record_size", records::STREAMS_OWN),
        compression_threads: compression_threads(options, requests),
    };
    (settings, options.value("http_request_timeout", parse::limit))
}

fn record_distribution(options: &mut Options<'_>, requests: &RequestSettings) -> RecordDistribution {
    let distribution = options.value("record_distribution", parse::one_of(DISTRIBUTIONS));
    let depends_on_it = matches!(requests.aggregation, Some(Aggregation::Kpl { .. }))
        || requests.omits_random_keys
        || options.is_invalid("aggregation");
    options.reject_unless(
        depends_on_it,
        "record_distribution",
        "only valid with aggregation kpl or partition_key none: nothing else depends on it",
    );
    if distribution == RecordDistribution::User && requests.omits_random_keys {
        options.reject("record_distribution", "user means that keys are needed: remove it, or partition_key none");
    }
    let ignored = requests.omits_random_keys && requests.record.explicit_hash_key.is_some();
    options.reject_unless(!ignored, "explicit_hash_key", "cannot be combined with partition_key none");
    distribution
}

/// How many threads compress. Single records are not worth another thread.
fn compression_threads(options: &mut Options<'_>, requests: &RequestSettings) -> usize {
    let threads = options.value("compression_threads", parse::integer(0..=MAX_COMPRESSION_THREADS));
    let has_blocks = requests.aggregation == Some(Aggregation::Lines) && requests.record.compression.is_some();
    options.reject_unless(
        has_blocks || options.is_invalid("aggregation") || options.is_invalid("compression"),
        "compression_threads",
        "only valid with aggregation lines and compression: nothing else is compressed in blocks",
    );
    threads
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::error::ConfigError;

    fn parse(options: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::parse(&testing::property(options))
    }

    #[test]
    fn the_distribution_is_found_out_unless_it_is_told() {
        let kpl = ("aggregation", "kpl");
        for (options, expected) in [
            (&[][..], RecordDistribution::Detect),
            (&[kpl], RecordDistribution::Detect),
            (&[kpl, ("record_distribution", "USER")], RecordDistribution::User),
            (&[kpl, ("record_distribution", "auto")], RecordDistribution::Auto),
            (&[("partition_key", "none"), ("record_distribution", "auto")], RecordDistribution::Auto),
        ] {
            assert_eq!(parse(options).unwrap().delivery.record_distribution, expected, "{options:?}");
        }
    }

    #[test]
    fn a_distribution_on_which_nothing_depends_is_refused() {
        let nothing =
            "record_distribution: only valid with aggregation kpl or partition_key none: nothing else depends on it";
        for (options, expected) in [
            (&[("record_distribution", "auto")][..], nothing),
            (&[("aggregation", "lines"), ("record_distribution", "user")], nothing),
            (
                &[("partition_key", "none"), ("record_distribution", "user")],
                "record_distribution: user means that keys are needed: remove it, or partition_key none",
            ),
            (
                &[("partition_key", "none"), ("explicit_hash_key", "h")],
                "explicit_hash_key: cannot be combined with partition_key none",
            ),
            (
                &[("aggregation", "kpl"), ("record_distribution", "on")],
                "record_distribution: 'on' is not valid: use detect, user or auto",
            ),
        ] {
            let issues: Vec<String> = parse(options).unwrap_err().issues.iter().map(ToString::to_string).collect();
            assert_eq!(issues, [expected], "{options:?}");
        }
    }

    #[test]
    fn blocks_of_lines_are_compressed_by_as_many_threads_as_are_asked_for() {
        let zstd = ("compression", "zstd");
        let threads = |options: &[(&str, &str)]| parse(options).unwrap().delivery.compression_threads;
        let lines = [("aggregation", "lines"), zstd];
        assert_eq!(threads(&lines), 0);
        for (number, expected) in [("0", 0), ("1", 1), ("4", 4)] {
            assert_eq!(threads(&[&lines[..], &[("compression_threads", number)]].concat()), expected);
        }
        for options in [&[][..], &[zstd], &[zstd, ("aggregation", "kpl")], &[("aggregation", "lines")]] {
            assert_eq!(threads(options), 0, "{options:?}");
            let options = [options, &[("compression_threads", "1")]].concat();
            let issues: Vec<String> = parse(&options).unwrap_err().issues.iter().map(ToString::to_string).collect();
            let expected = "compression_threads: only valid with aggregation lines and compression: nothing else is compressed in blocks";
            assert_eq!(issues, [expected], "{options:?}");
        }
        let options = [&lines[..], &[("compression_threads", "5")]].concat();
        let issues: Vec<String> = parse(&options).unwrap_err().issues.iter().map(ToString::to_string).collect();
        assert_eq!(issues, ["compression_threads: '5' is not valid: use a whole number from 0 to 4"]);
    }

    #[test]
    fn no_key_and_a_key_called_none_are_told_apart() {
        let requests = |key| parse(&[("partition_key", key)]).unwrap().requests;
        assert!(requests("none").omits_random_keys && requests("None").omits_random_keys);
        assert!(!requests("$none").omits_random_keys && !requests("$TAG").omits_random_keys);
        assert_ne!(requests("$none").record.partition_key, requests("none").record.partition_key);
    }

    #[test]
    fn the_streams_own_record_size_begins_with_the_default() {
        let size = |options: &[(&str, &str)]| {
            let config = parse(options).unwrap();
            (config.requests.record.max_bytes, config.delivery.follows_record_size)
        };
        assert_eq!(size(&[]), (1 << 20, false));
        assert_eq!(size(&[("max_record_size", "10M")]), (10 << 20, false));
        assert_eq!(size(&[("max_record_size", "Auto")]), (1 << 20, true));
        let kpl = [("max_record_size", "auto"), ("aggregation", "kpl"), ("aggregation_max_size", "4M")];
        assert_eq!(size(&kpl), (1 << 20, true), "the limit may be larger later");
    }
}
