//! What the ledger costs while nothing fails, beside what packing the same chunk costs.
//!
//! `cargo bench --bench ledger`

#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::indexing_slicing, reason = "a benchmark of our own bytes")]

use std::hint::black_box;
use std::rc::Rc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use kinesis::kinesis::stream::Stream;
use kinesis::ledger::Ledger;
use kinesis::log::Logger;
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
            settled.extend(black_box(0..records));
            settled
        });
    });
    let deliver = |ledger: &Rc<Ledger>| {
        let open = ledger.begin(TAG, black_box(&chunk));
        for request in 0..records / 500 {
            open.progress().mark_done(request * 500..(request + 1) * 500);
        }
        open.done();
    };
    let in_memory = Rc::new(Ledger::new(1 << 20));
    group.bench_function("all of the ledger, in memory", |b| b.iter(|| deliver(&in_memory)));
    for length in 0..1000 {
        in_memory.begin(TAG, &chunk[..length]).progress().mark_done([1]);
    }
    group.bench_function("the same while 1,000 other chunks wait", |b| b.iter(|| deliver(&in_memory)));
    let mut other = chunk.clone();
    other[chunk.len() - 1] ^= 1;
    in_memory.begin(TAG, &other).progress().mark_done([1]);
    group.bench_function("the same beside one of the same length", |b| b.iter(|| deliver(&in_memory)));
    let folder = tempfile::tempdir().unwrap_or_else(|error| unreachable!("{error}"));
    let in_file = |name: &str| {
        let path = folder.path().join(name);
        let ledger = Ledger::open(1 << 20, path, "logs".to_owned(), 1, Logger::silent());
        Rc::new(ledger.unwrap_or_else(|error| unreachable!("{error}")))
    };
    let ledger = in_file("ledger");
    group.bench_function("all of the ledger, with a file", |b| b.iter(|| deliver(&ledger)));
    group.bench_function("finding a chunk in it, mostly its hash", |b| {
        b.iter(|| ledger.begin(TAG, black_box(&chunk)).done())
    });
    for (name, step) in [("noting a request of 500 records", 1), ("noting every other of 1,000 records", 2)] {
        let mut first = 0;
        group.throughput(Throughput::Elements(500)).bench_function(name, |b| {
            b.iter_batched(
                || {
                    first = (first + 500 * step) % 10_000;
                    // What the last round left.
                    ledger.begin(TAG, &chunk).done();
                    (ledger.begin(TAG, &chunk), first)
                },
                |(open, first)| {
                    open.progress().mark_done((first..first + 500 * step).step_by(step as usize));
                    open
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, ledger);
criterion_main!(benches);
