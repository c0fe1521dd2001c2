//! The answer to a flush.

/// What became of a chunk. There is no "delivered with failures": a chunk that still holds a record which Kinesis may
/// yet take is [`Outcome::Retry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every record was accepted by Kinesis, or refused for a reason no retry can cure, counted and logged.
    Delivered,
    /// Something of the chunk is still to be delivered: Fluent Bit keeps it and calls again.
    Retry,
    /// Nothing of the chunk can ever be delivered.
    Hopeless,
}
