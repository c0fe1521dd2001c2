//! Handles requests that Kinesis refuses because of their content.
//!
//! First the record at fault is found: the service names it, or the request is halved until one record is left, and
//! groups are split up. A record is given up only if it was refused alone twice and a record of a later request was
//! accepted in between ([`super::evidence`]). Until then the ledger remembers the refusal across flushes.

use std::cell::Cell;
use std::rc::Rc;

use super::attempt::Attempt;
use super::evidence::Evidence;
use super::flush::Flush;
use super::report::Reporter;
use super::sizes::{SizeLimit, Sizes};
use crate::deliver::settings::Settings;
use crate::deliver::watch::Facts;
use crate::kinesis::limits::MAX_RECORD_BYTES;
use crate::kinesis::request::{Batch, Entry};
use crate::kinesis::verdict::Refusal;
use crate::metrics::Metric;
use crate::pack::RequestSettings;
use crate::record_set::RecordSet;

/// A flush ends after this many refusals in a row: the records are probably not at fault.
pub(crate) const MAX_IN_A_ROW: usize = 8;

/// Finds records at fault and decides when to give them up.
pub(super) struct Refusals {
    pub(super) evidence: Evidence,
    pub(super) sizes: Sizes,
    facts: Rc<Facts>,
    reporter: Reporter,
}

impl Refusals {
    pub(super) fn new(
        requests: &RequestSettings,
        settings: &Settings,
        sent: Rc<Cell<u64>>,
        facts: Rc<Facts>,
        reporter: Reporter,
    ) -> Refusals {
        let group_bytes = if settings.follows_record_size { MAX_RECORD_BYTES } else { requests.record.max_bytes };
        let sizes = Sizes { request: SizeLimit::new(requests.max_bytes), group: SizeLimit::new(group_bytes) };
        Refusals { evidence: Evidence::new(sent), sizes, facts, reporter }
    }

    /// Notes an aggregate that consumers drop, so that its records are packed again, one by one.
    pub(super) fn misplaced(&self, batch: &Batch, entry: &Entry, flush: &Flush) {
        let records = batch.records(entry);
        self.reporter.metrics.add(Metric::RecordsMisplaced, records.len() as u64);
        pack_again(records, 1, flush);
    }

    /// Narrows the search for the record that makes a batch unacceptable. Returns what to send next.
    pub(super) fn split(&self, attempt: Attempt, refusal: &Refusal, flush: &Flush) -> Vec<Attempt> {
        let Attempt { batch, tries, .. } = attempt;
        let count = batch.entries().len();
        let part = |keep: &dyn Fn(usize) -> bool| Attempt::new(batch.only(keep, |_| None), tries.clone());
        let culprit = if count == 1 { Some(0) } else { refusal.index };
        if let Some(culprit) = culprit {
            let now = self.evidence.now();
            let refused = |entry| self.refused_alone(&batch, entry, refusal, now, flush);
            self.count(batch.entries().get(culprit).is_some_and(refused), flush);
            return if count > 1 { vec![part(&|index| index != culprit)] } else { Vec::new() };
        }
        if refusal.too_large && self.sizes.request.refused(batch.bytes(), refusal.allowed_bytes) {
            self.reporter.smaller("requests", self.sizes.request.get());
        }
        let half = count / 2;
        vec![part(&|index| index >= half), part(&|index| index < half)]
    }

    /// Notes that an entry was refused, alone or by name, at the time `then`. Returns whether this is news; it is not
    /// for a group made before the size limit was lowered.
    pub(super) fn refused_alone(
        &self,
        batch: &Batch,
        entry: &Entry,
        refusal: &Refusal,
        then: u64,
        flush: &Flush,
    ) -> bool {
        flush.refusals.borrow_mut().reason.clone_from(&refusal.reason);
        let records = batch.records(entry);
        if let [record] = records {
            if refusal.too_large && self.facts.record_too_large(entry.bytes(), refusal.allowed_bytes) {
                pack_again(records, 1, flush);
                return true;
            }
            self.give_up_or_remember(*record, &refusal.reason, then, flush);
            return true;
        }
        pack_again(records, records.len(), flush);
        if !refusal.too_large {
            return true;
        }
        let is_news = self.sizes.group.refused(entry.bytes(), refusal.allowed_bytes);
        if is_news {
            self.reporter.smaller("aggregated records", self.sizes.group.get());
        }
        is_news
    }

    /// Ends the flush after too many refusals in a row.
    pub(super) fn count(&self, is_news: bool, flush: &Flush) {
        let mut refusals = flush.refusals.borrow_mut();
        refusals.in_a_row += usize::from(is_news);
        if refusals.in_a_row >= MAX_IN_A_ROW {
            flush.stop();
        }
    }

    /// Gives up a record that is proven to be at fault; remembers any other.
    fn give_up_or_remember(&self, record: u32, reason: &str, then: u64, flush: &Flush) {
        let first = flush.refusals.borrow().refused_at.get(&record).copied();
        if first.is_some_and(|first| self.evidence.accepted_since(first)) {
            self.reporter.refused_by_kinesis(record, reason, flush);
        } else if first.is_none() {
            flush.refusals.borrow_mut().refused_at.insert(record, then);
            flush.progress.mark_refused_alone(record, then);
        }
    }

    /// Refused records worth another try, each once per flush: those of earlier flushes, and those refused before
    /// another record was accepted.
    pub(super) fn to_try_again(&self, flush: &Flush) -> Option<RecordSet> {
        let mut refusals = flush.refusals.borrow_mut();
        let done = flush.progress.done();
        let is_worth_it = |record: u32, then: u64| {
            let is_open = !done.contains(record) && !refusals.tried_again.contains(record);
            is_open && (refusals.earlier.contains(record) || self.evidence.accepted_since(then))
        };
        let refused_at = refusals.refused_at.iter();
        let records: RecordSet =
            refused_at.filter(|&(&record, &then)| is_worth_it(record, then)).map(|(&record, _)| record).collect();
        refusals.tried_again.extend(records.iter());
        (!records.is_empty()).then_some(records)
    }

    /// Tells the operator that refused records are kept.
    pub(super) fn report_kept(&self, flush: &Flush) {
        let refusals = flush.refusals.borrow();
        let done = flush.progress.done();
        if flush.to_split.borrow().is_some() || refusals.refused_at.keys().any(|&record| !done.contains(record)) {
            let advice = "nothing has been accepted since, so the records may not be at fault";
            self.reporter.needs_operator(&refusals.reason, advice);
        }
    }
}

/// Packs these records again after all others are done, in groups of at most half of `largest` records.
fn pack_again(records: &[u32], largest: usize, flush: &Flush) {
    let mut to_split = flush.to_split.borrow_mut();
    let to_split = to_split.get_or_insert_default();
    to_split.records.extend(records.iter().copied());
    to_split.largest = to_split.largest.max(largest);
}
