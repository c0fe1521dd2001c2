//! Records that share a Kinesis record are still delivered, refused, left and remembered individually.

use super::scripted::{Answer, Bench, ids};
use crate::deliver::*;
use crate::pack::Aggregation;

const THROTTLED: &str = "ProvisionedThroughputExceededException";

/// Blocks of three lines.
fn bench(script: Vec<Answer>, retries: usize) -> Bench {
    Bench::with(script, |settings, requests| {
        settings.retries = retries;
        requests.aggregation = Some(Aggregation::Lines);
        requests.record.newline = true;
        requests.record.max_bytes = "{\"i\":0}\n".len() * 3 + crate::kinesis::random_key::RANDOM_KEY_LENGTH;
    })
}

/// The records that Kinesis accepted.
fn accepted(bench: &Bench) -> Vec<String> {
    let mut records: Vec<String> = bench.accepted().concat().lines().map(str::to_owned).collect();
    records.sort();
    records
}

#[tokio::test(start_paused = true)]
async fn a_block_that_was_throttled_is_sent_again_whole_under_another_key() {
    let bench = bench(vec![Answer::Fail(&[1], THROTTLED)], 8);
    assert_eq!(bench.flush(8).await, Outcome::Delivered);
    assert_eq!(bench.sizes(), [3, 1]);
    let requests = bench.kinesis.state.borrow().requests.clone();
    assert_eq!(requests[1][0].0, requests[0][1].0);
    assert_ne!(requests[1][0].1, requests[0][1].1);
    assert_eq!(bench.delivery.metrics().get(Metric::RecordsDelivered), 8);
    assert_eq!(bench.delivery.progress(), 8);
    let lines = bench.log.lines();
    assert!(lines[0].contains("3 of 8 records not accepted (ProvisionedThroughputExceededException)"), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn fluent_bits_retry_sends_the_records_of_the_failed_block_alone() {
    let bench = bench(vec![Answer::Fail(&[1], THROTTLED)], 0);
    assert_eq!(bench.flush(8).await, Outcome::Retry);
    let metrics = bench.delivery.metrics();
    assert_eq!((metrics.get(Metric::RecordsDelivered), metrics.get(Metric::RecordsLeft)), (5, 3));
    assert_eq!(bench.flush(8).await, Outcome::Delivered);
    assert_eq!((metrics.get(Metric::RecordsDelivered), metrics.get(Metric::RecordsDeduplicated)), (8, 5));
    let requests = bench.kinesis.state.borrow().requests.clone();
    assert_eq!(requests[1].iter().map(|(block, _)| block.as_str()).collect::<Vec<_>>(), [ids(3..6).join("\n") + "\n"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_made_into_a_request_is_left_too() {
    let bench = bench(vec![], 0);
    bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::Status(400, "AccessDeniedException"));
    assert_eq!(bench.flush(100).await, Outcome::Retry);
    assert_eq!(bench.delivery.metrics().get(Metric::RecordsLeft), 100);
}

#[tokio::test(start_paused = true)]
async fn of_a_refused_block_only_the_record_at_fault_is_refused() {
    let unnamed: fn() -> Answer = || Answer::PoisonInside("{\"i\":4}\n", false);
    let named: fn() -> Answer = || Answer::PoisonInside("{\"i\":4}\n", true);
    let by_record: fn() -> Answer = || Answer::FailInside("{\"i\":4}\n", "InvalidArgumentException");
    for otherwise in [unnamed, named, by_record] {
        let bench = bench(vec![], 8);
        bench.kinesis.state.borrow_mut().otherwise = Some(otherwise);
        assert_eq!(bench.flush(8).await, Outcome::Delivered);
        assert_eq!(accepted(&bench), ids([0, 1, 2, 3, 5, 6, 7]));
        let metrics = bench.delivery.metrics();
        assert_eq!(
            (metrics.get(Metric::RecordsDelivered), metrics.get_by(crate::metrics::RefusalReason::ByKinesis)),
            (7, 1)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_records_of_a_refused_block_are_packed_again_without_others() {
    let bench = bench(vec![], 8);
    bench.kinesis.state.borrow_mut().otherwise = Some(|| Answer::FailInside("1}", "InvalidArgumentException"));
    let event = |id: u32| rmp_serde::to_vec(&(1, serde_json::json!({ "i": id }))).unwrap();
    assert_eq!(bench.flush_chunk(&[0, 1, 2, 11].map(event).concat()).await, Outcome::Delivered);
    assert_eq!(accepted(&bench), ids([0, 2]));
    assert_eq!(bench.sizes(), [2, 3, 1, 1], "two blocks, the records of the first, and each refused record alone");
}

#[tokio::test(start_paused = true)]
async fn records_that_may_be_stored_twice_are_counted_each() {
    let bench = bench(vec![Answer::Mismatch], 8);
    assert_eq!(bench.flush(8).await, Outcome::Delivered);
    assert_eq!(bench.delivery.metrics().get(Metric::RecordsAmbiguous), 8);
}
