//! A chunk's way to Kinesis: requests in flight, failed records again, the answer to Fluent Bit.
//!
//! Each request is a task that settles its own records ([`settle`](Delivery::settle)): it sends, judges the reply
//! ([`crate::verdict`]), sends what failed again, and ends when every record is accepted, refused or left for Fluent
//! Bit's retry. The next request is written while others fly; `concurrency` of them at most, over all flushes of the
//! instance.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::backoff::Backoff;
use crate::config;
use crate::config::Stream;
use crate::kinesis::client::Transport;
use crate::kinesis::request::Batch;
use crate::log::{Level, Logger};
use crate::outcome::Outcome;
use crate::pack::{Limits, Loss, Packer};
use crate::partition::RandomKey;
use crate::verdict::{RecordVerdict, Verdict, verdict};

/// Sends chunks over one transport.
pub struct Delivery<T> {
    transport: T,
    stream: Stream,
    limits: Limits,
    settings: config::Delivery,
    permits: Arc<Semaphore>,
    random: RefCell<SmallRng>,
    log: Logger,
    /// Whether Kinesis ever took a record of this instance, so that a refusal can be the record's fault.
    proven: Cell<bool>,
}

/// What became of the records of one flush so far.
#[derive(Default)]
struct Flush {
    accepted: Cell<usize>,
    refused: Cell<usize>,
    left: Cell<usize>,
    /// No further request makes sense in this flush.
    stopped: Cell<bool>,
    /// Records that were refused alone, with the service's words.
    suspects: RefCell<Vec<(u32, String)>>,
}

impl Flush {
    fn count(counter: &Cell<usize>, records: usize) {
        counter.set(counter.get() + records);
    }
}

/// A batch on its way through several tries.
struct Attempt {
    batch: Batch,
    backoff: Backoff,
    retries: usize,
    tried_at_once: bool,
}

impl Attempt {
    fn new(batch: Batch) -> Self {
        Attempt { batch, backoff: Backoff::default(), retries: 0, tried_at_once: false }
    }

    fn records(&self) -> usize {
        self.batch.entries().len()
    }
}

impl<T: Transport> Delivery<T> {
    /// Delivery to `stream` over `transport`.
    pub fn new(
        transport: T,
        stream: Stream,
        limits: Limits,
        settings: config::Delivery,
        random: SmallRng,
        log: Logger,
    ) -> Rc<Self> {
        Rc::new(Delivery {
            transport,
            stream,
            limits,
            permits: Arc::new(Semaphore::new(settings.concurrency)),
            settings,
            random: RefCell::new(random),
            log,
            proven: Cell::new(false),
        })
    }

    /// Sends every record of `chunk`. Must run in a [`tokio::task::LocalSet`].
    pub async fn deliver(self: &Rc<Self>, chunk: &[u8]) -> Outcome {
        let flush = Rc::new(Flush::default());
        let mut packer = Packer::new(chunk, &self.stream, self.limits);
        let mut requests = JoinSet::new();
        while !flush.stopped.get() {
            let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else { break };
            let mut lost = |loss| self.lost(loss, &flush);
            let Some(batch) = packer.next_batch(&mut self.random.borrow_mut(), &mut lost) else { break };
            requests.spawn_local(Rc::clone(self).settle(batch, Rc::clone(&flush), permit));
            // Encoding blocks the thread: let the request leave and replies be read before the next one is written.
            tokio::task::yield_now().await;
        }
        while let Some(ended) = requests.join_next().await {
            if let Err(error) = ended {
                flush.stopped.set(true);
                self.log.write(Level::Error, || format!("a request ended with a bug in this plugin: {error}"));
            }
        }
        self.judge_suspects(&flush);
        self.outcome(&flush)
    }

    fn outcome(&self, flush: &Flush) -> Outcome {
        let (accepted, refused, left) = (flush.accepted.get(), flush.refused.get(), flush.left.get());
        self.log.write(Level::Debug, || format!("flush: {accepted} records accepted, {refused} refused, {left} left"));
        if left > 0 || flush.stopped.get() {
            Outcome::Retry
        } else if accepted == 0 && refused > 0 {
            Outcome::Hopeless
        } else {
            Outcome::Delivered
        }
    }

    fn lost(&self, loss: Loss, flush: &Flush) {
        Flush::count(&flush.refused, 1);
        match loss {
            Loss::Refused(reason) => {
                self.log.folded(Level::Error, "record refused", || format!("a record is not sent: {reason}"));
            }
            Loss::NotAnEvent(event) => {
                self.log.folded(Level::Error, "not an event", || format!("a part of a chunk is not sent: {event}"));
            }
        }
    }

    /// Sends a batch until each of its records is accepted, refused or left for Fluent Bit's retry.
    async fn settle(self: Rc<Self>, batch: Batch, flush: Rc<Flush>, _permit: OwnedSemaphorePermit) {
        let mut attempts = vec![Attempt::new(batch)];
        while let Some(attempt) = attempts.pop() {
            if flush.stopped.get() {
                Flush::count(&flush.left, attempt.records());
                continue;
            }
            let answer = self.transport.send(attempt.batch.body()).await;
            match verdict(&answer, attempt.records()) {
                Verdict::Answered(records) => attempts.extend(self.answered(attempt, &records, &flush).await),
                Verdict::Again { reason, after, network } => {
                    attempts.extend(self.again(attempt, reason, after, network, &flush).await);
                }
                Verdict::Unauthorized { reason, server_time } => {
                    if self.transport.renew(server_time) {
                        self.log.write(Level::Warn, || {
                            format!("{reason}: trying again with new credentials and the server's time")
                        });
                        attempts.push(attempt);
                    } else {
                        self.stop(&attempt, &reason, &flush);
                    }
                }
                Verdict::Operator { reason } => self.stop(&attempt, &reason, &flush),
                Verdict::Poison { reason, index } => attempts.extend(self.poison(attempt, &reason, index, &flush)),
            }
        }
    }

    /// Counts what was accepted and makes an attempt of what was not.
    async fn answered(&self, mut attempt: Attempt, records: &[RecordVerdict], flush: &Flush) -> Option<Attempt> {
        let accepted = records.iter().filter(|record| **record == RecordVerdict::Accepted).count();
        Flush::count(&flush.accepted, accepted);
        self.proven.set(self.proven.get() || accepted > 0);

        let mut first_failure = None;
        for record in records {
            match record {
                RecordVerdict::Accepted => {}
                RecordVerdict::Refused { code } => self.refuse(code, flush),
                RecordVerdict::Again { code } => first_failure = first_failure.or(Some(code)),
            }
        }
        let code = first_failure?;
        if accepted > 0 && self.settings.reset_backoff_on_success {
            attempt.backoff.reset();
        }
        let sent = attempt.records();
        // A record without a user's key gets another one, so that it leaves a shard that is throttled.
        attempt.batch = attempt.batch.only(
            |index| matches!(records.get(index), Some(RecordVerdict::Again { .. })),
            |_| Some(RandomKey::draw(&mut self.random.borrow_mut())),
        );
        let reason = format!("{} of {sent} records not accepted ({code})", attempt.records());
        self.pause(attempt, reason, None, flush).await
    }

    /// The whole batch again: at once after the first network failure, else after a pause.
    async fn again(
        &self,
        mut attempt: Attempt,
        reason: String,
        after: Option<Duration>,
        network: bool,
        flush: &Flush,
    ) -> Option<Attempt> {
        if network && self.settings.immediate_retry && !attempt.tried_at_once {
            attempt.tried_at_once = true;
            self.log.write(Level::Debug, || format!("{reason}: trying again at once"));
            return Some(attempt);
        }
        self.pause(attempt, reason, after, flush).await
    }

    /// Waits before another try, or leaves the batch to Fluent Bit when it had its tries.
    async fn pause(
        &self,
        mut attempt: Attempt,
        reason: String,
        after: Option<Duration>,
        flush: &Flush,
    ) -> Option<Attempt> {
        if attempt.retries >= self.settings.retries {
            let retries = attempt.retries;
            self.log.folded(Level::Warn, "left to Fluent Bit", || {
                format!("{reason}: after {retries} retries the rest is left to Fluent Bit's retry")
            });
            Flush::count(&flush.left, attempt.records());
            flush.stopped.set(true);
            return None;
        }
        attempt.retries += 1;
        let pause = attempt.backoff.next(&mut self.random.borrow_mut(), after);
        self.log.folded(Level::Warn, "sent again", || format!("{reason}: sending again after a pause"));
        tokio::time::sleep(pause).await;
        Some(attempt)
    }

    /// Keeps the batch and ends the flush: only an operator can help.
    fn stop(&self, attempt: &Attempt, reason: &str, flush: &Flush) {
        Flush::count(&flush.left, attempt.records());
        flush.stopped.set(true);
        self.log.folded(Level::Error, "operator", || {
            format!(
                "cannot put records into stream {}: {reason}; nothing is thrown away, Fluent Bit will retry",
                self.stream.as_str()
            )
        });
    }

    /// Takes the record that makes the batch unacceptable out of it: the one that the service named, or by halving.
    fn poison(&self, attempt: Attempt, reason: &str, index: Option<usize>, flush: &Flush) -> Vec<Attempt> {
        let part = |keep: &dyn Fn(usize) -> bool| Attempt::new(attempt.batch.only(keep, |_| None));
        match (index, attempt.batch.entries()) {
            (_, [only]) => {
                let mut suspects = flush.suspects.borrow_mut();
                suspects.push((only.record, reason.to_owned()));
                // Two different records with the same answer: it is not the records.
                if suspects.iter().any(|(record, said)| *record != only.record && said == reason) {
                    flush.stopped.set(true);
                }
                Vec::new()
            }
            (Some(culprit), _) => {
                self.refuse(reason, flush);
                vec![part(&|index| index != culprit)]
            }
            (None, entries) => {
                let half = entries.len() / 2;
                vec![part(&|index| index >= half), part(&|index| index < half)]
            }
        }
    }

    /// Decides about the records that were refused alone: they are refused when Kinesis is known to take others.
    fn judge_suspects(&self, flush: &Flush) {
        let suspects = flush.suspects.take();
        let Some((_, reason)) = suspects.first() else { return };
        if self.proven.get() && !flush.stopped.get() {
            suspects.iter().for_each(|(_, reason)| self.refuse(reason, flush));
            return;
        }
        Flush::count(&flush.left, suspects.len());
        self.log.folded(Level::Error, "operator", || {
            format!(
                "stream {} takes no record: {reason}; nothing is thrown away, Fluent Bit will retry",
                self.stream.as_str()
            )
        });
    }

    fn refuse(&self, reason: &str, flush: &Flush) {
        Flush::count(&flush.refused, 1);
        self.log.folded(Level::Error, "refused by Kinesis", || format!("a record is refused by Kinesis: {reason}"));
    }
}

#[cfg(test)]
#[path = "deliver_tests.rs"]
mod tests;
