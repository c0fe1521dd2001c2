//! Settings for requests, and the current size limits.

use crate::kinesis::limits;
use crate::kinesis::request::Protocol;
use crate::record::RecordSettings;

/// What requests look like.
#[derive(Clone, Debug)]
pub struct RequestSettings {
    /// The wire format.
    pub protocol: Protocol,
    /// Most records in a request.
    pub max_records: usize,
    /// Most bytes of data and partition keys in a request. A larger single record goes alone.
    pub max_bytes: usize,
    /// How several records share one Kinesis record, if they do.
    pub aggregation: Option<Aggregation>,
    /// Whether random keys are not sent, for a stream that ignores them.
    pub omits_random_keys: bool,
    /// Settings for the records.
    pub record: RecordSettings,
}

/// How several records become one Kinesis record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregation {
    /// In aggregates of the Kinesis Producer Library ([`crate::kinesis::kpl`]).
    Kpl {
        /// Most bytes of an aggregate. The record limit applies as well.
        max_bytes: usize,
        /// Most records in an aggregate.
        max_records: usize,
        /// Whether records with different keys share an aggregate if they belong to the same shard.
        by_shard: bool,
    },
    /// Joined, each ending with a newline, and usually compressed together.
    Lines,
}

impl Default for RequestSettings {
    fn default() -> Self {
        RequestSettings {
            protocol: Protocol::default(),
            max_records: limits::MAX_REQUEST_RECORDS,
            max_bytes: limits::DEFAULT_REQUEST_BYTES,
            aggregation: None,
            omits_random_keys: false,
            record: RecordSettings::default(),
        }
    }
}

impl RequestSettings {
    /// A capacity for the first body of so many bytes of a chunk that is enough if all of them fit into it: memory that
    /// is never written costs nothing, but a body that outgrows its memory is copied.
    pub(super) fn body_bytes(&self, chunk_bytes: usize) -> usize {
        if self.record.compression.is_some() {
            return 0;
        }
        let data = chunk_bytes.saturating_mul(3) / 2;
        let data = data.min(self.max_bytes);
        match self.protocol {
            Protocol::Json => data / 3 * 4,
            Protocol::Cbor => data,
        }
    }
}

/// The current size limits, which may be below the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most records in a request.
    pub request_records: usize,
    /// Most bytes of data and partition keys in a request. A larger single record goes alone.
    pub request_bytes: usize,
    /// Most records of the chunk in a group.
    pub group_records: usize,
    /// Most bytes of a group of several records. A larger single record goes alone.
    pub group_bytes: usize,
}

impl Limits {
    /// The limits from the settings.
    pub fn of(settings: &RequestSettings) -> Limits {
        Limits {
            request_records: settings.max_records,
            request_bytes: settings.max_bytes,
            group_records: usize::MAX,
            group_bytes: settings.record.max_bytes,
        }
    }

    /// Limits each request to one record of the chunk.
    pub fn alone(self) -> Limits {
        Limits { request_records: 1, group_records: 1, ..self }
    }
}
