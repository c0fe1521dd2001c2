//! Asks whether `PutRecords` would succeed, without storing anything.

use serde_json::json;

use crate::kinesis::client::{Operation, Transport, TransportError};
use crate::kinesis::control::ask::ask;
use crate::kinesis::stream::Stream;
use crate::kinesis::verdict::{Verdict, verdict};

/// The error that means success (<https://docs.aws.amazon.com/streams/latest/dev/kds-dryrun-validation.html>, read
/// 2026-11).
const WOULD_SUCCEED: &str = "DryRunOperationException";

/// What a dry run shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DryRun {
    /// Stream, region, permission, clock and credentials are right.
    Passed,
    /// The endpoint does not know dry runs and has stored the record.
    Stored,
    /// Records cannot be put: what the service or the network said, and what to do about it.
    Failed { reason: String, advice: &'static str },
    /// Nothing: throttled (all callers of a stream share one dry run a second), or a failure that will pass.
    Unknown(String),
}

/// Asks whether a record could be put into `stream`.
pub(crate) async fn dry_run<T: Transport>(transport: &T, stream: &Stream) -> DryRun {
    // The record is {}.
    let records = json!([{ "Data": "e30=", "PartitionKey": "check" }]);
    let request = json!({ stream.member(): stream.as_str(), "Records": records, "DryRun": true });
    let answer = ask(transport, Operation::DryRun, &request).await;
    if answer.as_ref().is_ok_and(|reply| reply.status.is_client_error() && reply.error().code == WOULD_SUCCEED) {
        return DryRun::Passed;
    }
    match verdict(&answer, 1) {
        Verdict::Accepted => DryRun::Stored,
        Verdict::Operator { reason, advice } => DryRun::Failed { reason, advice },
        Verdict::Unauthorized { reason, .. } => DryRun::Failed { reason, advice: "correct the credentials" },
        Verdict::Again { reason, advice: Some(advice), .. } => DryRun::Failed { reason, advice },
        Verdict::Again { reason, .. } if matches!(answer, Err(TransportError::Connect(_))) => {
            DryRun::Failed { reason, advice: "correct the network or endpoint" }
        }
        Verdict::Again { reason, .. } => DryRun::Unknown(reason),
        Verdict::Answered(_) => DryRun::Unknown("the record was not accepted".to_owned()),
        // The request is valid; what refuses it does not know dry runs.
        Verdict::Refused(refusal) => DryRun::Unknown(refusal.reason),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::SystemTime;

    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};
    use serde_json::Value;
    use tokio::time::Instant;

    use super::*;
    use crate::kinesis::reply::Response;

    /// Always gives one answer, and remembers the requests.
    struct Service(Result<(u16, &'static str), TransportError>, RefCell<Vec<Value>>);

    impl Transport for Service {
        async fn send(&self, operation: Operation, body: Bytes) -> Result<Response, TransportError> {
            assert_eq!(operation, Operation::DryRun);
            self.1.borrow_mut().push(serde_json::from_slice(&body).unwrap());
            self.0.clone().map(|(status, body)| {
                Response::new(StatusCode::from_u16(status).unwrap(), HeaderMap::new(), Bytes::from(body))
            })
        }

        fn renew(&self, _: Instant, _: Option<SystemTime>) -> bool {
            true
        }
    }

    async fn ask_about(stream: &str, answer: Result<(u16, &'static str), TransportError>) -> (DryRun, Vec<Value>) {
        let service = Service(answer, RefCell::default());
        let result = dry_run(&service, &Stream::parse(stream).unwrap()).await;
        (result, service.1.into_inner())
    }

    fn kind(result: &DryRun) -> &'static str {
        match result {
            DryRun::Passed => "passed",
            DryRun::Stored => "stored",
            DryRun::Failed { .. } => "failed",
            DryRun::Unknown(_) => "unknown",
        }
    }

    #[tokio::test]
    async fn the_error_of_a_dry_run_is_its_success_and_what_will_pass_says_nothing() {
        for (status, body, expected, calls) in [
            (400, r#"{"__type":"DryRunOperationException","message":"would have succeeded"}"#, "passed", 1),
            (200, r#"{"FailedRecordCount":0,"Records":[{"SequenceNumber":"1","ShardId":"s"}]}"#, "stored", 1),
            (400, r#"{"__type":"AccessDeniedException","message":"no"}"#, "failed", 1),
            (400, r#"{"__type":"ResourceNotFoundException","message":"no"}"#, "failed", 1),
            (400, r#"{"__type":"InvalidSignatureException","message":"clock"}"#, "failed", 2),
            (404, "<html>", "failed", 1),
            (400, r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#, "unknown", 1),
            (400, r#"{"__type":"LimitExceededException","message":"Rate exceeded"}"#, "unknown", 1),
            (500, r#"{"__type":"InternalFailure"}"#, "unknown", 1),
            (503, "", "unknown", 1),
            (400, r#"{"__type":"SerializationException"}"#, "unknown", 1),
            (400, r#"{"__type":"ValidationException","message":"DryRun is unknown"}"#, "unknown", 1),
            (200, r#"{"FailedRecordCount":1,"Records":[{"ErrorCode":"InternalFailure"}]}"#, "unknown", 1),
        ] {
            let (result, requests) = ask_about("logs", Ok((status, body))).await;
            assert_eq!((kind(&result), requests.len()), (expected, calls), "{status} {body}");
        }
        let connect = TransportError::Connect("refused".to_owned());
        assert_eq!(kind(&ask_about("logs", Err(connect)).await.0), "failed");
        let none = TransportError::NoCredentials("none".to_owned());
        assert_eq!(kind(&ask_about("logs", Err(none)).await.0), "failed");
        let silent = TransportError::Ambiguous("timeout".to_owned());
        assert_eq!(kind(&ask_about("logs", Err(silent)).await.0), "unknown");
    }

    #[tokio::test]
    async fn a_dry_run_has_one_record_and_says_that_it_is_one() {
        let arn = "arn:aws:kinesis:us-east-1:111122223333:stream/logs";
        for (stream, member) in [("logs", "StreamName"), (arn, "StreamARN")] {
            let (_, requests) = ask_about(stream, Ok((503, ""))).await;
            let records = json!([{ "Data": "e30=", "PartitionKey": "check" }]);
            assert_eq!(requests, [json!({ member: stream, "Records": records, "DryRun": true })]);
        }
    }
}
