//! Which records are given up when Kinesis or a proxy refuses requests, and which are kept.

use super::scripted::{Answer, Bench, ids};
use crate::deliver::*;
use crate::metrics::RefusalReason;
use crate::pack::Aggregation;

fn refused(bench: &Bench) -> u64 {
    bench.delivery.metrics().total::<RefusalReason>()
}

/// A chunk of only these records.
fn chunk_of(ids: &[u32]) -> Vec<u8> {
    let one = |&id: &u32| rmp_serde::to_vec(&(1, serde_json::json!({ "i": id }))).unwrap();
    ids.iter().flat_map(one).collect()
}

/// Regression: a proxy refused one record briefly, and it was dropped because others had been accepted before.
#[tokio::test(start_paused = true)]
async fn a_refusal_that_passes_costs_a_lone_record_nothing() {
    for answer in [|| Answer::Status(413, ""), || Answer::Status(400, "SerializationException")] {
        let bench = Bench::new(vec![]);
        assert_eq!(bench.flush(10).await, Outcome::Delivered);
        bench.kinesis.state.borrow_mut().script.push_back(answer());
        assert_eq!(bench.flush_chunk(&chunk_of(&[77])).await, Outcome::Retry);
        assert_eq!(bench.flush_chunk(&chunk_of(&[77])).await, Outcome::Delivered);
        assert_eq!((bench.accepted().pop(), refused(&bench)), (ids([77]).pop(), 0));
    }
}

/// Regression: the first request was accepted, then a proxy refused everything, and 1,996 of 2,000 records were
/// dropped.
#[tokio::test(start_paused = true)]
async fn an_outage_in_the_middle_of_a_flush_costs_nothing() {
    for requests_before in 1..4 {
        let accepted = std::iter::repeat_with(|| Answer::Fail(&[], "")).take(requests_before);
        let bench = Bench::with(accepted.collect(), |_, requests| requests.max_records = 500);
        bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::Status(400, "SerializationException"));
        assert_eq!(bench.flush(2000).await, Outcome::Retry);
        assert_eq!((bench.accepted().len(), refused(&bench)), (500 * requests_before, 0));
        assert!(bench.sizes().len() < 150, "{} requests", bench.sizes().len());
        bench.kinesis.state.borrow_mut().otherwise = None;
        assert_eq!(bench.flush(2000).await, Outcome::Delivered);
        assert_eq!((bench.accepted(), refused(&bench)), (ids(0..2000), 0));
        assert!(bench.delivery.ledger().is_empty());
    }
}

/// Regression: with nothing accepted in between, they were retried forever.
#[tokio::test(start_paused = true)]
async fn two_records_at_fault_end_after_the_next_try_of_an_output_that_delivers() {
    let bench = Bench::new(vec![]);
    bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::Poison(&[r#"{"i":0}"#, r#"{"i":1}"#], "too long"));
    assert_eq!(bench.flush(2).await, Outcome::Retry);
    assert_eq!(bench.flush(2).await, Outcome::Retry, "nothing was accepted meanwhile");
    assert_eq!(refused(&bench), 0);
    assert_eq!(bench.flush_chunk(&chunk_of(&[5])).await, Outcome::Delivered);
    assert_eq!(bench.flush(2).await, Outcome::Hopeless);
    assert_eq!(refused(&bench), 2);
    assert!(bench.delivery.ledger().is_empty());
    let lines = bench.log.lines();
    assert!(lines[0].contains("nothing has been accepted since, so the records may not be at fault"), "{lines:?}");
}

/// An acceptance after the refusal proves nothing if its request was sent before.
#[tokio::test(start_paused = true)]
async fn the_last_record_of_a_chunk_is_refused_for_good_after_a_later_request() {
    let bench = Bench::with(vec![], |_, requests| requests.max_records = 500);
    bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::Poison(&[r#"{"i":99}"#], "said so"));
    assert_eq!(bench.flush(100).await, Outcome::Retry);
    assert_eq!((bench.accepted(), refused(&bench)), (ids(0..99), 0));
    assert_eq!(bench.delivery.metrics().get(Metric::RecordsLeft), 1);
    assert_eq!(bench.flush_chunk(&chunk_of(&[500])).await, Outcome::Delivered);
    assert_eq!(bench.flush(100).await, Outcome::Delivered);
    assert_eq!((bench.accepted().len(), refused(&bench)), (100, 1));
}

#[tokio::test(start_paused = true)]
async fn more_records_at_fault_than_are_tried_in_a_row_end_too() {
    let bench = Bench::with(vec![], |_, requests| requests.max_records = 500);
    bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::PoisonInside(r#"{"i":1"#, true));
    let mut outcome = Outcome::Retry;
    let mut flushes = 0;
    while outcome == Outcome::Retry && flushes < 20 {
        outcome = bench.flush(30).await;
        flushes += 1;
        assert_eq!(bench.flush_chunk(&chunk_of(&[500])).await, Outcome::Delivered);
    }
    assert_eq!(outcome, Outcome::Delivered);
    assert_eq!(refused(&bench), 11, "1 and 10 to 19");
    assert!(flushes <= 3, "{flushes} flushes");
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_refused_by_itself_is_not_sent_with_those_that_failed() {
    let bench = Bench::new(vec![Answer::Codes(&["ValidationException", "InternalFailure", ""])]);
    bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::FailInside(r#"{"i":0}"#, "ValidationException"));
    assert_eq!(bench.flush(3).await, Outcome::Delivered);
    assert_eq!((bench.accepted(), refused(&bench)), (ids(1..3), 1));
    let requests = bench.kinesis.state.borrow().requests.clone();
    let data = |request: usize| requests[request].iter().map(|(data, _)| data.clone()).collect::<Vec<_>>();
    assert_eq!([data(1), data(2)], [ids([1]), ids([0])], "what failed, then the one that was refused, once more");
    assert_eq!(requests.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_refused_by_itself_needs_no_other_request_but_a_second_refusal() {
    let bench = Bench::new(vec![Answer::Codes(&["", "InvalidArgumentException"])]);
    assert_eq!(bench.flush(2).await, Outcome::Delivered);
    assert_eq!((bench.accepted(), refused(&bench)), (ids(0..2), 0));
    bench.kinesis.state.borrow_mut().script.push_back(Answer::Codes(&["InvalidArgumentException"; 2]));
    assert_eq!(bench.flush(2).await, Outcome::Retry, "none was accepted with them or after them");
    assert_eq!(bench.flush(2).await, Outcome::Delivered);
    assert_eq!(refused(&bench), 0);
}

#[tokio::test(start_paused = true)]
async fn records_refused_alone_are_tried_alone_and_once_in_a_flush() {
    let bench = Bench::new(vec![]);
    bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::Poison(&[r#"{"i":0}"#, r#"{"i":1}"#], "too long"));
    assert_eq!(bench.flush(2).await, Outcome::Retry);
    assert_eq!(bench.sizes(), [2, 1, 1]);
    assert_eq!(bench.flush(2).await, Outcome::Retry);
    assert_eq!(bench.sizes(), [2, 1, 1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_refuses_each_record_by_itself_is_given_up_after_few_requests() {
    let bench = Bench::with(vec![], |settings, _| settings.concurrency = 1);
    bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::FailInside("i", "InvalidArgumentException"));
    assert_eq!(bench.flush(400).await, Outcome::Retry);
    assert_eq!((bench.sizes(), refused(&bench)), (vec![4; stream::refusals::MAX_IN_A_ROW], 0));
    let lines = bench.log.lines();
    assert!(lines[0].contains("stream logs: InvalidArgumentException; nothing has been accepted since"), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn refusals_do_not_end_a_flush_while_others_are_accepted_between_them() {
    let script = (0..40).map(|request| Answer::Codes(if request % 2 == 0 { &["ValidationException"] } else { &[""] }));
    let bench = Bench::with(script.collect(), |settings, requests| {
        (settings.concurrency, requests.max_records) = (1, 1);
    });
    assert_eq!(bench.flush(40).await, Outcome::Delivered, "20 were refused, never two in a row");
    assert_eq!((bench.accepted(), refused(&bench)), (ids(0..40), 0));
}

#[tokio::test(start_paused = true)]
async fn a_flush_that_is_stopped_packs_nothing_more() {
    let bench = Bench::with(vec![], |settings, _| settings.concurrency = 1);
    bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::Status(400, "ResourceNotFoundException"));
    let chunk = [chunk_of(&[1; 100]), b"\xa1x".to_vec()].concat();
    assert_eq!(bench.flush_chunk(&chunk).await, Outcome::Retry);
    assert_eq!(refused(&bench), 0, "the last of the chunk is no event, and was not looked at");
}

const MEGABYTE: usize = 1_000_000;

/// Lines of 100 bytes that do not compress well.
fn lines(count: usize) -> Vec<u8> {
    let line = |id: usize| serde_json::json!({ "i": id, "log": format!("{:080}", id * 7919) });
    (0..count).flat_map(|id| rmp_serde::to_vec(&(1, line(id))).unwrap()).collect()
}

/// The lines that Kinesis accepted, however they were joined.
fn stored(bench: &Bench) -> Vec<u64> {
    let accepted = bench.accepted().concat();
    let id = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["i"].as_u64().unwrap();
    let mut ids: Vec<u64> = accepted.lines().map(id).collect();
    ids.sort_unstable();
    ids
}

fn joined(bench_settings: &mut RequestSettings) {
    bench_settings.aggregation = Some(Aggregation::Lines);
    bench_settings.record.newline = true;
}

/// Regression: a proxy with a body limit of one megabyte made us drop 14,137 of 20,000 ordinary lines.
#[tokio::test(start_paused = true)]
async fn a_proxys_body_limit_costs_no_line_and_is_remembered() {
    for aggregated in [true, false] {
        let bench = Bench::with(vec![], |_, requests| {
            requests.max_records = 500;
            requests.record.newline = true;
            if aggregated {
                joined(requests);
            } else {
                // So that 500 records exceed a megabyte.
                requests.record.max_bytes = 10 << 20;
            }
        });
        let chunk = if aggregated { lines(20_000) } else { (0..900).flat_map(|id| long_line(id, 4000)).collect() };
        let count = if aggregated { 20_000 } else { 900 };
        bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::BodyLimit(MEGABYTE));
        assert_eq!(bench.flush_chunk(&chunk).await, Outcome::Delivered, "aggregated: {aggregated}");
        assert_eq!(stored(&bench), (0..count).collect::<Vec<_>>());
        assert_eq!(refused(&bench), 0);
        let (requests, refusals) = (bench.sizes().len(), too_large(&bench));
        assert!(refusals > 0);
        assert_eq!(bench.flush_chunk(&chunk).await, Outcome::Delivered);
        assert_eq!(too_large(&bench), refusals, "aggregated: {aggregated}");
        assert!(bench.sizes().len() - requests < 20, "and yet not in many small ones: {:?}", bench.sizes().len());
        let lines = bench.log.lines();
        assert!(!lines.is_empty());
        assert!(lines.iter().all(|line| line.contains("too large for the stream or a proxy")), "{lines:?}");
    }
}

fn too_large(bench: &Bench) -> u64 {
    bench.delivery.metrics().get_by(crate::metrics::RequestOutcome::Other4xx)
}

fn long_line(id: usize, bytes: usize) -> Vec<u8> {
    rmp_serde::to_vec(&(1, serde_json::json!({ "i": id, "log": "x".repeat(bytes) }))).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_passed_is_the_size_of_a_group_and_not_of_a_record_alone() {
    let bench = Bench::with(vec![], |_, requests| joined(requests));
    let limit = &bench.delivery.stream().sizes().group;
    let lower_to = |most: usize| while limit.get() > most && limit.refused(limit.get(), Some(most)) {};
    lower_to(5000);
    assert_eq!(bench.flush_chunk(&long_line(0, 4000)).await, Outcome::Delivered);
    assert!(limit.refused(4500, None));
    assert_eq!(limit.get(), 2250, "4,000 bytes passed, but as one record");
    assert_eq!(bench.flush_chunk(&lines(15)).await, Outcome::Delivered);
    assert!(limit.refused(2200, None));
    assert!((1400..2200).contains(&limit.get()), "{}", limit.get());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_accepted_shows_what_size_passes() {
    let bench = Bench::new(vec![]);
    let limit = &bench.delivery.stream().sizes().request;
    assert!(limit.refused(limit.get(), Some(5000)));
    assert_eq!(bench.flush_chunk(&long_line(0, 4000)).await, Outcome::Delivered);
    assert!(limit.refused(4500, None));
    assert!((4000..4500).contains(&limit.get()), "{}", limit.get());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_takes_smaller_records_than_max_record_size_says_costs_no_line() {
    let bench = Bench::with(vec![], |_, requests| {
        joined(requests);
        requests.record.max_bytes = 4 << 20;
        requests.max_bytes = 10 << 20;
    });
    bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::DataLimit(1 << 20));
    for _ in 0..2 {
        assert_eq!(bench.flush_chunk(&lines(30_000)).await, Outcome::Delivered);
    }
    assert_eq!(stored(&bench), (0..30_000).flat_map(|id| [id, id]).collect::<Vec<_>>());
    assert_eq!(refused(&bench), 0);
    let requests = bench.kinesis.state.borrow().requests.clone();
    let groups = requests.iter().rev().take(3).flatten().map(|(data, _)| data.len());
    assert!(groups.max().unwrap() > 900 << 10, "as large as the stream says");
}

#[tokio::test(start_paused = true)]
async fn a_single_record_that_is_too_large_for_the_stream_is_refused_and_no_other() {
    for aggregated in [true, false] {
        let bench = Bench::with(vec![], |_, requests| {
            requests.record.max_bytes = 4 << 20;
            requests.record.newline = true;
            if aggregated {
                joined(requests);
            }
        });
        bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::DataLimit(1 << 20));
        let chunk = [lines(10), long_line(10, 2 << 20), lines(10)].concat();
        assert_eq!(bench.flush_chunk(&chunk).await, Outcome::Delivered);
        assert_eq!(stored(&bench), (0..10).flat_map(|id| [id, id]).collect::<Vec<_>>());
        assert_eq!(refused(&bench), 1);
    }
}

/// If a proxy accepts no body at all, requests must not shrink until each line has been sent alone.
#[tokio::test(start_paused = true)]
async fn a_proxy_that_accepts_nothing_is_given_up_after_few_requests() {
    for (status, code) in [(413, ""), (400, "SerializationException")] {
        let bench = Bench::with(vec![], |_, requests| joined(requests));
        bench.kinesis.state.borrow_mut().otherwise = if status == 413 {
            Some(|| Answer::Status(413, ""))
        } else {
            Some(|| Answer::Status(400, "SerializationException"))
        };
        assert_eq!(bench.flush_chunk(&lines(20_000)).await, Outcome::Retry, "{code}");
        assert_eq!(refused(&bench), 0);
        assert!(bench.sizes().len() < 60, "{status}: {} requests", bench.sizes().len());
    }
}
