//! What the configuration says about records.

use crate::compress::Kind;
use crate::kinesis::limits;
use crate::record::formats::Format;
use crate::record::partition_key::PartitionKey;
use crate::record::shape::Shape;
use crate::record::size::Oversize;
use crate::record::time::TimeFormat;

/// What records look like.
#[derive(Clone, Debug)]
pub struct RecordSettings {
    /// Which entries are sent, under which keys.
    pub shape: Shape,
    /// How the event's time is written.
    pub time_format: TimeFormat,
    /// How they are written.
    pub format: Format,
    /// Whether a newline ends each record.
    pub newline: bool,
    /// How each record is compressed.
    pub compression: Option<Compression>,
    /// Most bytes of a record, compressed, and its partition key.
    pub max_bytes: usize,
    /// What becomes of a larger one.
    pub oversize: Oversize,
    /// Which partition key a record gets.
    pub partition_key: PartitionKey,
}

/// How something is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// By which format.
    pub kind: Kind,
    /// How thoroughly, see [`Kind::levels`]; the library's default when `None`.
    pub level: Option<i32>,
}

impl Default for RecordSettings {
    /// Events as they are, in JSON, with random keys.
    fn default() -> Self {
        RecordSettings {
            shape: Shape::default(),
            time_format: TimeFormat::default(),
            format: Format::Json,
            newline: false,
            compression: None,
            max_bytes: limits::DEFAULT_RECORD_BYTES,
            oversize: Oversize::Truncate,
            partition_key: PartitionKey::Random,
        }
    }
}
