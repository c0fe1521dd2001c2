//! A batch with its retries, and what to do after each reply: a decision without side effects.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::deliver::settings::Settings;
use crate::kinesis::request::Batch;
use crate::kinesis::verdict::{CHECK_ENDPOINT, RecordVerdict, Refusal, Verdict};

/// How many times a batch was retried, and how long to wait before the next try.
#[derive(Clone, Debug, Default)]
pub(super) struct Tries {
    pub(super) backoff: Backoff,
    pub(super) retries: usize,
}

/// A batch, with what happened in earlier tries.
pub(super) struct Attempt {
    pub(super) batch: Batch,
    pub(super) tries: Tries,
    /// Whether it was already sent again immediately after a network failure. This is done once.
    pub(super) retried_at_once: bool,
    /// Whether it was already sent again with renewed credentials.
    pub(super) renewed: bool,
}

impl Attempt {
    pub(super) fn new(batch: Batch, tries: Tries) -> Self {
        Attempt { batch, tries, retried_at_once: false, renewed: false }
    }

    /// The number of the chunk's records in it. The request has fewer records when they are aggregated.
    pub(super) fn record_count(&self) -> usize {
        self.batch.record_count()
    }

    /// The chunk's records in it, by index.
    pub(super) fn records(&self) -> impl Iterator<Item = u32> {
        self.batch.entries().iter().flat_map(|entry| self.batch.records(entry)).copied()
    }
}

/// What to do after a reply.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// Nothing: Kinesis has all records.
    Done,
    /// Keep what was accepted and apply [`retry_or_leave`] to the rest.
    Sort(Vec<RecordVerdict>),
    /// Send it again immediately.
    RetryAtOnce(Failure),
    /// Send it again after a pause.
    Retry(Failure),
    /// Leave it to Fluent Bit: the retries are used up.
    Leave(Failure),
    /// Send it again immediately, with keys: the service may have refused it because they are missing.
    AddKeys { reason: String },
    /// Find the record at fault.
    Split(Refusal),
    /// End the flush: only an operator can fix this.
    Stop { reason: String, advice: &'static str },
}

/// Why records have to be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) cause: Cause,
    /// What happened, for the log.
    pub(super) reason: String,
    /// How long the server asked us to wait.
    pub(super) after: Option<Duration>,
    /// What an operator can do about it, if it is unlikely to pass.
    pub(super) advice: Option<&'static str>,
}

/// What to do when credentials are refused that were just fetched.
const CORRECT_CREDENTIALS: &str = "correct the credentials";

/// The cause of a failure. The log folds lines that share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    NoReply,
    RefusedForNow,
    RecordsNotAccepted,
    Unauthorized,
}

impl Cause {
    pub(super) fn name(self) -> &'static str {
        match self {
            Cause::NoReply => "no reply",
            Cause::RefusedForNow => "refused for now",
            Cause::RecordsNotAccepted => "records not accepted",
            Cause::Unauthorized => "unauthorized",
        }
    }
}

/// Decides what to do after a reply. `can_renew`: whether other credentials may help when these were refused.
pub(super) fn next(attempt: &Attempt, verdict: Verdict, can_renew: bool, settings: &Settings) -> Next {
    match verdict {
        Verdict::Accepted => Next::Done,
        Verdict::Answered(records) => Next::Sort(records),
        Verdict::Again { reason, after, network, advice, .. } => {
            let cause = if network { Cause::NoReply } else { Cause::RefusedForNow };
            let failure = Failure { cause, reason, after, advice };
            if network && advice.is_none() && settings.immediate_retry && !attempt.retried_at_once {
                Next::RetryAtOnce(failure)
            } else {
                retry_or_leave(&attempt.tries, failure, settings)
            }
        }
        Verdict::Unauthorized { reason, .. } => {
            let advice = attempt.renewed.then_some(CORRECT_CREDENTIALS);
            let failure = Failure { cause: Cause::Unauthorized, reason, after: None, advice };
            match (attempt.renewed, can_renew) {
                // New credentials did not help. Later ones may.
                (true, _) => retry_or_leave(&attempt.tries, failure, settings),
                (false, true) => Next::RetryAtOnce(failure),
                (false, false) => Next::Stop { reason: failure.reason, advice: CORRECT_CREDENTIALS },
            }
        }
        Verdict::Operator { reason, advice } if advice == CHECK_ENDPOINT && attempt.batch.lacks_keys() => {
            Next::AddKeys { reason }
        }
        Verdict::Refused(refusal) if !refusal.too_large && attempt.batch.lacks_keys() => {
            Next::AddKeys { reason: refusal.reason }
        }
        Verdict::Operator { reason, advice } => Next::Stop { reason, advice },
        Verdict::Refused(refusal) => Next::Split(refusal),
    }
}

/// Decides whether failed records are retried within this flush.
pub(super) fn retry_or_leave(tries: &Tries, failure: Failure, settings: &Settings) -> Next {
    if tries.retries < settings.retries { Next::Retry(failure) } else { Next::Leave(failure) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinesis::random_key::RandomKey;
    use crate::kinesis::request::{BatchBuilder, Json};
    use crate::kinesis::stream::Stream;

    fn settings(immediate_retry: bool) -> Settings {
        Settings { immediate_retry, ..Settings::plain(1, 2) }
    }

    fn attempt(retries: usize, retried_at_once: bool, renewed: bool) -> Attempt {
        let mut batch = BatchBuilder::<Json>::new(&Stream::parse("logs").unwrap(), Vec::new());
        batch.push(0, b"data", "key", false);
        let tries = Tries { retries, ..Tries::default() };
        Attempt { batch: batch.finish(), tries, retried_at_once, renewed }
    }

    fn again(network: bool) -> Verdict {
        let after = (!network).then_some(Duration::from_secs(3));
        Verdict::Again { reason: "failed".to_owned(), after, network, ambiguous: network, advice: None }
    }

    fn failure(cause: Cause) -> Failure {
        let after = (cause == Cause::RefusedForNow).then_some(Duration::from_secs(3));
        Failure { cause, reason: "failed".to_owned(), after, advice: None }
    }

    fn advised(advice: &'static str, failure: Failure) -> Failure {
        Failure { advice: Some(advice), ..failure }
    }

    #[test]
    fn each_reply_has_its_next_step() {
        let stop = |advice| Next::Stop { reason: "failed".to_owned(), advice };
        let unauthorized = || Verdict::Unauthorized { reason: "failed".to_owned(), server_time: None };
        let operator = || Verdict::Operator { reason: "failed".to_owned(), advice: "create the stream" };
        let refused_again = || advised("correct the credentials", failure(Cause::Unauthorized));
        let mistaken = || match again(true) {
            Verdict::Again { reason, after, network, ambiguous, .. } => {
                Verdict::Again { reason, after, network, ambiguous, advice: Some("name it") }
            }
            other => other,
        };
        let records = vec![RecordVerdict::Accepted];
        let (first, last) = (attempt(1, false, false), attempt(2, false, false));
        let (at_once, at_once_last) = (attempt(0, true, false), attempt(2, true, false));
        let (renewed, renewed_last) = (attempt(0, false, true), attempt(2, false, true));
        for (attempt, verdict, can_renew, expected) in [
            (&first, Verdict::Accepted, false, Next::Done),
            (&first, Verdict::Answered(records.clone()), false, Next::Sort(records)),
            (&first, again(false), false, Next::Retry(failure(Cause::RefusedForNow))),
            (&last, again(false), false, Next::Leave(failure(Cause::RefusedForNow))),
            (&first, again(true), false, Next::RetryAtOnce(failure(Cause::NoReply))),
            (&last, again(true), false, Next::RetryAtOnce(failure(Cause::NoReply))),
            (&at_once, again(true), false, Next::Retry(failure(Cause::NoReply))),
            (&at_once_last, again(true), false, Next::Leave(failure(Cause::NoReply))),
            (&first, unauthorized(), true, Next::RetryAtOnce(failure(Cause::Unauthorized))),
            (&first, unauthorized(), false, stop("correct the credentials")),
            (&renewed, unauthorized(), true, Next::Retry(refused_again())),
            (&renewed, unauthorized(), false, Next::Retry(refused_again())),
            (&renewed_last, unauthorized(), true, Next::Leave(refused_again())),
            (&first, mistaken(), true, Next::Retry(advised("name it", failure(Cause::NoReply)))),
            (&last, mistaken(), true, Next::Leave(advised("name it", failure(Cause::NoReply)))),
            (&first, operator(), true, stop("create the stream")),
            (&first, Verdict::Refused(Refusal::default()), false, Next::Split(Refusal::default())),
        ] {
            assert_eq!(next(attempt, verdict, can_renew, &settings(true)), expected);
        }
        assert_eq!(next(&first, again(true), false, &settings(false)), Next::Retry(failure(Cause::NoReply)));
    }

    /// Nobody has published the words in which a stream that needs keys refuses a request without them.
    #[test]
    fn what_is_refused_without_keys_for_any_reason_but_size_is_sent_with_keys() {
        let mut batch = BatchBuilder::<Json>::new(&Stream::parse("logs").unwrap(), Vec::new()).omit_random_keys(true);
        batch.open().extend_from_slice(b"data");
        batch.close_with_random_key(0, RandomKey::draw(&mut rand::make_rng()));
        let attempt = Attempt::new(batch.finish(), Tries::default());
        let refusal = |too_large| Refusal { reason: "failed".to_owned(), too_large, ..Refusal::default() };
        let operator = |advice| Verdict::Operator { reason: "failed".to_owned(), advice };
        let add_keys = || Next::AddKeys { reason: "failed".to_owned() };
        let stop = Next::Stop { reason: "failed".to_owned(), advice: "create the stream" };
        for (verdict, expected) in [
            (Verdict::Refused(refusal(false)), add_keys()),
            (Verdict::Refused(refusal(true)), Next::Split(refusal(true))),
            (operator(CHECK_ENDPOINT), add_keys()),
            (operator("create the stream"), stop),
        ] {
            assert_eq!(next(&attempt, verdict, false, &settings(true)), expected);
        }
    }
}
