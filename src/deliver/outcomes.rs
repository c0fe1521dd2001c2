//! By which outcome a request is counted.

use crate::kinesis::client::TransportError;
use crate::kinesis::reply::Response;
use crate::kinesis::verdict::Verdict;
use crate::metrics::OUTCOMES;

/// The outcome of a request, by its place in [`OUTCOMES`].
pub(crate) fn outcome(answer: &Result<Response, TransportError>, verdict: &Verdict) -> usize {
    let name = match (answer, verdict) {
        (Err(TransportError::NoCredentials(_)), _) => "no_credentials",
        (Err(TransportError::Connect(_)), _) => "no_connection",
        (Err(TransportError::Ambiguous(_)), _) => "no_reply",
        (Ok(_), Verdict::Accepted) => "ok",
        (Ok(_), Verdict::Answered(_)) => "partial",
        (Ok(response), _) if response.status.is_client_error() || response.status.is_server_error() => {
            let code = response.error().code;
            // Names of ours are no codes, whatever a reply says.
            return place(&code).filter(|_| code.starts_with(char::is_uppercase)).unwrap_or_else(|| {
                let class = if response.status.is_server_error() { "other_5xx" } else { "other_4xx" };
                place(class).unwrap_or_default()
            });
        }
        (Ok(_), _) => "unreadable",
    };
    place(name).unwrap_or_default()
}

fn place(name: &str) -> Option<usize> {
    OUTCOMES.iter().position(|outcome| *outcome == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinesis::verdict::verdict;
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    fn name(answer: &Result<Response, TransportError>) -> &'static str {
        OUTCOMES[outcome(answer, &verdict(answer, 1))]
    }

    #[test]
    fn every_answer_has_an_outcome() {
        let reply = |status, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            name(&Ok(Response { status, headers: HeaderMap::new(), body: Bytes::from(body.to_owned()) }))
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
