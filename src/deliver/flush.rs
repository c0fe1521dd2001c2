//! What is counted while a chunk is delivered.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::kinesis::request::Batch;
use crate::ledger::Progress;
use crate::record_set::RecordSet;

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
pub(super) struct Flush {
    /// Counts the flushes of an output, for the log.
    pub(super) number: u64,
    /// When its time is up, if it is limited.
    pub(super) deadline: Option<Instant>,
    /// What need not be sent again when Fluent Bit brings the chunk again.
    pub(super) progress: Rc<Progress>,
    pub(super) accepted: Cell<usize>,
    pub(super) refused: Cell<usize>,
    /// No further request makes sense in this flush.
    pub(super) stopped: Cell<bool>,
    /// Records to pack again when all others are done.
    pub(super) apart: RefCell<Option<Apart>>,
    pub(super) put_off: RefCell<Option<PutOff>>,
    pub(super) suspects: RefCell<Suspects>,
    pub(super) times: Times,
}

/// Records of refused groups, to be packed in smaller ones.
#[derive(Default)]
pub(super) struct Apart {
    pub(super) records: RecordSet,
    /// Records of the largest of those groups.
    pub(super) largest: usize,
}

/// Records whose request pauses without room for its body.
#[derive(Default)]
pub(super) struct PutOff {
    pub(super) records: RecordSet,
    pub(super) tries: Tries,
}

/// Records that were refused alone, while it is not known whether they are at fault.
#[derive(Default)]
pub(super) struct Suspects {
    /// Those of earlier flushes of the chunk.
    pub(super) earlier: RecordSet,
    /// When each was refused first, by [`super::evidence::Evidence::now`].
    pub(super) refused_at: BTreeMap<u32, u64>,
    /// Those that were sent alone once more in this flush.
    pub(super) tried_again: RecordSet,
    /// Refusals since anything was last accepted.
    pub(super) in_a_row: usize,
    /// The service's words about the last of them.
    pub(super) reason: String,
}

impl Flush {
    pub(super) fn new(number: u64, progress: Rc<Progress>, deadline: Option<Instant>) -> Flush {
        let known = progress.suspects().clone();
        let refused_at = known.records.iter().map(|record| (record, known.latest)).collect();
        let earlier = known.records;
        let suspects = Suspects { earlier, refused_at, ..Suspects::default() };
        Flush {
            number,
            deadline,
            progress,
            accepted: Cell::default(),
            refused: Cell::default(),
            stopped: Cell::default(),
            apart: RefCell::default(),
            put_off: RefCell::default(),
            suspects: RefCell::new(suspects),
            times: Times::default(),
        }
    }

    pub(super) fn count(counter: &Cell<usize>, records: usize) {
        counter.set(counter.get() + records);
    }
}

/// How often something was sent, and how long to wait before the next time.
#[derive(Clone, Debug, Default)]
pub(super) struct Tries {
    pub(super) backoff: Backoff,
    pub(super) retries: usize,
}

/// A batch on its way through several tries.
pub(super) struct Attempt {
    pub(super) batch: Batch,
    pub(super) tries: Tries,
    pub(super) tried_at_once: bool,
    pub(super) renewed: bool,
}

impl Attempt {
    pub(super) fn new(batch: Batch, tries: Tries) -> Self {
        Attempt { batch, tries, tried_at_once: false, renewed: false }
    }

    /// How many records of the chunk are in it; the request has fewer when they are aggregated.
    pub(super) fn records(&self) -> usize {
        self.batch.record_count()
    }

    /// Which records of the chunk are in it.
    pub(super) fn all_records(&self) -> impl Iterator<Item = u32> {
        self.batch.entries().iter().flat_map(|entry| self.batch.records(entry)).copied()
    }
}
