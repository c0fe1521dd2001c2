//! What each stage of a record's way costs, in bytes of its input per second.
//!
//! `cargo bench --bench stages`

#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::expect_used, reason = "a benchmark of our own bytes")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, StatusCode};
use kinesis::chunk::{Event, Events};
use kinesis::kinesis::reply::Response;
use kinesis::kinesis::request::{Batch, BatchBuilder, Json};
use kinesis::kinesis::stream::Stream;
use kinesis::pack::{Packer, RequestSettings};
use kinesis::record::{Encoder, Key, RecordSettings};
use kinesis::record_set::RecordSet;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use testing::corpora::Corpus;

const TAG: &[u8] = b"kube.var.log.containers.app";
const CHUNK_BYTES: usize = 2_000_000;

fn chunk(corpus: Corpus) -> Vec<u8> {
    let mut chunk = Vec::new();
    for line in corpus.lines() {
        if chunk.len() >= CHUNK_BYTES {
            break;
        }
        corpus.write_event(&line, &mut chunk).expect("a corpus line is an event");
    }
    chunk
}

/// Packs a chunk; answers the last batch.
fn pack(chunk: &[u8], stream: &Stream, requests: &RequestSettings) -> Option<Batch> {
    let mut random = SmallRng::seed_from_u64(1);
    let mut packer = Packer::new(chunk, TAG, stream, requests, RecordSet::default());
    let mut last = None;
    while let Some(batch) = packer.next_batch(&mut random, &mut |_, _| {}) {
        last = Some(black_box(batch));
    }
    last
}

fn stages(c: &mut Criterion) {
    let stream = Stream::parse("logs").expect("a stream's name");
    let requests = RequestSettings::default();
    for corpus in Corpus::ALL {
        let chunk = chunk(corpus);
        let events: Vec<Event<'_>> = Events::new(&chunk).filter_map(Result::ok).collect();
        let mut group = c.benchmark_group(corpus.name());
        group.sample_size(20).throughput(Throughput::Bytes(chunk.len() as u64));

        group.bench_function("chunk: read its events", |b| b.iter(|| Events::new(black_box(&chunk)).count()));

        let settings = RecordSettings::default();
        group.bench_function("record: write events as JSON", |b| {
            let mut random = SmallRng::seed_from_u64(1);
            let (mut encoder, mut key, mut data) = (Encoder::new(&settings, TAG), Key::default(), Vec::new());
            b.iter(|| {
                for event in &events {
                    data.clear();
                    encoder.encode(event, &mut random, &mut key, &mut data).expect("an event");
                    black_box(&data);
                }
            });
        });

        let records = records(&events, &settings);
        group.throughput(Throughput::Bytes(records.iter().map(Vec::len).sum::<usize>() as u64));
        group.bench_function("request: write records into bodies", |b| {
            b.iter(|| {
                for records in records.chunks(requests.max_records) {
                    let mut batch = BatchBuilder::<Json>::new(&stream, Vec::new());
                    for (index, record) in (0..).zip(records) {
                        batch.push(index, record, "k1k2k3k4k", true);
                    }
                    black_box(batch.finish());
                }
            });
        });

        group.throughput(Throughput::Bytes(chunk.len() as u64));
        group.bench_function("pack: a chunk into requests", |b| b.iter(|| pack(&chunk, &stream, &requests)));

        let body = pack(&chunk, &stream, &requests).expect("a batch").body();
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function("sign: hash a body", |b| {
            b.iter(|| aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, black_box(&body)));
        });
        group.finish();
    }
}

/// The events' records.
fn records(events: &[Event<'_>], settings: &RecordSettings) -> Vec<Vec<u8>> {
    let mut random = SmallRng::seed_from_u64(1);
    let (mut encoder, mut key) = (Encoder::new(settings, TAG), Key::default());
    let record = |event: &Event<'_>| {
        let mut data = Vec::new();
        encoder.encode(event, &mut random, &mut key, &mut data).expect("an event");
        data
    };
    events.iter().map(record).collect()
}

fn replies(c: &mut Criterion) {
    let body = Bytes::from(testing::accepted::json(500));
    let reply = Response::new(StatusCode::OK, HeaderMap::new(), body);
    assert!(reply.accepts_all(500));
    let mut group = c.benchmark_group("reply");
    group.throughput(Throughput::Bytes(reply.body.len() as u64));
    group.bench_function("read 500 accepted records", |b| b.iter(|| black_box(&reply).accepts_all(500)));
    group.finish();
}

criterion_group!(benches, stages, replies);
criterion_main!(benches);
