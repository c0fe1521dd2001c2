//! What is given up becomes a dead letter, once, and nothing else does.

use std::fs;
use std::num::NonZeroUsize;

use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::scripted::{Answer, Bench, ids};
use crate::compress::Kind;
use crate::deliver::*;
use crate::kinesis::stream::Stream;
use crate::metrics::RefusalReason;
use crate::pack::Aggregation;
use crate::record::formats::Format;
use crate::record::path::KeyPath;
use crate::record::size::Oversize;
use crate::record::{Compression, StreamTemplate};

/// A delivery and the folder of its dead letters. Real time passes: a thread writes them.
fn bench(script: Vec<Answer>, change: impl FnOnce(&mut Settings, &mut RequestSettings)) -> (TempDir, Bench) {
    bench_to(Stream::parse("logs").unwrap().into(), script, change)
}

fn bench_to(
    target: Target,
    script: Vec<Answer>,
    change: impl FnOnce(&mut Settings, &mut RequestSettings),
) -> (TempDir, Bench) {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::to(target, Some(folder.path()), script, change);
    (folder, bench)
}

/// All letters at the end, in order.
async fn letters((folder, bench): &(TempDir, Bench)) -> Vec<Value> {
    bench.delivery.close_dead_letters(Instant::now() + Duration::from_secs(60)).await;
    let mut files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let texts: String = files.into_iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let letters: Vec<Value> = texts.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let metrics = bench.delivery.metrics();
    assert_eq!(metrics.get(Metric::DeadLettersWritten), letters.len() as u64);
    assert_eq!(metrics.get(Metric::DeadLettersDropped), 0);
    assert_eq!(metrics.total::<RefusalReason>(), letters.len() as u64, "each refused record is there");
    letters
}

fn records(letters: &[Value]) -> Vec<String> {
    letters.iter().map(|letter| letter["record"].to_string()).collect()
}

fn event(seconds: u64, body: &Value) -> Vec<u8> {
    rmp_serde::to_vec(&(seconds, body)).unwrap()
}

#[tokio::test]
async fn each_record_that_cannot_be_sent_is_a_letter_with_its_time_tag_stream_reason_and_content() {
    let bench = bench(vec![], |_, requests| {
        (requests.record.max_bytes, requests.record.oversize) = (30, Oversize::Discard);
    });
    let long = json!({ "text": "a text that is too long to be sent" });
    let deep_body = [&b"\x81\xa1k".repeat(1100)[..], b"\x01"].concat();
    let deep = [b"\x92\x01", &deep_body[..]].concat();
    let chunk = [event(1, &json!({"i": 1})), event(1_600_000_000, &long), deep, b"\xa1x".to_vec(), b"\x93".to_vec()];
    assert_eq!(bench.1.flush_chunk(&chunk.concat()).await, Outcome::Delivered);
    let base64 = |bytes: &[u8]| base64_simd::STANDARD.encode_to_string(bytes);
    assert_eq!(
        letters(&bench).await,
        [
            json!({
                "time": "2020-09-13T12:26:40.000000000Z", "tag": "app", "stream": "logs", "reason": "too_large",
                "detail": "it is larger than max_record_size", "record": long,
            }),
            json!({
                "time": "1970-01-01T00:00:01.000000000Z", "tag": "app", "stream": "logs", "reason": "too_deep",
                "detail": "it is nested deeper than 1024 levels (a map or array as a key is 250)",
                "record_base64": base64(&deep_body),
            }),
            json!({
                "tag": "app", "stream": "logs", "reason": "not_an_event", "record_base64": base64(b"\xa1x"),
                "detail": format!(
                    "the value at byte {} is not an event: [time, map] or [[time, metadata], map]",
                    chunk[..3].concat().len()
                ),
            }),
            json!({
                "tag": "app", "stream": "logs", "reason": "not_an_event", "record_base64": base64(b"\x93"),
                "detail": format!(
                    "its last 1 bytes, from byte {}, are unreadable: it ends inside a value",
                    chunk[..4].concat().len()
                ),
            }),
        ]
    );
    assert_eq!(bench.1.accepted(), [r#"{"i":1}"#]);
}

#[tokio::test]
async fn a_record_that_kinesis_refuses_is_a_letter_with_the_services_reason() {
    let bench = bench(vec![], |_, requests| requests.max_records = 500);
    bench.1.kinesis.state.borrow_mut().otherwise = Some(|| Answer::Poison(&[r#"{"i":123}"#], "not acceptable"));
    assert_eq!(bench.1.flush(500).await, Outcome::Delivered);
    let letters = letters(&bench).await;
    assert_eq!(records(&letters), [r#"{"i":123}"#]);
    assert_eq!(letters[0]["reason"], "refused_by_kinesis");
    assert_eq!(letters[0]["detail"], "HTTP 400 ValidationException");
}

#[tokio::test]
async fn of_a_refused_group_only_the_record_at_fault_is_a_letter() {
    let bench = bench(vec![], |_, requests| {
        (requests.aggregation, requests.record.newline) = (Some(Aggregation::Lines), true);
        requests.record.max_bytes = 60;
    });
    bench.1.kinesis.state.borrow_mut().otherwise = Some(|| Answer::PoisonInside(r#"{"i":5}"#, false));
    while bench.1.flush(40).await == Outcome::Retry {
        // Proof that Kinesis accepts others.
        assert_eq!(bench.1.flush_chunk(&event(1, &json!({"x": 1}))).await, Outcome::Delivered);
    }
    assert_eq!(records(&letters(&bench).await), [r#"{"i":5}"#]);
}

#[tokio::test]
async fn a_chunk_that_comes_again_has_no_second_letter() {
    let bench = bench(vec![Answer::Fail(&[0], "InternalFailure")], |settings, requests| {
        (settings.retries, requests.record.max_bytes) = (0, 13);
    });
    // Two-digit numbers are too long.
    assert_eq!(bench.1.flush(12).await, Outcome::Retry);
    assert_eq!(bench.1.flush(12).await, Outcome::Delivered);
    assert_eq!(records(&letters(&bench).await), ids([10, 11]));
}

#[tokio::test]
async fn a_chunk_of_which_nothing_can_be_sent_is_all_there() {
    let bench = bench(vec![], |_, requests| requests.record.format = Format::Value(KeyPath::parse("log").unwrap()));
    assert_eq!(bench.1.flush(1000).await, Outcome::Hopeless);
    let letters = letters(&bench).await;
    assert_eq!(records(&letters), ids(0..1000));
    assert!(letters.iter().all(|letter| letter["reason"] == "no_log_key"));
}

#[tokio::test]
async fn a_record_that_is_cut_and_sent_is_no_letter() {
    let bench = bench(vec![], |_, requests| requests.record.max_bytes = 40);
    let long = event(1, &json!({ "log": "a text that is too long to be sent as it is" }));
    assert_eq!(bench.1.flush_chunk(&long).await, Outcome::Delivered);
    assert_eq!(bench.1.accepted().len(), 1);
    assert_eq!(letters(&bench).await, [json!(null); 0]);
}

/// A line's block is compressed, and the line refused, when later lines have been read.
#[tokio::test]
async fn lines_that_are_refused_late_are_letters_too() {
    let bench = bench(vec![], |_, requests| {
        requests.aggregation = Some(Aggregation::Lines);
        (requests.record.newline, requests.record.max_bytes) = (true, 60);
        requests.record.compression = Some(Compression { kind: Kind::Snappy, level: None });
        requests.record.oversize = Oversize::Discard;
    });
    let mut random = SmallRng::seed_from_u64(1);
    let mut long = || (0..100).map(|_| random.random_range('a'..='z')).collect::<String>();
    let bodies: Vec<Value> =
        (0..10).map(|i| if i % 3 == 0 { json!({ "l": long() }) } else { json!({ "i": i }) }).collect();
    let chunk: Vec<u8> = bodies.iter().flat_map(|body| event(1, body)).collect();
    assert_eq!(bench.1.flush_chunk(&chunk).await, Outcome::Delivered);
    let mut found = records(&letters(&bench).await);
    found.sort();
    let mut expected: Vec<String> = bodies.iter().step_by(3).map(Value::to_string).collect();
    expected.sort();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_letter_names_the_stream_of_its_record_and_the_template_if_there_is_none() {
    let template = StreamTemplate::parse("logs-$app").unwrap();
    let target = Target::Template { template, max_streams: NonZeroUsize::new(2).unwrap() };
    let bench = bench_to(target, vec![], |_, _| {});
    bench.1.kinesis.state.borrow_mut().otherwise = Some(|| Answer::FailInside("bad", "ValidationException"));
    let body = |app: &str, text: &str| event(1, &json!({ "app": app, "text": text }));
    let chunk = [body("a", "good"), body("b", "bad"), body("b", "good"), body("c", "good"), body("no name", "x")];
    while bench.1.flush_chunk(&chunk.concat()).await == Outcome::Retry {
        assert_eq!(bench.1.flush_chunk(&body("b", "more")).await, Outcome::Delivered);
    }
    let letters = letters(&bench).await;
    let of = |letter: &Value| ["stream", "reason"].map(|key| letter[key].as_str().unwrap().to_owned());
    assert_eq!(
        letters.iter().map(of).collect::<Vec<_>>(),
        [["logs-$app", "no_stream"], ["logs-b", "refused_by_kinesis"]]
    );
    assert_eq!(letters[1]["record"], json!({ "app": "b", "text": "bad" }));
}

/// With faults in between, until each chunk is done.
#[tokio::test]
async fn every_record_is_accepted_or_a_letter_once_whatever_happens() {
    for seed in 0..20_u64 {
        let mut random = SmallRng::seed_from_u64(seed);
        let script = (0..30).map(|_| match random.random_range(0..5) {
            0 => Answer::Status(500, "InternalFailure"),
            1 => Answer::Fail(&[0, 2], "InternalFailure"),
            2 => Answer::Status(400, "ResourceNotFoundException"),
            _ => Answer::PoisonInside(r#"7}"#, seed % 2 == 0),
        });
        let bench = bench(script.collect(), |settings, requests| {
            (settings.retries, settings.concurrency, requests.record.max_bytes) = (0, 1 + (seed % 3) as usize, 13);
        });
        bench.1.kinesis.state.borrow_mut().otherwise = Some(|| Answer::PoisonInside(r#"7}"#, true));
        let mut flushes = 0;
        while bench.1.flush(30).await == Outcome::Retry {
            flushes += 1;
            assert!(flushes < 200, "seed {seed}");
            // Proof that Kinesis accepts others.
            bench.1.flush_chunk(&event(1, &json!({"x": 1}))).await;
        }
        let mut all = records(&letters(&bench).await);
        all.extend(bench.1.accepted().into_iter().filter(|record| !record.contains('x')));
        all.sort_by_key(|record| (record.len(), record.clone()));
        assert_eq!(all, ids(0..30), "seed {seed}");
    }
}
