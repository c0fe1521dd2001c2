//! Why an event cannot become a record.

use std::fmt;

use crate::compress::CompressError;
use crate::msgpack::Malformed;

/// Most levels of nested maps and arrays in a record. The encoder recurses; this many levels fit several times into
/// the delivery thread's stack of 2 MiB (tested).
pub(super) const MAX_DEPTH: u32 = 1024;

/// How many levels a map or array counts if it is a key: it becomes text within text, and each such step doubles the
/// backslashes before quotes. At most four can be nested.
pub(super) const KEY_LEVELS: u32 = 250;

/// Why an event cannot become a record. Retries do not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Maps and arrays are nested deeper than `MAX_DEPTH`; a map or array that is a key counts for `KEY_LEVELS`.
    TooDeep,
    /// Record and partition key are larger than allowed and cannot or may not be cut.
    TooLarge,
    /// The compressor failed, out of memory.
    Compression,
    /// The event has no value under `log_key`, the only one that is sent.
    NoLogKey,
    /// The template of the stream's name gives no valid name, and there is no `stream_fallback`.
    NoStream,
    /// The event has no entries left, and `drop_empty` is on. This is what the user wants.
    Empty,
    /// The body is not complete msgpack.
    Malformed(Malformed),
}

impl From<Malformed> for Refusal {
    fn from(reason: Malformed) -> Self {
        Refusal::Malformed(reason)
    }
}

impl From<CompressError> for Refusal {
    fn from(error: CompressError) -> Self {
        match error {
            CompressError::NoRoom { .. } => Refusal::TooLarge,
            CompressError::Encoder { .. } => Refusal::Compression,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::TooDeep => {
                write!(f, "it is nested deeper than {MAX_DEPTH} levels (a map or array as a key is {KEY_LEVELS})")
            }
            Refusal::TooLarge => f.write_str("it is larger than max_record_size"),
            Refusal::Compression => f.write_str("it cannot be compressed"),
            Refusal::NoLogKey => f.write_str("it has no value under log_key"),
            Refusal::NoStream => f.write_str("stream gives no valid name for it, and stream_fallback is not set"),
            Refusal::Empty => f.write_str("it has no entries left"),
            Refusal::Malformed(reason) => write!(f, "its msgpack is invalid: {reason}"),
        }
    }
}

/// The levels left of `depth` after descending `levels`.
pub(super) fn deeper(depth: u32, levels: u32) -> Result<u32, Refusal> {
    depth.checked_sub(levels).ok_or(Refusal::TooDeep)
}
