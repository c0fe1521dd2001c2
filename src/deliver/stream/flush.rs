//! One flush: its deadline, and what became of its records so far.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::attempt::Tries;
use crate::deliver::letters::Lost;
use crate::ledger::Progress;
use crate::record_set::RecordSet;

/// Whether the host is shutting down, and the deadline for replies then.
pub(crate) struct Shutdown(watch::Sender<Option<Instant>>);

impl Default for Shutdown {
    fn default() -> Self {
        Shutdown(watch::Sender::new(None))
    }
}

impl Shutdown {
    /// Makes all flushes end soon: no new requests, and no waiting for replies after `deadline`.
    pub(crate) fn begin(&self, deadline: Instant) {
        self.0.send_replace(Some(deadline));
    }

    fn has_begun(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Waits until shutdown begins. Returns the deadline.
    pub(in crate::deliver) async fn begun(&self) -> Option<Instant> {
        self.0.subscribe().wait_for(Option::is_some).await.ok().and_then(|deadline| *deadline)
    }
}

/// Where the time of a flush goes. Requests overlap, so the parts may add up to more than the whole.
#[derive(Debug, Default)]
pub(super) struct Times {
    /// Encoding records into requests.
    pub(super) packing: Cell<Duration>,
    /// Waiting for the packing lock and for permits.
    pub(super) waiting: Cell<Duration>,
    /// From sending requests to their replies.
    pub(super) network: Cell<Duration>,
    /// Pauses before retries.
    pub(super) pauses: Cell<Duration>,
    /// Requests sent.
    pub(super) requests: Cell<u64>,
}

impl Times {
    fn add(&self, other: &Times) {
        for (sum, time) in [
            (&self.packing, &other.packing),
            (&self.waiting, &other.waiting),
            (&self.network, &other.network),
            (&self.pauses, &other.pauses),
        ] {
            sum.set(sum.get() + time.get());
        }
        self.requests.set(self.requests.get() + other.requests.get());
    }
}

/// Adds the time since `start` to `sum` and returns the current time.
pub(super) fn add_time(sum: &Cell<Duration>, start: Instant) -> Instant {
    let now = Instant::now();
    sum.set(sum.get() + now.duration_since(start));
    now
}

/// One flush of a chunk, or of the chunk's records for one stream.
pub(crate) struct Flush {
    /// The number of this flush, for the log.
    pub(crate) number: u64,
    pub(super) deadline: Option<Instant>,
    shutdown: Rc<Shutdown>,
    /// Which records Kinesis already has, kept for when Fluent Bit retries the chunk.
    pub(crate) progress: Rc<Progress>,
    pub(crate) accepted: Cell<usize>,
    pub(crate) refused: Cell<usize>,
    /// Whether further requests are pointless.
    stopped: Cell<bool>,
    /// Records to pack again after all others are done.
    pub(super) to_split: RefCell<Option<ToSplit>>,
    pub(super) postponed: RefCell<Option<Postponed>>,
    pub(super) refusals: RefCell<RefusalHistory>,
    /// Records given up that are not yet dead letters.
    pub(crate) lost: RefCell<Vec<Lost>>,
    pub(super) times: Times,
}

/// Records of refused groups, to be packed into smaller groups.
#[derive(Default)]
pub(super) struct ToSplit {
    pub(super) records: RecordSet,
    /// The number of records in the largest of those groups.
    pub(super) largest: usize,
}

/// Records whose request has to pause while there is no room to keep its body.
#[derive(Default)]
pub(super) struct Postponed {
    pub(super) records: RecordSet,
    pub(super) tries: Tries,
}

/// Records that were refused alone and may be at fault.
#[derive(Default)]
pub(super) struct RefusalHistory {
    /// Those refused in earlier flushes of the chunk.
    pub(super) earlier: RecordSet,
    /// When each was first refused, by [`super::evidence::Evidence::now`].
    pub(super) refused_at: BTreeMap<u32, u64>,
    /// Those already sent alone a second time in this flush.
    pub(super) tried_again: RecordSet,
    /// The number of refusals since the last accepted record.
    pub(super) in_a_row: usize,
    /// The service's reason for the last refusal.
    pub(super) reason: String,
}

impl RefusalHistory {
    /// Forgets the records that do not satisfy `is_in_it`.
    fn only(&mut self, is_in_it: impl Fn(u32) -> bool) {
        self.earlier = self.earlier.iter().filter(|&record| is_in_it(record)).collect();
        self.refused_at.retain(|&record, _| is_in_it(record));
    }
}

impl Flush {
    pub(crate) fn new(number: u64, progress: Rc<Progress>, deadline: Option<Instant>, shutdown: Rc<Shutdown>) -> Flush {
        let known = progress.refused_alone().clone();
        let refused_at = known.records.iter().map(|record| (record, known.latest)).collect();
        let refusals = RefusalHistory { earlier: known.records, refused_at, ..RefusalHistory::default() };
        Flush {
            number,
            deadline,
            shutdown,
            progress,
            accepted: Cell::default(),
            refused: Cell::default(),
            stopped: Cell::default(),
            to_split: RefCell::default(),
            postponed: RefCell::default(),
            refusals: RefCell::new(refusals),
            lost: RefCell::default(),
            times: Times::default(),
        }
    }

    /// The part of this flush that goes to one stream, whose records satisfy `is_in_it`.
    pub(crate) fn of_stream(&self, is_in_it: impl Fn(u32) -> bool) -> Flush {
        let Flush { number, progress, deadline, shutdown, .. } = self;
        let part = Flush::new(*number, Rc::clone(progress), *deadline, Rc::clone(shutdown));
        part.refusals.borrow_mut().only(is_in_it);
        part
    }

    /// Adds what became of a stream's part.
    pub(crate) fn add_part(&self, part: &Flush) {
        add(&self.accepted, part.accepted.get());
        add(&self.refused, part.refused.get());
        self.times.add(&part.times);
    }

    /// Stops sending new requests.
    pub(super) fn stop(&self) {
        self.stopped.set(true);
    }

    /// Whether the deadline has passed.
    pub(crate) fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Whether to send nothing new.
    pub(super) fn is_over(&self) -> bool {
        self.stopped.get() || self.is_late() || self.shutdown.has_begun()
    }

    /// Waits for `event`. Returns `None` if the flush is over first.
    pub(super) async fn wait_for<E>(&self, event: impl Future<Output = E>) -> Option<E> {
        let event = tokio::select! {
            biased;
            // First: an event that is there already costs neither a subscription nor a timer.
            event = event => Some(event),
            _ = self.shutdown.begun() => None,
            () = until(self.deadline) => None,
        };
        event.filter(|_| !self.is_over())
    }

    /// Waits in a queue for `event`, as [`Flush::wait_for`] does, and counts the time as waiting.
    pub(super) async fn queue_for<E>(&self, event: impl Future<Output = E>) -> Option<E> {
        let waiting_since = Instant::now();
        let event = self.wait_for(event).await;
        add_time(&self.times.waiting, waiting_since);
        event
    }

    /// Waits until it is time to stop waiting for replies. Returns the reason.
    pub(super) async fn reply_deadline(&self) -> &'static str {
        let shutdown = async { until(self.shutdown.begun().await).await };
        tokio::select! {
            () = shutdown => "Fluent Bit is shutting down",
            () = until(self.deadline) => "the flush took longer than flush_timeout",
        }
    }
}

/// Waits until `deadline`, or forever if there is none.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Adds to a count of records.
pub(super) fn add(counter: &Cell<usize>, records: usize) {
    counter.set(counter.get() + records);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;

    /// Otherwise a stream would report another stream's record as its own.
    #[test]
    fn a_streams_part_remembers_the_refusals_of_its_own_records() {
        let ledger = Rc::new(Ledger::new(1 << 20));
        let open = ledger.begin(b"app", b"chunk");
        [3, 5].into_iter().for_each(|record| open.progress().mark_refused_alone(record, 1));
        let flush = Flush::new(1, Rc::clone(open.progress()), None, Rc::default());
        let part = flush.of_stream(|record| record == 5);
        let refusals = part.refusals.borrow();
        assert_eq!(refusals.earlier, RecordSet::from_iter([5]));
        assert_eq!(refusals.refused_at.keys().copied().collect::<Vec<_>>(), [5]);
    }
}
