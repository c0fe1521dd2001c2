use super::*;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

fn judge(status: u16, body: &str) -> Verdict {
    let mut headers = HeaderMap::new();
    headers.insert("date", "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
    headers.insert("retry-after", "2".parse().unwrap());
    let body = Bytes::from(body.to_owned());
    verdict(&Ok(Response::new(StatusCode::from_u16(status).unwrap(), headers, body)), 3)
}

#[test]
fn the_request_is_named_whatever_a_reply_means() {
    for (status, body) in [
        (400, r#"{"__type":"ThrottlingException"}"#),
        (400, r#"{"__type":"ExpiredTokenException","message":"m"}"#),
        (400, r#"{"__type":"ResourceNotFoundException"}"#),
        (400, r#"{"__type":"ValidationException"}"#),
        (413, "too large"),
        (500, ""),
        (200, "{}"),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("x-amzn-RequestId", "c1d7e3a0-5c4b".parse().unwrap());
        let response = Response::new(StatusCode::from_u16(status).unwrap(), headers, body);
        let reason = match verdict(&Ok(response), 3) {
            Verdict::Again { reason, .. } | Verdict::Unauthorized { reason, .. } | Verdict::Operator { reason, .. } => {
                reason
            }
            Verdict::Refused(refusal) => refusal.reason,
            other => panic!("{other:?}"),
        };
        assert!(reason.ends_with(", request id c1d7e3a0-5c4b"), "{reason}");
    }
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
        // A gateway may have passed the request on before it gave up.
        (502, "<html>Bad Gateway</html>", "again, perhaps twice"),
        (504, "upstream request timeout", "again, perhaps twice"),
        (504, "", "again, perhaps twice"),
        (502, r#"{"__type":"InternalFailure"}"#, "again"),
        (500, "", "again"),
        (503, "<html>Service Unavailable</html>", "again"),
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
        ("KMSDisabledException", "check the stream's KMS key"),
        ("SomethingNewException", "check that the endpoint is Kinesis"),
    ] {
        let judged = judge(400, &format!(r#"{{"__type":"{code}"}}"#));
        assert!(matches!(judged, Verdict::Operator { advice, .. } if advice == expected), "{code}: {judged:?}");
    }
}

#[test]
fn a_body_that_is_too_large_for_a_proxy_is_refused_for_its_size() {
    let reason = "HTTP 413 without a readable error".to_owned();
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
    let said = |code: &str, message: &str| match judge(400, &format!(r#"{{"__type":"{code}","message":"{message}"}}"#))
    {
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

/// Any reply, from the service or something in its place, and whatever the verdict.
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
    let content = ["cannot parse: user bob logged in with hunter2", "'dXNlciBib2I=' can not be converted to a Blob"];
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
    Response::new(StatusCode::from_u16(status).unwrap(), HeaderMap::new(), Bytes::new())
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
