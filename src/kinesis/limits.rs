//! The limits of one `PutRecords` call.
//!
//! Source, read 2026-11: the API reference
//! (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>) and "large records"
//! (<https://docs.aws.amazon.com/streams/latest/dev/large-records.html>).

/// Most records in a request.
pub(crate) const MAX_REQUEST_RECORDS: usize = 500;

/// Most bytes of a request that every endpoint accepts: data before base64 plus partition keys. The reference says 10
/// MiB since 2025-10, older pages and all stand-ins 5 MiB, so this is the default.
pub(crate) const DEFAULT_REQUEST_BYTES: usize = 5 * 1024 * 1024;

/// The highest limit that can be configured, in bytes.
pub(crate) const MAX_REQUEST_BYTES: usize = 10 * 1024 * 1024;

/// Most bytes of a record where `MaxRecordSizeInKiB` has its default: data before base64 plus partition key.
pub(crate) const DEFAULT_RECORD_BYTES: usize = 1024 * 1024;

/// Most bytes of a record where `MaxRecordSizeInKiB` has its highest value.
pub(crate) const MAX_RECORD_BYTES: usize = 10 * 1024 * 1024;

/// Most characters (not bytes) of a partition key.
pub(crate) const MAX_PARTITION_KEY_CHARACTERS: usize = 256;

/// Most characters of a stream name.
pub(crate) const MAX_STREAM_NAME_CHARACTERS: usize = 128;
