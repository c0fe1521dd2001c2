//! What is counted while a chunk is delivered.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::kinesis::request::Batch;
use crate::ledger::Progress;

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
    /// Their names as a metric's label, in order.
    pub const NAMES: [&str; 6] =
        ["too_deep", "too_large", "no_log_key", "compression", "not_an_event", "refused_by_kinesis"];
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
    /// Counts the flushes of an output, for the log.
    pub(super) number: u64,
    pub(super) accepted: Cell<usize>,
    pub(super) refused: Cell<usize>,
    pub(super) left: Cell<usize>,
    /// What is known of the chunk.
    pub(super) progress: Rc<Progress>,
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
