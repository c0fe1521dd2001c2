//! What is counted while a chunk is delivered.

use std::cell::{Cell, RefCell};

use crate::backoff::Backoff;
use crate::kinesis::request::Batch;
use crate::ledger::RecordSet;

/// Records of an instance since its start.
#[derive(Debug, Default)]
pub struct Totals {
    /// Accepted by Kinesis.
    pub accepted: Cell<u64>,
    /// Refused for good, by us or by Kinesis.
    pub refused: Cell<u64>,
    /// Left to Fluent Bit's retry.
    pub left: Cell<u64>,
    /// Not sent again in Fluent Bit's retry, because they were accepted or refused before.
    pub spared: Cell<u64>,
    /// Sent again although Kinesis may have had them already.
    pub ambiguous: Cell<u64>,
}

/// What became of the records of one flush so far.
#[derive(Default)]
pub(super) struct Flush {
    pub(super) accepted: Cell<usize>,
    pub(super) refused: Cell<usize>,
    pub(super) left: Cell<usize>,
    /// What need not be sent again when Fluent Bit brings the chunk again.
    pub(super) settled: RefCell<RecordSet>,
    /// No further request makes sense in this flush.
    pub(super) stopped: Cell<bool>,
    /// Records that were refused alone, with the service's words.
    pub(super) suspects: RefCell<Vec<(u32, String)>>,
}

impl Flush {
    pub(super) fn count(counter: &Cell<usize>, records: usize) {
        counter.set(counter.get() + records);
    }
}

/// A batch on its way through several tries.
pub(super) struct Attempt {
    pub(super) batch: Batch,
    pub(super) backoff: Backoff,
    pub(super) retries: usize,
    pub(super) tried_at_once: bool,
    pub(super) renewed: bool,
}

impl Attempt {
    pub(super) fn new(batch: Batch) -> Self {
        Attempt { batch, backoff: Backoff::default(), retries: 0, tried_at_once: false, renewed: false }
    }

    pub(super) fn records(&self) -> usize {
        self.batch.entries().len()
    }
}
