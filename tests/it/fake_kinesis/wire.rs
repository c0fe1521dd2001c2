//! The same request and reply in JSON and CBOR.

use ciborium::Value;
use serde_json::json;

use super::client::{CBOR, Request, Response, put, record, send};
use testing::fake_kinesis::{FakeKinesis, Fault, Settings};

/// `{StreamName: "logs", Records: [{Data: "hello", PartitionKey: "abcd"}]}`, with maps and array of indefinite
/// length, as AWS's Java clients write it.
const OPEN_ENDED: &[u8] =
    b"\xbf\x6aStreamName\x64logs\x67Records\x9f\xbf\x64Data\x45hello\x6cPartitionKey\x64abcd\xff\xff\xff";
/// The same with definite lengths.
const DEFINITE: &[u8] = b"\xa2\x6aStreamName\x64logs\x67Records\x81\xa2\x64Data\x45hello\x6cPartitionKey\x64abcd";
/// The same with the data in two chunks.
const CHUNKED: &[u8] =
    b"\xa2\x6aStreamName\x64logs\x67Records\x81\xa2\x64Data\x5f\x42he\x43llo\xff\x6cPartitionKey\x64abcd";

fn start() -> FakeKinesis {
    FakeKinesis::start(Settings::default())
}

fn cbor(server: &FakeKinesis, body: &[u8]) -> Response {
    send(server, &Request::new(CBOR, body))
}

fn member<'a>(map: &'a Value, name: &str) -> Option<&'a Value> {
    let pairs = map.as_map().expect("a map").iter();
    pairs.filter(|(key, _)| key.as_text() == Some(name)).map(|(_, value)| value).next()
}

#[test]
fn cbor_in_every_form_stores_what_json_stores() {
    let server = start();
    send(&server, &put(&[record(b"hello", "abcd")]));
    for body in [OPEN_ENDED, DEFINITE, CHUNKED] {
        let reply = cbor(&server, body);
        assert_eq!((reply.status, reply.headers["content-type"].as_str()), (200, CBOR));
    }
    let stored: Vec<_> =
        server.records().into_iter().map(|record| (record.data, record.partition_key, record.shard)).collect();
    assert_eq!(stored, vec![(b"hello".to_vec(), "abcd".to_owned(), 3); 4]);
}

#[test]
fn a_cbor_reply_is_open_ended_unless_set_otherwise() {
    let open_ended = cbor(&start(), DEFINITE);
    assert_eq!((open_ended.body[0], *open_ended.body.last().unwrap()), (0xbf, 0xff));

    let server = FakeKinesis::start(Settings { definite_cbor: true, ..Settings::default() });
    let definite = cbor(&server, DEFINITE);
    assert_eq!(definite.body[0], 0xa2);
    assert_eq!(definite.cbor(), open_ended.cbor());
    // Three maps and arrays lose their end marks.
    assert_eq!(definite.body.len() + 3, open_ended.body.len());
}

#[test]
fn a_cbor_reply_has_the_members_of_a_json_reply() {
    let server = start();
    let reply = cbor(&server, OPEN_ENDED).cbor();

    assert_eq!(member(&reply, "FailedRecordCount"), Some(&Value::from(0)));
    let entry = &member(&reply, "Records").unwrap().as_array().unwrap()[0];
    let sequence_number = server.records()[0].sequence_number.clone();
    assert_eq!(member(entry, "SequenceNumber"), Some(&Value::from(sequence_number)));
    assert_eq!(member(entry, "ShardId"), Some(&Value::from("shardId-000000000003")));
    assert_eq!(entry.as_map().unwrap().len(), 2);
}

#[test]
fn a_refused_record_has_a_code_and_a_message_in_both_wires() {
    let server = start();
    server.script([Fault::ThrottleRecords(vec![0]), Fault::FailRecords(vec![0])]);

    let json = send(&server, &put(&[record(b"hello", "abcd"), record(b"there", "abcd")])).json();
    assert_eq!(json["FailedRecordCount"], 1);
    assert_eq!(
        json["Records"][0],
        json!({
            "ErrorCode": "ProvisionedThroughputExceededException",
            "ErrorMessage": "Rate exceeded for shard shardId-000000000003 in stream logs under account 123456789012.",
        })
    );
    assert_eq!(json["Records"][1]["ShardId"], "shardId-000000000003");

    let cbor = cbor(&server, OPEN_ENDED).cbor();
    assert_eq!(member(&cbor, "FailedRecordCount"), Some(&Value::from(1)));
    let entry = &member(&cbor, "Records").unwrap().as_array().unwrap()[0];
    assert_eq!(member(entry, "ErrorCode"), Some(&Value::from("InternalFailure")));
    assert_eq!(member(entry, "ErrorMessage"), Some(&Value::from("Internal Service Failure")));
}

#[test]
fn accepted_records_may_carry_null_error_codes_and_the_reply_an_encryption_type() {
    let server =
        FakeKinesis::start(Settings { null_error_codes: true, encryption_type: Some("KMS"), ..Settings::default() });
    let json = send(&server, &put(&[record(b"hello", "abcd")])).json();
    assert_eq!(json["EncryptionType"], "KMS");
    let entry = json["Records"][0].as_object().unwrap();
    assert!(entry["ErrorCode"].is_null() && entry["ErrorMessage"].is_null());
    assert_eq!(entry.len(), 4);

    let cbor = cbor(&server, OPEN_ENDED).cbor();
    let entry = &member(&cbor, "Records").unwrap().as_array().unwrap()[0];
    assert_eq!(member(entry, "ErrorCode"), Some(&Value::Null));
}

#[test]
fn errors_come_in_the_wire_of_the_request() {
    let server = start();
    let unknown = b"\xa2\x6aStreamName\x66nosuch\x67Records\x81\xa2\x64Data\x40\x6cPartitionKey\x61k";
    let reply = cbor(&server, unknown);
    assert_eq!((reply.status, reply.headers["content-type"].as_str()), (400, CBOR));
    let body = reply.cbor();
    assert_eq!(member(&body, "__type"), Some(&Value::from("ResourceNotFoundException")));
    assert_eq!(member(&body, "message"), Some(&Value::from("Stream nosuch under account 123456789012 not found.")));
}

#[test]
fn cbor_that_cannot_be_read_is_a_serialization_exception() {
    let server = start();
    let truncated = &OPEN_ENDED[..OPEN_ENDED.len() - 1];
    let trailing = [DEFINITE, b"\x00"].concat();
    let text_as_data = b"\xa2\x6aStreamName\x64logs\x67Records\x81\xa2\x64Data\x64aGk=\x6cPartitionKey\x61k";
    for body in [truncated, &trailing, text_as_data, b"", b"\x01"] {
        let reply = cbor(&server, body);
        assert_eq!(reply.status, 400, "{body:x?}");
        assert_eq!(member(&reply.cbor(), "__type"), Some(&Value::from("SerializationException")));
    }
    assert_eq!(server.stats().records, 0);
}

#[test]
fn escaped_json_strings_are_read_as_what_they_mean() {
    let server = start();
    let body = br#"{"Records":[{"PartitionKey":"\u0061b\u00e9\"","Data":"aGVsbG8\u003d"}],"Other":1,"StreamName":"l\u006fgs"}"#;
    assert_eq!(send(&server, &Request::new(super::client::JSON, &body[..])).status, 200);
    let stored = &server.records()[0];
    assert_eq!((stored.partition_key.as_str(), &stored.data[..]), ("abé\"", &b"hello"[..]));
}
