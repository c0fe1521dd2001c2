//! Delivers one batch: sends it and retries what failed until each record is done or left to Fluent Bit.

use std::cell::RefCell;
use std::rc::Rc;

use rand::rngs::SmallRng;
use tokio::time::Instant;

use super::attempt::{Attempt, Cause, Failure, Next, next, retry_or_leave};
use super::flush::{Flush, Postponed, add, add_time};
use super::limiter::{ConcurrencyLimiter, Permit};
use super::sender::{Reply, RequestName, Sender};
use crate::deliver::settings::Settings;
use crate::kinesis::client::Transport;
use crate::kinesis::random_key::RandomKey;
use crate::kinesis::request::{Batch, Entry};
use crate::kinesis::verdict::{RecordVerdict, Refusal, Verdict};
use crate::log::Level;
use crate::metrics::Metric;
use crate::pack::BodyPool;
use crate::redact::with_request_id;

/// Carries out what [`next`] decides.
pub(super) struct Executor<T> {
    pub(super) sender: Sender<T>,
    pub(super) limiter: Rc<ConcurrencyLimiter>,
    pub(super) bodies: Rc<BodyPool>,
    pub(super) random: Rc<RefCell<SmallRng>>,
    pub(super) settings: Settings,
}

impl<T: Transport> Executor<T> {
    /// Sends a batch until each record is accepted, refused or left to Fluent Bit.
    pub(super) async fn deliver_batch(self: Rc<Self>, attempt: Attempt, flush: Rc<Flush>, permit: Permit) {
        let mut attempts = vec![attempt];
        let mut permit = Some(permit);
        let mut is_retry = false;
        while let Some(attempt) = attempts.pop() {
            if flush.is_over() || !self.hold(&mut permit, &attempt, &flush).await {
                return;
            }
            let Reply { request, sent_at, exchange, verdict } = self.sender.send(&attempt, is_retry, &flush).await;
            is_retry = true;
            let can_renew = match verdict {
                Verdict::Unauthorized { server_time, .. } => self.sender.renew(sent_at, server_time),
                _ => false,
            };
            let next = next(&attempt, verdict, can_renew, &self.settings);
            if matches!(next, Next::Done) {
                permit.iter().for_each(|permit| permit.accepted(exchange));
            }
            attempts.extend(self.carry_out(next, attempt, &request, &mut permit, &flush).await);
        }
    }

    /// Takes a new permit if a pause released it. Returns whether there is one.
    async fn hold(&self, permit: &mut Option<Permit>, attempt: &Attempt, flush: &Flush) -> bool {
        if permit.is_none() {
            *permit = self.acquire(flush).await;
            permit.iter_mut().for_each(|permit| permit.fill(attempt.batch.body().len()));
        }
        permit.is_some()
    }

    /// Waits for a permit for one more request. Returns `None` when the flush is over.
    pub(super) async fn acquire(&self, flush: &Flush) -> Option<Permit> {
        flush.queue_for(self.limiter.acquire()).await
    }

    /// Carries out a decision. Returns the attempts to send next.
    async fn carry_out(
        &self,
        next: Next,
        attempt: Attempt,
        request: &RequestName,
        permit: &mut Option<Permit>,
        flush: &Flush,
    ) -> Vec<Attempt> {
        match next {
            Next::Done => {
                self.accepted(&attempt.batch, attempt.batch.entries(), flush);
                self.bodies.keep(attempt.batch);
                Vec::new()
            }
            Next::Sort(records) => {
                let Some((rest, failure)) = self.sort(attempt, request, &records, flush) else { return Vec::new() };
                let next = retry_or_leave(&rest.tries, failure, &self.settings);
                self.repeat(next, rest, permit, flush).await
            }
            Next::AddKeys { reason } => {
                self.sender.facts.keys_wanted(&reason);
                vec![Attempt { batch: self.with_keys(&attempt.batch), ..attempt }]
            }
            Next::Split(refusal) => self.sender.refusals.split(attempt, &refusal, flush),
            Next::Stop { reason, advice } => {
                flush.stop();
                self.sender.reporter.needs_operator(&reason, advice);
                Vec::new()
            }
            next => self.repeat(next, attempt, permit, flush).await,
        }
    }

    /// Retries a whole attempt, or leaves it to Fluent Bit.
    async fn repeat(&self, next: Next, attempt: Attempt, permit: &mut Option<Permit>, flush: &Flush) -> Vec<Attempt> {
        let repeated = match next {
            Next::RetryAtOnce(failure) => Some(self.at_once(attempt, &failure)),
            Next::Retry(failure) => self.pause(attempt, &failure, permit, flush).await,
            Next::Leave(failure) => {
                self.leave(&attempt, &failure, flush);
                None
            }
            _ => None,
        };
        repeated.into_iter().collect()
    }

    fn at_once(&self, attempt: Attempt, Failure { cause, reason, .. }: &Failure) -> Attempt {
        let log = &self.sender.reporter.log;
        if *cause == Cause::Unauthorized {
            log.folded(Level::Warn, "renewed", || {
                format!("{reason}: retrying with new credentials and the server's time")
            });
            return Attempt { renewed: true, ..attempt };
        }
        log.write(Level::Debug, || format!("{reason}: retrying immediately"));
        Attempt { retried_at_once: true, ..attempt }
    }

    /// Pauses without a permit, so that other requests can be sent. Returns `None` if there is no room to keep the
    /// body; the records are then packed again after all others are done.
    async fn pause(
        &self,
        mut attempt: Attempt,
        failure: &Failure,
        permit: &mut Option<Permit>,
        flush: &Flush,
    ) -> Option<Attempt> {
        attempt.tries.retries += 1;
        self.limiter.failed();
        self.report(failure, failure.cause.name(), || "retrying after a pause".to_owned());
        *permit = None;
        let Some(_parked) = self.limiter.park(attempt.batch.body().len()) else {
            postpone(&attempt, flush);
            return None;
        };
        let pause = attempt.tries.backoff.next(&mut self.random.borrow_mut(), failure.after);
        let paused_at = Instant::now();
        flush.wait_for(tokio::time::sleep(pause)).await;
        add_time(&flush.times.pauses, paused_at);
        Some(attempt)
    }

    fn leave(&self, attempt: &Attempt, failure: &Failure, flush: &Flush) {
        let retries = attempt.tries.retries;
        self.report(failure, "left to Fluent Bit", || {
            format!("gave up (retries: {retries}); Fluent Bit will retry the rest")
        });
        flush.stop();
    }

    /// Logs a failure: as an error if an operator can do something about it, else with what is done about it here.
    fn report(
        &self,
        Failure { cause, reason, advice, .. }: &Failure,
        fold: &'static str,
        step: impl FnOnce() -> String,
    ) {
        if *cause == Cause::NoReply {
            self.sender.incidents.no_reply();
        }
        match advice {
            Some(advice) => self.sender.reporter.needs_operator(reason, advice),
            None => self.sender.reporter.log.folded(Level::Warn, fold, || format!("{reason}: {}", step())),
        }
    }

    /// Counts records that Kinesis accepted.
    fn accepted<'a>(&self, batch: &'a Batch, entries: impl IntoIterator<Item = &'a Entry>, flush: &Flush) {
        let mut accepted = 0;
        let mut largest_group = 0;
        let records = entries.into_iter().flat_map(|entry| {
            let records = batch.records(entry);
            accepted += records.len();
            largest_group = if records.len() > 1 { entry.bytes().max(largest_group) } else { largest_group };
            records
        });
        flush.progress.mark_done(records.copied());
        if accepted == 0 {
            return;
        }
        flush.refusals.borrow_mut().in_a_row = 0;
        self.sender.refusals.sizes.group.accepted(largest_group);
        add(&flush.accepted, accepted);
        self.sender.reporter.metrics.add(Metric::RecordsDelivered, accepted as u64);
    }

    fn with_keys(&self, batch: &Batch) -> Batch {
        batch.with_keys(|| RandomKey::draw(&mut self.random.borrow_mut()))
    }

    /// Counts accepted records and notes refused ones. Returns an attempt with what failed, if anything.
    fn sort(
        &self,
        mut attempt: Attempt,
        RequestName { number, id }: &RequestName,
        records: &[RecordVerdict],
        flush: &Flush,
    ) -> Option<(Attempt, Failure)> {
        let answers = || attempt.batch.entries().iter().zip(records);
        let is_accepted = |record: &RecordVerdict| *record == RecordVerdict::Accepted;
        let accepted = answers().filter(|(_, record)| is_accepted(record)).map(|(entry, _)| entry);
        self.accepted(&attempt.batch, accepted, flush);
        let (mut first_failure, mut refused, mut keys_wanted) = (None, false, false);
        for (entry, record) in answers() {
            match record {
                RecordVerdict::Accepted => {}
                RecordVerdict::Misplaced => self.sender.refusals.misplaced(&attempt.batch, entry, flush),
                RecordVerdict::Refused { code } if attempt.batch.lacks_keys() => {
                    keys_wanted = true;
                    first_failure = first_failure.or(Some(code));
                }
                RecordVerdict::Refused { code } => {
                    let reason = with_request_id(code.clone(), id.as_deref());
                    let refusal = Refusal { reason, ..Refusal::default() };
                    // Use the number before this request: this reply may have accepted other records.
                    refused |= self.sender.refusals.refused_alone(&attempt.batch, entry, &refusal, *number - 1, flush);
                }
                RecordVerdict::Again { code, .. } => first_failure = first_failure.or(Some(code)),
            }
        }
        let accepts_any = records.iter().any(is_accepted);
        self.sender.refusals.count(refused && !accepts_any, flush);
        let code = first_failure?;
        if accepts_any && self.settings.reset_backoff_on_success {
            attempt.tries.backoff.reset();
        }
        let sent = attempt.record_count();
        // A record without a key of the user's gets a new random one, to move it off a throttled shard.
        attempt.batch = attempt.batch.only(
            |index| match records.get(index) {
                Some(RecordVerdict::Again { .. }) => true,
                Some(RecordVerdict::Refused { .. }) => keys_wanted,
                _ => false,
            },
            |_| Some(RandomKey::draw(&mut self.random.borrow_mut())),
        );
        if keys_wanted {
            self.sender.facts.keys_wanted(code);
            attempt.batch = self.with_keys(&attempt.batch);
        }
        let reason = format!("{} of {sent} records not accepted ({code})", attempt.record_count());
        let reason = with_request_id(reason, id.as_deref());
        Some((attempt, Failure { cause: Cause::RecordsNotAccepted, reason, after: None, advice: None }))
    }
}

/// Drops the body; its records are packed again after all others are done.
fn postpone(attempt: &Attempt, flush: &Flush) {
    let mut postponed = flush.postponed.borrow_mut();
    let Postponed { records, tries } = postponed.get_or_insert_default();
    records.extend(attempt.records());
    if attempt.tries.retries > tries.retries {
        *tries = attempt.tries.clone();
    }
}
