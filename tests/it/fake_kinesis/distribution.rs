//! Streams that distribute records themselves, their description, and dry runs.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::client::{JSON, Request, Response, put, record, send};
use testing::fake_kinesis::{FakeKinesis, Settings, Stream};

fn describe(server: &FakeKinesis, body: &Value) -> Response {
    let request = Request::new(JSON, body.to_string());
    send(server, &request.with("X-Amz-Target", Some("Kinesis_20131202.DescribeStreamSummary")))
}

fn without_key() -> Value {
    json!({ "Data": "e30=" })
}

#[test]
fn a_description_tells_the_strategy_and_the_size_of_records() {
    let streams = vec![Stream::new("logs", 3).with_max_record_size(2 << 20)];
    let server = FakeKinesis::start(Settings { streams, ..Settings::default() });
    let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/logs";
    for (auto, body, strategy) in
        [(false, json!({ "StreamName": "logs" }), "USER_PARTITION_KEY"), (true, json!({ "StreamARN": arn }), "AUTO")]
    {
        server.set_auto("logs", auto);
        let reply = describe(&server, &body);
        assert_eq!(reply.status, 200);
        let summary = &reply.json()["StreamDescriptionSummary"];
        assert_eq!(summary["RecordDistributionStrategy"], strategy);
        assert_eq!(summary["MaxRecordSizeInKiB"], 2048);
        assert_eq!(summary["OpenShardCount"], 3);
        assert_eq!(summary["StreamARN"], arn);
    }
    let (status, code, _) = describe(&server, &json!({ "StreamName": "other" })).error();
    assert_eq!((status, code.as_str()), (400, "ResourceNotFoundException"));
    assert_eq!((server.stats().descriptions, server.stats().requests), (3, 0));
}

#[test]
fn a_caller_without_the_permission_gets_no_description() {
    let server = FakeKinesis::start(Settings { denies_description: true, ..Settings::default() });
    let (status, code, message) = describe(&server, &json!({ "StreamName": "logs" })).error();
    assert_eq!((status, code.as_str()), (400, "AccessDeniedException"));
    assert!(message.contains("not authorized to perform: kinesis:DescribeStreamSummary"), "{message}");
}

#[test]
fn a_stream_that_distributes_records_itself_ignores_keys_and_needs_none() {
    let server =
        FakeKinesis::start(Settings { streams: vec![Stream::new("logs", 4).with_auto()], ..Settings::default() });
    let records: Vec<Value> = (0..40).map(|_| record(b"x", "one key")).collect();
    assert_eq!(send(&server, &put(&records)).status, 200);
    let shards: BTreeSet<u32> = server.records().iter().map(|record| record.shard).collect();
    assert_eq!(shards.len(), 4);
    assert_eq!(send(&server, &put(&[without_key()])).status, 200);
    server.set_auto("logs", false);
    let (status, code, message) = send(&server, &put(&[record(b"x", "k"), without_key()])).error();
    assert_eq!((status, code.as_str()), (400, "ValidationException"));
    assert!(message.contains("records.2.member.partitionKey' failed to satisfy constraint: Member must not be null"));
}

#[test]
fn a_dry_run_is_checked_like_a_request_and_stores_nothing() {
    let server = FakeKinesis::start(Settings::default());
    let dry_run = |stream: &str, records: Value| {
        let body = json!({ "StreamName": stream, "Records": records, "DryRun": true });
        send(&server, &Request::json(&body)).error().1
    };
    let one = || json!([{ "Data": "e30=", "PartitionKey": "k" }]);
    assert_eq!(dry_run("other", one()), "ResourceNotFoundException");
    assert_eq!(dry_run("logs", json!([without_key()])), "ValidationException");
    assert_eq!(dry_run("logs", one()), "DryRunOperationException");
    assert_eq!(dry_run("logs", one()), "ThrottlingException", "one a second");
    assert_eq!((server.stats().records, server.stats().dry_runs), (0, 1));
}

#[test]
fn a_service_that_does_not_know_dry_runs_stores_the_record() {
    let server = FakeKinesis::start(Settings { ignores_dry_run: true, ..Settings::default() });
    let body = json!({ "StreamName": "logs", "Records": [{ "Data": "e30=", "PartitionKey": "k" }], "DryRun": true });
    assert_eq!(send(&server, &Request::json(&body)).status, 200);
    assert_eq!(server.stats().records, 1);
}
