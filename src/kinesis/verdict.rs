//! What a reply means: the one decision.
//!
//! Nothing here sleeps, logs or sends. [`crate::deliver`] asks and acts.

use std::time::{Duration, SystemTime};

use crate::kinesis::client::TransportError;
use crate::kinesis::reply::complaint::{Complaint, Place, complaint, constraint};
use crate::kinesis::reply::{RecordReply, Response, ServiceError};
use crate::redact::one_line;

/// What to do about a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Kinesis has every record.
    Accepted,
    /// Kinesis answered for each record.
    Answered(Vec<RecordVerdict>),
    /// Send the whole batch again, after a pause.
    Again {
        /// What happened, for the log.
        reason: String,
        /// How long the server asked to wait.
        after: Option<Duration>,
        /// The network failed, so one more try at once may be all it takes.
        network: bool,
        /// Kinesis may have taken the records, so that sending them again stores them twice.
        ambiguous: bool,
    },
    /// The signature or the credentials were not accepted: get new ones and send the batch again.
    Unauthorized {
        /// What the service said.
        reason: String,
        /// The server's time of day, by which to correct ours.
        server_time: Option<SystemTime>,
    },
    /// Only an operator can cure it. Keep everything.
    Operator {
        /// What the service said.
        reason: String,
        /// What the operator can do about it.
        advice: &'static str,
    },
    /// A record of the batch is not acceptable, or the batch as a whole is not.
    Refused(Refusal),
}

impl Verdict {
    /// Whether Kinesis has any of the records.
    pub fn accepts_any(&self) -> bool {
        match self {
            Verdict::Accepted => true,
            Verdict::Answered(records) => records.contains(&RecordVerdict::Accepted),
            _ => false,
        }
    }
}

/// What was said of records that are not acceptable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// What the service said.
    pub reason: String,
    /// Which record of the batch, when the service named it.
    pub index: Option<usize>,
    /// Whether it is a matter of size.
    pub too_large: bool,
    /// How many bytes that record's data may have, or the request when none is named, where the service said so.
    pub allowed_bytes: Option<usize>,
}

/// What to do about a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordVerdict {
    /// Nothing: Kinesis has it.
    Accepted,
    /// Send it again, after a pause.
    Again {
        /// `ErrorCode`.
        code: String,
        /// The number of the shard that was named.
        shard: Option<u64>,
    },
    /// Count and log it: no retry cures it.
    Refused {
        /// `ErrorCode`.
        code: String,
    },
}

/// Judges the answer to a request of `count` records.
pub fn verdict(answer: &Result<Response, TransportError>, count: usize) -> Verdict {
    let response = match answer {
        Ok(response) => response,
        Err(error) => return judge_failure(error),
    };
    if response.status.is_success() {
        if response.accepts_all(count) {
            return Verdict::Accepted;
        }
        return match response.records(count) {
            Some(records) if records.iter().all(|record| *record == RecordReply::Accepted) => Verdict::Accepted,
            Some(records) => Verdict::Answered(records.into_iter().map(judge_record).collect()),
            None => Verdict::Again {
                reason: format!("the reply to {count} records does not match them"),
                after: None,
                network: false,
                ambiguous: true,
            },
        };
    }
    judge_error(response, count)
}

fn judge_failure(error: &TransportError) -> Verdict {
    let again = |ambiguous| Verdict::Again { reason: error.to_string(), after: None, network: true, ambiguous };
    match error {
        TransportError::NoCredentials(reason) => operator(reason.clone(), "give Fluent Bit credentials"),
        TransportError::Connect(_) => again(false),
        TransportError::Ambiguous(_) => again(true),
    }
}

fn judge_record(reply: RecordReply) -> RecordVerdict {
    match reply {
        RecordReply::Accepted => RecordVerdict::Accepted,
        // AWS never answers a single record so; stand-ins do, for records no retry makes acceptable.
        RecordReply::Failed { code, .. }
            if matches!(code.as_str(), "InvalidArgumentException" | "ValidationException") =>
        {
            RecordVerdict::Refused { code }
        }
        RecordReply::Failed { code, shard } => RecordVerdict::Again { code, shard },
    }
}

fn judge_error(response: &Response, count: usize) -> Verdict {
    let error = response.error();
    let status = response.status.as_u16();
    let reason = reason(status, &error);
    match error.code.as_str() {
        "ProvisionedThroughputExceededException"
        | "ThrottlingException"
        | "LimitExceededException"
        | "KMSThrottlingException" => again(reason, response),
        "ExpiredTokenException"
        | "ExpiredToken"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "RequestExpired"
        | "RequestTimeTooSkewed" => Verdict::Unauthorized { reason, server_time: response.date() },
        "ResourceNotFoundException" => operator(reason, "create the stream, or correct stream and region"),
        "AccessDeniedException" | "AccessDenied" => operator(reason, "grant kinesis:PutRecords on the stream"),
        "KMSAccessDeniedException" => operator(reason, "grant kms:GenerateDataKey on the stream's key"),
        "KMSDisabledException" | "KMSInvalidStateException" | "KMSNotFoundException" | "KMSOptInRequired" => {
            operator(reason, "see to the KMS key of the stream")
        }
        "ValidationException" | "InvalidArgumentException" | "SerializationException" => {
            judge_complaint(status, &error, count)
        }
        _ if status == 413 => Verdict::Refused(Refusal { reason, too_large: true, ..Refusal::default() }),
        _ if status >= 500 || status == 429 || status == 408 => again(reason, response),
        // Anything else is nothing we know: keep the records and tell the operator.
        _ => operator(reason, "see whether the endpoint is that of Kinesis"),
    }
}

/// What the service said in a reply that is an error, as a log line may hold it.
pub fn describe(response: &Response) -> String {
    reason(response.status.as_u16(), &response.error())
}

/// What an error says, in a form that the log may hold. Anybody on the way may have written it, and it may quote records: the
/// message is shown only with codes whose messages are about something else.
fn reason(status: u16, error: &ServiceError) -> String {
    match (error.code.as_str(), error.message.as_str()) {
        ("", _) => format!("HTTP {status} without an error that can be read"),
        (code, message) if !message.is_empty() && speaks_of_no_record(code) => {
            one_line(&format!("HTTP {status} {code}: {message}"))
        }
        (code, _) => format!("HTTP {status} {code}"),
    }
}

/// Whether an error is about the caller, the stream or the service, by its code.
fn speaks_of_no_record(code: &str) -> bool {
    let code = code.strip_suffix("Exception").unwrap_or(code);
    code.starts_with("KMS")
        || matches!(
            code,
            "AccessDenied"
                | "ExpiredToken"
                | "IncompleteSignature"
                | "InternalFailure"
                | "InvalidClientTokenId"
                | "InvalidSignature"
                | "LimitExceeded"
                | "MissingAuthenticationToken"
                | "ProvisionedThroughputExceeded"
                | "RequestExpired"
                | "RequestTimeTooSkewed"
                | "ResourceInUse"
                | "ResourceNotFound"
                | "ServiceUnavailable"
                | "SignatureDoesNotMatch"
                | "Throttling"
                | "UnrecognizedClient"
        )
}

fn operator(reason: String, advice: &'static str) -> Verdict {
    Verdict::Operator { reason, advice }
}

fn again(reason: String, response: &Response) -> Verdict {
    Verdict::Again { reason, after: response.retry_after(), network: false, ambiguous: false }
}

/// The service quotes records in these messages, and no log may. The constraint is in its own words.
fn without_content(status: u16, error: &ServiceError) -> String {
    match constraint(&error.message) {
        Some(constraint) => {
            one_line(&format!("HTTP {status} {}: failed to satisfy constraint: {constraint}", error.code))
        }
        None => format!("HTTP {status} {}", error.code),
    }
}

fn judge_complaint(status: u16, error: &ServiceError, count: usize) -> Verdict {
    let reason = without_content(status, error);
    let Complaint { place, size_limit } = complaint(&error.message);
    let index = match place {
        // Not about any record.
        Place::Stream => return operator(reason, "correct stream"),
        Place::Record(index) => Some(index).filter(|&index| index < count),
        Place::Request | Place::Unknown => None,
    };
    Verdict::Refused(Refusal { reason, index, too_large: size_limit.is_some(), allowed_bytes: size_limit })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    fn judge(status: u16, body: &str) -> Verdict {
        let mut headers = HeaderMap::new();
        headers.insert("date", "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
        headers.insert("retry-after", "2".parse().unwrap());
        let body = Bytes::from(body.to_owned());
        verdict(&Ok(Response { status: StatusCode::from_u16(status).unwrap(), headers, body }), 3)
    }

    fn kind(verdict: &Verdict) -> &'static str {
        match verdict {
            Verdict::Accepted => "accepted",
            Verdict::Answered(_) => "answered",
            Verdict::Again { network: false, ambiguous: false, .. } => "again",
            Verdict::Again { network: false, ambiguous: true, .. } => "again, perhaps twice",
            Verdict::Again { network: true, ambiguous: false, .. } => "again at once",
            Verdict::Again { network: true, ambiguous: true, .. } => "again at once, perhaps twice",
            Verdict::Unauthorized { .. } => "unauthorized",
            Verdict::Operator { .. } => "operator",
            Verdict::Refused(_) => "refused",
        }
    }

    #[test]
    fn errors_of_the_whole_call_are_judged_by_their_type() {
        for (status, code, expected) in [
            (400, "ProvisionedThroughputExceededException", "again"),
            (400, "ThrottlingException", "again"),
            (400, "LimitExceededException", "again"),
            (400, "KMSThrottlingException", "again"),
            (500, "InternalFailure", "again"),
            (503, "ServiceUnavailable", "again"),
            (400, "ExpiredTokenException", "unauthorized"),
            (400, "UnrecognizedClientException", "unauthorized"),
            (400, "InvalidSignatureException", "unauthorized"),
            (403, "SignatureDoesNotMatch", "unauthorized"),
            (400, "IncompleteSignature", "unauthorized"),
            (400, "ResourceNotFoundException", "operator"),
            (400, "AccessDeniedException", "operator"),
            (400, "KMSDisabledException", "operator"),
            (400, "KMSInvalidStateException", "operator"),
            (400, "KMSAccessDeniedException", "operator"),
            (400, "KMSNotFoundException", "operator"),
            (400, "KMSOptInRequired", "operator"),
            (400, "SomethingNewException", "operator"),
            (400, "ValidationException", "refused"),
            (400, "InvalidArgumentException", "refused"),
            (400, "SerializationException", "refused"),
        ] {
            let judged = judge(status, &format!(r#"{{"__type":"{code}","message":"m"}}"#));
            assert_eq!(kind(&judged), expected, "{code}");
        }
        for (status, body, expected) in [
            (413, "", "refused"),
            (429, "", "again"),
            (502, "<html>Bad Gateway</html>", "again"),
            (404, "<html>not found</html>", "operator"),
            (301, "", "operator"),
            (200, "<html>login</html>", "again, perhaps twice"),
            (200, r#"{"Records":[]}"#, "again, perhaps twice"),
        ] {
            assert_eq!(kind(&judge(status, body)), expected, "{status} {body}");
        }
    }

    #[test]
    fn what_an_operator_should_do_depends_on_the_error() {
        for (code, expected) in [
            ("ResourceNotFoundException", "create the stream, or correct stream and region"),
            ("AccessDeniedException", "grant kinesis:PutRecords on the stream"),
            ("KMSAccessDeniedException", "grant kms:GenerateDataKey on the stream's key"),
            ("KMSDisabledException", "see to the KMS key of the stream"),
            ("SomethingNewException", "see whether the endpoint is that of Kinesis"),
        ] {
            let judged = judge(400, &format!(r#"{{"__type":"{code}"}}"#));
            assert!(matches!(judged, Verdict::Operator { advice, .. } if advice == expected), "{code}: {judged:?}");
        }
    }

    #[test]
    fn a_body_that_is_too_large_for_a_proxy_is_refused_for_its_size() {
        let reason = "HTTP 413 without an error that can be read".to_owned();
        assert_eq!(describe(&reply(413)), reason);
        let refusal = Refusal { reason, too_large: true, ..Refusal::default() };
        assert_eq!(verdict(&Ok(reply(413)), 3), Verdict::Refused(refusal));
    }

    #[test]
    fn a_reply_accepts_something_when_it_accepts_one_record() {
        let record = |code: &str| format!(r#"{{"SequenceNumber":"1","ErrorCode":{code}}}"#);
        let accepts = |codes: [&str; 3]| {
            let records = codes.map(record).join(",");
            judge(200, &format!(r#"{{"Records":[{records}]}}"#)).accepts_any()
        };
        let (no, failed) = ("null", "\"InternalFailure\"");
        assert!(accepts([no, no, no]) && accepts([failed, no, failed]));
        assert!(!accepts([failed, failed, failed]));
        assert!(!judge(200, "").accepts_any() && !judge(503, "").accepts_any());
    }

    #[test]
    fn a_reply_that_accepts_all_in_unusual_words_accepts_all() {
        let record = r#"{"EncryptionType":null,"Other":[1],"ErrorCode":null,"SequenceNumber":"1"}"#;
        let body = format!(r#"{{ "Other": 1, "Records": [ {record} ,{record},{record}] }}"#);
        assert_eq!(judge(200, &body), Verdict::Accepted);
    }

    #[test]
    fn records_are_judged_one_by_one() {
        let body =
            r#"{"Records":[{"SequenceNumber":"1"},{"ErrorCode":"Whatever"},{"ErrorCode":"InvalidArgumentException"}]}"#;
        assert_eq!(
            judge(200, body),
            Verdict::Answered(vec![
                RecordVerdict::Accepted,
                RecordVerdict::Again { code: "Whatever".to_owned(), shard: None },
                RecordVerdict::Refused { code: "InvalidArgumentException".to_owned() },
            ])
        );
    }

    #[test]
    fn a_validation_message_names_the_culprit_counting_from_one() {
        let message = "1 validation error detected: Value at 'records.2.member.data' failed to satisfy constraint: Member must have length less than or equal to 1048576";
        let named =
            |message: &str| match judge(400, &format!(r#"{{"__type":"ValidationException","message":"{message}"}}"#)) {
                Verdict::Refused(Refusal { index, .. }) => index,
                other => panic!("{other:?}"),
            };
        assert_eq!(named(message), Some(1));
        assert_eq!(named(&message.replace("records.2", "records.3")), Some(2));
        assert_eq!(named(&message.replace("records.2", "records.4")), None, "the batch has three records");
        assert_eq!(named("Value at 'records.0.member.data'"), None);
        assert_eq!(named("Value at 'records' failed"), None);
    }

    #[test]
    fn messages_that_quote_a_record_are_not_repeated() {
        let said =
            |code: &str, message: &str| match judge(400, &format!(r#"{{"__type":"{code}","message":"{message}"}}"#)) {
                Verdict::Refused(Refusal { reason, .. }) => reason,
                other => panic!("{other:?}"),
            };
        assert_eq!(
            said("SerializationException", "'c2VjcmV0' can not be converted to a Blob"),
            "HTTP 400 SerializationException"
        );
        assert_eq!(
            said(
                "ValidationException",
                "Value 'secret' at 'records.1.member.partitionKey' failed to satisfy constraint: Member must have length greater than or equal to 1"
            ),
            "HTTP 400 ValidationException: failed to satisfy constraint: Member must have length greater than or equal to 1"
        );
    }

    /// Any reply of a service, or of somebody in its place, whatever the verdict.
    #[test]
    fn neither_a_token_nor_a_record_is_in_any_reason() {
        const SECRETS: [&str; 4] = ["hunter2", "FwoGZXIvYXdzEBYaDKLEXAMPLETOKEN0123", "dXNlciBib2I", "user bob"];
        let texts = [
            "x-amz-security-token:FwoGZXIvYXdzEBYaDKLEXAMPLETOKEN0123==",
            "{\"Records\":[{\"Data\":\"dXNlciBib2I=\",\"PartitionKey\":\"user bob\"}]}",
            "password=hunter2",
            "https://bob:hunter2@proxy",
            "Authorization: Basic hunter2==",
        ];
        let content =
            ["cannot parse: user bob logged in with hunter2", "'dXNlciBib2I=' can not be converted to a Blob"];
        let of_itself = ["ThrottlingException", "AccessDenied", "KMSDisabledException", "InvalidSignatureException"];
        let others = ["SerializationException", "ValidationException", "SomethingNew", "UnknownOperationException", ""];
        let codes = of_itself.iter().map(|code| (code, &texts[..], &[][..]));
        let codes = codes.chain(others.iter().map(|code| (code, &texts[..], &content[..])));
        for (code, texts, content) in codes {
            for text in texts.iter().chain(content) {
                let long = format!("{text} {}", "x".repeat(1 << 20));
                for body in [
                    serde_json::json!({ "__type": code, "message": text }).to_string(),
                    serde_json::json!({ "__type": code, "message": long }).to_string(),
                    serde_json::json!({ "__type": format!("{code} {text}"), "message": text }).to_string(),
                    format!("<html><body>{text}</body></html>"),
                    (*text).to_owned(),
                ] {
                    for status in [400, 403, 413, 500, 503] {
                        let judged = judge(status, &body);
                        let (Verdict::Again { reason, .. }
                        | Verdict::Unauthorized { reason, .. }
                        | Verdict::Operator { reason, .. }
                        | Verdict::Refused(Refusal { reason, .. })) = judged
                        else {
                            panic!("{judged:?}")
                        };
                        assert!(SECRETS.iter().all(|secret| !reason.contains(secret)), "{reason}");
                        assert!(reason.chars().count() <= 501, "{}", reason.len());
                    }
                }
            }
        }
        let record = |code: &str| {
            let body = serde_json::json!({ "Records": [{ "ErrorCode": code, "ErrorMessage": code }] }).to_string();
            format!("{:?}", verdict(&Ok(Response { body: body.into(), ..reply(200) }), 1))
        };
        for text in texts.iter().chain(&content) {
            let judged = record(text) + &record(&text.repeat(10_000));
            assert!(SECRETS.iter().all(|secret| !judged.contains(secret)) && judged.len() < 500, "{judged}");
        }
    }

    fn reply(status: u16) -> Response {
        Response { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new(), body: Bytes::new() }
    }

    #[test]
    fn a_refused_signature_quotes_no_session_token() {
        let message = "The Canonical String for this request should have been\\n'POST\\nx-amz-security-token:FwoGZXIvYXdzEBYaDExAmPlEtOkEn0123456789'";
        let judged = judge(400, &format!(r#"{{"__type":"InvalidSignatureException","message":"{message}"}}"#));
        let Verdict::Unauthorized { reason, .. } = judged else { panic!("{judged:?}") };
        assert_eq!(
            reason,
            "HTTP 400 InvalidSignatureException: The Canonical String for this request should have been 'POST x-amz-security-token:***'"
        );
    }

    #[test]
    fn a_complaint_about_the_streams_name_is_the_operators() {
        let body = r#"{"__type":"ValidationException","message":"1 validation error detected: Value at 'streamName' failed to satisfy constraint: Member must not be null"}"#;
        assert_eq!(kind(&judge(400, body)), "operator");
    }

    #[test]
    fn a_partition_key_names_neither_another_record_nor_the_stream_and_is_not_repeated() {
        for key in [
            "' at 'records.1.member.data' failed to satisfy constraint: Member must secret",
            "Value at 'records.1.member.data' failed to satisfy constraint: secret",
            "secret records.1.member",
            "secret 'streamName'",
            "secret' at 'streamARN' failed to satisfy constraint: Member must not be null",
        ] {
            let message = format!(
                "1 validation error detected: Value '{key}' at 'records.3.member.partitionKey' failed to satisfy constraint: Member must have length less than or equal to 256"
            );
            let body = serde_json::json!({ "__type": "ValidationException", "message": message }).to_string();
            assert_eq!(
                judge(400, &body),
                Verdict::Refused(Refusal {
                    reason: "HTTP 400 ValidationException: failed to satisfy constraint: Member must have length less than or equal to 256".to_owned(),
                    index: Some(2),
                    ..Refusal::default()
                }),
                "{key}"
            );
        }
    }

    #[test]
    fn the_server_says_how_long_to_wait_and_what_time_it_is() {
        assert!(matches!(judge(503, ""), Verdict::Again { after: Some(wait), .. } if wait == Duration::from_secs(2)));
        let judged = judge(400, r#"{"__type":"InvalidSignatureException"}"#);
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert!(matches!(judged, Verdict::Unauthorized { server_time: Some(at), .. } if at == time));
    }

    #[test]
    fn a_broken_connection_is_tried_again_and_missing_credentials_are_the_operators() {
        let judge = |error| kind(&verdict(&Err(error), 3));
        assert_eq!(judge(TransportError::Connect("refused".to_owned())), "again at once");
        assert_eq!(judge(TransportError::Ambiguous("reset".to_owned())), "again at once, perhaps twice");
        assert_eq!(judge(TransportError::NoCredentials("none".to_owned())), "operator");
    }
}
