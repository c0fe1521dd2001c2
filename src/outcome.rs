//! The answer to a flush.

/// What became of a chunk. There is no "delivered with failures": while Kinesis may still accept any record of a
/// chunk, the outcome is [`Outcome::Retry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every record was accepted by Kinesis, or permanently refused, counted and logged.
    Delivered,
    /// Part of the chunk is not delivered yet: Fluent Bit keeps it and retries.
    Retry,
    /// No part of the chunk can ever be delivered.
    Hopeless,
}
