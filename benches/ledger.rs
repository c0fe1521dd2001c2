//! What the ledger costs while nothing fails, beside what packing the same chunk costs.
//!
//! `cargo bench --bench ledger`

#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::indexing_slicing, reason = "a benchmark of our own bytes")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kinesis::config::Stream;
use kinesis::ledger::Ledger;
use kinesis::pack::{Packer, RequestSettings};
use kinesis::record_set::RecordSet;
use rand::SeedableRng;
use rand::rngs::SmallRng;

const TAG: &[u8] = b"kube.var.log.containers.app";

/// About 2 MB of access-log lines of 134 bytes.
fn chunk(records: u32) -> Vec<u8> {
    let mut chunk = Vec::new();
    for id in 0..records {
        let line = format!("{id:0>9} {}", "GET /items/4711?page=3 HTTP/1.1 200 1234 ".repeat(3));
        chunk.extend_from_slice(b"\x92\x92\xd7\x00\x6b\x02\x6c\x0b\x36\x5c\x88\xb8\x80\x81\xa3log\xd9");
        chunk.push(line.len() as u8);
        chunk.extend_from_slice(line.as_bytes());
    }
    chunk
}

fn ledger(c: &mut Criterion) {
    let records = 12_000;
    let chunk = chunk(records);
    let mut group = c.benchmark_group("a chunk of 12,000 records");
    group.throughput(Throughput::Elements(records.into())).sample_size(20);

    let requests = RequestSettings::default();
    let stream = Stream::parse("logs").unwrap_or_else(|error| unreachable!("{error}"));
    group.bench_function("packing it into requests", |b| {
        b.iter(|| {
            let mut random = SmallRng::seed_from_u64(1);
            let mut packer = Packer::new(&chunk, TAG, &stream, &requests, RecordSet::default());
            while let Some(batch) = packer.next_batch(&mut random, &mut |_, _| {}) {
                black_box(batch);
            }
        });
    });
    group.bench_function("marking its records as settled", |b| {
        b.iter(|| {
            let mut settled = RecordSet::default();
            (0..records).for_each(|record| settled.insert(black_box(record)));
            settled
        });
    });
    let mut empty = Ledger::new(1 << 20);
    group.bench_function("looking it up in an empty ledger", |b| b.iter(|| empty.take(TAG, black_box(&chunk))));
    let mut others = Ledger::new(1 << 20);
    for length in 0..1000 {
        others.keep(TAG, &chunk[..length], RecordSet::from_iter([1]));
    }
    group.bench_function("looking it up among 1,000 other chunks", |b| b.iter(|| others.take(TAG, black_box(&chunk))));
    let mut alike = Ledger::new(1 << 20);
    let mut other = chunk.clone();
    other[chunk.len() - 1] ^= 1;
    alike.keep(TAG, &other, RecordSet::from_iter([1]));
    group.bench_function("looking it up beside one of the same length", |b| {
        b.iter(|| alike.take(TAG, black_box(&chunk)))
    });
    group.finish();
}

criterion_group!(benches, ledger);
criterion_main!(benches);
