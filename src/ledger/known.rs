//! What is known of the records of one chunk.

use std::cell::{Cell, RefCell};

use super::key::Key;
use crate::record_set::RecordSet;

/// A chunk in the ledger and its file. Every change must also be written to the file ([`super::Progress`] does).
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) key: Key,
    /// The chunk's id in the file.
    pub(super) id: u64,
    /// Whether the file defines `id`.
    pub(super) is_named_in_file: Cell<bool>,
    pub(super) done: RefCell<RecordSet>,
    pub(super) refused_alone: RefCell<RefusedAlone>,
}

/// Records that were refused alone but are not proven to be at fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RefusedAlone {
    /// The records.
    pub(crate) records: RecordSet,
    /// The highest `at` passed to [`super::Progress::mark_refused_alone`]; 0 if all come from an earlier process.
    pub(crate) latest: u64,
}

impl Known {
    pub(super) fn new(id: u64, key: Key) -> Known {
        Known { key, id, ..Known::default() }
    }

    /// Adds what an earlier process knew.
    pub(super) fn with_records(self, done: RecordSet, refused_alone: RecordSet) -> Known {
        let refused_alone = RefusedAlone { records: refused_alone, latest: 0 };
        Known { done: RefCell::new(done), refused_alone: RefCell::new(refused_alone), ..self }
    }

    /// Whether nothing is known.
    pub(super) fn is_empty(&self) -> bool {
        self.done.borrow().is_empty() && self.refused_alone.borrow().records.is_empty()
    }

    /// Approximate memory on the heap, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.done.borrow().bytes() + self.refused_alone.borrow().records.bytes()
    }
}
