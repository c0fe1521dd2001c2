//! What the configuration says about requests, and the limits they have at present.

use crate::kinesis::limits;
use crate::kinesis::request::Protocol;
use crate::record::RecordSettings;

/// What requests look like.
#[derive(Clone, Debug)]
pub struct RequestSettings {
    /// How they are written.
    pub protocol: Protocol,
    /// Most records of a request.
    pub max_records: usize,
    /// Most bytes of a request, data and partition keys. A single record above it goes alone.
    pub max_bytes: usize,
    /// How several records share one of the request's, if they do.
    pub aggregation: Option<Aggregation>,
    /// The records in it.
    pub record: RecordSettings,
}

/// How several records become one Kinesis record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregation {
    /// In the container of Amazon's Kinesis Producer Library ([`crate::kinesis::kpl`]).
    Kpl {
        /// Most bytes of a container. It is never larger than a record may be, in any case.
        max_bytes: usize,
        /// Most records in one.
        max_records: usize,
        /// Whether records of different keys share one when they belong to the same shard.
        by_shard: bool,
    },
    /// One after the other, each ended by a newline. Compression packs them together.
    Lines,
}

impl Default for RequestSettings {
    fn default() -> Self {
        RequestSettings {
            protocol: Protocol::default(),
            max_records: limits::MAX_REQUEST_RECORDS,
            max_bytes: limits::DEFAULT_REQUEST_BYTES,
            aggregation: None,
            record: RecordSettings::default(),
        }
    }
}

impl RequestSettings {
    /// Bytes that the first body of a chunk may need, when all of the chunk may be in it: memory that is not written to
    /// costs nothing, and a body that outgrows its memory is copied.
    pub(super) fn body_bytes(&self, chunk: &[u8]) -> usize {
        if self.record.compression.is_some() {
            return 0;
        }
        let data = chunk.len().saturating_mul(3) / 2;
        let data = data.min(self.max_bytes);
        match self.protocol {
            Protocol::Json => data / 3 * 4,
            Protocol::Cbor => data,
        }
    }
}

/// How large requests and groups may become, if less than the settings allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most records of a request.
    pub request_records: usize,
    /// Most bytes of a request, data and partition keys. A single record above it goes alone.
    pub request_bytes: usize,
    /// Most records of the chunk that share one of the request.
    pub group_records: usize,
    /// Most bytes that several of them take together. A single one above it goes alone.
    pub group_bytes: usize,
}

impl Limits {
    /// Those of the settings.
    pub fn of(settings: &RequestSettings) -> Limits {
        Limits {
            request_records: settings.max_records,
            request_bytes: settings.max_bytes,
            group_records: usize::MAX,
            group_bytes: settings.record.max_bytes,
        }
    }

    /// Each record of the chunk in a request of its own.
    pub fn alone(self) -> Limits {
        Limits { request_records: 1, group_records: 1, ..self }
    }
}
