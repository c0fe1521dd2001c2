//! Why an event cannot become a record.

use std::fmt;

use crate::compress::CompressError;
use crate::msgpack::Malformed;

/// How many levels of maps and arrays a record may have. The encoder recurses, and the delivery thread's stack of 2 MiB
/// holds this many levels several times over (a test proves it).
pub(super) const MAX_DEPTH: u32 = 1024;

/// How many levels a map or an array counts for that is a key: it is written as text within text, and each such step
/// doubles the backslashes before its quotes. So at most four of them can be nested.
pub(super) const KEY_LEVELS: u32 = 250;

/// Why an event cannot become a record. No retry cures any of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Maps and arrays are nested deeper than `MAX_DEPTH`; a map or array that is a key counts for `KEY_LEVELS`.
    TooDeep,
    /// The record and its partition key are larger than allowed, and cannot or may not be cut.
    TooLarge,
    /// The encoder of the compression fails, for want of memory.
    Compression,
    /// The event has nothing under the key that alone is sent.
    NoLogKey,
    /// The body is no complete msgpack.
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
            Refusal::Malformed(reason) => write!(f, "its msgpack cannot be read: {reason}"),
        }
    }
}

/// How many of `depth` levels are left after going down by `levels`.
pub(super) fn deeper(depth: u32, levels: u32) -> Result<u32, Refusal> {
    depth.checked_sub(levels).ok_or(Refusal::TooDeep)
}
