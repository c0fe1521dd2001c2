//! An event as the bytes to send.

pub mod json;

use std::fmt;

use crate::msgpack::Malformed;
use crate::record::json::{KEY_LEVELS, MAX_DEPTH};

/// Why an event cannot become a record. No retry cures any of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Maps and arrays stand deeper in each other than [`MAX_DEPTH`]; a map or array that is a key counts for
    /// [`KEY_LEVELS`].
    TooDeep,
    /// The record and its partition key are larger than Kinesis takes.
    TooLarge,
    /// The body is no complete msgpack.
    Malformed(Malformed),
}

impl From<Malformed> for Refusal {
    fn from(reason: Malformed) -> Self {
        Refusal::Malformed(reason)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::TooDeep => {
                write!(f, "it is nested deeper than {MAX_DEPTH} levels (a map or array as a key is {KEY_LEVELS})")
            }
            Refusal::TooLarge => {
                f.write_str("it is larger than a Kinesis record may be (1 MiB with its partition key)")
            }
            Refusal::Malformed(reason) => write!(f, "its msgpack cannot be read: {reason}"),
        }
    }
}
