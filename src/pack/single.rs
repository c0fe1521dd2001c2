//! Sends each record as a Kinesis record of its own.

use super::context::PackContext;
use super::source::Source;
use crate::kinesis::request::{BatchBuilder, Wire};
use crate::record::partition_key::Key;

/// Writes each record into the open entry of the batch.
#[derive(Default)]
pub(super) struct Singles {
    /// The index of the record in the open entry.
    index: u32,
    key: Key,
    /// The data of a record that did not fit into the last batch.
    kept: Option<Vec<u8>>,
}

impl Source for Singles {
    #[inline]
    fn next<W: Wire>(&mut self, batch: &mut BatchBuilder<W>, context: &mut PackContext<'_, '_>) -> Option<usize> {
        match self.kept.take() {
            Some(data) => batch.open().extend_from_slice(&data),
            None => self.index = context.next_record(&mut self.key, batch.open())?,
        }
        Some(batch.data().len() + self.key.bytes())
    }

    #[inline]
    fn add<W: Wire>(&mut self, batch: &mut BatchBuilder<W>) {
        match (self.key.hash_key(), self.key.random()) {
            (None, Some(key)) => batch.close_with_random_key(self.index, key),
            (None, None) => batch.close(self.index, self.key.as_str(), false),
            (Some(digits), _) => batch.close_with_hash_key(self.index, self.key.as_str(), digits),
        }
    }

    fn keep<W: Wire>(&mut self, batch: &BatchBuilder<W>) {
        self.kept = Some(batch.data().to_vec());
    }
}
