//! An entry of a batch: where a record is in the body of a request.

use std::ops::Range;

/// An entry of a batch. It is small, because it is read again when the reply comes and the cache holds other things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The index of the chunk's record. In a batch of groups, the index of the group. [`super::Batch::records`] handles
    /// both.
    pub record: u32,
    /// Whether the key is random and may be drawn again.
    pub random_key: bool,
    start: u32,
    key_start: u32,
    end: u32,
    bytes: u32,
}

impl Entry {
    /// `places`: where it starts in the body, where its key starts, and where it ends.
    #[inline]
    pub(super) fn new(record: u32, places: [usize; 3], bytes: usize, random_key: bool) -> Self {
        // Bodies have 16 MiB at most.
        let [start, key_start, end] = places.map(|place| place as u32);
        Entry { record, random_key, start, key_start, end, bytes: bytes as u32 }
    }

    /// What Kinesis counts, in bytes: data before base64 plus partition key.
    pub fn bytes(&self) -> usize {
        self.bytes as usize
    }

    pub(super) fn has_key(&self) -> bool {
        self.key_start < self.end
    }

    /// From its start in the body up to its partition key.
    pub(super) fn head(&self) -> Range<usize> {
        self.start as usize..self.key_start as usize
    }

    /// Its partition key in the body, with the explicit hash key if any. Empty if it has no key.
    pub(super) fn key(&self) -> Range<usize> {
        self.key_start as usize..self.end as usize
    }
}
