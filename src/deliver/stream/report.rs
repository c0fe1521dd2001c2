//! Counts and logs what happens to records and flushes.
//!
//! The log folds lines of the same cause ([`crate::log::Logger::folded`]).

use std::cell::Cell;
use std::fmt::Display;
use std::rc::Rc;
use std::time::Duration;

use super::flush::{Flush, add};
use crate::dead_letters::DeadLetters;
use crate::deliver::letters::Lost;
use crate::log::{Level, Logger, duration};
use crate::metrics::{Metric, Metrics, RefusalReason};
use crate::pack::RecordIssue;
use crate::record::{Alterations, Refusal};

/// Counts and logs. Clones share the same counters and log.
#[derive(Clone)]
pub(crate) struct Reporter {
    pub(crate) log: Logger,
    pub(crate) metrics: Metrics,
    /// The stream, its region and its endpoint, for the log.
    pub(crate) destination: Rc<str>,
    /// Keeps refused records, if configured.
    pub(crate) dead_letters: Option<Rc<DeadLetters>>,
}

impl Reporter {
    /// Reports a problem that the packer found with a record; the limit is `max_record_bytes`.
    pub(crate) fn record_issue(&self, record: u32, issue: RecordIssue, max_record_bytes: usize, flush: &Flush) {
        match issue {
            RecordIssue::Dropped => {
                self.metrics.add(Metric::RecordsDropped, 1);
                flush.progress.mark_done([record]);
            }
            RecordIssue::Refused(refusal) => {
                let (reason, cause) = match refusal {
                    Refusal::TooDeep => (RefusalReason::TooDeep, "record too deep"),
                    Refusal::TooLarge => (RefusalReason::TooLarge, "record too large"),
                    Refusal::Compression => (RefusalReason::Compression, "record not compressed"),
                    Refusal::NoLogKey => (RefusalReason::NoLogKey, "record without log_key"),
                    Refusal::NoStream => (RefusalReason::NoStream, "record without stream"),
                    Refusal::Malformed(_) => (RefusalReason::NotAnEvent, "record malformed"),
                    // The packer reports it as dropped.
                    Refusal::Empty => return,
                };
                self.lost(record, reason, cause, "a record cannot be sent", &refusal, flush);
            }
            RecordIssue::NotAnEvent(event) => {
                let line = "part of a chunk cannot be sent";
                self.lost(record, RefusalReason::NotAnEvent, "not an event", line, &event, flush);
            }
            RecordIssue::Altered(alterations) => self.altered(alterations, max_record_bytes),
        }
    }

    fn altered(&self, alterations: Alterations, max_record_bytes: usize) {
        let Alterations { cut_from, no_partition_key, no_hash_key, key_replaced } = alterations;
        if let Some(bytes) = cut_from {
            self.metrics.add(Metric::RecordsTruncated, 1);
            self.log.folded(Level::Warn, "truncated", || {
                format!("a record of {bytes} bytes was truncated to max_record_size, {max_record_bytes}")
            });
        }
        if no_partition_key {
            self.metrics.add(Metric::RecordsKeyedAtRandom, 1);
            self.log.folded(Level::Warn, "random key", || {
                "a record has no text, number or boolean under partition_key and gets a random key".to_owned()
            });
        }
        if key_replaced {
            self.metrics.add(Metric::RecordsWithKeyReplaced, 1);
        }
        if no_hash_key {
            self.metrics.add(Metric::RecordsWithoutHashKey, 1);
            self.log.folded(Level::Warn, "no hash key", || {
                "a record has no number from 0 to 2^128-1 under explicit_hash_key and goes by its partition key"
                    .to_owned()
            });
        }
    }

    /// Reports a record that Kinesis permanently refuses.
    pub(super) fn refused_by_kinesis(&self, record: u32, reason: &str, flush: &Flush) {
        let line = "Kinesis refused a record";
        self.lost(record, RefusalReason::ByKinesis, "refused by Kinesis", line, &reason, flush);
    }

    fn lost(
        &self,
        record: u32,
        reason: RefusalReason,
        cause: &'static str,
        line: &str,
        detail: &dyn Display,
        flush: &Flush,
    ) {
        add(&flush.refused, 1);
        self.metrics.add_by(reason, 1);
        flush.progress.mark_done([record]);
        self.log.folded(Level::Error, cause, || format!("{line}: {detail}"));
        if self.dead_letters.is_some() {
            flush.lost.borrow_mut().push(Lost { record, reason, detail: detail.to_string() });
        }
    }

    /// Reports a problem that blocks delivery until an operator changes something.
    pub(super) fn needs_operator(&self, reason: &str, advice: &str) {
        self.log.folded(Level::Error, "operator", || {
            format!(
                "cannot put records into {}: {reason}; {advice}; Fluent Bit keeps the records and will retry",
                self.destination
            )
        });
    }

    /// Reports that requests or groups will be smaller from now on.
    pub(super) fn smaller(&self, what: &'static str, bytes: usize) {
        self.log.folded(Level::Warn, what, || {
            format!("{what} are too large for the stream or a proxy: limiting them to {bytes} bytes from now on")
        });
    }

    /// Reports a flush that took longer than `threshold`, and where its time went.
    pub(crate) fn slow_flush(&self, took: Duration, threshold: Option<Duration>, limit: usize, flush: &Flush) {
        if threshold.is_none_or(|threshold| took <= threshold) {
            return;
        }
        self.metrics.add(Metric::SlowFlushes, 1);
        let times = &flush.times;
        let time = |time: &Cell<Duration>| duration(time.get());
        self.log.folded(Level::Warn, "slow flush", || {
            format!(
                "a flush took {}: {} packing, {} waiting for one of {limit} permits, {} in {} requests, {} in pauses before retries",
                duration(took),
                time(&times.packing),
                time(&times.waiting),
                time(&times.network),
                times.requests.get(),
                time(&times.pauses),
            )
        });
    }

    /// Reports a flush whose rest is left to Fluent Bit because its time was up.
    pub(crate) fn flush_timeout(&self, took: Duration) {
        self.log.folded(Level::Warn, "flush_timeout", || {
            format!(
                "a flush took longer than flush_timeout: stopped after {}; Fluent Bit will retry the rest",
                duration(took)
            )
        });
    }
}
