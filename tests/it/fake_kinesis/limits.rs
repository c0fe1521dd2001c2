//! Each limit at its boundary, and each error in AWS's words.

use serde_json::{Value, json};

use super::client::{JSON, Request, put, record, send};
use testing::fake_kinesis::{FakeKinesis, Settings, Stream, limits};

const MIB: usize = 1024 * 1024;

fn start() -> FakeKinesis {
    FakeKinesis::start(Settings::default())
}

fn refusal(server: &FakeKinesis, request: &Request) -> (String, String) {
    let (status, code, message) = send(server, request).error();
    assert_eq!(status, 400);
    (code, message)
}

fn invalid(path: &str, constraint: &str) -> (String, String) {
    let message = format!("1 validation error detected: Value at '{path}' failed to satisfy constraint: {constraint}");
    ("ValidationException".to_owned(), message)
}

fn with_hash_key(key: &str) -> Request {
    put(&[json!({ "Data": "", "PartitionKey": "k", "ExplicitHashKey": key })])
}

#[test]
fn five_hundred_records_pass_and_one_more_does_not() {
    let server = start();
    let records = vec![record(b"x", "k"); 501];

    assert_eq!(send(&server, &put(&records[..500])).status, 200);
    assert_eq!(
        refusal(&server, &put(&records)),
        invalid("records", "Member must have length less than or equal to 500")
    );
    assert_eq!(server.stats().records, 500);
}

#[test]
fn an_empty_or_missing_list_of_records_is_refused() {
    let server = start();
    assert_eq!(refusal(&server, &put(&[])), invalid("records", "Member must have length greater than or equal to 1"));
    assert_eq!(
        refusal(&server, &Request::json(&json!({ "StreamName": "logs" }))),
        invalid("records", "Member must not be null")
    );
}

#[test]
fn a_record_of_one_mebibyte_with_its_key_passes_and_one_byte_more_refuses_the_whole_call() {
    let server = start();
    let largest = record(&vec![b'x'; MIB - 1], "k");
    let larger = record(&vec![b'x'; MIB], "k");

    assert_eq!(send(&server, &put(std::slice::from_ref(&largest))).status, 200);
    assert_eq!(
        refusal(&server, &put(&[record(b"good", "k"), larger])),
        invalid("records.2.member.data", "Member must have length less than or equal to 1048576")
    );
    assert_eq!(server.stats().records, 1, "the good record of the refused call is not stored");
}

#[test]
fn a_stream_may_allow_larger_records() {
    let server = start();
    server.add_stream(Stream::new("logs", 1).with_max_record_size(3 * MIB));
    let larger = record(&vec![b'x'; 3 * MIB - 1], "k");
    assert_eq!(send(&server, &put(&[larger])).status, 200);
    let largest = record(&vec![b'x'; 3 * MIB], "k");
    assert_eq!(
        refusal(&server, &put(&[largest])),
        invalid("records.1.member.data", "Member must have length less than or equal to 3145728")
    );
}

#[test]
fn five_mebibytes_of_data_and_keys_pass_and_one_byte_more_does_not() {
    let server = start();
    let full = vec![b'x'; MIB - 1];
    let mut records = vec![record(&full, "k"); 5];
    assert_eq!(send(&server, &put(&records)).status, 200);

    records.push(record(b"", "k"));
    let expected = ("InvalidArgumentException".to_owned(), "Records size exceeds 5 MB limit".to_owned());
    assert_eq!(refusal(&server, &put(&records)), expected);
}

#[test]
fn ten_mebibytes_pass_where_they_have_arrived() {
    let server = FakeKinesis::start(Settings { max_request_size: limits::LARGE_REQUEST_SIZE, ..Settings::default() });
    let full = vec![b'x'; MIB - 1];
    let mut records = vec![record(&full, "k"); 10];
    assert_eq!(send(&server, &put(&records)).status, 200);

    records.push(record(b"", "k"));
    assert_eq!(refusal(&server, &put(&records)).1, "Records size exceeds 10 MB limit");
}

#[test]
fn a_partition_key_has_1_to_256_characters_however_many_bytes_they_take() {
    let server = start();
    assert_eq!(send(&server, &put(&[record(b"x", &"é".repeat(256))])).status, 200);

    let path = "records.1.member.partitionKey";
    assert_eq!(
        refusal(&server, &put(&[record(b"x", &"é".repeat(257))])),
        invalid(path, "Member must have length less than or equal to 256")
    );
    assert_eq!(
        refusal(&server, &put(&[record(b"x", "")])),
        invalid(path, "Member must have length greater than or equal to 1")
    );
    assert_eq!(refusal(&server, &put(&[json!({ "Data": "" })])), invalid(path, "Member must not be null"));
}

#[test]
fn several_violations_are_reported_together() {
    let server = start();
    let (code, message) = refusal(&server, &put(&[record(b"x", ""), json!({ "PartitionKey": "k" })]));
    assert_eq!(code, "ValidationException");
    assert_eq!(
        message,
        "2 validation errors detected: Value at 'records.1.member.partitionKey' failed to satisfy constraint: \
         Member must have length greater than or equal to 1; Value at 'records.2.member.data' failed to satisfy \
         constraint: Member must not be null"
    );
}

#[test]
fn an_explicit_hash_key_is_a_decimal_below_two_to_the_128() {
    let server = start();
    let largest = u128::MAX.to_string();
    assert_eq!(send(&server, &with_hash_key(&largest)).json()["Records"][0]["ShardId"], "shardId-000000000003");
    assert_eq!(send(&server, &with_hash_key("0")).json()["Records"][0]["ShardId"], "shardId-000000000000");
    assert_eq!(server.records()[0].explicit_hash_key, Some(largest));

    assert_eq!(
        refusal(&server, &with_hash_key("340282366920938463463374607431768211456")),
        (
            "InvalidArgumentException".to_owned(),
            "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was \
             340282366920938463463374607431768211456"
                .to_owned()
        )
    );
    for malformed in ["", "01", "-1", "+1", "1e3", "1000000000000000000000000000000000000000"] {
        assert_eq!(
            refusal(&server, &with_hash_key(malformed)),
            invalid(
                "records.1.member.explicitHashKey",
                r"Member must satisfy regular expression pattern: 0|([1-9]\d{0,38})"
            ),
            "{malformed:?}"
        );
    }
}

#[test]
fn a_partition_key_goes_to_the_shard_of_its_md5() {
    let server = FakeKinesis::start(Settings { streams: vec![Stream::new("logs", 16)], ..Settings::default() });
    // MD5 of "abcd" is e2fc714c4727ee9395f324cd2e7f331f: the first digit names one of sixteen shards.
    let reply = send(&server, &put(&[record(b"hello", "abcd")]));

    let body = reply.json();
    assert_eq!(body["FailedRecordCount"], json!(0));
    assert_eq!(body["Records"][0]["ShardId"], json!("shardId-000000000014"));
    let stored = &server.records()[0];
    assert_eq!((&stored.data[..], stored.shard, stored.request), (&b"hello"[..], 14, 1));
    assert_eq!(body["Records"][0]["SequenceNumber"], json!(stored.sequence_number));
}

#[test]
fn shards_divide_the_range_equally_and_the_last_takes_the_remainder() {
    let of = |shards: u32, hash: u128| Stream::new("logs", shards).shard_of(hash);
    assert_eq!([0, (1 << 126) - 1, 1 << 126, u128::MAX].map(|hash| of(4, hash)), [0, 0, 1, 3]);
    let third = u128::MAX / 3;
    assert_eq!([third - 1, third, 2 * third, u128::MAX].map(|hash| of(3, hash)), [0, 1, 2, 2]);
    // 2^128 is not a multiple of seven: one hash lies beyond seven equal parts.
    let seventh = u128::MAX / 7;
    assert_eq!([7 * seventh - 1, 7 * seventh, u128::MAX].map(|hash| of(7, hash)), [6, 6, 6]);
    assert_eq!([0, u128::MAX].map(|hash| of(1, hash)), [0, 0]);
}

#[test]
fn sequence_numbers_have_56_digits_and_grow_within_a_shard() {
    let server = start();
    for _ in 0..11 {
        send(&server, &put(&[record(b"x", "same key")]));
    }
    let numbers: Vec<_> = server.records().into_iter().map(|record| record.sequence_number).collect();
    assert!(numbers.iter().all(|number| number.len() == 56 && number.bytes().all(|byte| byte.is_ascii_digit())));
    assert!(numbers.is_sorted_by(|earlier, later| earlier < later), "{numbers:?}");
}

#[test]
fn a_stream_is_named_by_name_or_by_arn() {
    let server = start();
    let by = |member: &str, value: &str| {
        let mut body = json!({ "Records": [record(b"x", "k")] });
        body[member] = Value::from(value);
        Request::json(&body)
    };
    let arn = "arn:aws:kinesis:us-east-1:123456789012:stream/logs";
    assert_eq!(send(&server, &by("StreamARN", arn)).status, 200);
    assert_eq!(&*server.records()[0].stream, "logs");

    let not_found = "Stream nosuch under account 123456789012 not found.";
    for unknown in
        [by("StreamName", "nosuch"), by("StreamARN", "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/nosuch")]
    {
        let expected = ("ResourceNotFoundException".to_owned(), not_found.to_owned());
        assert_eq!(refusal(&server, &unknown), expected);
    }
    assert_eq!(
        refusal(&server, &by("StreamName", "no spaces")),
        invalid("streamName", "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+")
    );
    for malformed in [
        "logs",
        "arn:aws:firehose:us-east-1:123456789012:stream/logs",
        "arn:aws:kinesis:us-east-1:123456789012:deliverystream/logs",
        "arn:aws:kinesis:us-east-1:12345678901:stream/logs",
        "arn:aws:kinesis:us-east-1:123456789012:stream/",
    ] {
        let pattern = r"Member must satisfy regular expression pattern: arn:aws.*:kinesis:.*:\d{12}:stream/\S+";
        assert_eq!(refusal(&server, &by("StreamARN", malformed)), invalid("streamARN", pattern), "{malformed}");
    }
    let other_account = by("StreamARN", "arn:aws:kinesis:us-east-1:111111111111:stream/logs");
    assert_eq!(refusal(&server, &other_account).0, "ResourceNotFoundException");
    let neither = Request::json(&json!({ "Records": [record(b"x", "k")] }));
    assert_eq!(refusal(&server, &neither).0, "InvalidArgumentException");
}

#[test]
fn a_body_that_cannot_be_read_is_a_serialization_exception() {
    let server = start();
    let syntax = send(&server, &Request::new(JSON, "{\"StreamName\":"));
    assert_eq!((syntax.status, syntax.json()), (400, json!({ "__type": "SerializationException" })));

    let message = |data: &str| {
        let request = put(&[json!({ "Data": data, "PartitionKey": "k" })]);
        send(&server, &request).json()["Message"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        message("abc"),
        "'abc' can not be converted to a Blob: Base64 encoded length is expected a multiple of 4 bytes but found: 3"
    );
    assert_eq!(message("ab!="), "'ab!=' can not be converted to a Blob: Invalid Base64 character: '!'");
    assert_eq!(
        message("ab=="),
        "'ab==' can not be converted to a Blob: Invalid last non-pad Base64 character dectected"
    );
}

#[test]
fn a_body_beyond_what_the_front_end_reads_is_answered_with_413() {
    let server = start();
    let reply = send(&server, &Request::new(JSON, vec![b' '; limits::MAX_BODY + 1]));
    assert_eq!((reply.status, reply.body.len()), (413, 0));
    assert_eq!(server.stats().outcomes.get("too_large"), Some(&1));
}

#[test]
fn other_operations_are_unknown() {
    let server = start();
    let request = put(&[record(b"x", "k")]);
    for target in [Some("Kinesis_20131202.PutRecord"), None] {
        let reply = send(&server, &request.clone().with("X-Amz-Target", target));
        assert_eq!((reply.status, reply.json()), (400, json!({ "__type": "UnknownOperationException" })));
    }
    let reply = send(&server, &request.with("Content-Type", Some("application/x-amz-json-1.0")));
    assert_eq!((reply.status, &reply.body[..]), (404, &b"<UnknownOperationException/>\n"[..]));
}
