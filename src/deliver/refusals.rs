//! What to do about a request that Kinesis refuses for its content.
//!
//! First the record at fault is found: the service names it, or the request is halved until the record is alone, and groups
//! are taken apart. A record is given up only when it was refused alone twice and another of a later request was accepted in
//! between ([`super::evidence`]). Until then it is a suspect, also from one flush to the next.

use std::rc::Rc;

use super::Delivery;
use super::flush::{Apart, Attempt, Flush};
use crate::kinesis::client::Transport;
use crate::kinesis::request::{Batch, Entry};
use crate::kinesis::verdict::Refusal;
use crate::log::Level;
use crate::record_set::RecordSet;

/// After this many refusals in a row a flush ends: the records are probably not at fault.
pub(super) const MOST_IN_A_ROW: usize = 8;

impl<T: Transport> Delivery<T> {
    /// Finds the record that makes a batch unacceptable. Returns what is to be sent of the batch.
    pub(super) fn refused(&self, attempt: Attempt, refusal: &Refusal, flush: &Flush) -> Vec<Attempt> {
        let Attempt { batch, tries, .. } = attempt;
        let part = |keep: &dyn Fn(usize) -> bool| Attempt::new(batch.only(keep, |_| None), tries.clone());
        match (refusal.index, batch.entries()) {
            (_, [only]) => {
                let counts = self.refused_alone(&batch, only, refusal, self.evidence.now(), flush);
                self.count_refusal(counts, flush);
                Vec::new()
            }
            (Some(culprit), entries) => {
                let now = self.evidence.now();
                let counts =
                    entries.get(culprit).is_some_and(|entry| self.refused_alone(&batch, entry, refusal, now, flush));
                self.count_refusal(counts, flush);
                vec![part(&|index| index != culprit)]
            }
            (None, entries) => {
                if refusal.too_large && self.request_size.refused(batch.bytes(), refusal.allowed_bytes) {
                    self.log_size("requests", self.request_size.get());
                }
                let half = entries.len() / 2;
                vec![part(&|index| index >= half), part(&|index| index < half)]
            }
        }
    }

    /// Notes that an entry was refused alone or by name, at the time `then`. Returns whether that is news: it is not for a group
    /// that was made before the limit of its size was lowered.
    pub(super) fn refused_alone(
        &self,
        batch: &Batch,
        entry: &Entry,
        refusal: &Refusal,
        then: u64,
        flush: &Flush,
    ) -> bool {
        flush.suspects.borrow_mut().reason.clone_from(&refusal.reason);
        let records = batch.records(entry);
        if let [record] = records {
            self.suspect(*record, &refusal.reason, then, flush);
            return true;
        }
        let mut apart = flush.apart.borrow_mut();
        let Apart { records: set, largest } = apart.get_or_insert_default();
        set.extend(records.iter().copied());
        *largest = records.len().max(*largest);
        if !refusal.too_large {
            return true;
        }
        let is_news = self.group_size.refused(entry.bytes, refusal.allowed_bytes);
        if is_news {
            self.log_size("aggregated records", self.group_size.get());
        }
        is_news
    }

    /// Ends the flush after too many refusals in a row.
    pub(super) fn count_refusal(&self, counts: bool, flush: &Flush) {
        let mut suspects = flush.suspects.borrow_mut();
        suspects.in_a_row += usize::from(counts);
        if suspects.in_a_row >= MOST_IN_A_ROW {
            flush.stopped.set(true);
        }
    }

    /// Gives a record up when it is proven to be at fault; else waits for proof.
    fn suspect(&self, record: u32, reason: &str, then: u64, flush: &Flush) {
        let first = flush.suspects.borrow().refused_at.get(&record).copied();
        if first.is_some_and(|first| self.evidence.accepted_since(first)) {
            self.refused_by_kinesis(&[record], reason, flush);
        } else if first.is_none() {
            flush.suspects.borrow_mut().refused_at.insert(record, then);
            flush.progress.suspect(record, then);
        }
    }

    /// Suspects that are worth another try: those of earlier flushes, and those since whose refusal others were accepted. Each
    /// is tried once in a flush.
    pub(super) fn suspects_to_try(&self, flush: &Flush) -> Option<RecordSet> {
        let mut suspects = flush.suspects.borrow_mut();
        let settled = flush.progress.settled();
        let worth_it = |record: u32, then: u64| {
            let open = !settled.contains(record) && !suspects.tried_again.contains(record);
            open && (suspects.earlier.contains(record) || self.evidence.accepted_since(then))
        };
        let records: RecordSet = suspects
            .refused_at
            .iter()
            .filter(|&(&record, &then)| worth_it(record, then))
            .map(|(&record, _)| record)
            .collect();
        suspects.tried_again.extend(records.iter());
        (!records.is_empty()).then_some(records)
    }

    /// Tells the operator that records were refused, and are kept.
    pub(super) fn tell_of_suspects(&self, flush: &Rc<Flush>) {
        let suspects = flush.suspects.borrow();
        let settled = flush.progress.settled();
        if flush.apart.borrow().is_some() || suspects.refused_at.keys().any(|&record| !settled.contains(record)) {
            self.tell_operator(&suspects.reason, "nothing was accepted since, so the records may not be at fault");
        }
    }

    fn log_size(&self, what: &'static str, bytes: usize) {
        self.log.folded(Level::Warn, what, || {
            format!("{what} are too large for the stream or a proxy: from now on they have at most {bytes} bytes")
        });
    }
}
