//! Where the entries of a batch come from.

use super::context::PackContext;
use crate::kinesis::request::{BatchBuilder, Wire};

/// Makes entries of the chunk's events, one after the other.
pub(super) trait Source {
    /// Makes the next entry and returns how many bytes of it Kinesis will count; `None` at the end of the chunk. Its data
    /// may be written into `batch`, as the open entry.
    fn next<W: Wire>(&mut self, batch: &mut BatchBuilder<W>, context: &mut PackContext<'_, '_>) -> Option<usize>;

    /// Adds this entry to the batch.
    fn add<W: Wire>(&mut self, batch: &mut BatchBuilder<W>);

    /// Keeps this entry for the next batch.
    fn keep<W: Wire>(&mut self, batch: &BatchBuilder<W>);
}
