//! The table of metrics: the source of the host's endpoint, the log line with all counters, and docs/metrics.md.

use super::labels::{RefusalReason, RequestOutcome};
use super::metric::{AnyMetric, LabelledMetric, Metric};

/// The prefix of all names.
pub const PREFIX: &str = "fluentbit_output_kinesis_";

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations in seconds, in buckets of [`BOUNDS`].
    Histogram,
}

/// A metric as shown.
#[derive(Debug)]
pub struct Family {
    /// Which metric.
    pub metric: AnyMetric,
    /// The name after [`PREFIX`].
    pub name: &'static str,
    /// The type.
    pub kind: Kind,
    /// Its label, besides the output's name and the stream, with all values of the label.
    pub label: Option<(&'static str, &'static [&'static str])>,
    /// The help text, a sentence.
    pub help: &'static str,
}

impl Family {
    /// The number of series in each output.
    pub const fn series(&self) -> usize {
        match self.label {
            Some((_, values)) => values.len(),
            None => 1,
        }
    }
}

/// Upper bounds of a histogram's buckets, in seconds. The last bucket, +Inf, is not listed.
pub const BOUNDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

const fn counter(metric: Metric, name: &'static str, help: &'static str) -> Family {
    Family { metric: AnyMetric::One(metric), name, kind: Kind::Counter, label: None, help }
}

const fn gauge(metric: Metric, name: &'static str, help: &'static str) -> Family {
    Family { metric: AnyMetric::One(metric), name, kind: Kind::Gauge, label: None, help }
}

const fn histogram(metric: Metric, name: &'static str, help: &'static str) -> Family {
    Family { metric: AnyMetric::One(metric), name, kind: Kind::Histogram, label: None, help }
}

const fn counter_by(
    (label, values): (&'static str, &'static [&'static str]),
    metric: LabelledMetric,
    name: &'static str,
    help: &'static str,
) -> Family {
    Family { metric: AnyMetric::Labelled(metric), name, kind: Kind::Counter, label: Some((label, values)), help }
}

/// All metrics, those of either kind in the order of [`Metric`] and [`LabelledMetric`].
pub const TABLE: &[Family] = &[
    counter(
        Metric::RecordsReceived,
        "records_received_total",
        "Records in chunks received from Fluent Bit, counted again on each of its retries.",
    ),
    counter(Metric::RecordsDelivered, "records_delivered_total", "Records that Kinesis accepted."),
    counter_by(
        ("reason", RefusalReason::NAMES),
        LabelledMetric::RecordsRefused,
        "records_refused_total",
        "Records lost because they can never be sent or Kinesis permanently refused them.",
    ),
    counter(Metric::RecordsLeft, "records_left_total", "Records left for Fluent Bit to retry."),
    counter(
        Metric::RecordsDeduplicated,
        "records_deduplicated_total",
        "Records not sent again when Fluent Bit retried, because the ledger had them as done.",
    ),
    counter(Metric::RecordsRetried, "records_retried_total", "Records sent again within a flush, counted each time."),
    counter(
        Metric::RecordsAmbiguous,
        "records_ambiguous_total",
        "Records in requests without a readable reply from Kinesis; they are sent again and may be stored twice.",
    ),
    counter(
        Metric::RecordsMisplaced,
        "records_misplaced_total",
        "Records of aggregates that Kinesis put into a shard where consumers drop them; they are sent again one by one.",
    ),
    counter(
        Metric::RecordsThrottled,
        "records_throttled_total",
        "Records that Kinesis throttled, one by one or with their whole request, counted each time.",
    ),
    gauge(
        Metric::ThrottledShards,
        "throttled_shards",
        "Shards that have throttled records since startup, at most 64; the log names them.",
    ),
    gauge(
        Metric::AutoStreams,
        "auto_streams",
        "Streams known to distribute records themselves (AUTO), whatever their partition keys.",
    ),
    counter(
        Metric::RecordsTruncated,
        "records_truncated_total",
        "Records truncated to max_record_size, counted each time they are encoded.",
    ),
    counter(
        Metric::RecordsKeyedAtRandom,
        "records_keyed_at_random_total",
        "Records that got a random key for lack of a partition_key value, counted each time they are encoded.",
    ),
    counter(
        Metric::DeadLettersWritten,
        "dead_letters_written_total",
        "Refused records kept in the files of dead_letter_path.",
    ),
    counter(
        Metric::DeadLettersDropped,
        "dead_letters_dropped_total",
        "Refused records that could not be kept there: no room in the queue or on the disk.",
    ),
    counter(
        Metric::RecordsWithoutHashKey,
        "records_without_hash_key_total",
        "Records that went by their partition key for lack of an explicit_hash_key value, counted each time they are encoded.",
    ),
    counter(
        Metric::RecordsWithKeyReplaced,
        "records_with_key_replaced_total",
        "Records whose own value under tag_key, metadata_key or group_key was replaced, counted each time they are encoded.",
    ),
    counter(
        Metric::RecordsDropped,
        "records_dropped_total",
        "Records not sent because drop_empty is on and no entries were left.",
    ),
    counter(
        Metric::BytesReceived,
        "bytes_received_total",
        "Bytes (msgpack) of chunks received from Fluent Bit, counted again on each of its retries.",
    ),
    counter(Metric::BytesSent, "bytes_sent_total", "Bytes of request bodies, including retries."),
    counter_by(
        ("outcome", RequestOutcome::NAMES),
        LabelledMetric::Requests,
        "requests_total",
        "PutRecords requests by outcome.",
    ),
    histogram(
        Metric::RequestTime,
        "request_duration_seconds",
        "Duration of a request, from signing to the end of the reply.",
    ),
    gauge(Metric::RequestsInFlight, "requests_in_flight", "Requests in flight."),
    gauge(Metric::Connections, "connections", "Open connections to Kinesis, as of the last request."),
    histogram(
        Metric::FlushTime,
        "flush_duration_seconds",
        "Duration of a flush, from Fluent Bit's call to the answer, including its retries.",
    ),
    counter(Metric::SlowFlushes, "slow_flushes_total", "Flushes that took longer than slow_flush_log_threshold."),
    gauge(
        Metric::CredentialsFetched,
        "credentials_fetched_timestamp_seconds",
        "When the current credentials were fetched, as Unix time; 0 if there are none.",
    ),
    gauge(
        Metric::CredentialsExpiry,
        "credentials_expiry_timestamp_seconds",
        "When the current credentials expire, as Unix time; 0 if they do not or there are none.",
    ),
    counter(Metric::CredentialsFailures, "credentials_failures_total", "Failed attempts to fetch credentials."),
    gauge(Metric::LedgerChunks, "ledger_chunks", "Chunks awaiting retry that the ledger remembers."),
    gauge(Metric::LedgerBytes, "ledger_bytes", "Approximate memory of the ledger, in bytes."),
    gauge(Metric::Streams, "streams", "Streams in use, if stream is a template; at most max_streams."),
];

/// Where each metric's series begin.
struct Beginnings {
    one: [usize; TABLE.len()],
    labelled: [usize; TABLE.len()],
    /// The number of all series.
    end: usize,
}

#[expect(clippy::indexing_slicing, reason = "evaluated while compiling")]
const BEGINNINGS: Beginnings = {
    let mut beginnings = Beginnings { one: [0; TABLE.len()], labelled: [0; TABLE.len()], end: 0 };
    let mut index = 0;
    while index < TABLE.len() {
        match TABLE[index].metric {
            AnyMetric::One(metric) => beginnings.one[metric as usize] = beginnings.end,
            AnyMetric::Labelled(metric) => beginnings.labelled[metric as usize] = beginnings.end,
        }
        beginnings.end += TABLE[index].series();
        index += 1;
    }
    beginnings
};

/// The number of series in an output.
pub const SERIES: usize = BEGINNINGS.end;

/// The first series of a metric.
pub(super) fn first(metric: AnyMetric) -> usize {
    let place = match metric {
        AnyMetric::One(metric) => BEGINNINGS.one.get(metric as usize),
        AnyMetric::Labelled(metric) => BEGINNINGS.labelled.get(metric as usize),
    };
    place.copied().unwrap_or(SERIES)
}

/// Every series in order: its metric and the value of that metric's label.
pub fn series() -> impl Iterator<Item = (&'static Family, Option<&'static str>)> {
    TABLE.iter().flat_map(|family| {
        let values = family.label.map_or(&[][..], |(_, values)| values);
        let labels = values.iter().map(|value| Some(*value)).chain(family.label.is_none().then_some(None));
        labels.map(move |label| (family, label))
    })
}
