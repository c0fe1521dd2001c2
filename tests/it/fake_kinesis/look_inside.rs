//! What the stand-in reports about itself, to a test and over HTTP.

use serde_json::{Value, json};

use super::client::{Client, JSON, Request, put, record, send};
use testing::fake_kinesis::{FakeKinesis, Keep, Settings, Stream};

fn start(keep: Keep) -> FakeKinesis {
    FakeKinesis::start(Settings { keep, ..Settings::default() })
}

#[test]
fn records_are_kept_in_order_of_arrival() {
    let server = start(Keep::Records);
    server.add_stream(Stream::new("audit", 1));
    send(&server, &put(&[record(b"1", "a"), record(b"2", "b")]));
    let audit = json!({ "StreamName": "audit", "Records": [record(b"3", "c")] });
    send(&server, &Request::json(&audit));

    let records = server.records();
    let kept: Vec<_> = records.iter().map(|record| (&*record.stream, &record.data[..], record.request)).collect();
    assert_eq!(kept, [("logs", &b"1"[..], 1), ("logs", b"2", 1), ("audit", b"3", 2)]);
    assert_eq!(records[1].partition_key, "b");
}

#[test]
fn every_call_leaves_a_line() {
    let server = start(Keep::Records);
    let mut client = Client::plain(&server);
    let good = put(&[record(b"1", "a")]).with("User-Agent", Some("a test"));
    client.send(&good).unwrap();
    client.send(&put(&[])).unwrap();
    send(&server, &good);

    let lines = server.requests();
    let seen: Vec<_> = lines.iter().map(|line| (line.number, line.connection, line.outcome.as_str())).collect();
    assert_eq!(seen, [(1, 1, "ok"), (2, 1, "ValidationException"), (3, 2, "ok")]);
    assert_eq!((lines[0].user_agent.as_str(), lines[0].content_type.as_str()), ("a test", JSON));
    assert_eq!((lines[0].authorization.as_str(), lines[0].body_size), ("AWS4-HMAC-SHA256 unchecked", good.body.len()));
    assert!(lines.is_sorted_by_key(|line| line.at));
}

#[test]
fn counts_alone_find_duplicates_too() {
    for keep in [Keep::Records, Keep::Counts] {
        let server = start(keep);
        let request = put(&[record(b"one", "a"), record(b"two", "b"), record(b"one", "c")]);
        send(&server, &request);
        send(&server, &request);
        send(&server, &put(&[]));

        let stats = server.stats();
        assert_eq!((stats.records, stats.data_bytes, stats.distinct, stats.duplicates), (6, 18, 2, 4));
        assert_eq!((stats.requests, stats.connections), (3, 3));
        assert_eq!(stats.body_bytes, 2 * request.body.len() as u64 + put(&[]).body.len() as u64);
        assert_eq!(stats.outcomes, [("ok".to_owned(), 2), ("ValidationException".to_owned(), 1)].into());
        let kept = if keep == Keep::Records { (6, 3) } else { (0, 0) };
        assert_eq!((server.records().len(), server.requests().len()), kept);
    }
}

#[test]
fn statistics_and_records_are_shown_over_http() {
    let server = start(Keep::Records);
    send(&server, &put(&[record(b"one", "abcd"), record(b"\xff\x00", "b"), record(b"three", "c")]));

    let stats = send(&server, &Request::admin("GET /_/stats", "")).json();
    assert_eq!((&stats["records"], &stats["outcomes"]["ok"]), (&json!(3), &json!(1)));

    let lines = |target| -> Vec<Value> {
        let reply = send(&server, &Request::admin(target, ""));
        let text = String::from_utf8(reply.body).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let first = json!({
        "stream": "logs", "shard": 3, "sequence": server.records()[0].sequence_number, "key": "abcd",
        "data": "b25l", "text": "one",
    });
    assert_eq!(lines("GET /_/records?count=1"), [first]);
    let second = &lines("GET /_/records?from=1&count=1")[0];
    assert_eq!((&second["data"], second.get("text")), (&json!("/wA="), None));
    assert_eq!(lines("GET /_/records").len(), 3);
    assert_eq!(lines("GET /_/records?from=3").len(), 0);
}

#[test]
fn faults_and_the_script_are_set_over_http() {
    let server = start(Keep::Records);
    let request = put(&[record(b"one", "a")]);
    let set = |target, body| send(&server, &Request::admin(target, body)).status;

    assert_eq!(set("POST /_/script", r#"["error500", {"fail_records": [0]}]"#), 200);
    assert_eq!(set("POST /_/faults", r#"{"throttle_records": 1.0}"#), 200);
    assert_eq!(send(&server, &request).status, 500);
    let code = || send(&server, &request).json()["Records"][0]["ErrorCode"].clone();
    assert_eq!(code(), "InternalFailure");
    assert_eq!(code(), "ProvisionedThroughputExceededException");
    assert_eq!(set("POST /_/faults", "{}"), 200);
    assert_eq!(code(), Value::Null);

    for (target, body) in
        [("POST /_/faults", r#"{"throttle": 1}"#), ("POST /_/script", "not JSON"), ("GET /_/faults", "")]
    {
        assert_eq!(set(target, body), 400, "{target} {body}");
    }
}
