//! Sends one request and reads its reply: judges it, counts it and, at log level "debug", explains it.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::attempt::Attempt;
use super::flush::{Flush, add_time};
use super::incidents::Incidents;
use super::refusals::Refusals;
use super::report::Reporter;
use crate::deliver::watch::Facts;
use crate::kinesis::client::{Operation, Transport, TransportError};
use crate::kinesis::reply::{Exchange, Response};
use crate::kinesis::verdict::{RecordVerdict, Verdict, verdict};
use crate::log::Level;
use crate::metrics::{Metric, Metrics, RequestOutcome};
use crate::redact::{one_line, with_request_id};

type Answer = Result<Response, TransportError>;

/// The error code for a shard over its limit.
const THROTTLED: &str = "ProvisionedThroughputExceededException";

/// Sends requests, and learns about the stream from their replies.
pub(super) struct Sender<T> {
    pub(super) transport: Rc<T>,
    pub(super) refusals: Rc<Refusals>,
    pub(super) facts: Rc<Facts>,
    pub(super) incidents: Incidents,
    pub(super) reporter: Reporter,
}

/// The reply to a request.
pub(super) struct Reply {
    pub(super) request: RequestName,
    pub(super) sent_at: Instant,
    pub(super) exchange: Option<Exchange>,
    pub(super) verdict: Verdict,
}

/// How a request is called.
pub(super) struct RequestName {
    /// Its number, by [`super::evidence`].
    pub(super) number: u64,
    /// AWS's id of it, if its reply is about single records.
    pub(super) id: Option<String>,
}

impl<T: Transport> Sender<T> {
    /// Sends an attempt. `is_retry`: whether its records were already sent in this flush.
    pub(super) async fn send(&self, attempt: &Attempt, is_retry: bool, flush: &Flush) -> Reply {
        let metrics = &self.reporter.metrics;
        let records = attempt.record_count() as u64;
        if is_retry {
            metrics.add(Metric::RecordsRetried, records);
        }
        let in_flight = InFlight::new(metrics);
        let body = attempt.batch.body();
        let bytes = body.len() as u64;
        let sent_at = Instant::now();
        let number = self.refusals.evidence.number();
        let answer = tokio::select! {
            answer = self.transport.send(Operation::PutRecords, body) => answer,
            reason = flush.reply_deadline() => Err(TransportError::Ambiguous(reason.to_owned())),
        };
        drop(in_flight);
        let took = add_time(&flush.times.network, sent_at).duration_since(sent_at);
        flush.times.requests.set(flush.times.requests.get() + 1);
        let verdict = verdict(&answer, attempt.batch.entries().len());
        let outcome = outcome(&answer, &verdict);
        metrics.add_by(outcome, 1);
        metrics.observe(Metric::RequestTime, took);
        if !matches!(&answer, Err(error) if error.is_unsent()) {
            metrics.add(Metric::BytesSent, bytes);
        }
        if let Verdict::Again { ambiguous: true, .. } = verdict {
            metrics.add(Metric::RecordsAmbiguous, records);
        }
        self.reporter.log.write(Level::Debug, || explain(attempt, flush, bytes, outcome, took, &answer));
        self.learn(attempt, number, &answer, &verdict);
        if let Some(records) = self.throttled(attempt, &verdict, outcome) {
            self.incidents.throttled(records);
        }
        let id = match (&answer, &verdict) {
            (Ok(response), Verdict::Answered(_)) => response.request_id().map(str::to_owned),
            _ => None,
        };
        let exchange = answer.as_ref().ok().and_then(|response| response.exchange);
        let verdict = self.find_misplaced(attempt, &answer, verdict);
        Reply { request: RequestName { number, id }, sent_at, exchange, verdict }
    }

    /// Marks the accepted aggregates that consumers drop where they are.
    fn find_misplaced(&self, attempt: &Attempt, answer: &Answer, verdict: Verdict) -> Verdict {
        let misplaced = match (answer, &verdict) {
            (Ok(response), Verdict::Accepted | Verdict::Answered(_)) => self.facts.misplaced(&attempt.batch, response),
            _ => Vec::new(),
        };
        if misplaced.is_empty() {
            return verdict;
        }
        let mut records = match verdict {
            Verdict::Answered(records) => records,
            _ => vec![RecordVerdict::Accepted; attempt.batch.entries().len()],
        };
        for index in misplaced {
            if let Some(record @ RecordVerdict::Accepted) = records.get_mut(index) {
                *record = RecordVerdict::Misplaced;
            }
        }
        Verdict::Answered(records)
    }

    /// Prepares another try after the credentials were refused. Returns whether a try now makes sense.
    pub(super) fn renew(&self, sent_at: Instant, server_time: Option<SystemTime>) -> bool {
        self.transport.renew(sent_at, server_time)
    }

    /// Learns about the stream and the network path from a reply.
    fn learn(&self, attempt: &Attempt, number: u64, answer: &Answer, verdict: &Verdict) {
        if verdict.accepts_any() {
            self.refusals.evidence.accepted(number);
        }
        if *verdict == Verdict::Accepted {
            self.refusals.sizes.request.accepted(attempt.batch.bytes());
        }
        if let Ok(response) = answer {
            self.incidents.reply();
            self.compare_counts(response, verdict);
        }
    }

    /// Warns when a reply's count of failed records contradicts its list. The list is used.
    fn compare_counts(&self, response: &Response, verdict: &Verdict) {
        let failed = match verdict {
            Verdict::Accepted => 0,
            Verdict::Answered(records) => records.iter().filter(|record| **record != RecordVerdict::Accepted).count(),
            _ => return,
        };
        let stated = response.failed_record_count();
        if let Some(stated) = stated.filter(|&stated| stated != failed as u64) {
            self.reporter.log.folded(Level::Warn, "failed record count", || {
                let line = format!("a reply counts {stated} failed records but lists {failed}: using the list");
                with_request_id(line, response.request_id())
            });
        }
    }

    /// Counts throttled records, by shard where the reply names it. Returns their number, or `None` if the reply says
    /// nothing about throttling.
    fn throttled(&self, attempt: &Attempt, verdict: &Verdict, outcome: RequestOutcome) -> Option<u64> {
        let metrics = &self.reporter.metrics;
        match (verdict, outcome) {
            (Verdict::Accepted, _) => Some(0),
            (Verdict::Answered(records), _) => {
                let mut throttled = 0;
                for (entry, record) in attempt.batch.entries().iter().zip(records) {
                    if let RecordVerdict::Again { code, shard } = record
                        && code == THROTTLED
                    {
                        let records = attempt.batch.records(entry).len() as u64;
                        metrics.throttled_by_shard(*shard, records);
                        throttled += records;
                    }
                }
                Some(throttled)
            }
            (
                _,
                RequestOutcome::ProvisionedThroughputExceeded
                | RequestOutcome::Throttling
                | RequestOutcome::KmsThrottling,
            ) => {
                let records = attempt.record_count() as u64;
                metrics.add(Metric::RecordsThrottled, records);
                Some(records)
            }
            _ => None,
        }
    }
}

/// Counts a request as in flight until dropped, even by a panic.
struct InFlight<'a>(&'a Metrics);

impl<'a> InFlight<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        metrics.set(Metric::RequestsInFlight, metrics.get(Metric::RequestsInFlight) + 1);
        InFlight(metrics)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.set(Metric::RequestsInFlight, self.0.get(Metric::RequestsInFlight).saturating_sub(1));
    }
}

/// The outcome as which a request is counted.
pub(crate) fn outcome(answer: &Answer, verdict: &Verdict) -> RequestOutcome {
    match (answer, verdict) {
        (Err(TransportError::NoCredentials(_)), _) => RequestOutcome::NoCredentials,
        (Err(TransportError::Connect(_) | TransportError::Misconfigured { .. }), _) => RequestOutcome::NoConnection,
        (Err(TransportError::Ambiguous(_)), _) => RequestOutcome::NoReply,
        (Ok(_), Verdict::Accepted) => RequestOutcome::Ok,
        (Ok(_), Verdict::Answered(_)) => RequestOutcome::Partial,
        (Ok(response), _) if response.status.is_client_error() => {
            of_code(&response.error().code).unwrap_or(RequestOutcome::Other4xx)
        }
        (Ok(response), _) if response.status.is_server_error() => {
            of_code(&response.error().code).unwrap_or(RequestOutcome::Other5xx)
        }
        (Ok(_), _) => RequestOutcome::Unreadable,
    }
}

/// The outcome of an error code, except for our own outcome names: a reply must not be able to produce those.
fn of_code(code: &str) -> Option<RequestOutcome> {
    let is_code = code.starts_with(char::is_uppercase);
    RequestOutcome::ALL.iter().copied().find(|outcome| is_code && outcome.name() == code)
}

/// Describes a request in one line, without any of its content.
fn explain(
    attempt: &Attempt,
    flush: &Flush,
    bytes: u64,
    outcome: RequestOutcome,
    took: Duration,
    answer: &Answer,
) -> String {
    let status = match answer {
        Ok(response) => {
            let id = response.request_id().map_or_else(|| "none".to_owned(), one_line);
            format!("HTTP {}, request id {id}", response.status.as_u16())
        }
        Err(error) => error.to_string(),
    };
    format!(
        "flush {}, request {}: {} records as {} in {bytes} bytes, after {} pauses: {} in {:.3} s; {status}",
        flush.number,
        flush.times.requests.get(),
        attempt.record_count(),
        attempt.batch.entries().len(),
        attempt.tries.retries,
        outcome.name(),
        took.as_secs_f64(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::tests::scripted::{Answer, Bench};
    use crate::outcome::Outcome;
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    #[tokio::test(start_paused = true)]
    async fn a_reply_that_counts_fewer_failures_than_it_names_is_logged() {
        let failed = r#"{"FailedRecordCount":0,"Records":[{"ErrorCode":"InternalFailure"}]}"#;
        let bench = Bench::new(vec![Answer::Body(failed)]);
        assert_eq!(bench.flush(1).await, Outcome::Delivered);
        assert!(bench.log.lines()[0].starts_with("Warn a reply counts 0 failed records but lists 1"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_left_is_not_counted_as_sent() {
        let connect = || Answer::Broken(TransportError::Connect("refused".to_owned()));
        let bench = Bench::new(vec![connect(), connect()]);
        assert_eq!(bench.flush(1).await, Outcome::Delivered);
        let once = Bench::new(vec![]);
        assert_eq!(once.flush(1).await, Outcome::Delivered);
        let sent = |bench: &Bench| bench.delivery.metrics().get(Metric::BytesSent);
        assert!(sent(&once) > 0);
        assert_eq!(sent(&bench), sent(&once));
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_request_may_be_throttled_too_and_not_each_that_fails_is() {
        for (status, code, throttled) in [
            (400, "ProvisionedThroughputExceededException", true),
            (400, "ThrottlingException", true),
            (400, "KMSThrottlingException", true),
            (500, "InternalFailure", false),
        ] {
            let bench = Bench::new(vec![Answer::Status(status, code)]);
            assert_eq!(bench.flush(3).await, Outcome::Delivered);
            tokio::time::advance(Duration::from_secs(60)).await;
            assert_eq!(bench.flush(3).await, Outcome::Delivered);
            let is_logged = bench.log.lines().concat().contains("throttling has ended: 3 records were throttled");
            assert_eq!(is_logged, throttled, "{code}");
            let counted = bench.delivery.metrics().get(Metric::RecordsThrottled);
            assert_eq!(counted, if throttled { 3 } else { 0 }, "{code}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_count_that_contradicts_the_records_is_logged_once_and_the_records_decide() {
        let accepted = r#"{ "FailedRecordCount": 3, "Records": [{"SequenceNumber":"1"}] }"#;
        let failed = r#"{"FailedRecordCount":0,"Records":[{"ErrorCode":"InternalFailure"}]}"#;
        let bench = Bench::new(vec![Answer::Body(accepted), Answer::Body(failed)]);
        assert_eq!(bench.flush(1).await, Outcome::Delivered);
        assert_eq!(bench.sizes(), [1], "accepted records are not sent again");
        assert_eq!(bench.flush(1).await, Outcome::Delivered);
        assert_eq!(bench.sizes(), [1, 1, 1], "failed ones are");
        let is_about_counts = |line: &&String| line.contains("counts");
        assert_eq!(
            bench.log.lines().iter().filter(is_about_counts).collect::<Vec<_>>(),
            ["Warn a reply counts 3 failed records but lists 0: using the list"]
        );
    }

    fn name(answer: &super::Answer) -> &'static str {
        outcome(answer, &verdict(answer, 1)).name()
    }

    #[test]
    fn every_answer_has_an_outcome() {
        let reply = |status, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            name(&Ok(Response::new(status, HeaderMap::new(), Bytes::from(body.to_owned()))))
        };
        for (status, body, expected) in [
            (200, r#"{"FailedRecordCount":0,"Records":[{"SequenceNumber":"1","ShardId":"2"}]}"#, "ok"),
            (200, r#"{"Records":[{"ErrorCode":"InternalFailure"}]}"#, "partial"),
            (200, r#"{"Records":[]}"#, "unreadable"),
            (301, "", "unreadable"),
            (400, r#"{"__type":"com.amazonaws.kinesis#ThrottlingException"}"#, "ThrottlingException"),
            (500, r#"{"__type":"InternalFailure"}"#, "InternalFailure"),
            (400, r#"{"__type":"SomethingNew"}"#, "other_4xx"),
            (400, r#"{"__type":"ok"}"#, "other_4xx"),
            (413, "", "other_4xx"),
            (502, "<html>", "other_5xx"),
        ] {
            assert_eq!(reply(status, body), expected, "{status} {body}");
        }
        assert_eq!(name(&Err(TransportError::Connect("refused".to_owned()))), "no_connection");
        assert_eq!(name(&Err(TransportError::Ambiguous("reset".to_owned()))), "no_reply");
        assert_eq!(name(&Err(TransportError::NoCredentials("none".to_owned()))), "no_credentials");
    }
}
