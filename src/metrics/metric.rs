//! The metrics, by name.

/// A metric, by its index in [`super::TABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table explains each")]
pub enum Metric {
    RecordsReceived,
    RecordsDelivered,
    RecordsRefused,
    RecordsLeft,
    RecordsDeduplicated,
    RecordsRetried,
    RecordsAmbiguous,
    RecordsThrottled,
    ThrottledShards,
    RecordsTruncated,
    RecordsKeyedAtRandom,
    BytesReceived,
    BytesSent,
    Requests,
    RequestTime,
    RequestsInFlight,
    FlushTime,
    SlowFlushes,
    CredentialsFetched,
    CredentialsExpiry,
    CredentialsFailures,
    LedgerChunks,
    LedgerBytes,
}
