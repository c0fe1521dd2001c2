//! Where the entries of a batch come from.

use super::context::PackContext;
use crate::kinesis::request::{BatchBuilder, Wire};

/// Turns the chunk's events into entries, one by one.
pub(super) trait Source {
    /// Makes the next entry and returns its size as Kinesis counts it, in bytes; `None` at the end of the chunk. Its
    /// data may already be in `batch`, as the open entry.
    fn next<W: Wire>(&mut self, batch: &mut BatchBuilder<W>, context: &mut PackContext<'_, '_>) -> Option<usize>;

    /// Adds this entry to the batch.
    fn add<W: Wire>(&mut self, batch: &mut BatchBuilder<W>);

    /// Keeps this entry for the next batch.
    fn keep<W: Wire>(&mut self, batch: &BatchBuilder<W>);
}
