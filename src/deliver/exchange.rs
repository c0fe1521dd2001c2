//! One request and its reply: sent, judged, counted, and explained to whoever reads at the level "debug".

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::Delivery;
use super::flush::{Attempt, Flush, add_time};
use super::outcomes::outcome;
use crate::kinesis::client::{Operation, Transport, TransportError};
use crate::kinesis::reply::Response;
use crate::kinesis::verdict::{RecordVerdict, Verdict, verdict};
use crate::log::Level;
use crate::metrics::{Metric, Metrics, OUTCOMES};
use crate::redact::one_line;

/// How Kinesis says that a shard or a stream has too much to do.
const THROTTLED: &str = "ProvisionedThroughputExceededException";

impl<T: Transport> Delivery<T> {
    /// Sends an attempt, `again` when its records were sent before in this flush.
    pub(super) async fn exchange(&self, attempt: &Attempt, again: bool, flush: &Rc<Flush>) -> Exchange {
        let metrics = &self.metrics;
        let body = attempt.batch.body();
        if again {
            metrics.add(Metric::RecordsRetried, attempt.records() as u64);
        }
        let in_flight = InFlight::new(metrics);
        let bytes = body.len();
        let sent_at = Instant::now();
        let number = self.evidence.number();
        let answer = tokio::select! {
            answer = self.transport.send(Operation::PutRecords, body) => answer,
            reason = self.until_deadline(flush) => Err(TransportError::Ambiguous(reason.to_owned())),
        };
        drop(in_flight);
        let took = add_time(&flush.times.network, sent_at).duration_since(sent_at);
        flush.times.requests.set(flush.times.requests.get() + 1);
        self.compare_shards(&attempt.batch, &answer);
        let verdict = verdict(&answer, attempt.batch.entries().len());
        if verdict.accepts_any() {
            self.evidence.accepted(number);
        }
        if verdict == Verdict::Accepted {
            self.request_size.accepted(attempt.batch.bytes());
        }
        self.compare_counts(&answer, &verdict);
        let outcome = outcome(&answer, &verdict);
        metrics.add_to(Metric::Requests, outcome, 1);
        metrics.observe(Metric::RequestTime, took);
        if !matches!(answer, Err(TransportError::NoCredentials(_) | TransportError::Connect(_))) {
            metrics.add(Metric::BytesSent, bytes as u64);
        }
        let name = OUTCOMES.get(outcome).copied().unwrap_or_default();
        self.log.write(Level::Debug, || explain(attempt, flush, bytes, name, took, &answer));
        if answer.is_ok() {
            self.troubles.answered(&self.log);
        }
        self.look_for_throttling(attempt, &verdict, name);
        Exchange { number, sent_at, verdict }
    }

    /// Warns when a reply's count of failed records contradicts its list. The list decides.
    fn compare_counts(&self, answer: &Result<Response, TransportError>, verdict: &Verdict) {
        let failed = match verdict {
            Verdict::Accepted => 0,
            Verdict::Answered(records) => records.iter().filter(|record| **record != RecordVerdict::Accepted).count(),
            _ => return,
        };
        let stated = answer.as_ref().ok().and_then(Response::failed_record_count);
        if let Some(stated) = stated.filter(|&stated| stated != failed as u64) {
            self.log.folded(Level::Warn, "failed record count", || {
                format!("a reply counts {stated} failed records but lists {failed}: the list decides")
            });
        }
    }

    fn look_for_throttling(&self, attempt: &Attempt, verdict: &Verdict, outcome: &str) {
        let records = match verdict {
            Verdict::Accepted => 0,
            Verdict::Answered(records) => {
                let mut throttled = 0;
                for (entry, record) in attempt.batch.entries().iter().zip(records) {
                    if let RecordVerdict::Again { code, shard } = record
                        && code == THROTTLED
                    {
                        let records = attempt.batch.records(entry).len() as u64;
                        self.metrics.throttled(*shard, records);
                        throttled += records;
                    }
                }
                throttled
            }
            _ if outcome == THROTTLED || outcome.contains("Throttling") => attempt.records() as u64,
            _ => return,
        };
        self.troubles.throttled(records, &self.metrics, &self.log);
    }
}

/// A request that has ended.
pub(super) struct Exchange {
    /// By [`super::evidence::Evidence`].
    pub(super) number: u64,
    pub(super) sent_at: Instant,
    /// What the reply means.
    pub(super) verdict: Verdict,
}

/// Counts a request among those on their way, until it is dropped, also by a panic.
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

/// A request in one line, without anything of its content.
fn explain(
    attempt: &Attempt,
    flush: &Flush,
    bytes: usize,
    outcome: &str,
    took: Duration,
    answer: &Result<Response, TransportError>,
) -> String {
    let status = match answer {
        Ok(response) => {
            let id = response.request_id().map_or_else(|| "none".to_owned(), one_line);
            format!("HTTP {}, request id {id}", response.status.as_u16())
        }
        Err(error) => error.to_string(),
    };
    format!(
        "flush {}, request {}: {} records as {} in {bytes} bytes, after {} pauses: {outcome} in {:.3} s; {status}",
        flush.number,
        flush.times.requests.get(),
        attempt.records(),
        attempt.batch.entries().len(),
        attempt.tries.retries,
        took.as_secs_f64(),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::deliver::tests::scripted::{Answer, Bench};
    use crate::kinesis::client::TransportError;
    use crate::metrics::Metric;
    use crate::outcome::Outcome;

    #[tokio::test(start_paused = true)]
    async fn a_reply_that_counts_fewer_failures_than_it_names_is_said() {
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
            (500, "InternalFailure", false),
        ] {
            let bench = Bench::new(vec![Answer::Status(status, code)]);
            assert_eq!(bench.flush(3).await, Outcome::Delivered);
            tokio::time::advance(Duration::from_secs(60)).await;
            assert_eq!(bench.flush(3).await, Outcome::Delivered);
            let told = bench.log.lines().concat().contains("throttling has ended: 3 records were throttled");
            assert_eq!(told, throttled, "{code}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_count_that_contradicts_the_records_is_said_once_and_the_records_decide() {
        let accepted = r#"{ "FailedRecordCount": 3, "Records": [{"SequenceNumber":"1"}] }"#;
        let failed = r#"{"FailedRecordCount":0,"Records":[{"ErrorCode":"InternalFailure"}]}"#;
        let bench = Bench::new(vec![Answer::Body(accepted), Answer::Body(failed)]);
        assert_eq!(bench.flush(1).await, Outcome::Delivered);
        assert_eq!(bench.sizes(), [1], "what is accepted is not sent again");
        assert_eq!(bench.flush(1).await, Outcome::Delivered);
        assert_eq!(bench.sizes(), [1, 1, 1], "what failed is");
        let is_about_counts = |line: &&String| line.contains("counts");
        assert_eq!(
            bench.log.lines().iter().filter(is_about_counts).collect::<Vec<_>>(),
            ["Warn a reply counts 3 failed records but lists 0: the list decides"]
        );
    }
}
