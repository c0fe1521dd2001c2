//! What is counted while a chunk is delivered.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::kinesis::request::Batch;
use crate::ledger::RecordSet;

/// Records of an instance since its start.
#[derive(Debug, Default)]
pub struct Totals {
    /// Accepted by Kinesis.
    pub accepted: Cell<u64>,
    /// Never sent, or never accepted.
    pub refused: Refused,
    /// Left to Fluent Bit's retry.
    pub left: Cell<u64>,
    /// Not sent again in Fluent Bit's retry, because they were accepted or refused before.
    pub spared: Cell<u64>,
    /// Sent again although Kinesis may have had them already.
    pub ambiguous: Cell<u64>,
    /// Cut to the size that is allowed; counted each time the record is made.
    pub truncated: Cell<u64>,
    /// Given a random key because the event has none; counted each time the record is made.
    pub keyed_at_random: Cell<u64>,
    /// Flushes that lasted longer than `slow_flush_log_threshold`.
    pub slow_flushes: Cell<u64>,
}

/// Records refused for good, by reason.
#[derive(Debug, Default)]
pub struct Refused([Cell<u64>; RefusalReason::ALL.len()]);

/// Why a record is refused for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// Its maps and arrays stand too deep in each other.
    TooDeep,
    /// It is too large.
    TooLarge,
    /// It has nothing under the key that alone is sent.
    NoLogKey,
    /// It cannot be compressed.
    Compression,
    /// It is no event.
    NotAnEvent,
    /// Kinesis does not want it.
    ByKinesis,
}

impl RefusalReason {
    /// All of them.
    pub const ALL: [RefusalReason; 6] = [
        RefusalReason::TooDeep,
        RefusalReason::TooLarge,
        RefusalReason::NoLogKey,
        RefusalReason::Compression,
        RefusalReason::NotAnEvent,
        RefusalReason::ByKinesis,
    ];
}

impl Refused {
    /// Counts one record.
    pub(super) fn count(&self, reason: RefusalReason) {
        self.0.get(reason as usize).iter().for_each(|count| count.set(count.get() + 1));
    }

    /// Those of one reason.
    pub fn by(&self, reason: RefusalReason) -> u64 {
        self.0.get(reason as usize).map_or(0, Cell::get)
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.0.iter().map(Cell::get).sum()
    }
}

/// Where the time of a flush went. Requests fly side by side, so that the parts may be more than the whole.
#[derive(Debug, Default)]
pub(super) struct Times {
    /// Making requests.
    pub(super) packing: Cell<Duration>,
    /// Until a request may start.
    pub(super) waiting: Cell<Duration>,
    /// From sending to the reply.
    pub(super) network: Cell<Duration>,
    /// Before retries.
    pub(super) pauses: Cell<Duration>,
    /// Requests that were sent.
    pub(super) requests: Cell<u64>,
}

/// Adds the time since `start` and returns now.
pub(super) fn add_time(sum: &Cell<Duration>, start: Instant) -> Instant {
    let now = Instant::now();
    sum.set(sum.get() + now.duration_since(start));
    now
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
    /// Records that were refused alone, or only with those they are aggregated with, and the service's words.
    pub(super) suspects: RefCell<Vec<(Vec<u32>, String)>>,
    pub(super) times: Times,
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

    /// How many records of the chunk are in it; the request has fewer when they are aggregated.
    pub(super) fn records(&self) -> usize {
        self.batch.record_count()
    }
}
