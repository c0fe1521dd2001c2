//! Each fault, as a caller sees it.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use serde_json::json;

use super::client::{CBOR, Client, Request, put, record, send};
use testing::fake_kinesis::{FakeKinesis, Fault, Faults, Settings, shard};

fn start(faults: Faults) -> FakeKinesis {
    FakeKinesis::start(Settings { faults, ..Settings::default() })
}

fn scripted(faults: impl IntoIterator<Item = Fault>) -> FakeKinesis {
    let server = start(Faults::default());
    server.script(faults);
    server
}

fn request() -> Request {
    put(&[record(b"one", "abcd"), record(b"two", "abcd")])
}

/// Which of 100 records are refused, and with which code.
fn refused(server: &FakeKinesis) -> Vec<Option<String>> {
    let body = send(server, &put(&vec![record(b"x", "k"); 100])).json();
    let entries = body["Records"].as_array().unwrap().iter();
    entries.map(|entry| entry["ErrorCode"].as_str().map(str::to_owned)).collect()
}

#[test]
fn records_are_refused_by_probability_and_the_same_ones_with_the_same_seed() {
    let faults = Faults { seed: 7, throttle_records: 0.3, fail_records: 0.3, ..Faults::default() };
    let server = start(faults.clone());
    let first = refused(&server);
    let count = |code: &str| first.iter().filter(|refused| refused.as_deref() == Some(code)).count();
    let (throttled, failed) = (count("ProvisionedThroughputExceededException"), count("InternalFailure"));
    assert!((15..=45).contains(&throttled), "{throttled} of 100 at 0.3");
    assert!((8..=38).contains(&failed), "{failed} of 100 at 0.7 * 0.3");

    let stats = server.stats();
    assert_eq!(stats.records, 100 - (throttled + failed) as u64);
    assert_eq!((stats.throttled_records, stats.failed_records), (throttled as u64, failed as u64));
    assert_eq!(stats.outcomes, [("partial".to_owned(), 1)].into());
    assert_eq!(refused(&start(faults.clone())), first);
    server.set_faults(faults.clone());
    assert_eq!(refused(&server), first);
    assert_ne!(refused(&start(Faults { seed: 8, ..faults })), first);
}

#[test]
fn a_hot_shard_refuses_its_records_alone() {
    let cold = (0..).map(|n| format!("key {n}")).find(|key| shard::hash_of(key) >> 126 != 3).unwrap();
    let server = start(Faults { throttle_shards: vec![3], ..Faults::default() });
    let reply = send(&server, &put(&[record(b"hot", "abcd"), record(b"cold", &cold)])).json();
    assert_eq!(reply["Records"][0]["ErrorCode"], "ProvisionedThroughputExceededException");
    assert_eq!(reply["FailedRecordCount"], 1);
    assert_eq!(server.records()[0].data, b"cold");
}

#[test]
fn a_script_goes_before_the_probabilities() {
    let server = start(Faults { error_500: 1.0, throttle_records: 1.0, ..Faults::default() });
    server.script([Fault::Nothing, Fault::FailRecords(vec![1])]);
    assert_eq!(send(&server, &request()).json()["FailedRecordCount"], 0);
    let partial = send(&server, &request()).json();
    assert!(partial["Records"][0]["ErrorCode"].is_null());
    assert_eq!(partial["Records"][1]["ErrorCode"], "InternalFailure");
    assert_eq!(send(&server, &request()).status, 500);

    server.set_faults(Faults::default());
    assert_eq!(send(&server, &request()).json()["FailedRecordCount"], 0);
}

#[test]
fn a_call_can_be_refused_as_a_whole() {
    let server = scripted([
        Fault::ThrottleCall,
        Fault::Error500,
        Fault::Refuse {
            status: 400,
            code: "KMSThrottlingException".to_owned(),
            message: "Reached AWS KMS request rate limit".to_owned(),
        },
    ]);
    let error = || send(&server, &request()).error();
    let of = |status: u16, code: &str, message: &str| (status, code.to_owned(), message.to_owned());
    assert_eq!(error(), of(400, "ThrottlingException", "Rate exceeded"));
    let failed = "The request processing has failed because of an unknown error, exception or failure.";
    assert_eq!(error(), of(500, "InternalFailure", failed));
    assert_eq!(error(), of(400, "KMSThrottlingException", "Reached AWS KMS request rate limit"));
    assert_eq!(server.stats().records, 0);
}

#[test]
fn the_front_end_answers_503_in_json_even_to_a_cbor_caller() {
    let server = scripted([Fault::Error503]);
    let reply = send(&server, &Request::new(CBOR, b"\xa0"));
    assert_eq!((reply.status, reply.headers["content-type"].as_str()), (503, "application/json"));
    let message = "The request has failed due to a temporary failure of the server.";
    assert_eq!(reply.json(), json!({ "code": "ServiceUnavailable", "message": message }));
}

#[test]
fn a_proxy_answers_502_with_a_page() {
    let reply = send(&scripted([Fault::Html502]), &request());
    assert_eq!((reply.status, reply.headers["content-type"].as_str()), (502, "text/html"));
    assert!(reply.body.starts_with(b"<html>"));
}

#[test]
fn a_body_can_be_too_large_for_a_front_end() {
    let reply = send(&scripted([Fault::TooLarge]), &request());
    assert_eq!((reply.status, reply.body.len()), (413, 0));
}

#[test]
fn a_reset_before_the_body_was_read_stores_nothing() {
    let server = scripted([Fault::ResetBefore]);
    let mut client = Client::plain(&server);
    client.write_raw(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n{").unwrap();
    assert_eq!(client.read().unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(server.stats().records, 0);
    assert_eq!(server.stats().outcomes, [("reset_before".to_owned(), 1)].into());
    assert_eq!(send(&server, &request()).status, 200);
}

#[test]
fn a_reset_after_the_records_were_accepted_stores_them() {
    let server = scripted([Fault::ResetAfter]);
    let error = Client::plain(&server).send(&request()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(server.records().len(), 2);
}

#[test]
fn a_reset_reaches_a_tls_caller_too() {
    let server = FakeKinesis::start(Settings { tls: true, ..Settings::default() });
    server.script([Fault::ResetAfter]);
    let mut client = Client::tls(&server, "localhost", &rustls::version::TLS13);
    assert_eq!(client.send(&request()).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(server.records().len(), 2);
}

#[test]
fn a_reply_can_be_slow_once_or_always() {
    let server = scripted([Fault::Slow(250)]);
    let mut client = Client::plain(&server);
    let mut time = || {
        let begin = Instant::now();
        assert_eq!(client.send(&request()).unwrap().status, 200);
        begin.elapsed()
    };
    assert!(time() >= Duration::from_millis(250));
    assert!(time() < Duration::from_millis(250));

    server.set_faults(Faults { latency_ms: 30, ..Faults::default() });
    assert!(time() >= Duration::from_millis(30) && time() >= Duration::from_millis(30));
}

#[test]
fn a_reply_can_trickle() {
    let server = scripted([Fault::Trickle(10)]);
    let mut client = Client::plain(&server);
    let begin = Instant::now();
    client.write(&request()).unwrap();
    let mut buffer = [0; 64 * 1024];
    let first = client.read_some(&mut buffer).unwrap();
    assert!(!buffer[..first].ends_with(b"}"), "the reply came at once");
    while !buffer.contains(&b'}') || begin.elapsed() < Duration::from_millis(100) {
        assert_ne!(client.read_some(&mut buffer).unwrap(), 0);
    }
}

#[test]
fn a_reply_can_break_off_in_the_middle() {
    let server = scripted([Fault::Truncate]);
    let mut client = Client::plain(&server);
    client.write(&request()).unwrap();
    let mut buffer = [0; 64 * 1024];
    let (mut bytes, mut length) = (Vec::new(), 1);
    while length > 0 {
        length = client.read_some(&mut buffer).unwrap();
        bytes.extend_from_slice(&buffer[..length]);
    }
    assert!(bytes.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert!(bytes.windows(19).any(|window| window == b"\"FailedRecordCount\""), "the first half came");
    assert!(!bytes.ends_with(b"}"), "the second half did not");
    assert_eq!(server.records().len(), 2);
}

#[test]
fn a_reply_can_have_an_entry_too_few() {
    let server = scripted([Fault::CountMismatch]);
    let reply = send(&server, &request()).json();
    assert_eq!(reply["Records"].as_array().unwrap().len(), 1);
    assert_eq!(server.records().len(), 2);
}

#[test]
fn a_request_can_stay_without_an_answer() {
    let server = scripted([Fault::Hang]);
    let mut client = Client::plain(&server);
    client.set_timeout(Duration::from_millis(300));
    assert_eq!(client.send(&request()).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(server.stats().records, 0);
    assert_eq!(server.stats().outcomes, [("hang".to_owned(), 1)].into());
}

#[test]
fn a_connection_can_end_after_its_reply_without_a_word() {
    let server = scripted([Fault::Close]);
    let mut client = Client::plain(&server);
    let reply = client.send(&request()).unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(reply.headers.get("connection"), None);
    assert_eq!(client.read().unwrap_err().kind(), ErrorKind::UnexpectedEof);
}
