//! What is said about records that are not sent, or not as they came.
//!
//! Each reason is counted, and has one line in the log however often it occurs ([`crate::log::Logger::folded`]).

use std::cell::Cell;
use std::time::Duration;

use super::Delivery;
use super::flush::Flush;
use crate::log::Level;
use crate::metrics::{Metric, RefusalReason};
use crate::pack::RecordIssue;
use crate::record::{Alterations, Refusal};

impl<T> Delivery<T> {
    /// Counts and logs what was remarked about a record while requests were made.
    pub(super) fn remark(&self, record: u32, issue: RecordIssue, flush: &Flush) {
        match issue {
            RecordIssue::Refused(refusal) => {
                let (reason, cause) = match refusal {
                    Refusal::TooDeep => (RefusalReason::TooDeep, "record too deep"),
                    Refusal::TooLarge => (RefusalReason::TooLarge, "record too large"),
                    Refusal::Compression => (RefusalReason::Compression, "record not compressed"),
                    Refusal::NoLogKey => (RefusalReason::NoLogKey, "record without log_key"),
                    Refusal::Malformed(_) => (RefusalReason::NotAnEvent, "record malformed"),
                };
                self.refuse(record, reason, cause, flush, || format!("a record is not sent: {refusal}"));
            }
            RecordIssue::NotAnEvent(event) => {
                let text = || format!("a part of a chunk is not sent: {event}");
                self.refuse(record, RefusalReason::NotAnEvent, "not an event", flush, text);
            }
            RecordIssue::Altered(alterations) => self.altered(alterations),
        }
    }

    fn altered(&self, alterations: Alterations) {
        let Alterations { cut_from, no_partition_key } = alterations;
        if let Some(bytes) = cut_from {
            self.metrics.add(Metric::RecordsTruncated, 1);
            self.log.folded(Level::Warn, "truncated", || {
                format!("a record of {bytes} bytes is cut to max_record_size, {}", self.requests.record.max_bytes)
            });
        }
        if no_partition_key {
            self.metrics.add(Metric::RecordsKeyedAtRandom, 1);
            self.log.folded(Level::Warn, "random key", || {
                "a record has no text, number or boolean under partition_key: it gets a random key".to_owned()
            });
        }
    }

    /// Counts records that Kinesis refuses for good.
    pub(super) fn refused_by_kinesis(&self, records: &[u32], reason: &str, flush: &Flush) {
        for &record in records {
            let text = || format!("a record is refused by Kinesis: {reason}");
            self.refuse(record, RefusalReason::ByKinesis, "refused by Kinesis", flush, text);
        }
    }

    fn refuse(
        &self,
        record: u32,
        reason: RefusalReason,
        cause: &'static str,
        flush: &Flush,
        text: impl FnOnce() -> String,
    ) {
        Flush::count(&flush.refused, 1);
        self.metrics.add_to(Metric::RecordsRefused, reason as usize, 1);
        flush.progress.settle([record]);
        self.log.folded(Level::Error, cause, text);
    }

    /// Warns of a flush that took longer than the user likes, and tells where its time went.
    pub(super) fn remark_slowness(&self, took: Duration, flush: &Flush) {
        if self.settings.slow_flush.is_none_or(|threshold| took <= threshold) {
            return;
        }
        self.metrics.add(Metric::SlowFlushes, 1);
        let times = &flush.times;
        let seconds = |time: &Cell<Duration>| time.get().as_secs_f64();
        self.log.folded(Level::Warn, "slow flush", || {
            format!(
                "a flush took {:.1} s: {:.1} s making requests, {:.1} s waiting for one of {} to be free, {:.1} s in {} requests, {:.1} s in pauses between them",
                took.as_secs_f64(),
                seconds(&times.packing),
                seconds(&times.waiting),
                self.window.limit(),
                seconds(&times.network),
                times.requests.get(),
                seconds(&times.pauses),
            )
        });
    }
}
