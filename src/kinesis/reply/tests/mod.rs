mod shapes;

use super::*;
use proptest::prelude::*;

fn response(body: &str, headers: &[(&'static str, &str)]) -> Response {
    let headers = headers.iter().map(|&(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    Response::new(StatusCode::OK, headers, Bytes::from(body.to_owned()))
}

fn failed(code: &str) -> RecordReply {
    RecordReply::Failed { code: code.to_owned(), shard: None }
}

/// A CBOR reply, with maps and arrays of indefinite length as Kinesis writes them, or not.
fn cbor(records: &[&[(&str, Option<&str>)]], open: bool) -> Response {
    let mut body = Vec::new();
    let mut encoder = minicbor::Encoder::new(&mut body);
    let _ = if open { encoder.begin_map() } else { encoder.map(2) }.unwrap();
    let _ = encoder.str("FailedRecordCount").unwrap().u8(0).unwrap().str("Records").unwrap();
    let _ = if open { encoder.begin_array() } else { encoder.array(records.len() as u64) }.unwrap();
    for record in records {
        let _ = if open { encoder.begin_map() } else { encoder.map(record.len() as u64) }.unwrap();
        for (key, value) in *record {
            let _ = encoder.str(key).unwrap();
            let _ = match value {
                Some(value) => encoder.str(value),
                None => encoder.null(),
            }
            .unwrap();
        }
        let _ = if open { encoder.end() } else { Ok(&mut encoder) }.unwrap();
    }
    if open {
        let _ = encoder.end().unwrap().end().unwrap();
    }
    Response::new(StatusCode::OK, HeaderMap::new(), body)
}

#[test]
fn a_reply_in_cbor_says_the_same_as_one_in_json() {
    let accepted = [("SequenceNumber", Some("4954")), ("ShardId", Some("shardId-0"))];
    let nulls = [("SequenceNumber", Some("4954")), ("ErrorCode", None), ("ErrorMessage", None)];
    let throttled = [("ErrorCode", Some("ProvisionedThroughputExceededException")), ("ErrorMessage", Some("Rate"))];
    for open in [true, false] {
        let all = cbor(&[&accepted, &nulls, &accepted], open);
        // The nulls that kinesis-local writes need the full parser.
        assert!(!all.accepts_all(3));
        assert_eq!(all.records(3), Some(vec![RecordReply::Accepted; 3]));
        assert_eq!(all.records(2), None);
        let some = cbor(&[&accepted, &throttled, &[("ShardId", Some("s"))], &[("SequenceNumber", Some(""))]], open);
        assert!(!some.accepts_all(4));
        assert_eq!(
            some.records(4),
            Some(vec![
                RecordReply::Accepted,
                failed("ProvisionedThroughputExceededException"),
                failed("NoSequenceNumber"),
                failed("NoSequenceNumber")
            ])
        );
        let plain = cbor(&[&accepted, &accepted, &accepted], open);
        assert!(plain.accepts_all(3) && !plain.accepts_all(2));
        for end in 0..plain.body.len() {
            let cut = Response { body: plain.body.slice(..end), ..plain.clone() };
            assert!(!cut.accepts_all(3) && cut.records(3).is_none(), "{end}");
        }
        let longer = Response { body: [&plain.body[..], b"\0"].concat().into(), ..plain.clone() };
        assert!(!longer.accepts_all(3) && longer.records(3).is_none());
        for trick in [
            &[("SequenceNumber", Some("1")), ("ErrorCode", Some("InternalFailure"))][..],
            &[("SequenceNumber", Some("1")), ("SequenceNumber", Some("2"))],
            &[("SequenceNumber", Some(""))],
            &[("ShardId", Some("s"))],
        ] {
            assert!(!cbor(&[&accepted, trick, &accepted], open).accepts_all(3), "{trick:?}");
        }
    }
}

#[test]
fn the_example_of_the_api_reference_fails_records_one_and_two() {
    let body = r#"{"FailedRecordCount":2,"Records":[
        {"SequenceNumber":"49543463076548007577105092703039560359975228518395012686","ShardId":"shardId-000000000000"},
        {"ErrorCode":"ProvisionedThroughputExceededException","ErrorMessage":"Rate exceeded for shard shardId-000000000001 in stream exampleStreamName under account 111111111111."},
        {"ErrorCode":"InternalFailure","ErrorMessage":"Internal service failure."}]}"#;
    assert_eq!(
        response(body, &[]).records(3),
        Some(vec![
            RecordReply::Accepted,
            RecordReply::Failed { code: "ProvisionedThroughputExceededException".to_owned(), shard: Some(1) },
            failed("InternalFailure")
        ])
    );
}

#[test]
fn null_error_codes_are_success_as_kinesis_local_writes_them() {
    let body = r#"{"EncryptionType":"NONE","FailedRecordCount":0,"Records":[{"ErrorCode":null,"ErrorMessage":null,"SequenceNumber":"1","ShardId":"s"}]}"#;
    assert_eq!(response(body, &[]).records(1), Some(vec![RecordReply::Accepted]));
}

#[test]
fn a_record_with_neither_error_nor_sequence_number_is_not_taken_for_accepted() {
    let body = r#"{"Records":[{},{"SequenceNumber":""},{"SequenceNumber":null}]}"#;
    assert_eq!(response(body, &[]).records(3), Some(vec![failed("NoSequenceNumber"); 3]));
}

#[test]
fn a_reply_that_does_not_match_the_request_says_nothing_about_any_record() {
    let one = r#"{"FailedRecordCount":0,"Records":[{"SequenceNumber":"1","ShardId":"s"}]}"#;
    assert_eq!(response(one, &[]).records(2), None);
    for body in ["", "{}", "[]", "null", "<html>ok</html>", r#"{"FailedRecordCount":0}"#, &one[..one.len() - 1]] {
        assert_eq!(response(body, &[]).records(1), None, "{body}");
    }
}

#[test]
fn errors_are_read_from_json_xml_and_headers() {
    for (body, headers, code, message) in [
        (r#"{"__type":"ValidationException","message":"m"}"#, &[][..], "ValidationException", "m"),
        (
            r#"{"__type":"com.amazonaws.kinesis.v20131202#LimitExceededException","Message":"m"}"#,
            &[],
            "LimitExceededException",
            "m",
        ),
        (r#"{"code":"ServiceUnavailable","message":"try later"}"#, &[], "ServiceUnavailable", "try later"),
        (
            "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error></ErrorResponse>",
            &[],
            "SignatureDoesNotMatch",
            "no",
        ),
        (
            "{}",
            &[("x-amzn-errortype", "AccessDeniedException:http://internal.amazon.com/coral/")],
            "AccessDeniedException",
            "",
        ),
        ("garbage", &[], "", ""),
        ("", &[], "", ""),
        ("<html><body>502</body></html>", &[], "", ""),
    ] {
        let error = response(body, headers).error();
        assert_eq!((error.code.as_str(), error.message.as_str()), (code, message), "{body}");
    }
}

#[test]
fn errors_are_read_from_cbor_with_stated_and_with_open_length() {
    let text = |text: &str| [&[0x60 + u8::try_from(text.len()).unwrap()][..], text.as_bytes()].concat();
    let members = [text("__type"), text("LimitExceeded"), text("other"), vec![0x80], text("message"), text("slowly")];
    for body in [[&[0xa3][..], &members.concat()].concat(), [&[0xbf][..], &members.concat(), &[0xff]].concat()] {
        let reply = Response::new(StatusCode::BAD_REQUEST, HeaderMap::new(), body);
        assert_eq!((reply.error().code.as_str(), reply.error().message.as_str()), ("LimitExceeded", "slowly"));
    }
}

#[test]
fn the_first_code_that_can_be_read_counts_in_whatever_shape() {
    for body in [
        r#"{"__type":"ExpiredTokenException","message":"m","Message":"M"}"#,
        r#"{"__type":"ExpiredTokenException","code":"AccessDeniedException"}"#,
        r#"{"code":403,"__type":"ExpiredTokenException"}"#,
        r#"{"code":"403","__type":"ExpiredTokenException"}"#,
        r#"{"code":null,"Code":"","__type":"ExpiredTokenException"}"#,
        r#"{"__type":"ExpiredTokenException","message":{"text":"m"}}"#,
        r#"{"message":["a"],"__type":"ExpiredTokenException"}"#,
        r#"{"message":"\ud800","__type":"ExpiredTokenException"}"#,
        r#"{"__type":"ExpiredTokenException","message":"torn"#,
        r#"{"__type":"ExpiredTokenException"} and more"#,
        "\u{feff}{\"__type\":\"ExpiredTokenException\"}",
        r#"{"Error":{"Code":"ExpiredTokenException","Message":"m"},"RequestId":"r"}"#,
        r#"{"Details":{"Code":"AccessDeniedException"},"Error":"no","Code":"ExpiredTokenException"}"#,
        r#"<e:ErrorResponse xmlns:e="https://sts.amazonaws.com/"><e:Error><e:Code>ExpiredTokenException</e:Code></e:Error></e:ErrorResponse>"#,
        r#"<?xml version="1.0"?><!-- <Code>AccessDenied</Code> --><Error><Code lang="en"> ExpiredTokenException </Code></Error>"#,
        "<Error><Code><![CDATA[ExpiredTokenException]]></Code><Message>m</Message></Error>",
        r#"<Error Code="ExpiredTokenException" Message="m"/>"#,
        "<ExpiredTokenException/>",
    ] {
        assert_eq!(response(body, &[]).error().code, "ExpiredTokenException", "{body}");
    }
    let deep = format!(r#"{{"stack":{}1{},"__type":"ExpiredTokenException"}}"#, "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(response(&deep, &[]).error().code, "ExpiredTokenException");
    let bytes = Response {
        body: Bytes::from_static(b"{\"message\":\"\xff\",\"__type\":\"ExpiredTokenException\"}"),
        ..response("", &[])
    };
    assert_eq!(bytes.error().code, "ExpiredTokenException");
}

#[test]
fn what_is_no_name_is_no_code() {
    let long = "A".repeat(65);
    for code in ["", "4xx", "user=bob logged in", "a\nb", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY0", "<b>", &long] {
        let body = serde_json::json!({ "__type": code, "message": "m" }).to_string();
        assert_eq!(response(&body, &[]).error().code, "", "{code}");
        let body = serde_json::json!({ "Records": [{ "ErrorCode": code }] }).to_string();
        assert_eq!(response(&body, &[]).records(1), Some(vec![failed("UnreadableErrorCode")]), "{code}");
    }
    let header = response("<html>", &[("x-amzn-errortype", "two words")]);
    assert_eq!(header.error().code, "");
}

#[test]
fn an_accepting_reply_with_spaces_is_accepted() {
    let reply = response(
        "{\"FailedRecordCount\": 0, \"Records\": [{\"SequenceNumber\": \"49590338271490256608559692538361571095921575989136588898\", \"ShardId\": \"shardId-000000000000\"}]}",
        &[],
    );
    assert_eq!(crate::kinesis::verdict::verdict(&Ok(reply), 1), crate::kinesis::verdict::Verdict::Accepted);
}

#[test]
fn records_that_are_there_twice_say_nothing() {
    let body = r#"{"Records":[{"SequenceNumber":"1"}],"Records":[{"SequenceNumber":"1"}]}"#;
    assert_eq!(response(body, &[]).records(1), None);
    let key = b"\x67Records\x81\xa1\x6eSequenceNumber\x611";
    let body = Bytes::from([&b"\xa2"[..], key, key].concat());
    assert_eq!(Response { body, ..response("", &[]) }.records(1), None);
    let once = Bytes::from([&b"\xa1"[..], key].concat());
    assert_eq!(Response { body: once, ..response("", &[]) }.records(1), Some(vec![RecordReply::Accepted]));
}

#[test]
fn the_count_of_failed_records_is_read_where_it_stands() {
    for (body, count) in [
        (r#"{"FailedRecordCount":2,"Records":[]}"#, Some(2)),
        (r#"{ "Records": [{}], "FailedRecordCount": 3 }"#, Some(3)),
        (r#"{"FailedRecordCount":null,"Records":[]}"#, None),
        (r#"{"FailedRecordCount":-1}"#, None),
        (r#"{"Records":[]}"#, None),
        ("", None),
    ] {
        assert_eq!(response(body, &[]).failed_record_count(), count, "{body}");
    }
    let cbor = Bytes::from_static(b"\xa2\x61a\x80\x71FailedRecordCount\x19\x01\x00");
    assert_eq!(Response { body: cbor, ..response("", &[]) }.failed_record_count(), Some(256));
}

#[test]
fn date_and_retry_after_are_read_from_headers() {
    let reply =
        response("", &[("date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("retry-after", "3"), ("x-amzn-requestid", "r")]);
    assert_eq!(reply.date(), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)));
    assert_eq!(reply.retry_after(), Some(Duration::from_secs(3)));
    assert_eq!(reply.request_id(), Some("r"));
    let reply = response("", &[("date", "yesterday"), ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")]);
    assert_eq!((reply.date(), reply.retry_after()), (None, None));
}

proptest! {
    #[test]
    fn no_reply_makes_the_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..400), count in 0usize..3) {
        let reply = Response::new(StatusCode::OK, HeaderMap::new(), body);
        reply.records(count);
        reply.error();
    }
}
