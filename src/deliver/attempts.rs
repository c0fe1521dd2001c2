//! A request on its way: sent until each of its records is settled or left.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::Delivery;
use super::exchange::Exchange;
use super::flush::{Attempt, Flush, PutOff, add_time};
use super::window::Place;
use crate::kinesis::client::Transport;
use crate::kinesis::random_key::RandomKey;
use crate::kinesis::request::{Batch, Entry};
use crate::kinesis::verdict::{RecordVerdict, Refusal, Verdict};
use crate::log::Level;
use crate::metrics::Metric;

impl<T: Transport> Delivery<T> {
    /// Sends a batch until each of its records is accepted, refused or left for Fluent Bit's retry.
    pub(super) async fn settle(self: Rc<Self>, attempt: Attempt, flush: Rc<Flush>, place: Place) {
        let mut attempts = vec![attempt];
        let mut place = Some(place);
        let mut again = false;
        while let Some(attempt) = attempts.pop() {
            if self.is_over(&flush) {
                return;
            }
            let Some(held) = self.place_for(&attempt, &mut place, &flush).await else { return };
            let Exchange { number, sent_at, verdict } = self.exchange(&attempt, again, &flush).await;
            again = true;
            match verdict {
                Verdict::Accepted => {
                    held.accepted();
                    self.accepted(&attempt.batch, attempt.batch.entries(), &flush);
                    self.spare_bodies.keep(attempt.batch);
                }
                Verdict::Answered(records) => {
                    attempts.extend(self.answered(attempt, number, &records, &mut place, &flush).await);
                }
                Verdict::Again { reason, after, network, ambiguous } => {
                    if ambiguous {
                        self.metrics.add(Metric::RecordsAmbiguous, attempt.records() as u64);
                    }
                    attempts.extend(self.again(attempt, reason, after, network, &mut place, &flush).await);
                }
                Verdict::Unauthorized { reason, server_time } if attempt.renewed => {
                    // New credentials did not help; another renewal may, after a pause.
                    self.transport.renew(sent_at, server_time);
                    attempts.extend(self.pause(attempt, "unauthorized", reason, None, &mut place, &flush).await);
                }
                Verdict::Unauthorized { reason, server_time } => {
                    if self.transport.renew(sent_at, server_time) {
                        self.log.folded(Level::Warn, "renewed", || {
                            format!("{reason}: trying again with new credentials and the server's time")
                        });
                        attempts.push(Attempt { renewed: true, ..attempt });
                    } else {
                        self.stop(&reason, "correct the credentials", &flush);
                    }
                }
                Verdict::Operator { reason, advice } => self.stop(&reason, advice, &flush),
                Verdict::Refused(refusal) => attempts.extend(self.refused(attempt, &refusal, &flush)),
            }
        }
    }

    /// The place that is held, or a new one when a pause gave it back.
    async fn place_for<'p>(&self, attempt: &Attempt, place: &'p mut Option<Place>, flush: &Flush) -> Option<&'p Place> {
        if place.is_none() {
            let mut another = self.place(flush).await?;
            another.fill(attempt.batch.body().len());
            *place = Some(another);
        }
        place.as_ref()
    }

    /// Counts records that Kinesis has.
    fn accepted<'a>(&self, batch: &'a Batch, entries: impl IntoIterator<Item = &'a Entry>, flush: &Flush) {
        let mut accepted = 0;
        let mut largest_group = 0;
        let records = entries.into_iter().flat_map(|entry| {
            let records = batch.records(entry);
            accepted += records.len();
            largest_group = if records.len() > 1 { entry.bytes.max(largest_group) } else { largest_group };
            records
        });
        flush.progress.settle(records.copied());
        if accepted == 0 {
            return;
        }
        flush.suspects.borrow_mut().in_a_row = 0;
        self.group_size.accepted(largest_group);
        Flush::count(&flush.accepted, accepted);
        self.metrics.add(Metric::RecordsDelivered, accepted as u64);
    }

    /// Counts what was accepted and makes an attempt of what was not.
    async fn answered(
        &self,
        mut attempt: Attempt,
        number: u64,
        records: &[RecordVerdict],
        place: &mut Option<Place>,
        flush: &Flush,
    ) -> Option<Attempt> {
        let answers = || attempt.batch.entries().iter().zip(records);
        let is_accepted = |record: &RecordVerdict| *record == RecordVerdict::Accepted;
        let accepted = answers().filter(|(_, record)| is_accepted(record)).map(|(entry, _)| entry);
        self.accepted(&attempt.batch, accepted, flush);
        let (mut first_failure, mut refused) = (None, false);
        for (entry, record) in answers() {
            match record {
                RecordVerdict::Accepted => {}
                RecordVerdict::Refused { code } => {
                    let refusal = Refusal { reason: code.clone(), ..Refusal::default() };
                    // Others may have been accepted by this very reply.
                    refused |= self.refused_alone(&attempt.batch, entry, &refusal, number - 1, flush);
                }
                RecordVerdict::Again { code, .. } => first_failure = first_failure.or(Some(code)),
            }
        }
        self.count_refusal(refused && !records.iter().any(is_accepted), flush);
        let code = first_failure?;
        if records.iter().any(is_accepted) && self.settings.reset_backoff_on_success {
            attempt.tries.backoff.reset();
        }
        let sent = attempt.records();
        // A record without a user's key gets another one, so that it leaves a shard that is throttled.
        attempt.batch = attempt.batch.only(
            |index| matches!(records.get(index), Some(RecordVerdict::Again { .. })),
            |_| Some(RandomKey::draw(&mut self.random.borrow_mut())),
        );
        let reason = format!("{} of {sent} records not accepted ({code})", attempt.records());
        self.pause(attempt, "records not accepted", reason, None, place, flush).await
    }

    /// Sends the whole batch again: at once after the first network failure, else after a pause.
    async fn again(
        &self,
        mut attempt: Attempt,
        reason: String,
        after: Option<Duration>,
        network: bool,
        place: &mut Option<Place>,
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
        let cause = if network { "no reply" } else { "refused for now" };
        self.pause(attempt, cause, reason, after, place, flush).await
    }

    /// Pauses before another try, or leaves the batch to Fluent Bit when its retries are used up. Others may be sent meanwhile.
    /// Lines of one `cause` are folded.
    async fn pause(
        &self,
        mut attempt: Attempt,
        cause: &'static str,
        reason: String,
        after: Option<Duration>,
        place: &mut Option<Place>,
        flush: &Flush,
    ) -> Option<Attempt> {
        if attempt.tries.retries >= self.settings.retries {
            let retries = attempt.tries.retries;
            self.log.folded(Level::Warn, "left to Fluent Bit", || {
                format!("{reason}: after {retries} retries the rest is left to Fluent Bit's retry")
            });
            flush.stopped.set(true);
            return None;
        }
        attempt.tries.retries += 1;
        self.window.failed();
        self.log.folded(Level::Warn, cause, || format!("{reason}: sending again after a pause"));
        *place = None;
        let Some(_parked) = self.window.park(attempt.batch.body().len()) else {
            put_off(&attempt, flush);
            return None;
        };
        let pause = attempt.tries.backoff.next(&mut self.random.borrow_mut(), after);
        let paused_at = Instant::now();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.until_over(flush) => {}
        }
        add_time(&flush.times.pauses, paused_at);
        Some(attempt)
    }

    /// Keeps the rest of the chunk and ends the flush: only an operator can help.
    fn stop(&self, reason: &str, advice: &str, flush: &Flush) {
        flush.stopped.set(true);
        self.tell_operator(reason, advice);
    }

    pub(super) fn tell_operator(&self, reason: &str, advice: &str) {
        self.log.folded(Level::Error, "operator", || {
            format!(
                "cannot put records into {}: {reason}; {advice}; Fluent Bit keeps them and will retry",
                self.destination
            )
        });
    }
}

/// Lets go of the body: the records are packed again when all others are done.
fn put_off(attempt: &Attempt, flush: &Flush) {
    let mut put_off = flush.put_off.borrow_mut();
    let PutOff { records, tries } = put_off.get_or_insert_default();
    records.extend(attempt.all_records());
    if attempt.tries.retries > tries.retries {
        *tries = attempt.tries.clone();
    }
}
