//! What Kinesis allows in one `PutRecords` call.
//!
//! Source, read 2026-11: the API reference (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>)
//! and "large records" (<https://docs.aws.amazon.com/streams/latest/dev/large-records.html>).

/// Most records of one request.
pub(crate) const MAX_REQUEST_RECORDS: usize = 500;

/// Most bytes of one request that every stream takes: data before base64 plus partition keys. The reference has 10 MiB
/// since 2025-10, older pages and every emulator 5 MiB, so this is the default.
pub(crate) const DEFAULT_REQUEST_BYTES: usize = 5 * 1024 * 1024;

/// Most bytes of one request that can be configured.
pub(crate) const MAX_REQUEST_BYTES: usize = 10 * 1024 * 1024;

/// Most bytes of one record on a stream whose `MaxRecordSizeInKiB` was not raised: data before base64 plus partition key.
pub(crate) const DEFAULT_RECORD_BYTES: usize = 1024 * 1024;

/// Most bytes of one record on a stream whose `MaxRecordSizeInKiB` was raised as far as it goes.
pub(crate) const MAX_RECORD_BYTES: usize = 10 * 1024 * 1024;

/// Most characters of a partition key, which are not its bytes.
pub(crate) const MAX_PARTITION_KEY_CHARACTERS: usize = 256;

/// Most characters of a stream's name.
pub(crate) const MAX_STREAM_NAME_CHARACTERS: usize = 128;
