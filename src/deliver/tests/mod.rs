//! Delivery over a scripted transport, in virtual time.

pub(crate) mod scripted;
pub(crate) mod service;

mod aggregation;
mod auto;
mod compression;
mod dead_letters;
mod refusals;
mod schedules;
mod shards;
mod streams;
mod turns;

use std::collections::HashMap;

use rand::SeedableRng;
use tokio::task::JoinSet;

use super::*;
use crate::kinesis::client::TransportError;
use crate::metrics::{RefusalReason, RequestOutcome};
use crate::record::partition_key::PartitionKey;
use crate::record::path::KeyPath;
use scripted::{Answer, Bench, chunk, ids};

const THROTTLED: &str = "ProvisionedThroughputExceededException";

#[tokio::test(start_paused = true)]
async fn everything_accepted_is_delivered() {
    let bench = Bench::new(vec![]);
    assert_eq!(bench.flush(10).await, Outcome::Delivered);
    assert_eq!(bench.accepted(), ids(0..10));
    assert_eq!(bench.sizes(), [4, 4, 2]);
    assert_eq!(bench.log.lines(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn only_the_records_that_failed_are_sent_again() {
    let bench = Bench::new(vec![Answer::Fail(&[1, 3], THROTTLED), Answer::Fail(&[0], "InternalFailure")]);
    assert_eq!(bench.flush(4).await, Outcome::Delivered);
    assert_eq!(bench.sizes(), [4, 2, 1]);
    assert_eq!(bench.accepted(), ids(0..4));
}

#[tokio::test(start_paused = true)]
async fn a_record_that_failed_gets_a_new_random_key() {
    let bench = Bench::new(vec![Answer::Fail(&[0, 1, 2, 3], THROTTLED)]);
    assert_eq!(bench.flush(4).await, Outcome::Delivered);
    let requests = &bench.kinesis.state.borrow().requests;
    let keys = |request: usize| requests[request].iter().map(|(_, key)| key.clone()).collect::<Vec<_>>();
    assert!(keys(0).iter().zip(keys(1)).all(|(before, after)| *before != after));
}

#[tokio::test(start_paused = true)]
async fn the_last_batch_failing_is_never_delivered() {
    // The Go plugin answers OK here and loses the record.
    let bench = Bench::with(vec![Answer::Fail(&[], ""), Answer::Fail(&[0], "InternalFailure")], |s, _| s.retries = 0);
    assert_eq!(bench.flush(5).await, Outcome::Retry);
    assert_eq!(bench.accepted(), ids(0..4));
}

#[tokio::test(start_paused = true)]
async fn permanent_throttling_ends_in_a_retry_after_the_configured_rounds_with_growing_pauses() {
    let bench = Bench::new(vec![]);
    bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::Status(400, THROTTLED));
    assert_eq!(bench.flush(2).await, Outcome::Retry);
    assert_eq!(bench.sizes(), [2; 9]);
    let sent_at = bench.kinesis.state.borrow().sent_at.clone();
    for (round, pause) in sent_at.windows(2).map(|pair| pair[1] - pair[0]).enumerate() {
        // tokio's timer rounds up to a millisecond.
        let bound = Duration::from_millis((100 << round).min(5000)) + Duration::from_millis(1);
        assert!(pause <= bound, "round {round}: {pause:?}");
    }
    assert!(sent_at.last().unwrap() > &Duration::from_secs(1));
    let lines = bench.log.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains(THROTTLED) && lines[0].contains("retrying after a pause"), "{lines:?}");
    assert!(lines[1].contains("Fluent Bit will retry the rest"), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn a_broken_connection_is_retried_immediately_once() {
    let broken = || Answer::Broken(TransportError::Ambiguous("connection reset".to_owned()));
    let bench = Bench::new(vec![broken(), broken()]);
    assert_eq!(bench.flush(2).await, Outcome::Delivered);
    let sent_at = bench.kinesis.state.borrow().sent_at.clone();
    assert_eq!(sent_at[0], sent_at[1]);
    let lines = bench.log.lines();
    assert_eq!(lines.len(), 1, "neither the first failure nor the end of a short silence is worth a line: {lines:?}");
    assert!(lines[0].ends_with("connection reset: retrying after a pause"), "{lines:?}");

    let bench = Bench::new((0..8).map(|_| broken()).collect());
    assert_eq!(bench.flush(2).await, Outcome::Delivered);
    let lines = bench.log.lines();
    assert!(lines[1].starts_with("Info Kinesis is answering again after ") && lines[1].ends_with(" s"), "{lines:?}");

    let bench = Bench::with(vec![broken()], |settings, _| (settings.immediate_retry, settings.retries) = (false, 0));
    assert_eq!(bench.flush(2).await, Outcome::Retry);
    assert_eq!(bench.sizes(), [2]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_an_operator_must_cure_is_an_error_at_once_and_retried_all_the_same() {
    let reason = "the certificate's authority is not trusted here".to_owned();
    let untrusted = TransportError::Misconfigured { reason, advice: "name its file in ca_bundle" };
    let bench = Bench::new(vec![Answer::Broken(untrusted)]);
    assert_eq!(bench.flush(2).await, Outcome::Delivered);
    assert_eq!(
        bench.log.lines(),
        [
            "Error cannot put records into stream logs: cannot connect: the certificate's authority is not trusted here; name its file in ca_bundle; Fluent Bit keeps the records and will retry"
        ]
    );
    assert_eq!(bench.delivery.metrics().get(Metric::RecordsAmbiguous), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_does_not_match_is_not_taken_for_success() {
    let bench = Bench::with(vec![Answer::Mismatch], |settings, _| settings.retries = 0);
    assert_eq!(bench.flush(3).await, Outcome::Retry);
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_are_renewed_and_the_batch_is_retried_immediately() {
    let bench = Bench::new(vec![Answer::Status(400, "ExpiredTokenException")]);
    assert_eq!(bench.flush(2).await, Outcome::Delivered);
    assert_eq!(bench.kinesis.state.borrow().renewals, 1);

    let bench = Bench::new(vec![]);
    bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::Status(400, "InvalidSignatureException"));
    assert_eq!(bench.flush(2).await, Outcome::Retry);
    assert_eq!(bench.sizes(), [2; 10], "one at once, eight after pauses");
    let lines = bench.log.lines();
    assert!(lines[0].ends_with(": retrying with new credentials and the server's time"), "{lines:?}");
    assert!(lines[1].starts_with("Error cannot put records into stream logs: HTTP 400 InvalidSignatureException"));
    assert!(lines[1].ends_with("; correct the credentials; Fluent Bit keeps the records and will retry"), "{lines:?}");

    let bench = Bench::new(vec![Answer::Status(400, "InvalidSignatureException")]);
    bench.kinesis.state.borrow_mut().may_renew = false;
    assert_eq!(bench.flush(2).await, Outcome::Retry);
    assert_eq!(bench.sizes(), [2]);
}

#[tokio::test(start_paused = true)]
async fn what_only_an_operator_can_cure_ends_the_flush_with_one_line_and_keeps_everything() {
    let bench = Bench::with(vec![], |settings, _| settings.concurrency = 1);
    bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::Status(400, "ResourceNotFoundException"));
    for _ in 0..3 {
        assert_eq!(bench.flush(100).await, Outcome::Retry);
    }
    assert_eq!(bench.sizes(), [4, 4, 4], "no further request after the first answer");
    assert_eq!(bench.delivery.metrics().get(Metric::RecordsLeft), 300);
    assert_eq!(
        bench.log.lines(),
        [
            "Error cannot put records into stream logs: HTTP 400 ResourceNotFoundException: said so; create the stream, or correct stream and region; Fluent Bit keeps the records and will retry"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn one_poison_record_of_five_hundred_is_found_by_halving_and_the_others_arrive() {
    let bench = Bench::with(vec![], |_, requests| requests.max_records = 500);
    bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::Poison(&[r#"{"i":123}"#], "not acceptable"));
    assert_eq!(bench.flush(500).await, Outcome::Delivered);
    assert_eq!(bench.accepted(), ids((0..500).filter(|&id| id != 123)));
    assert!(bench.sizes().len() < 25, "{} requests", bench.sizes().len());
    assert!(bench.log.lines()[0].contains("Kinesis refused a record: HTTP 400 ValidationException"));
}

#[tokio::test(start_paused = true)]
async fn a_record_that_the_service_names_is_refused_without_search() {
    let bench = Bench::with(vec![], |_, requests| requests.max_records = 500);
    bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::NamedPoison(r#"{"i":7}"#));
    assert_eq!(bench.flush(100).await, Outcome::Delivered);
    assert_eq!(bench.accepted(), ids((0..100).filter(|&id| id != 7)));
    assert_eq!(bench.sizes(), [100, 99, 1], "and once more, after others were accepted");
}

#[tokio::test(start_paused = true)]
async fn when_every_record_alone_gets_the_same_answer_nothing_is_thrown_away() {
    let bench = Bench::new(vec![]);
    bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::Status(400, "ValidationException"));
    assert_eq!(bench.flush(4).await, Outcome::Retry);
    assert_eq!(bench.accepted(), ids([]));
    assert!(bench.log.lines()[0].contains("so the records may not be at fault"), "{:?}", bench.log.lines());
}

#[tokio::test(start_paused = true)]
async fn several_records_may_be_poison_for_the_same_reason() {
    let bench = Bench::with(vec![], |_, requests| requests.max_records = 500);
    bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::Poison(&[r#"{"i":0}"#, r#"{"i":1}"#], "too long"));
    assert_eq!(bench.flush(500).await, Outcome::Delivered);
    assert_eq!(bench.accepted(), ids(2..500));
    assert_eq!(bench.delivery.metrics().total::<RefusalReason>(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_takes_nothing_is_not_asked_record_by_record() {
    let bench = Bench::with(vec![], |_, requests| requests.max_records = 500);
    bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::Status(400, "SerializationException"));
    assert_eq!(bench.flush(500).await, Outcome::Retry);
    assert!(bench.sizes().len() < 40, "{} requests", bench.sizes().len());
}

#[tokio::test(start_paused = true)]
async fn a_lone_record_is_not_thrown_away_before_kinesis_ever_took_one() {
    let bench = Bench::new(vec![Answer::Status(400, "ValidationException")]);
    assert_eq!(bench.flush(1).await, Outcome::Retry);
    assert_eq!(bench.flush(1).await, Outcome::Delivered);
}

#[tokio::test(start_paused = true)]
async fn what_can_never_be_sent_is_counted_and_the_rest_is_delivered() {
    let bench = Bench::with(vec![], |_, requests| requests.record.max_bytes = 16);
    assert_eq!(bench.flush(10).await, Outcome::Delivered);
    let chunk = [chunk(2), b"\x93".to_vec()].concat();
    assert_eq!(bench.flush_chunk(&chunk).await, Outcome::Delivered);
    assert_eq!(bench.flush_chunk(b"\x93").await, Outcome::Hopeless);
    assert_eq!(bench.flush_chunk(b"").await, Outcome::Delivered);
}

/// The host can free a chunk when it is done, so finish chunks one after another.
#[tokio::test(start_paused = true)]
async fn the_first_chunk_is_sent_before_the_second() {
    let bench = Bench::with(vec![], |settings, _| settings.concurrency = 2);
    let both = chunk(24);
    let (first, second) = both.split_at(chunk(12).len());
    let (delivery, set) = (&bench.delivery, tokio::task::LocalSet::new());
    set.run_until(async { tokio::join!(delivery.deliver(first, b"app"), delivery.deliver(second, b"app")) }).await;
    let order = bench.kinesis.state.borrow().accepted.clone();
    assert_eq!(order, ids(0..24));
}

/// Fluent Bit 2.0.0 to 4.0.1 flushes a chunk again, by retry and by shutdown, while a flush of it is under way: every
/// line was stored twice.
#[tokio::test(start_paused = true)]
async fn a_chunk_that_is_flushed_twice_at_a_time_is_sent_once_and_both_flushes_end_alike() {
    for (answers, outcome, sent) in
        [(vec![], Outcome::Delivered, 12), (vec![Answer::Status(400, "ResourceNotFoundException")], Outcome::Retry, 0)]
    {
        let bench = Bench::with(answers, |_, requests| requests.max_records = 500);
        bench.kinesis.state.borrow_mut().latency = Duration::from_millis(200);
        let chunk = chunk(12);
        let both = tokio::join!(bench.flush_chunk(&chunk), bench.flush_chunk(&chunk));
        assert_eq!(both, (outcome, outcome));
        assert_eq!(bench.accepted(), ids(0..sent));
        assert_eq!(bench.sizes().len(), 1);
        // What comes later is a flush of its own.
        assert_eq!(bench.flush_chunk(&chunk).await, Outcome::Delivered);
        assert_eq!(bench.sizes().len(), 2);
    }
}

/// Two chunks of equal content are two.
#[tokio::test(start_paused = true)]
async fn chunks_of_equal_content_are_both_sent() {
    let bench = Bench::new(vec![]);
    let (one, other) = (chunk(4), chunk(4));
    let both = tokio::join!(bench.flush_chunk(&one), bench.flush_chunk(&other));
    assert_eq!(both, (Outcome::Delivered, Outcome::Delivered));
    assert_eq!(bench.accepted().len(), 8);
}

#[tokio::test(start_paused = true)]
async fn as_many_requests_fly_as_configured_over_all_flushes() {
    let bench = Bench::with(vec![], |settings, _| settings.concurrency = 3);
    bench.kinesis.state.borrow_mut().latency = Duration::from_millis(200);
    let (one, two) = tokio::join!(bench.flush(40), bench.flush(40));
    assert_eq!((one, two), (Outcome::Delivered, Outcome::Delivered));
    let state = bench.kinesis.state.borrow();
    assert_eq!(state.most_in_flight, 3);
    assert_eq!(state.sent_at.last().unwrap().as_millis(), 6 * 200, "20 requests, three at a time, 200 ms each");
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_sending_is_a_retry_and_a_line() {
    let bench = Bench::new(vec![Answer::Panic]);
    assert_eq!(bench.flush(2).await, Outcome::Retry);
    let lines = bench.log.lines();
    assert!(lines.len() == 1 && lines[0].contains("bug in this plugin") && lines[0].contains("injected"), "{lines:?}");
    assert_eq!(bench.flush(2).await, Outcome::Delivered, "and the next flush is served");
}

#[tokio::test(start_paused = true)]
async fn every_schedule_of_faults_delivers_each_record_once_or_says_retry() {
    for seed in 0..300_u64 {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut script = Vec::new();
        for _ in 0..60 {
            use rand::RngExt;
            script.push(match random.random_range(0..10) {
                0 => Answer::Status(500, "InternalFailure"),
                1 => Answer::Status(400, THROTTLED),
                2 => Answer::Broken(TransportError::Connect("refused".to_owned())),
                3 => Answer::Mismatch,
                4 => Answer::Fail(&[0, 1, 2, 3], THROTTLED),
                5 => Answer::Fail(&[0, 2], "InternalFailure"),
                6 => Answer::Status(400, "ExpiredTokenException"),
                _ => Answer::Fail(&[], ""),
            });
        }
        let bench = Bench::new(script);
        let outcome = bench.flush(40).await;
        let mut times: HashMap<String, usize> = HashMap::new();
        bench.accepted().into_iter().for_each(|record| *times.entry(record).or_default() += 1);
        assert!(times.values().all(|&times| times == 1), "seed {seed}: a record was stored twice");
        match outcome {
            Outcome::Delivered => assert_eq!(times.len(), 40, "seed {seed}: delivered without all records"),
            Outcome::Retry => assert!(times.len() < 40, "seed {seed}: a retry with nothing left"),
            Outcome::Hopeless => panic!("seed {seed}: hopeless"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_retried_chunk_sends_only_what_kinesis_does_not_have() {
    let bench = Bench::with(vec![Answer::Fail(&[], ""), Answer::Fail(&[1], THROTTLED)], |settings, _| {
        (settings.retries, settings.concurrency) = (0, 1);
    });
    assert_eq!(bench.flush(8).await, Outcome::Retry);
    assert_eq!(bench.sizes(), [4, 4]);
    assert_eq!(bench.flush(8).await, Outcome::Delivered);
    assert_eq!(bench.sizes(), [4, 4, 1]);
    assert_eq!(bench.accepted(), ids(0..8));
    assert!(bench.delivery.ledger().is_empty());
    assert_eq!(bench.flush(8).await, Outcome::Delivered, "the same bytes as a new chunk are sent whole");
    assert_eq!(bench.accepted().len(), 16);
}

#[tokio::test(start_paused = true)]
async fn a_chunk_may_be_accepted_in_three_flushes() {
    let stream_away = || Answer::Status(400, "ResourceNotFoundException");
    let script =
        vec![Answer::Fail(&[], ""), stream_away(), stream_away(), Answer::Fail(&[], ""), Answer::Fail(&[], "")];
    let bench = Bench::with(script, |settings, _| settings.concurrency = 1);
    let outcomes = [bench.flush(10).await, bench.flush(10).await, bench.flush(10).await];
    assert_eq!(outcomes, [Outcome::Retry, Outcome::Retry, Outcome::Delivered]);
    assert_eq!(bench.sizes(), [4, 4, 4, 4, 2]);
    assert_eq!(bench.accepted(), ids(0..10));
    assert_eq!(bench.delivery.metrics().get(Metric::RecordsDeduplicated), 8, "four records in each retry");
}

#[tokio::test(start_paused = true)]
async fn many_chunks_in_retry_are_told_apart() {
    let bench = Bench::with(vec![], |settings, _| settings.retries = 0);
    bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::Fail(&[0], THROTTLED));
    let chunks: Vec<Vec<u8>> = (2..30).map(chunk).collect();
    for chunk in &chunks {
        assert_eq!(bench.flush_chunk(chunk).await, Outcome::Retry);
    }
    bench.kinesis.state.borrow_mut().otherwise = None;
    for chunk in chunks.iter().rev() {
        assert_eq!(bench.flush_chunk(chunk).await, Outcome::Delivered);
    }
    let expected: usize = (2..30).sum();
    assert_eq!(bench.accepted().len(), expected);
    let mut times: HashMap<String, usize> = HashMap::new();
    bench.accepted().into_iter().for_each(|record| *times.entry(record).or_default() += 1);
    assert!((0..29).all(|id| times[&ids([id])[0]] == 29 - id.max(1)), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn refused_records_are_not_counted_again_in_the_retry() {
    let bench = Bench::with(vec![Answer::Fail(&[0], THROTTLED)], |settings, requests| {
        (settings.retries, requests.record.max_bytes) = (0, 13);
    });
    let chunk = chunk(12);
    assert_eq!(bench.flush_chunk(&chunk).await, Outcome::Retry);
    assert_eq!(bench.flush_chunk(&chunk).await, Outcome::Delivered);
    let metrics = bench.delivery.metrics();
    assert_eq!((metrics.get(Metric::RecordsDelivered), metrics.total::<RefusalReason>()), (10, 2));
}

#[tokio::test(start_paused = true)]
async fn on_shutdown_replies_are_awaited_for_a_while_and_the_rest_is_left() {
    for (latency, arrives) in [(1, true), (10, false)] {
        let bench = Bench::with(vec![], |settings, _| settings.concurrency = 1);
        bench.kinesis.state.borrow_mut().latency = Duration::from_secs(latency);
        let leave = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            bench.delivery.shut_down(Instant::now() + Duration::from_secs(2));
        };
        let (outcome, ()) = tokio::join!(bench.flush(10), leave);
        assert_eq!(outcome, Outcome::Retry);
        assert!(bench.kinesis.start.elapsed() <= Duration::from_millis(2200));
        assert_eq!(bench.accepted(), if arrives { ids(0..4) } else { ids([]) });
        assert_eq!(bench.delivery.ledger().len(), usize::from(arrives), "what arrived is remembered");
        assert_eq!(bench.sizes(), [4]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_ends_on_shutdown() {
    let bench = Bench::new(vec![]);
    bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::Status(503, "ServiceUnavailable"));
    let leave = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        bench.delivery.shut_down(Instant::now() + Duration::from_secs(2));
    };
    assert_eq!(tokio::join!(bench.flush(2), leave).0, Outcome::Retry);
    assert!(bench.kinesis.start.elapsed() < Duration::from_millis(3100), "{:?}", bench.kinesis.start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn ten_minutes_of_throttling_are_few_requests_few_lines_and_no_growth() {
    let bench = Bench::new(vec![]);
    bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::Fail(&[0, 1, 2, 3], THROTTLED));
    while bench.kinesis.start.elapsed() < Duration::from_secs(600) {
        assert_eq!(bench.flush(4).await, Outcome::Retry);
    }
    assert!(bench.sizes().len() < 1200, "{} requests of one chunk", bench.sizes().len());
    assert!(bench.log.lines().len() <= 2 * (600 / 30 + 1), "{} lines", bench.log.lines().len());
    assert!(bench.delivery.ledger().is_empty());
}

#[tokio::test(start_paused = true)]
async fn changed_and_unsent_records_are_counted_by_reason_and_logged_once() {
    let bench = Bench::with(vec![], |_, requests| {
        requests.record.partition_key = PartitionKey::parse("key").unwrap();
        requests.record.max_bytes = 30;
    });
    let body = |text: &str| rmp_serde::to_vec(&(1, serde_json::json!({"key": "k", "text": text}))).unwrap();
    let deep = [&b"\x92\x01"[..], &b"\x81\xa1k".repeat(1100), b"\x01"].concat();
    let long = body("a text that is too long to be sent");
    let chunk = [chunk(3), long.clone(), long, deep, b"\xa1x".to_vec()].concat();
    assert_eq!(bench.flush_chunk(&chunk).await, Outcome::Delivered);
    let metrics = bench.delivery.metrics();
    assert_eq!(
        (
            metrics.get(Metric::RecordsTruncated),
            metrics.get(Metric::RecordsKeyedAtRandom),
            metrics.get(Metric::RecordsDelivered)
        ),
        (2, 3, 5)
    );
    assert_eq!((metrics.get_by(RefusalReason::TooDeep), metrics.get_by(RefusalReason::NotAnEvent)), (1, 1));
    assert_eq!(metrics.total::<RefusalReason>(), 2);
    assert!(bench.accepted().contains(&r#"{"key":"k","tex[Truncated...]"#.to_owned()), "{:?}", bench.accepted());
    let logged = |text: &str| bench.log.lines().iter().filter(|line| line.contains(text)).count();
    assert_eq!(logged("Warn a record of 56 bytes was truncated to max_record_size, 30"), 1, "{:?}", bench.log.lines());
    assert_eq!(logged("Warn a record has no text, number or boolean under partition_key and gets a random key"), 1);
    assert_eq!(bench.log.lines().len(), 4, "{:?}", bench.log.lines());
}

#[tokio::test(start_paused = true)]
async fn dropped_records_are_done_without_being_accepted_or_lost() {
    let bench = Bench::with(vec![Answer::Fail(&[1], THROTTLED)], |settings, requests| {
        settings.retries = 0;
        requests.record.drop_empty = true;
    });
    let empty = rmp_serde::to_vec(&(1, serde_json::json!({}))).unwrap();
    let chunk = [&chunk(2)[..], &empty].concat();
    assert_eq!(bench.flush_chunk(&chunk).await, Outcome::Retry);
    assert_eq!(bench.flush_chunk(&chunk).await, Outcome::Delivered);
    assert_eq!(bench.flush_chunk(&empty).await, Outcome::Delivered, "not hopeless");
    let metrics = bench.delivery.metrics();
    let [received, delivered, dropped, left, deduplicated] = [
        Metric::RecordsReceived,
        Metric::RecordsDelivered,
        Metric::RecordsDropped,
        Metric::RecordsLeft,
        Metric::RecordsDeduplicated,
    ]
    .map(|metric| metrics.get(metric));
    assert_eq!((received, delivered, dropped, left, deduplicated), (7, 2, 2, 1, 2));
    assert_eq!(metrics.total::<RefusalReason>(), 0);
    assert!(!bench.log.lines().iter().any(|line| line.contains("sent:")), "{:?}", bench.log.lines());
}

#[tokio::test(start_paused = true)]
async fn records_without_a_hash_key_are_counted_and_logged_once() {
    let bench = Bench::with(vec![], |_, requests| {
        requests.record.explicit_hash_key = Some(KeyPath::parse("n->hash").unwrap());
    });
    assert_eq!(bench.flush(4).await, Outcome::Delivered);
    assert_eq!(bench.delivery.metrics().get(Metric::RecordsWithoutHashKey), 4);
    let told = "Warn a record has no number from 0 to 2^128-1 under explicit_hash_key and goes by its partition key";
    assert_eq!(bench.log.lines().iter().filter(|line| line.starts_with(told)).count(), 1, "{:?}", bench.log.lines());
}

#[tokio::test(start_paused = true)]
async fn a_users_partition_key_stays_when_its_record_is_sent_again() {
    let bench = Bench::with(vec![Answer::Fail(&[0, 1], THROTTLED)], |_, requests| {
        requests.record.partition_key = PartitionKey::Tag;
    });
    assert_eq!(bench.flush(2).await, Outcome::Delivered);
    let keys: Vec<String> =
        bench.kinesis.state.borrow().requests.iter().flatten().map(|(_, key)| key.clone()).collect();
    assert_eq!(keys, ["app"; 4]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_flush_is_one_warning_that_tells_where_its_time_went() {
    let bench = Bench::with(vec![Answer::Fail(&[0], THROTTLED)], |settings, _| {
        settings.slow_flush = Some(Duration::from_secs(1));
    });
    bench.kinesis.state.borrow_mut().latency = Duration::from_secs(1);
    assert_eq!(bench.flush(1).await, Outcome::Delivered);
    let line = bench.log.lines().into_iter().find(|line| line.contains("a flush took")).unwrap();
    assert!(line.starts_with("Warn a flush took 2"), "{line}");
    assert!(line.contains(" s: 0 s packing, 0 s waiting for one of 8 permits, 2 s in 2 requests, "), "{line}");
    assert!(line.ends_with(" ms in pauses before retries"), "{line}");
    assert_eq!(bench.delivery.metrics().get(Metric::SlowFlushes), 1);

    let bench = Bench::new(vec![]);
    bench.kinesis.state.borrow_mut().latency = Duration::from_secs(19);
    assert_eq!(bench.flush(1).await, Outcome::Delivered);
    assert_eq!(bench.delivery.metrics().get(Metric::SlowFlushes), 0);
}

#[tokio::test(start_paused = true)]
async fn throttling_ends_with_a_line_once_nothing_was_throttled_for_a_while() {
    let bench = Bench::new(vec![Answer::Fail(&[0, 2], THROTTLED), Answer::Fail(&[1], THROTTLED)]);
    assert_eq!(bench.flush(4).await, Outcome::Delivered);
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(bench.flush(4).await, Outcome::Delivered);
    assert_eq!(bench.log.lines().len(), 1, "it may go on: {:?}", bench.log.lines());
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(bench.flush(4).await, Outcome::Delivered);
    assert_eq!(bench.flush(4).await, Outcome::Delivered);
    let lines = bench.log.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].starts_with("Info throttling has ended: 3 records were throttled in 99 ms"), "{lines:?}");
    assert_eq!(bench.delivery.metrics().get(Metric::RecordsThrottled), 3);
}

#[tokio::test(start_paused = true)]
async fn each_number_is_that_of_the_requests() {
    let script = vec![
        Answer::Fail(&[0, 2], THROTTLED),
        Answer::Status(500, "InternalFailure"),
        Answer::Broken(TransportError::Ambiguous("connection reset".to_owned())),
    ];
    let bench = Bench::with(script, |settings, _| settings.concurrency = 1);
    assert_eq!(bench.flush(4).await, Outcome::Delivered);
    let metrics = bench.delivery.metrics();
    let outcomes = RequestOutcome::ALL.iter().map(|&outcome| (outcome.name(), metrics.get_by(outcome)));
    let outcomes: Vec<_> = outcomes.filter(|&(_, count)| count > 0).collect();
    assert_eq!(outcomes, [("ok", 1), ("partial", 1), ("InternalFailure", 1), ("no_reply", 1)]);
    let counts = [
        (Metric::RecordsReceived, 4),
        (Metric::RecordsDelivered, 4),
        (Metric::RecordsRetried, 6),
        (Metric::RecordsThrottled, 2),
        (Metric::RecordsAmbiguous, 2),
        (Metric::RequestTime, 4),
        (Metric::FlushTime, 1),
        (Metric::RequestsInFlight, 0),
        (Metric::RecordsLeft, 0),
    ];
    for (metric, expected) in counts {
        assert_eq!(metrics.get(metric), expected, "{metric:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_gateway_may_have_passed_on_is_counted_as_ambiguous() {
    for (status, code, ambiguous) in [(502, "", 3), (504, "", 3), (503, "", 0), (500, "InternalFailure", 0)] {
        let bench = Bench::new(vec![Answer::Status(status, code)]);
        assert_eq!(bench.flush(3).await, Outcome::Delivered);
        assert_eq!(bench.delivery.metrics().get(Metric::RecordsAmbiguous), ambiguous, "{status} {code}");
    }
}

/// Regression: a chunk waited 101 seconds for 100 throttled ones, because pausing requests held all permits.
#[tokio::test(start_paused = true)]
async fn what_can_be_delivered_does_not_wait_for_what_is_throttled() {
    let bench = Bench::with(vec![], |_, requests| requests.max_records = 500);
    bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::FailInside("hot", THROTTLED));
    bench.kinesis.state.borrow_mut().latency = Duration::from_millis(10);
    let hot: Vec<Vec<u8>> = (0..100).map(|id| chunk_of_text(&format!("hot {id}"), 10_000, 10)).collect();
    let set = tokio::task::LocalSet::new();
    for chunk in hot {
        let delivery = Rc::clone(&bench.delivery);
        set.spawn_local(async move { delivery.deliver(&chunk, b"app").await });
    }
    let cold = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let started = Instant::now();
        assert_eq!(bench.delivery.deliver(&chunk_of_text("cold", 10_000, 10), b"app").await, Outcome::Delivered);
        started.elapsed()
    };
    let took = set.run_until(cold).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
}

/// `records` equal records of `bytes` bytes.
fn chunk_of_text(text: &str, bytes: usize, records: usize) -> Vec<u8> {
    rmp_serde::to_vec(&(1, serde_json::json!({ "text": text, "log": "x".repeat(bytes) }))).unwrap().repeat(records)
}

/// Bodies of pausing requests have a limit too. Beyond it they are built again, losing or repeating nothing.
#[tokio::test(start_paused = true)]
async fn throttled_bodies_that_there_is_no_room_for_are_packed_again() {
    let bench = Bench::with(vec![], |settings, requests| {
        (requests.max_records, settings.retries) = (500, 100);
        requests.record.max_bytes = 1 << 20;
    });
    bench.kinesis.state.borrow_mut().latency = Duration::from_millis(10);
    bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::FailInside("hot", THROTTLED));
    let set = tokio::task::LocalSet::new();
    let mut flushes = JoinSet::new();
    for id in 0..40 {
        let delivery = Rc::clone(&bench.delivery);
        let chunk = chunk_of_text(&format!("hot {id}"), 300_000, 3);
        flushes.spawn_local_on(async move { delivery.deliver(&chunk, b"app").await }, &set);
    }
    set.run_until(async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        bench.kinesis.state.borrow_mut().otherwise = None;
        while let Some(outcome) = flushes.join_next().await {
            assert_eq!(outcome.unwrap(), Outcome::Delivered);
        }
    })
    .await;
    let mut times: HashMap<String, usize> = HashMap::new();
    for record in bench.kinesis.state.borrow().accepted.iter() {
        *times.entry(record.clone()).or_default() += 1;
    }
    assert_eq!(times.len(), 40);
    assert!(times.values().all(|&times| times == 3), "each chunk has three equal records: {:?}", times.values());
    assert_eq!(bench.delivery.metrics().get(Metric::RecordsDelivered), 120);
}

/// Uses up all room for bodies of pausing requests.
fn no_room(bench: &Bench) -> impl Drop {
    bench.delivery.stream().limiter().park(16 << 20).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_packed_again_keeps_its_tries_and_its_pauses() {
    let bench = Bench::new(vec![]);
    let _all = no_room(&bench);
    bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::Status(400, THROTTLED));
    assert_eq!(bench.flush(2).await, Outcome::Retry);
    assert_eq!(bench.sizes(), [2; 9]);
    assert!(bench.kinesis.start.elapsed() > Duration::from_secs(1), "{:?}", bench.kinesis.start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_packed_again_has_its_own_records_alone() {
    let bench = Bench::new(vec![Answer::Codes(&["ValidationException", "InternalFailure"])]);
    let _all = no_room(&bench);
    assert_eq!(bench.flush(2).await, Outcome::Delivered);
    assert_eq!((bench.sizes(), bench.accepted()), (vec![2, 1, 1], ids(0..2)));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_pauses_halves_the_limit() {
    let bench = Bench::with(vec![], |settings, _| settings.concurrency = 256);
    bench.kinesis.state.borrow_mut().latency = Duration::from_millis(10);
    assert_eq!(bench.flush(1000).await, Outcome::Delivered);
    let open = bench.delivery.stream().limiter().limit();
    bench.kinesis.state.borrow_mut().script.push_back(Answer::Fail(&[0], THROTTLED));
    assert_eq!(bench.flush(2).await, Outcome::Delivered);
    assert_eq!(bench.delivery.stream().limiter().limit(), open / 2);
}

#[tokio::test(start_paused = true)]
async fn a_flush_ends_when_its_time_is_over_and_keeps_what_it_got_done() {
    let bench = Bench::with(vec![Answer::Fail(&[], "")], |settings, _| {
        settings.concurrency = 1;
        settings.flush_timeout = Some(Duration::from_secs(60));
    });
    bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::Silence);
    assert_eq!(bench.flush(12).await, Outcome::Retry);
    assert_eq!(bench.kinesis.start.elapsed().as_secs(), 60);
    assert_eq!((bench.accepted(), bench.sizes()), (ids(0..4), vec![4, 4]));
    assert!(
        bench
            .log
            .lines()
            .concat()
            .contains("a flush took longer than flush_timeout: stopped after 60 s; Fluent Bit will retry the rest"),
        "{:?}",
        bench.log.lines()
    );
    // Throttled for longer than that.
    bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::Fail(&[0, 1, 2, 3], THROTTLED));
    let started = Instant::now();
    let bench_with_patience = Bench::with(vec![], |settings, _| {
        (settings.retries, settings.flush_timeout) = (100, Some(Duration::from_secs(60)));
    });
    bench_with_patience.kinesis.state.borrow_mut().otherwise = Some(|| Answer::Fail(&[0, 1, 2, 3], THROTTLED));
    assert_eq!(bench_with_patience.flush(12).await, Outcome::Retry);
    assert_eq!(started.elapsed().as_secs(), 60);
    bench.kinesis.state.borrow_mut().otherwise = None;
    assert_eq!(bench.flush(12).await, Outcome::Delivered);
    assert_eq!(bench.accepted(), ids(0..12));
}

/// Regression: flushes that waited for the packing lock went on packing, so that the ledger entries they had taken
/// were gone when time was up.
#[tokio::test(start_paused = true)]
async fn no_flush_begins_after_shutdown_began_and_all_entries_stay() {
    let bench = Bench::with(vec![], |settings, _| (settings.retries, settings.concurrency) = (0, 4));
    bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::Fail(&[0], THROTTLED));
    let chunks: Vec<Vec<u8>> = (2..130).map(chunk).collect();
    for chunk in &chunks {
        assert_eq!(bench.flush_chunk(chunk).await, Outcome::Retry);
    }
    assert_eq!(bench.delivery.ledger().len(), 128);
    bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::Silence);
    let set = tokio::task::LocalSet::new();
    let mut flushes = JoinSet::new();
    for chunk in chunks {
        let delivery = Rc::clone(&bench.delivery);
        flushes.spawn_local_on(async move { delivery.deliver(&chunk, b"app").await }, &set);
    }
    set.run_until(async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let requests = bench.sizes().len();
        bench.delivery.shut_down(Instant::now() + Duration::from_secs(2));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let over = std::iter::from_fn(|| flushes.try_join_next()).count();
        assert!(over >= 124, "{over} of 128 are over, and all but those that wait for replies should be");
        while let Some(outcome) = flushes.join_next().await {
            assert_eq!(outcome.unwrap(), Outcome::Retry);
        }
        assert_eq!(bench.sizes().len(), requests, "nothing is sent any more");
    })
    .await;
    assert_eq!(bench.delivery.ledger().len(), 128);
}
