//! The metrics, by name.

/// A metric with one series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table explains each")]
pub enum Metric {
    RecordsReceived,
    RecordsDelivered,
    RecordsLeft,
    RecordsDeduplicated,
    RecordsRetried,
    RecordsAmbiguous,
    RecordsMisplaced,
    RecordsThrottled,
    ThrottledShards,
    AutoStreams,
    RecordsTruncated,
    RecordsKeyedAtRandom,
    DeadLettersWritten,
    DeadLettersDropped,
    RecordsWithoutHashKey,
    RecordsWithKeyReplaced,
    RecordsDropped,
    BytesReceived,
    BytesSent,
    RequestTime,
    RequestsInFlight,
    Connections,
    FlushTime,
    SlowFlushes,
    CredentialsFetched,
    CredentialsExpiry,
    CredentialsFailures,
    LedgerChunks,
    LedgerBytes,
    Streams,
}

/// A metric with a series for each value of its label. Only the label's type leads to it, see [`super::Label`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table explains each")]
pub enum LabelledMetric {
    RecordsRefused,
    Requests,
}

/// Either kind of metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnyMetric {
    /// It has one series.
    One(Metric),
    /// It has a series for each value of its label.
    Labelled(LabelledMetric),
}
