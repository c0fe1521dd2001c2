//! What is known of one chunk.

use std::cell::{Ref, RefCell};

use crate::record_set::RecordSet;

/// What is known of the records of one chunk. It outlives the flush, and tasks may hold it.
#[derive(Debug, Default)]
pub struct Progress {
    settled: RefCell<RecordSet>,
    suspects: RefCell<Suspects>,
}

/// Records that were refused alone, of which it is not proven that no retry cures them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suspects {
    /// The records.
    pub records: RecordSet,
    /// The highest `at` of [`Progress::suspect`]; 0 when all are of an earlier process.
    pub latest: u64,
}

impl Progress {
    /// Notes records that need no sending any more: they are accepted, or refused for good.
    pub fn settle(&self, records: impl IntoIterator<Item = u32>) {
        let (mut settled, mut suspects) = (self.settled.borrow_mut(), self.suspects.borrow_mut());
        for record in records {
            settled.insert(record);
            suspects.records.remove(record);
        }
    }

    /// The records that need no sending any more.
    pub fn settled(&self) -> Ref<'_, RecordSet> {
        self.settled.borrow()
    }

    /// Notes a record that was refused alone; `at` is a counter of the caller's. One that is settled is no suspect.
    pub fn suspect(&self, record: u32, at: u64) {
        if self.settled.borrow().contains(record) {
            return;
        }
        let mut suspects = self.suspects.borrow_mut();
        suspects.records.insert(record);
        suspects.latest = suspects.latest.max(at);
    }

    /// The records that were refused alone and are not settled.
    pub fn suspects(&self) -> Ref<'_, Suspects> {
        self.suspects.borrow()
    }

    /// Whether nothing is known.
    pub(super) fn is_empty(&self) -> bool {
        self.settled.borrow().is_empty() && self.suspects.borrow().records.is_empty()
    }

    /// What it takes on the heap, in bytes, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.settled.borrow().bytes() + self.suspects.borrow().records.bytes()
    }
}
