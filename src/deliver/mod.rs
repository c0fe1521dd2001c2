//! A chunk's way to Kinesis: requests in flight, failed records again, the answer to Fluent Bit.
//!
//! Each request is a task that settles its own records (`settle`): it sends, judges the reply
//! ([`crate::verdict`]), sends what failed again, and ends when every record is accepted, refused or left for Fluent
//! Bit's retry. The next request is written while others fly, as many as the `window` of the instance lets.

mod exchange;
mod flush;
mod remarks;
mod shards;
mod troubles;
mod window;

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::time::Duration;

use rand::rngs::SmallRng;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::compress::SharedCompressor;
use crate::config;
use crate::config::Stream;
use crate::kinesis::client::Transport;
use crate::kinesis::request::{Batch, Entry};
use crate::ledger::Ledger;
use crate::log::{Level, Logger};
use crate::metrics::{Metric, Metrics};
use crate::outcome::Outcome;
use crate::pack::{Packer, RequestSettings, SpareBodies};
use crate::partition::RandomKey;
use crate::verdict::{RecordVerdict, Verdict};
use flush::{Attempt, Flush, add_time};
use shards::Shards;
use troubles::Troubles;
use window::{Place, Window};

pub use flush::RefusalReason;

/// When so many records were refused alone and none was accepted, no more are tried.
const MAX_SUSPECTS: usize = 8;

/// Sends chunks over one transport.
pub struct Delivery<T> {
    transport: T,
    stream: Stream,
    /// The stream, its region and its endpoint, for the log.
    destination: String,
    requests: RequestSettings,
    settings: config::Delivery,
    window: Rc<Window>,
    /// Held by the flush whose requests are being made: one chunk after the other, in the order they came, so that the
    /// first is done first and the host can free it.
    turn: Mutex<()>,
    spare_bodies: SpareBodies,
    compressor: SharedCompressor,
    random: RefCell<SmallRng>,
    log: Logger,
    ledger: RefCell<Ledger>,
    /// The stream's shards, when records are aggregated by them.
    shards: Option<Shards>,
    metrics: Metrics,
    troubles: Troubles,
    /// Flushes so far.
    flushes: Cell<u64>,
    /// Set when the host leaves: until when replies are waited for.
    leaving: watch::Sender<Option<Instant>>,
}

impl<T: Transport> Delivery<T> {
    /// Delivery to `stream` over `transport`; the log calls it `destination`.
    #[expect(clippy::too_many_arguments, reason = "each is one thing that delivery is made of")]
    pub fn new(
        transport: T,
        stream: Stream,
        destination: String,
        requests: RequestSettings,
        settings: config::Delivery,
        ledger: Ledger,
        random: SmallRng,
        log: Logger,
        metrics: Metrics,
    ) -> Rc<Self> {
        Rc::new(Delivery {
            transport,
            stream,
            destination,
            shards: Shards::wanted(requests.aggregation),
            requests,
            window: Window::new(settings.concurrency),
            turn: Mutex::new(()),
            spare_bodies: SpareBodies::default(),
            compressor: SharedCompressor::default(),
            settings,
            random: RefCell::new(random),
            log,
            ledger: RefCell::new(ledger),
            metrics,
            troubles: Troubles::default(),
            flushes: Cell::new(0),
            leaving: watch::Sender::new(None),
        })
    }

    /// Sends every record of `chunk`, but those that Kinesis already took when Fluent Bit brought it before. Must run in a
    /// [`tokio::task::LocalSet`].
    pub async fn deliver(self: &Rc<Self>, chunk: &[u8], tag: &[u8]) -> Outcome {
        let known = self.ledger.borrow_mut().take(tag, chunk).unwrap_or_default();
        let spared = known.len();
        let started = Instant::now();
        self.flushes.set(self.flushes.get() + 1);
        let number = self.flushes.get();
        let flush = Rc::new(Flush { number, settled: RefCell::new(known.clone()), ..Flush::default() });
        let mut packer = Packer::new(chunk, tag, &self.stream, &self.requests, known)
            .with_shards(self.shards())
            .with_spare_bodies(&self.spare_bodies)
            .with_compressor(&self.compressor);
        let mut requests = JoinSet::new();
        let waiting_since = Instant::now();
        let turn = self.turn.lock().await;
        add_time(&flush.times.waiting, waiting_since);
        while !flush.stopped.get() {
            let waiting_since = Instant::now();
            let mut place = self.window.place().await;
            let packing_since = add_time(&flush.times.waiting, waiting_since);
            let mut remark = |record, remark| self.remark(record, remark, &flush);
            let batch = packer.next_batch(&mut self.random.borrow_mut(), &mut remark);
            add_time(&flush.times.packing, packing_since);
            let Some(batch) = batch else { break };
            place.fill(batch.body().len());
            requests.spawn_local(Rc::clone(self).settle(batch, Rc::clone(&flush), place));
            // Encoding blocks the thread: let the request leave and replies be read before the next one is written.
            tokio::task::yield_now().await;
        }
        drop(turn);
        while let Some(ended) = requests.join_next().await {
            if let Err(error) = ended {
                flush.stopped.set(true);
                self.log.write(Level::Error, || format!("a request ended with a bug in this plugin: {error}"));
            }
        }
        if flush.stopped.get() {
            Flush::count(&flush.left, packer.remaining());
        }
        self.judge_suspects(&flush);
        let took = started.elapsed();
        self.remark_slowness(took, &flush);
        let outcome = self.conclude(&flush, spared);
        if outcome == Outcome::Retry {
            self.ledger.borrow_mut().keep(tag, chunk, flush.settled.take());
        }
        self.metrics.add(Metric::BytesReceived, chunk.len() as u64);
        self.metrics.observe(Metric::FlushTime, took);
        self.metrics.set(Metric::LedgerChunks, self.ledger.borrow().len() as u64);
        self.metrics.set(Metric::LedgerBytes, self.ledger.borrow().bytes() as u64);
        self.metrics.publish();
        outcome
    }

    fn conclude(&self, flush: &Flush, spared: usize) -> Outcome {
        let (accepted, refused, left) = (flush.accepted.get(), flush.refused.get(), flush.left.get());
        self.metrics.add(Metric::RecordsReceived, (accepted + spared + refused + left) as u64);
        self.metrics.add(Metric::RecordsDeduplicated, spared as u64);
        self.metrics.add(Metric::RecordsLeft, left as u64);
        self.log.write(Level::Debug, || {
            let number = flush.number;
            format!(
                "flush {number}: {accepted} records accepted, {spared} accepted before, {refused} refused, {left} left"
            )
        });
        if left > 0 || flush.stopped.get() {
            Outcome::Retry
        } else if accepted + spared == 0 && refused > 0 {
            Outcome::Hopeless
        } else {
            Outcome::Delivered
        }
    }

    /// Ends all flushes soon: nothing new is sent, replies are waited for until `deadline`, the rest is left.
    pub fn leave(&self, deadline: Instant) {
        self.leaving.send_replace(Some(deadline));
    }

    /// Records accepted so far, those of flushes under way included.
    pub fn progress(&self) -> u64 {
        self.metrics.get(Metric::RecordsDelivered)
    }

    /// What this instance remembers of chunks in retry.
    pub fn ledger(&self) -> Ref<'_, Ledger> {
        self.ledger.borrow()
    }

    /// What was counted so far.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// How often the counts are written into the log.
    pub fn stats_interval(&self) -> Option<Duration> {
        self.settings.stats_interval
    }

    fn is_leaving(&self) -> bool {
        self.leaving.borrow().is_some()
    }

    /// Ends when the host leaves.
    async fn until_leaving(&self) {
        drop(self.leaving.subscribe().wait_for(Option::is_some).await);
    }

    /// Ends when the host leaves and the time for replies is over.
    async fn until_deadline(&self) {
        let mut leaving = self.leaving.subscribe();
        let deadline = leaving.wait_for(Option::is_some).await.ok().and_then(|deadline| *deadline);
        if let Some(deadline) = deadline {
            tokio::time::sleep_until(deadline).await;
        }
    }

    /// Sends a batch until each of its records is accepted, refused or left for Fluent Bit's retry.
    async fn settle(self: Rc<Self>, batch: Batch, flush: Rc<Flush>, place: Place) {
        let mut attempts = vec![Attempt::new(batch)];
        let mut again = false;
        while let Some(attempt) = attempts.pop() {
            if flush.stopped.get() || self.is_leaving() {
                flush.stopped.set(true);
                Flush::count(&flush.left, attempt.records());
                continue;
            }
            let (sent_at, verdict) = self.exchange(&attempt, again, &flush).await;
            again = true;
            match verdict {
                Verdict::Accepted => {
                    place.accepted();
                    self.accepted(&attempt.batch, attempt.batch.entries(), &flush);
                    self.spare_bodies.keep(attempt.batch);
                }
                Verdict::Answered(records) => attempts.extend(self.answered(attempt, &records, &flush).await),
                Verdict::Again { reason, after, network, ambiguous } => {
                    if ambiguous {
                        self.metrics.add(Metric::RecordsAmbiguous, attempt.records() as u64);
                    }
                    attempts.extend(self.again(attempt, reason, after, network, &flush).await);
                }
                Verdict::Unauthorized { reason, server_time } if attempt.renewed => {
                    // New credentials did not help; more of them may, but not at once.
                    self.transport.renew(sent_at, server_time);
                    attempts.extend(self.pause(attempt, "unauthorized", reason, None, &flush).await);
                }
                Verdict::Unauthorized { reason, server_time } => {
                    if self.transport.renew(sent_at, server_time) {
                        self.log.folded(Level::Warn, "renewed", || {
                            format!("{reason}: trying again with new credentials and the server's time")
                        });
                        attempts.push(Attempt { renewed: true, ..attempt });
                    } else {
                        self.stop(&attempt, &reason, "correct the credentials", &flush);
                    }
                }
                Verdict::Operator { reason, advice } => self.stop(&attempt, &reason, advice, &flush),
                Verdict::Poison { reason, index } => attempts.extend(self.poison(attempt, &reason, index, &flush)),
            }
        }
    }

    /// Counts records that Kinesis has.
    fn accepted<'a>(&self, batch: &'a Batch, entries: impl IntoIterator<Item = &'a Entry>, flush: &Flush) {
        let mut settled = flush.settled.borrow_mut();
        let mut accepted = 0;
        for &record in entries.into_iter().flat_map(|entry| batch.records(entry)) {
            settled.insert(record);
            accepted += 1;
        }
        Flush::count(&flush.accepted, accepted);
        self.metrics.add(Metric::RecordsDelivered, accepted as u64);
    }

    /// Counts what was accepted and makes an attempt of what was not.
    async fn answered(&self, mut attempt: Attempt, records: &[RecordVerdict], flush: &Flush) -> Option<Attempt> {
        let answers = || attempt.batch.entries().iter().zip(records);
        let is_accepted = |record: &RecordVerdict| *record == RecordVerdict::Accepted;
        let accepted = answers().filter(|(_, record)| is_accepted(record)).map(|(entry, _)| entry);
        self.accepted(&attempt.batch, accepted, flush);
        let mut first_failure = None;
        for (entry, record) in answers() {
            match record {
                RecordVerdict::Accepted => {}
                RecordVerdict::Refused { code } => self.refused_by_kinesis(attempt.batch.records(entry), code, flush),
                RecordVerdict::Again { code, .. } => first_failure = first_failure.or(Some(code)),
            }
        }
        let code = first_failure?;
        if records.iter().any(is_accepted) && self.settings.reset_backoff_on_success {
            attempt.backoff.reset();
        }
        let sent = attempt.records();
        // A record without a user's key gets another one, so that it leaves a shard that is throttled.
        attempt.batch = attempt.batch.only(
            |index| matches!(records.get(index), Some(RecordVerdict::Again { .. })),
            |_| Some(RandomKey::draw(&mut self.random.borrow_mut())),
        );
        let reason = format!("{} of {sent} records not accepted ({code})", attempt.records());
        self.pause(attempt, "records not accepted", reason, None, flush).await
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
        if network {
            self.troubles.silent();
        }
        self.pause(attempt, if network { "no reply" } else { "refused for now" }, reason, after, flush).await
    }

    /// Waits before another try, or leaves the batch to Fluent Bit when it had its tries. Lines of one `cause` are folded.
    async fn pause(
        &self,
        mut attempt: Attempt,
        cause: &'static str,
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
        self.window.failed();
        let pause = attempt.backoff.next(&mut self.random.borrow_mut(), after);
        self.log.folded(Level::Warn, cause, || format!("{reason}: sending again after a pause"));
        let paused_at = Instant::now();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.until_leaving() => {}
        }
        add_time(&flush.times.pauses, paused_at);
        Some(attempt)
    }

    /// Keeps the batch and ends the flush: only an operator can help.
    fn stop(&self, attempt: &Attempt, reason: &str, advice: &str, flush: &Flush) {
        Flush::count(&flush.left, attempt.records());
        flush.stopped.set(true);
        self.tell_operator(reason, advice);
    }

    fn tell_operator(&self, reason: &str, advice: &str) {
        self.log.folded(Level::Error, "operator", || {
            format!(
                "cannot put records into {}: {reason}; {advice}; Fluent Bit keeps them and will retry",
                self.destination
            )
        });
    }

    /// Takes the record that makes the batch unacceptable out of it: the one that the service named, or by halving.
    fn poison(&self, attempt: Attempt, reason: &str, index: Option<usize>, flush: &Flush) -> Vec<Attempt> {
        let part = |keep: &dyn Fn(usize) -> bool| Attempt::new(attempt.batch.only(keep, |_| None));
        match (index, attempt.batch.entries()) {
            (_, [only]) => {
                let mut suspects = flush.suspects.borrow_mut();
                suspects.push((attempt.batch.records(only).to_vec(), reason.to_owned()));
                if suspects.len() >= MAX_SUSPECTS && flush.accepted.get() == 0 {
                    flush.stopped.set(true);
                }
                Vec::new()
            }
            (Some(culprit), entries) => {
                let records = entries.get(culprit).map(|entry| attempt.batch.records(entry)).unwrap_or_default();
                self.refused_by_kinesis(records, reason, flush);
                vec![part(&|index| index != culprit)]
            }
            (None, entries) => {
                let half = entries.len() / 2;
                vec![part(&|index| index >= half), part(&|index| index < half)]
            }
        }
    }

    /// Decides about the records that were refused alone. It is their fault when others of the same flush were accepted, or,
    /// if it is only one, others at any time; otherwise the request as such is not acceptable.
    fn judge_suspects(&self, flush: &Flush) {
        let suspects = flush.suspects.take();
        let Some((_, reason)) = suspects.first() else { return };
        let others_before = suspects.len() == 1 && self.metrics.get(Metric::RecordsDelivered) > 0;
        if flush.accepted.get() > 0 || others_before {
            suspects.iter().for_each(|(records, reason)| self.refused_by_kinesis(records, reason, flush));
            return;
        }
        Flush::count(&flush.left, suspects.iter().map(|(records, _)| records.len()).sum());
        self.tell_operator(reason, "no record is acceptable there, so it is not the records");
    }
}

#[cfg(test)]
mod aggregation_tests;
#[cfg(test)]
mod scripted;
#[cfg(test)]
mod shards_tests;
#[cfg(test)]
mod tests;

#[cfg(test)]
mod schedules;
