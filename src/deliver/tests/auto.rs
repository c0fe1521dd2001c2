//! A stream that begins to distribute records itself, and stops again: nothing is lost to consumers that drop
//! aggregates.

use proptest::prelude::*;
use tokio::task::LocalSet;

use super::shards::{Bench, Kinesis, seconds};
use crate::deliver::*;
use crate::kinesis::kpl::MAGIC;
use crate::record::partition_key::PartitionKey;

type Stream = Rc<RefCell<Kinesis>>;

fn stream(kinesis: Kinesis) -> Stream {
    Rc::new(RefCell::new(kinesis))
}

/// An output that makes aggregates and finds out how the stream distributes records.
fn detecting(stream: &Stream, by_shard: bool) -> Bench {
    Bench::with(stream, by_shard, 1, |settings, _| settings.record_distribution = RecordDistribution::Detect)
}

/// An output that sends no keys where it can.
fn without_keys(stream: &Stream, expected: RecordDistribution) -> Bench {
    Bench::with(stream, false, 1, |settings, requests| {
        settings.record_distribution = expected;
        requests.omits_random_keys = true;
        requests.aggregation = None;
        requests.record.partition_key = PartitionKey::Random;
    })
}

/// An output that takes the stream's size limit.
fn of_any_size(stream: &Stream) -> Bench {
    Bench::with(stream, false, 1, |settings, requests| {
        settings.follows_record_size = true;
        requests.aggregation = None;
    })
}

impl Bench {
    /// How many aggregates arrived since the last look, and how many Kinesis records.
    fn arrived(&self, from: usize) -> (usize, usize) {
        let kinesis = self.kinesis.borrow();
        let stored = &kinesis.stored[from..];
        (stored.iter().filter(|(_, record)| record.data.starts_with(&MAGIC)).count(), stored.len())
    }

    /// Delivers a chunk and returns what arrived.
    async fn flush_and_look(&self) -> (usize, usize) {
        let before = self.kinesis.borrow().stored.len();
        self.flush(200, 50).await;
        self.arrived(before)
    }

    async fn flush_body(&self, bytes: usize) -> Outcome {
        let body = rmpv::Value::Map(vec![("k".into(), "x".repeat(bytes).into())]);
        let mut chunk = Vec::new();
        rmpv::encode::write_value(&mut chunk, &rmpv::Value::Array(vec![1.into(), body])).unwrap();
        self.delivery.deliver(&chunk, b"app").await
    }

    /// The sizes of all records so far.
    fn stored_bytes(&self) -> Vec<usize> {
        self.kinesis.borrow().stored.iter().map(|(_, record)| record.data.len()).collect()
    }

    fn count(&self, metric: Metric) -> u64 {
        self.delivery.metrics().get(metric)
    }
}

#[tokio::test(start_paused = true)]
async fn no_record_is_lost_to_consumers_while_a_stream_is_switched_to_auto_and_back() {
    for by_shard in [false, true] {
        for cannot_describe in [None, Some("AccessDeniedException"), Some("LimitExceededException")] {
            let bench = detecting(&stream(Kinesis { cannot_describe, ..Kinesis::new(4) }), by_shard);
            bench
                .run(async {
                    for round in 0..200 {
                        bench.kinesis.borrow_mut().auto = (40..60).contains(&round) || (140..150).contains(&round);
                        bench.flush(100, 25).await;
                        seconds(60).await;
                    }
                })
                .await;
            bench.assert_all_consumed(25);
            assert!(bench.count(Metric::RecordsMisplaced) > 0);
            assert!(bench.arrived(0).0 > 150, "aggregates where they are safe: {:?}", bench.arrived(0));
            assert_eq!(bench.count(Metric::RecordsDelivered), 200 * 100);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Whatever may be asked, as long as the shards may be listed.
    #[test]
    fn no_schedule_of_switches_loses_a_record(
        by_shard: bool,
        starts_as_auto: bool,
        may_describe: bool,
        shards in 2_u128..8,
        steps in prop::collection::vec((any::<bool>(), 1_u64..400), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let cannot_describe = (!may_describe).then_some("AccessDeniedException");
            let bench = detecting(&stream(Kinesis { auto: starts_as_auto, cannot_describe, ..Kinesis::new(shards) }), by_shard);
            bench
                .run(async {
                    for (switches, pause) in &steps {
                        bench.kinesis.borrow_mut().auto ^= switches;
                        bench.flush(100, 30).await;
                        seconds(*pause).await;
                    }
                })
                .await;
            bench.assert_all_consumed(30);
        });
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_aggregated_before_it_is_known_to_arrive() {
    for auto in [false, true] {
        let bench = detecting(&stream(Kinesis { auto, ..Kinesis::new(4) }), false);
        bench
            .run(async {
                assert_eq!(bench.flush_and_look().await, (0, 200));
                seconds(31).await;
                assert_eq!(bench.flush_and_look().await, if auto { (0, 200) } else { (50, 50) });
            })
            .await;
        bench.assert_all_consumed(50);
        assert_eq!(bench.count(Metric::RecordsMisplaced), 0);
        assert_eq!(bench.count(Metric::AutoStreams), u64::from(auto));
    }
}

#[tokio::test(start_paused = true)]
async fn a_switch_is_one_warning_and_one_line_when_it_ends() {
    let bench = detecting(&stream(Kinesis::new(4)), true);
    bench
        .run(async {
            seconds(40).await;
            bench.kinesis.borrow_mut().auto = true;
            for _ in 0..100 {
                bench.flush(200, 50).await;
                seconds(30).await;
            }
            bench.kinesis.borrow_mut().auto = false;
            seconds(2700).await;
            assert_eq!(bench.flush_and_look().await, (4, 4));
        })
        .await;
    bench.assert_all_consumed(50);
    assert_eq!(
        bench.log.lines(),
        [
            "Info aggregates are in shards of stream logs to which their keys do not belong: sending their records again one by one",
            "Warn stream logs distributes records itself (AUTO), as its replies show: consumers would drop aggregates, so records are sent one by one",
            "Info stream logs distributes records by partition keys: records are aggregated again",
        ]
    );
    assert_eq!(bench.count(Metric::AutoStreams), 0);
}

#[tokio::test(start_paused = true)]
async fn without_the_permission_two_maps_in_a_row_are_believed_and_no_more_are_asked_for() {
    let cannot_describe = Some("AccessDeniedException");
    let bench = detecting(&stream(Kinesis { cannot_describe, ..Kinesis::new(4) }), true);
    bench
        .run(async {
            seconds(40).await;
            bench.kinesis.borrow_mut().auto = true;
            assert!(bench.flush_and_look().await.1 > 4, "the first misplaced aggregates are sent again");
            seconds(91).await;
            assert!(bench.flush_and_look().await.1 > 4, "a new map disagrees too");
            let lists = bench.kinesis.borrow().lists.len();
            assert_eq!(lists, 2);
            for _ in 0..100 {
                assert_eq!(bench.flush_and_look().await, (0, 200));
                seconds(60).await;
            }
            assert_eq!(bench.kinesis.borrow().lists.len(), lists, "nothing is packed by shard any more");
        })
        .await;
    bench.assert_all_consumed(50);
    let lines = bench.log.lines();
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with(
        "Warn cannot describe stream logs: HTTP 400 AccessDeniedException: not authorized to perform: kinesis:DescribeStreamSummary; record_distribution detect requires the permission kinesis:DescribeStreamSummary and goes by the shards in replies until it is known"
    )), "{lines:#?}");
    assert!(
        lines[2].starts_with("Warn stream logs distributes records itself (AUTO), as its replies show: "),
        "{lines:#?}"
    );
}

/// A recreated stream reuses ids, so the first map that disagrees may be of another stream.
#[tokio::test(start_paused = true)]
async fn a_recreated_stream_is_not_taken_for_one_that_distributes_records_itself() {
    let cannot_describe = Some("AccessDeniedException");
    let bench = detecting(&stream(Kinesis { cannot_describe, ..Kinesis::new(4) }), true);
    bench
        .run(async {
            seconds(40).await;
            *bench.kinesis.borrow_mut() = Kinesis { cannot_describe, ..Kinesis::new(3) };
            bench.flush(200, 50).await;
            assert_eq!(bench.flush_and_look().await, (0, 200), "suspected");
            seconds(91).await;
            assert_eq!(bench.flush_and_look().await, (3, 3));
        })
        .await;
    assert_eq!(bench.count(Metric::AutoStreams), 0);
}

#[tokio::test(start_paused = true)]
async fn with_neither_permission_records_are_aggregated_after_both_refusals_with_two_warnings() {
    let kinesis = Kinesis { denied: true, cannot_describe: Some("AccessDeniedException"), ..Kinesis::new(4) };
    let bench = detecting(&stream(kinesis), false);
    bench
        .run(async {
            assert_eq!(bench.flush_and_look().await, (0, 200));
            seconds(31).await;
            assert_eq!(bench.flush_and_look().await, (50, 50));
        })
        .await;
    bench.assert_all_consumed(50);
    let lines = bench.log.lines();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    let text = "; record_distribution detect requires the permission kinesis:ListShards and cannot see in which shards aggregates are until they are known";
    assert!(lines.iter().any(|line| line.ends_with(text)), "{lines:#?}");
}

#[tokio::test(start_paused = true)]
async fn throttling_is_no_refusal_and_what_it_hides_is_waited_for() {
    let cannot_describe = Some("LimitExceededException");
    let bench = detecting(&stream(Kinesis { denied: true, cannot_describe, ..Kinesis::new(4) }), false);
    bench
        .run(async {
            seconds(40).await;
            assert_eq!(bench.flush_and_look().await, (0, 200));
            bench.kinesis.borrow_mut().cannot_describe = None;
            seconds(601).await;
            assert_eq!(bench.flush_and_look().await, (50, 50));
        })
        .await;
    assert_eq!(bench.log.lines().len(), 1, "only about ListShards: {:#?}", bench.log.lines());
}

#[tokio::test(start_paused = true)]
async fn replies_that_contradict_every_map_do_not_bring_a_list_a_minute_for_ever() {
    let kinesis = stream(Kinesis { auto: true, ..Kinesis::new(4) });
    let bench = Bench::with(&kinesis, true, 1, |_, _| {});
    bench
        .run(async {
            for _ in 0..288 {
                bench.flush(20, 10).await;
                seconds(300).await;
            }
        })
        .await;
    let lists = bench.kinesis.borrow().lists.len();
    assert!(lists < 170, "hardly more than one in ten minutes: {lists} in a day");
    assert_eq!(bench.count(Metric::RecordsMisplaced), 0, "the user has said that keys count");
}

#[tokio::test(start_paused = true)]
async fn what_is_told_is_not_asked_for() {
    let kinesis = stream(Kinesis { auto: true, ..Kinesis::new(4) });
    let expects = |expected| Bench::with(&kinesis, false, 1, |settings, _| settings.record_distribution = expected);
    for (expected, aggregates) in [(RecordDistribution::Auto, 0), (RecordDistribution::User, 50)] {
        let bench = expects(expected);
        bench
            .run(async {
                assert_eq!(bench.flush_and_look().await.0, aggregates);
                seconds(4000).await;
                assert_eq!(bench.flush_and_look().await.0, aggregates);
            })
            .await;
        assert_eq!(bench.count(Metric::AutoStreams), u64::from(expected == RecordDistribution::Auto));
    }
    assert!(kinesis.borrow().lists.is_empty() && kinesis.borrow().descriptions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn keys_are_left_out_only_while_the_stream_is_known_to_ignore_them() {
    let bench = without_keys(&stream(Kinesis { auto: true, ..Kinesis::new(4) }), RecordDistribution::Detect);
    let keys = || {
        let kinesis = bench.kinesis.borrow();
        let last = kinesis.stored.iter().rev().take(200);
        last.filter(|(_, record)| !record.key.is_empty()).count()
    };
    bench
        .run(async {
            bench.flush(200, 50).await;
            assert_eq!(keys(), 200, "it is not known yet");
            seconds(31).await;
            bench.flush(200, 50).await;
            assert_eq!(keys(), 0);
            bench.kinesis.borrow_mut().auto = false;
            bench.flush(200, 50).await;
            assert_eq!(keys(), 200);
            assert_eq!(bench.kinesis.borrow().refused_without_keys, 1);
            seconds(1000).await;
            bench.flush(200, 50).await;
            assert_eq!(bench.kinesis.borrow().refused_without_keys, 1, "by now it is described again");
        })
        .await;
    assert_eq!(bench.kinesis.borrow().stored.len(), 800);
    assert_eq!(bench.delivery.metrics().total::<crate::metrics::RefusalReason>(), 0);
    let refused = "HTTP 400 ValidationException: failed to satisfy constraint: Member must not be null";
    assert_eq!(
        bench.log.lines(),
        [
            "Info stream logs distributes records itself (AUTO), as its configuration says: partition keys are not sent",
            &format!("Warn a request without partition keys was refused: {refused}; sending partition keys for now"),
            "Info stream logs distributes records by partition keys: partition keys are sent again",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_said_to_ignore_keys_is_asked_again_ten_minutes_after_it_wanted_them() {
    let bench = without_keys(&stream(Kinesis::new(4)), RecordDistribution::Auto);
    bench
        .run(async {
            for _ in 0..21 {
                bench.flush(200, 50).await;
                seconds(60).await;
            }
        })
        .await;
    let kinesis = bench.kinesis.borrow();
    assert_eq!((kinesis.refused_without_keys, kinesis.stored.len()), (3, 21 * 200));
    assert!(kinesis.descriptions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_record_may_be_as_large_as_the_stream_says() {
    let bench = of_any_size(&stream(Kinesis { max_record_kib: Some(4096), ..Kinesis::new(1) }));
    bench
        .run(async {
            assert_eq!(bench.flush_body(3 << 20).await, Outcome::Delivered);
            assert!(bench.stored_bytes()[0] <= 1 << 20, "the default until it is known");
            seconds(31).await;
            assert_eq!(bench.flush_body(3 << 20).await, Outcome::Delivered);
            assert!(bench.stored_bytes()[1] > 3 << 20);
            // Somebody lowers it.
            bench.kinesis.borrow_mut().max_record_kib = Some(2048);
            assert_eq!(bench.flush_body(3 << 20).await, Outcome::Delivered);
            let bytes = bench.stored_bytes()[2];
            assert!((2 << 20) - 300 < bytes && bytes <= 2 << 20, "cut to the limit that the service named: {bytes}");
            // And raises it.
            bench.kinesis.borrow_mut().max_record_kib = Some(10 << 10);
            seconds(2700).await;
            assert_eq!(bench.flush_body(9 << 20).await, Outcome::Delivered);
            assert!(bench.stored_bytes()[3] > 9 << 20);
        })
        .await;
    assert_eq!(bench.count(Metric::RecordsTruncated), 2);
    assert!(bench.log.lines()[0].ends_with("was truncated to max_record_size, 1048576"), "{:#?}", bench.log.lines());
}

#[tokio::test(start_paused = true)]
async fn without_the_permission_the_size_stays_at_the_default_and_the_log_says_so() {
    let cannot_describe = Some("AccessDeniedException");
    let bench = of_any_size(&stream(Kinesis { cannot_describe, ..Kinesis::new(1) }));
    bench
        .run(async {
            seconds(31).await;
            assert_eq!(bench.flush_body(3 << 20).await, Outcome::Delivered);
        })
        .await;
    assert!(bench.stored_bytes()[0] <= 1 << 20);
    let expected = "; max_record_size auto requires the permission kinesis:DescribeStreamSummary and is 1048576 bytes until it is known";
    assert!(bench.log.lines()[0].ends_with(expected), "{:#?}", bench.log.lines());
}

/// All start together, are throttled, see a switch, and lose the permission together. A fleet of 10,000 may make 20
/// calls a second, with everything else in the account; this is a tenth of it.
#[tokio::test(start_paused = true)]
async fn a_fleet_describes_the_stream_less_often_than_it_may() {
    let kinesis = stream(Kinesis { cannot_describe: Some("LimitExceededException"), ..Kinesis::new(4) });
    let expects = |seed| {
        Bench::with(&kinesis, false, seed, |settings, _| settings.record_distribution = RecordDistribution::Detect)
    };
    let fleet: Vec<Bench> = (0..1000).map(expects).collect();
    let local = LocalSet::new();
    for bench in &fleet {
        let keeper = Rc::clone(&bench.delivery);
        local.spawn_local(async move { keeper.watch().await });
    }
    let calls = || kinesis.borrow().descriptions.len();
    local
        .run_until(async {
            seconds(31).await;
            assert!((1000..1060).contains(&calls()), "each once, and some again: {}", calls());
            kinesis.borrow_mut().cannot_describe = None;
            seconds(601).await;
            let start = calls();
            assert!((2000..2060).contains(&start), "the throttled ones within ten minutes: {start}");
            seconds(7200).await;
            let quiet = calls() - start;
            assert!((3000..5000).contains(&quiet), "every half hour: {quiet}");
            kinesis.borrow_mut().cannot_describe = Some("AccessDeniedException");
            seconds(7200).await;
        })
        .await;
    let mut per_minute = std::collections::HashMap::new();
    for time in kinesis.borrow().descriptions.iter().filter(|time| time.as_secs() > 31) {
        *per_minute.entry(time.as_secs() / 60).or_insert(0) += 1;
    }
    let most = per_minute.values().max().copied().unwrap();
    assert!(most < 135, "{most} calls in a minute, and 120 are allowed to a tenth");
}
