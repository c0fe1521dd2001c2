//! Settings for records.

use crate::compress::Kind;
use crate::kinesis::limits;
use crate::record::formats::Format;
use crate::record::partition_key::PartitionKey;
use crate::record::path::KeyPath;
use crate::record::shape::Shape;
use crate::record::size::Oversize;
use crate::record::time::TimeFormat;

/// What records look like.
#[derive(Clone, Debug)]
pub struct RecordSettings {
    /// Which entries are sent, and under which keys.
    pub shape: Shape,
    /// The format of the event's time.
    pub time_format: TimeFormat,
    /// The format of the record.
    pub format: Format,
    /// Whether each record ends with a newline.
    pub newline: bool,
    /// How each record is compressed, if at all.
    pub compression: Option<Compression>,
    /// Most bytes of a record after compression, including its partition key.
    pub max_bytes: usize,
    /// What to do with a larger one.
    pub oversize: Oversize,
    /// Where partition keys come from.
    pub partition_key: PartitionKey,
    /// Where explicit hash keys come from, if records have any.
    pub explicit_hash_key: Option<KeyPath>,
    /// Whether maps of one name in one event are merged. Otherwise the last counts.
    pub merge_maps: bool,
    /// Whether events without entries are left out.
    pub drop_empty: bool,
}

/// How data is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// The compression format.
    pub kind: Kind,
    /// The compression level, see [`Kind::levels`]; `None` for the library's default.
    pub level: Option<i32>,
}

impl Default for RecordSettings {
    /// Unchanged events as JSON, with random keys.
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
            explicit_hash_key: None,
            merge_maps: false,
            drop_empty: false,
        }
    }
}
