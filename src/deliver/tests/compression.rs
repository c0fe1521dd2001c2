//! Blocks of lines that other threads compress are those that the delivery thread would have made, and their records
//! are delivered all the same.

use std::collections::HashMap;
use std::sync::{Arc, Barrier, mpsc};

use futures_util::FutureExt;
use proptest::prelude::*;
use rand::distr::Alphanumeric;
use rand::{RngExt, SeedableRng};
use tokio::task::{JoinSet, LocalSet};

use super::scripted::{delivery, settings};
use super::service::{Behaviour, FakeService, Reply, Request, judged};
use crate::compress::Kind;
use crate::deliver::compression::CompressionThreads;
use crate::deliver::*;
use crate::kinesis::stream::Stream;
use crate::log::tests::TestLog;
use crate::pack::{Aggregation, Packer, RecordIssue};
use crate::record::partition_key::PartitionKey;
use crate::record::path::KeyPath;
use crate::record::size::Oversize;
use crate::record::{Compression, RecordSettings};
use crate::record_set::RecordSet;

const KINDS: [Kind; 4] = [Kind::Gzip, Kind::Zlib, Kind::Zstd, Kind::Snappy];

fn lines(kind: Kind, max_bytes: usize) -> RequestSettings {
    let compression = Some(Compression { kind, level: None });
    let record = RecordSettings { newline: true, max_bytes, compression, ..RecordSettings::default() };
    RequestSettings { aggregation: Some(Aggregation::Lines), record, ..RequestSettings::default() }
}

fn start(threads: usize, settings: &RequestSettings) -> CompressionThreads {
    let log = TestLog::default();
    let started = CompressionThreads::start(threads, settings.record.compression.unwrap(), &log.logger()).unwrap();
    assert_eq!(log.lines(), [""; 0]);
    started
}

/// A line: its key, its length, and whether it can be compressed.
type Line = (u8, usize, bool);

/// A chunk of these lines, `{"k":key,"v":text}`; each begins with its number.
fn chunk(lines: &[Line], first: usize) -> Vec<u8> {
    let mut random = SmallRng::seed_from_u64(first as u64);
    let mut chunk = Vec::new();
    for (number, &(key, length, is_noise)) in (first..).zip(lines) {
        let text: String = match is_noise {
            true => (&mut random).sample_iter(Alphanumeric).take(length).map(char::from).collect(),
            false => "the same again ".chars().cycle().take(length).collect(),
        };
        let body = serde_json::json!({ "k": format!("key-{key}"), "v": format!("{number} {text}") });
        chunk.extend(rmp_serde::to_vec(&(1, body)).unwrap());
    }
    chunk
}

/// What became of a chunk: each request's body and records, and what was reported.
#[derive(Debug, Default, PartialEq)]
struct Packed {
    requests: Vec<(Vec<u8>, Vec<Vec<u32>>)>,
    issues: Vec<(u32, RecordIssue)>,
}

/// Packs a chunk, its blocks compressed by `threads` if there are any. Also returns how many were.
async fn pack(chunk: &[u8], settings: &RequestSettings, threads: Option<&CompressionThreads>) -> (Packed, usize) {
    let stream = Stream::parse("logs").unwrap();
    let mut packer = Packer::new(chunk, b"app", &stream, settings, RecordSet::default());
    let mut random = SmallRng::seed_from_u64(1);
    let (mut packed, mut jobs) = (Packed::default(), 0);
    loop {
        let Packed { requests, issues } = &mut packed;
        let report = &mut |record, issue| issues.push((record, issue));
        if let Some(threads) = threads {
            while let Some(job) = packer.next_job(&mut random, report) {
                let done = threads.compress(job).await.unwrap();
                packer.finish_job(done, &mut random, report);
                jobs += 1;
            }
        }
        let Some(batch) = packer.next_batch(&mut random, report) else { return (packed, jobs) };
        let records = batch.entries().iter().map(|entry| batch.records(entry).to_vec()).collect();
        requests.push((batch.body().to_vec(), records));
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn requests_are_the_same_byte_for_byte_whoever_compresses(
        events in proptest::collection::vec((0_u8..4, 0_usize..8000, any::<bool>()), 0..150),
        other in proptest::collection::vec((0_u8..1, 0_usize..4000, any::<bool>()), 0..100),
        kind in 0_usize..4,
        max_bytes in 500_usize..60_000,
        request_bytes in 1_000_usize..200_000,
        request_records in 1_usize..20,
        oversize in prop_oneof![Just(Oversize::Truncate), Just(Oversize::Discard)],
        is_keyed: bool,
    ) {
        let mut settings = lines(KINDS[kind], max_bytes);
        (settings.max_bytes, settings.max_records) = (request_bytes, request_records);
        settings.record.oversize = oversize;
        if is_keyed {
            settings.record.partition_key = PartitionKey::Value(KeyPath::parse("k").unwrap());
        }
        let (one, two) = (chunk(&events, 0), chunk(&other, 1000));
        block_on(async {
            let inline = (pack(&one, &settings, None).await.0, pack(&two, &settings, None).await.0);
            for count in 1..=2 {
                let threads = start(count, &settings);
                // Their blocks take turns on each thread's encoder.
                let ((one, _), (two, _)) =
                    tokio::join!(pack(&one, &settings, Some(&threads)), pack(&two, &settings, Some(&threads)));
                prop_assert!(one == inline.0 && two == inline.1, "{} threads", count);
            }
            Ok(())
        })?;
    }
}

#[test]
fn only_blocks_that_are_worth_it_go_to_another_thread() {
    let jobs = |line: Line, count: usize, settings: &RequestSettings| {
        let threads = start(1, settings);
        block_on(pack(&chunk(&vec![line; count], 0), settings, Some(&threads))).1
    };
    let zstd = lines(Kind::Zstd, 1 << 20);
    assert_eq!(jobs((0, 1000, false), 100, &zstd), 1, "what is left at the end of the chunk");
    assert_eq!(jobs((0, 100, false), 100, &zstd), 0);
    assert!(jobs((0, 1000, true), 300, &lines(Kind::Zstd, 20_000)) > 5, "all but the last");
    let alone = RequestSettings { aggregation: None, ..zstd };
    assert_eq!(jobs((0, 100_000, false), 3, &alone), 0);
}

#[test]
fn a_block_that_does_not_come_back_is_in_no_request() {
    let settings = lines(Kind::Zstd, 1 << 20);
    let (stream, chunk) = (Stream::parse("logs").unwrap(), chunk(&[(0, 1000, false); 100], 0));
    let mut packer = Packer::new(&chunk, b"app", &stream, &settings, RecordSet::default());
    let mut random = SmallRng::seed_from_u64(1);
    drop(packer.next_job(&mut random, &mut |_, _| {}).unwrap());
    assert!(packer.next_batch(&mut random, &mut |_, _| {}).is_none());
    assert_eq!(packer.events(), 100);
}

#[test]
fn threads_work_side_by_side_survive_a_panic_and_end_with_their_owner() {
    let settings = lines(Kind::Zstd, 1 << 20);
    let threads = start(2, &settings);
    block_on(async {
        let both = Arc::new(Barrier::new(2));
        let meet = || {
            let both = Arc::clone(&both);
            threads.run(move |_| both.wait().is_leader())
        };
        let (one, other) = tokio::join!(meet(), meet());
        assert_ne!(one, other, "they met, and one was the leader");
        let local = LocalSet::new();
        let panics = local.run_until(async {
            let threads = Rc::new(start(1, &settings));
            let panicking = Rc::clone(&threads);
            let panicked = tokio::task::spawn_local(async move { panicking.run(|_| panic!("injected")).await });
            let panicked = panicked.await.err().is_some_and(|error| error.is_panic());
            (panicked, threads.run(|compressor| compressor.is_none()).await)
        });
        assert_eq!(panics.await, (true, Some(true)), "the caller panics, and the thread goes on with a new encoder");
    });
    let (held, hold) = mpsc::channel::<()>();
    let (ended, end) = mpsc::channel::<()>();
    block_on(async {
        // Nobody waits for it any more when it is done.
        let late = threads.run(move |_| {
            hold.recv().ok();
            drop(ended);
        });
        assert!(std::pin::pin!(late).now_or_never().is_none());
    });
    drop(held);
    drop(threads);
    assert_eq!(end.try_recv(), Err(mpsc::TryRecvError::Disconnected), "the drop waited");
}

/// Stores records, or throttles some of them.
struct Kinesis {
    random: SmallRng,
    throttled: f64,
    stored: HashMap<String, usize>,
}

impl Behaviour for Kinesis {
    async fn put(state: &RefCell<Self>, Request { records, .. }: Request) -> Reply {
        let Kinesis { random, throttled, stored } = &mut *state.borrow_mut();
        judged(records.into_iter().map(|record| {
            if random.random_bool(*throttled) {
                return Err("ProvisionedThroughputExceededException");
            }
            let text = String::from_utf8(zstd::decode_all(record.data.as_slice()).unwrap()).unwrap();
            text.lines().for_each(|line| *stored.entry(line.to_owned()).or_default() += 1);
            Ok("s".to_owned())
        }))
    }

    fn renew(&mut self) -> bool {
        false
    }
}

fn bench(
    settings: Settings,
    throttled: f64,
    log: &TestLog,
) -> (FakeService<Kinesis>, Rc<Delivery<FakeService<Kinesis>>>) {
    let random = SmallRng::seed_from_u64(1);
    let kinesis = FakeService::new(Kinesis { random, throttled, stored: HashMap::new() });
    let requests = lines(Kind::Zstd, 10_000);
    (kinesis.clone(), delivery(kinesis, requests, settings, Ledger::new(1 << 20), 1, log))
}

const RECORDS: usize = 300;

/// A chunk of which several blocks are made.
fn chunk_of_blocks(number: usize) -> Vec<u8> {
    chunk(&[(0, 1000, true); RECORDS], number * RECORDS)
}

#[tokio::test(start_paused = true)]
async fn each_record_of_chunks_that_are_compressed_side_by_side_is_delivered_once() {
    const CHUNKS: usize = 6;
    let log = TestLog::default();
    // Few retries, so that Fluent Bit brings chunks again.
    let settings = Settings { compression_threads: 2, retries: 1, ..settings() };
    let (kinesis, delivery) = bench(settings, 0.3, &log);
    let local = LocalSet::new();
    let answers = local.run_until(async {
        let mut flushes = JoinSet::new();
        for number in 0..CHUNKS {
            let delivery = Rc::clone(&delivery);
            flushes.spawn_local(async move {
                let (chunk, mut answers) = (chunk_of_blocks(number), vec![]);
                while answers.last() != Some(&Outcome::Delivered) {
                    answers.push(delivery.deliver(&chunk, b"app").await);
                }
                answers
            });
        }
        flushes.join_all().await.concat()
    });
    assert!(answers.await.len() > CHUNKS, "some chunks are brought again");
    let stored = &kinesis.state.borrow().stored;
    assert_eq!(stored.len(), CHUNKS * RECORDS);
    assert!(stored.values().all(|&times| times == 1));
}

#[tokio::test(start_paused = true)]
async fn a_flush_that_ends_while_its_block_is_compressed_leaves_its_records() {
    let log = TestLog::default();
    let flush_timeout = Some(Duration::from_secs(1));
    let settings = Settings { compression_threads: 1, flush_timeout, ..settings() };
    let (kinesis, delivery) = bench(settings, 0.0, &log);
    let (held, hold) = mpsc::channel::<()>();
    let chunk = chunk_of_blocks(0);
    let deliver = async || LocalSet::new().run_until(delivery.deliver(&chunk, b"app")).await;
    let mut busy = std::pin::pin!(delivery.stream().compression().run(move |_| hold.recv().ok()));
    assert!(busy.as_mut().now_or_never().is_none());
    assert_eq!(deliver().await, Outcome::Retry);
    assert_eq!(delivery.metrics().get(Metric::RecordsLeft), RECORDS as u64);
    drop(held);
    busy.await.unwrap();
    assert!(kinesis.state.borrow().stored.is_empty());
    // In virtual time the second may be over before the block is compressed.
    while deliver().await != Outcome::Delivered {}
    assert!(kinesis.state.borrow().stored.values().all(|&times| times == 1));
    assert_eq!(delivery.metrics().get(Metric::RecordsDelivered), RECORDS as u64);
}
