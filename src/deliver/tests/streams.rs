//! Delivery to streams that a template names.

use std::collections::{BTreeMap, BTreeSet};

use super::scripted::{delivery_to, deps, settings};
use super::service::{Behaviour, FakeService, Reply, Request, judged, refusal};
use crate::deliver::*;
use crate::kinesis::stream::Stream;
use crate::log::tests::TestLog;
use crate::metrics::RefusalReason;
use crate::record::StreamTemplate;
use std::num::NonZeroUsize;
use tokio::task::LocalSet;

const THROTTLED: &str = "ProvisionedThroughputExceededException";

/// Streams that store records, but for those that are missing, throttled or refuse a record.
#[derive(Default)]
struct Kinesis {
    missing: BTreeSet<String>,
    /// Of a throttled stream every third record fails.
    throttled: BTreeSet<String>,
    /// Refuses requests with records that contain this.
    poison: Option<&'static str>,
    put: u32,
    /// Each stream's records, and when the last one was stored.
    stored: BTreeMap<String, (Vec<String>, Duration)>,
    requests: BTreeMap<String, usize>,
}

impl Behaviour for Kinesis {
    async fn put(state: &RefCell<Self>, Request { at, stream, records, .. }: Request) -> Reply {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let state = &mut *state.borrow_mut();
        *state.requests.entry(stream.clone()).or_default() += 1;
        if state.missing.contains(&stream) {
            return refusal(400, "ResourceNotFoundException", "no such stream");
        }
        if records.iter().any(|record| state.poison.is_some_and(|poison| record.text().contains(poison))) {
            return refusal(400, "ValidationException", "bad");
        }
        let (stored, last) = state.stored.entry(stream.clone()).or_default();
        let answers: Vec<_> = records
            .iter()
            .map(|record| {
                state.put += 1;
                if state.throttled.contains(&stream) && state.put % 10 < 3 {
                    return Err(THROTTLED);
                }
                stored.push(record.text().to_owned());
                *last = at;
                Ok("shardId-000000000000".to_owned())
            })
            .collect();
        judged(answers)
    }

    fn renew(&mut self) -> bool {
        false
    }
}

struct Bench {
    kinesis: FakeService<Kinesis>,
    delivery: Rc<Delivery<FakeService<Kinesis>>>,
    log: TestLog,
}

impl Bench {
    fn new(template: &str, fallback: Option<&str>, max_streams: usize) -> Bench {
        let template = StreamTemplate::parse(template).unwrap();
        let template = template.with_fallback(fallback.map(|name| Stream::parse(name).unwrap()));
        let target = Target::Template { template, max_streams: NonZeroUsize::new(max_streams).unwrap() };
        let (kinesis, log) = (FakeService::new(Kinesis::default()), TestLog::default());
        let requests = RequestSettings { max_records: 10, ..RequestSettings::default() };
        let settings = Settings { concurrency: 256, ..settings() };
        let deps = deps(kinesis.clone(), Ledger::new(1 << 20), 1, &log);
        let delivery = delivery_to(target, deps, requests, settings);
        Bench { kinesis, delivery, log }
    }

    async fn flush(&self, chunk: &[u8], tag: &str) -> Outcome {
        LocalSet::new().run_until(self.delivery.deliver(chunk, tag.as_bytes())).await
    }

    /// The number of records in each stream. None of them is there twice.
    fn counts(&self) -> BTreeMap<String, usize> {
        let state = self.kinesis.state.borrow();
        let stored = state.stored.iter().filter(|(_, (records, _))| !records.is_empty());
        stored
            .map(|(stream, (records, _))| {
                assert_eq!(records.iter().collect::<BTreeSet<_>>().len(), records.len(), "twice in {stream}");
                (stream.clone(), records.len())
            })
            .collect()
    }
}

/// A chunk of records that name one of `streams` in turn.
fn chunk(records: usize, streams: usize) -> Vec<u8> {
    let record = |id: usize| (1, serde_json::json!({ "i": id, "k": { "ns": format!("n{}", id % streams) } }));
    (0..records).flat_map(|id| rmp_serde::to_vec(&record(id)).unwrap()).collect()
}

fn each(streams: impl IntoIterator<Item = usize>, count: usize) -> BTreeMap<String, usize> {
    streams.into_iter().map(|stream| (format!("n{stream}-logs"), count)).collect()
}

#[tokio::test(start_paused = true)]
async fn each_record_goes_to_the_stream_that_it_names_in_full_requests() {
    let bench = Bench::new("$k['ns']-logs", None, 64);
    assert_eq!(bench.flush(&chunk(1000, 5), "app").await, Outcome::Delivered);
    assert_eq!(bench.counts(), each(0..5, 200));
    assert!(bench.kinesis.state.borrow().requests.values().all(|&requests| requests == 20));
    assert_eq!(bench.delivery.metrics().get(Metric::Streams), 5);
    let line = bench.delivery.metrics().line();
    assert!(line.ends_with(", delivered to n0-logs 200, n1-logs 200, n2-logs 200, n3-logs 200, n4-logs 200"), "{line}");
    assert_eq!(bench.log.lines(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_template_of_the_tag_sends_a_chunk_to_one_stream() {
    let bench = Bench::new("logs-$TAG[1]", None, 64);
    for tag in ["kube.shop.x", "kube.web.x", "kube.shop.y"] {
        assert_eq!(bench.flush(&chunk(20, 1), tag).await, Outcome::Delivered);
    }
    let stored = &bench.kinesis.state.borrow().stored;
    let counts: Vec<_> = stored.iter().map(|(stream, (records, _))| (stream.as_str(), records.len())).collect();
    assert_eq!(counts, [("logs-shop", 40), ("logs-web", 20)]);
}

#[tokio::test(start_paused = true)]
async fn a_missing_stream_holds_up_its_own_records_only_and_none_is_sent_twice() {
    let bench = Bench::new("$k['ns']-logs", None, 64);
    bench.kinesis.state.borrow_mut().missing.insert("n3-logs".to_owned());
    let chunk = chunk(1000, 5);
    for _ in 0..3 {
        assert_eq!(bench.flush(&chunk, "app").await, Outcome::Retry);
        assert_eq!(bench.counts(), each([0, 1, 2, 4], 200));
    }
    assert!(bench.log.lines().concat().contains("cannot put records into stream n3-logs"), "{:?}", bench.log.lines());
    bench.kinesis.state.borrow_mut().missing.clear();
    assert_eq!(bench.flush(&chunk, "app").await, Outcome::Delivered);
    assert_eq!(bench.counts(), each(0..5, 200));
}

/// Twenty streams, a missing one and one that throttles: the others take no longer than without them.
#[tokio::test(start_paused = true)]
async fn faults_of_two_streams_do_not_slow_down_the_eighteen_others() {
    let chunks: Vec<Vec<u8>> = (0..10).map(|_| chunk(4000, 20)).collect();
    let mut times = Vec::new();
    for has_faults in [false, true] {
        let bench = Bench::new("$k['ns']-logs", None, 64);
        if has_faults {
            let mut state = bench.kinesis.state.borrow_mut();
            state.missing.insert("n7-logs".to_owned());
            state.throttled.insert("n11-logs".to_owned());
        }
        let kinesis = bench.kinesis.clone();
        let all = async {
            let deliver = |index: usize| {
                let (delivery, chunk) = (Rc::clone(&bench.delivery), &chunks[index]);
                // Fluent Bit retries.
                async move {
                    let tag = format!("app.{index}");
                    while delivery.deliver(chunk, tag.as_bytes()).await == Outcome::Retry {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            };
            let create = async {
                tokio::time::sleep(Duration::from_secs(60)).await;
                kinesis.state.borrow_mut().missing.clear();
            };
            futures_util::future::join(create, futures_util::future::join_all((0..10).map(deliver))).await;
        };
        LocalSet::new().run_until(all).await;
        let state = bench.kinesis.state.borrow();
        for (stream, (records, _)) in &state.stored {
            let count = if has_faults { records.len() } else { 2000 };
            assert_eq!(count, 2000, "{stream}");
        }
        let others = state.stored.iter().filter(|(stream, _)| !["n7-logs", "n11-logs"].contains(&stream.as_str()));
        times.push(others.map(|(_, (_, last))| *last).max().unwrap());
    }
    let [without, with] = times[..] else { panic!("{times:?}") };
    assert!(with.as_secs_f64() <= 1.1 * without.as_secs_f64(), "{with:?} instead of {without:?}");
}

#[tokio::test(start_paused = true)]
async fn more_streams_than_are_kept_cost_no_record() {
    let bench = Bench::new("$k['ns']-logs", None, 4);
    bench.kinesis.state.borrow_mut().throttled.insert("n9-logs".to_owned());
    for tag in ["a", "b"] {
        assert_eq!(bench.flush(&chunk(1000, 100), tag).await, Outcome::Delivered);
    }
    assert_eq!(bench.delivery.metrics().get(Metric::Streams), 4);
    let stored = &bench.kinesis.state.borrow().stored;
    assert_eq!(stored.len(), 100);
    assert!(stored.values().all(|(records, _)| records.len() == 20));
}

#[tokio::test(start_paused = true)]
async fn records_without_a_stream_are_refused_unless_there_is_a_fallback() {
    let mut chunk = chunk(10, 2);
    chunk.extend(rmp_serde::to_vec(&(1, serde_json::json!({ "i": "none" }))).unwrap());
    let bench = Bench::new("$k['ns']-logs", None, 64);
    assert_eq!(bench.flush(&chunk, "app").await, Outcome::Delivered);
    assert_eq!(bench.delivery.metrics().get_by(RefusalReason::NoStream), 1);
    assert_eq!(
        bench.log.lines(),
        ["Error a record cannot be sent: stream gives no valid name for it, and stream_fallback is not set"]
    );
    let bench = Bench::new("$k['ns']-logs", Some("rest"), 64);
    assert_eq!(bench.flush(&chunk, "app").await, Outcome::Delivered);
    assert_eq!(bench.counts()["rest"], 1);
    assert_eq!(bench.log.lines(), [""; 0]);
}

/// What was refused alone is remembered per chunk; a stream must not take another stream's record for its own.
#[tokio::test(start_paused = true)]
async fn a_record_at_fault_is_given_up_in_its_stream_and_no_other_record_is() {
    let bench = Bench::new("$k['ns']-logs", None, 64);
    bench.kinesis.state.borrow_mut().poison = Some(r#""i":57,"#);
    let chunk = chunk(100, 5);
    let mut outcome = Outcome::Retry;
    for _ in 0..5 {
        outcome = bench.flush(&chunk, "app").await;
        if outcome != Outcome::Retry {
            break;
        }
    }
    assert_eq!(outcome, Outcome::Delivered);
    assert_eq!(bench.delivery.metrics().get_by(RefusalReason::ByKinesis), 1);
    assert_eq!(bench.counts().values().sum::<usize>(), 99);
}
