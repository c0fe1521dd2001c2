//! A program of its own, because it counts what is allocated.
//!
//! Encoding a record allocates nothing: buffers are reused. Batches hold little more than their bytes, and hostile
//! input costs a small multiple of its size.

#![allow(unsafe_code, reason = "an allocator is unsafe to write")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test ends by a panic")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::VecDeque;

use kinesis::chunk::{Event, EventTime};
use kinesis::config::Config;
use kinesis::kinesis::request::Batch;
use kinesis::msgpack::Reader;
use kinesis::pack::{BodyPool, Packer};
use kinesis::record::{Encoder, Key, json};
use kinesis::record_set::RecordSet;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use testing::corpora::Corpus;
use testing::property;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    /// Bytes allocated now, counted from far above zero because a thread may free what others allocated; and the
    /// peak.
    static LIVE: Cell<usize> = const { Cell::new(1 << 40) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

fn allocated(bytes: usize) {
    ALLOCATIONS.with(|count| count.set(count.get() + 1));
    let live = LIVE.with(|live| {
        live.set(live.get() + bytes);
        live.get()
    });
    PEAK.with(|peak| peak.set(peak.get().max(live)));
}

fn freed(bytes: usize) {
    LIVE.with(|live| live.set(live.get() - bytes));
}

struct Counting;

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        allocated(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        freed(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        freed(layout.size());
        allocated(size);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn config(options: &[(&str, &str)]) -> Config {
    Config::parse(&property(options)).unwrap()
}

/// Allocations while a thousand records are encoded, after the first ones have sized the buffers.
fn allocations(options: &[(&str, &str)]) -> usize {
    let config = config(options);
    let event = serde_json::json!({
        "log": "10.0.0.1 - - \"GET /a?b=c%20d HTTP/1.1\" 200 ☕\n",
        "kubernetes": {"pod_name": "web-1", "labels": {"app.kubernetes.io/name": "web"}, "ports": [80, 443]},
        "time": "old", "ratio": 0.25, "ok": true,
    });
    let body = rmp_serde::to_vec(&event).unwrap();
    let mut encoder = Encoder::new(&config.requests.record, b"app");
    let mut random = SmallRng::seed_from_u64(1);
    let (mut key, mut data) = (Key::default(), Vec::new());
    // Fractions of one second: the text of the second is made once.
    let mut encode = |nanoseconds| {
        let event = Event {
            time: EventTime { seconds: 1_600_000_000, nanoseconds },
            body: &body,
            metadata: &body,
            group: &body,
        };
        data.clear();
        let mut one_pass = Reader::new(&body);
        if encoder.encode_in_one_pass(event.time, &mut one_pass, &mut random, &mut key, &mut data).is_none() {
            data.clear();
            encoder.encode(&event, &mut random, &mut key, &mut data).unwrap();
        }
    };
    // Until the buffers have grown and the keys are known.
    [999_999_999; 10].into_iter().for_each(&mut encode);
    let before = ALLOCATIONS.get();
    (0..1000).for_each(&mut encode);
    ALLOCATIONS.get() - before
}

#[test]
fn a_record_is_made_without_allocating_whatever_is_set_but_merging() {
    // `duplicate_keys merge` lists the entries of each map.
    let time = ("time_key_format", "%Y-%m-%dT%H:%M:%S.%9NZ");
    for options in [
        &[][..],
        &[("append_newline", "on")],
        &[("log_key", "log")],
        &[("log_key", "kubernetes->labels")],
        &[("time_key", "time"), time],
        &[("partition_key", "kubernetes->pod_name")],
        &[("partition_key", "$TAG")],
        &[("data_keys", "log,kubernetes->pod_name"), ("replace_dots", "_"), ("time_key", "at.time"), time],
        &[("exclude_keys", "log,kubernetes->labels"), ("drop_empty", "on")],
        &[("explicit_hash_key", "ratio")],
        &[("tag_key", "tag"), ("metadata_key", "meta"), ("group_key", "group")],
        &[("time_key", "time"), ("time_key_format", "epoch_ns")],
        &[("partition_key", "constant:one")],
        &[("format", "msgpack")],
        &[("format", "out_file")],
        &[("format", "ltsv")],
        &[("format", "tsv"), ("format_fields", "log,ratio")],
        &[("compression", "gzip")],
        &[("compression", "snappy")],
    ] {
        assert_eq!(allocations(options), 0, "{options:?}");
    }
}

/// Allocations while a chunk is packed into requests with reused bodies, and the number of groups of records. Earlier
/// chunks have sized the buffers.
fn allocations_of_packing(options: &[(&str, &str)], chunk: &[u8], records: usize) -> (usize, usize) {
    let config = config(options);
    let (pool, mut random) = (BodyPool::default(), SmallRng::seed_from_u64(1));
    let mut pack = || {
        let (before, mut entries, mut packed) = (ALLOCATIONS.get(), 0, 0);
        let mut packer =
            Packer::new(chunk, b"app", config.target.single().unwrap(), &config.requests, RecordSet::default())
                .with_body_pool(&pool);
        while let Some(batch) = packer.next_batch(&mut random, &mut |_, issue| panic!("{issue:?}")) {
            entries += batch.entries().len();
            packed += batch.record_count();
            pool.keep(batch);
        }
        assert_eq!(packed, records);
        (ALLOCATIONS.get() - before, if entries < packed { entries } else { 0 })
    };
    pack();
    pack();
    pack()
}

/// From the chunk to request bodies, in one pass if possible: allocations belong to a request, a chunk, a growing buffer,
/// or a group's key, list of records and data, and not to each record.
#[test]
fn a_chunk_is_packed_without_an_allocation_for_each_record() {
    const RECORDS: usize = 2000;
    for (corpus, key) in [(Corpus::Access, "log"), (Corpus::Nested, "level")] {
        let mut chunk = Vec::new();
        corpus.lines().take(RECORDS).for_each(|line| corpus.write_event(&line, &mut chunk).unwrap());
        for options in [
            &[][..],
            &[("protocol", "cbor")],
            &[("partition_key", key)],
            &[("time_key", "time")],
            &[("format", "msgpack")],
            &[("compression", "gzip")],
            &[("aggregation", "lines")],
            &[("aggregation", "kpl")],
        ] {
            let (allocations, groups) = allocations_of_packing(options, &chunk, RECORDS);
            println!("{corpus:?} {options:?}: {allocations} allocations, {groups} groups");
            let allowed = RECORDS / 20 + 3 * groups;
            assert!(allocations < allowed, "{corpus:?} {options:?}: {allocations} with {groups} groups");
        }
    }
}

/// Bytes that batches in flight hold, and bytes that are their due: four times their bodies and half a KiB for each. `kept` says
/// how many fly at once.
fn in_flight(options: &[(&str, &str)], chunks: &[&[u8]], kept: usize) -> (usize, usize) {
    let config = config(options);
    let (pool, mut random) = (BodyPool::default(), SmallRng::seed_from_u64(1));
    let mut flying = VecDeque::new();
    let before = LIVE.get();
    for chunk in chunks {
        let mut packer =
            Packer::new(chunk, b"app", config.target.single().unwrap(), &config.requests, RecordSet::default())
                .with_body_pool(&pool);
        while let Some(batch) = packer.next_batch(&mut random, &mut |_, remark| panic!("{remark:?}")) {
            flying.push_back(batch);
            if flying.len() > kept {
                pool.keep(flying.pop_front().unwrap());
            }
        }
    }
    let due = flying.iter().map(|batch| 4 * batch.body().len() + 512).sum();
    let held = LIVE.get() - before - flying.capacity() * size_of::<Batch>();
    (held, due)
}

fn chunk(lines: usize, bytes: usize) -> Vec<u8> {
    let body = rmp_serde::to_vec(&serde_json::json!({ "log": "x".repeat(bytes) })).unwrap();
    [b"\x92\xd7\0\x5f\x5e\x10\0\0\0\0\0", body.as_slice()].concat().repeat(lines)
}

#[test]
fn a_small_request_in_flight_holds_a_small_body() {
    let (large, small) = (chunk(2000, 134), chunk(1, 134));
    let one_by_one = ("batch_request_max_count", "1");
    for options in [
        &[one_by_one][..],
        &[one_by_one, ("protocol", "cbor")],
        &[one_by_one, ("compression", "gzip")],
        &[one_by_one, ("aggregation", "kpl"), ("aggregation_max_size", "1000")],
        &[one_by_one, ("aggregation", "lines"), ("max_record_size", "1000")],
    ] {
        let (held, due) = in_flight(options, &[&large], usize::MAX);
        assert!(held < due, "{options:?}: {held} bytes, {due} allowed");
    }
    // After requests of half a megabyte whose memory they reuse; that much may be kept.
    const SPARE: usize = 1 << 20;
    let large = chunk(500, 4000);
    let small = [small.as_slice(); 64];
    for options in [&[][..], &[("aggregation", "kpl")], &[("aggregation", "lines")], &[("compression", "gzip")]] {
        let chunks: Vec<&[u8]> = small.iter().flat_map(|small| [large.as_slice(), small]).collect();
        let (held, due) = in_flight(options, &chunks, 1);
        assert!(held < SPARE + due, "{options:?}: {held} bytes, {due} allowed");
    }
}

/// The JSON of a hostile event, and the peak extra memory for encoding it, as a multiple of the event.
fn cost(event: &[u8]) -> f64 {
    let mut out = Vec::with_capacity(8 << 20);
    let before = LIVE.get();
    PEAK.set(before);
    json::write(event, &mut out).unwrap();
    assert!(out.capacity() == 8 << 20, "the memory of the JSON itself is not counted");
    (PEAK.get() - before) as f64 / event.len() as f64
}

#[test]
fn equal_keys_are_found_in_a_small_multiple_of_the_event_whatever_it_is() {
    let map = |entries: u32| [&b"\xdf"[..], &entries.to_be_bytes()].concat();
    let entries =
        |count: u32, entry: &dyn Fn(u32) -> Vec<u8>| [map(count), (0..count).flat_map(entry).collect()].concat();
    let number = |number: u32| [&b"\xce"[..], &number.to_be_bytes(), b"\xc0"].concat();
    let in_the_end = |number: u32| [&b"\xd9\x30"[..], format!("{number:048}").as_bytes(), b"\xc0"].concat();
    for (name, event) in [
        ("numbers", entries(50_000, &|index| number(index + 1_000_000))),
        ("a few numbers", entries(200_000, &|index| vec![(index % 128) as u8, 0xc0])),
        ("one key", entries(100_000, &|_| b"\xa1k\xc0".to_vec())),
        ("keys that differ in the end", entries(10_000, &in_the_end)),
        ("maps as keys", entries(50_000, &|index| [b"\x81".as_slice(), &number(index), b"\xc0"].concat())),
        ("maps in each other", [b"\x82\xa1k\xc0\xa1k".repeat(1000), entries(50_000, &number)].concat()),
    ] {
        let cost = cost(&event);
        assert!(cost < 9.0, "{name}: {cost:.1} times the event");
    }
}

#[test]
fn the_allocator_counts() {
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(vec![1]));
    assert_eq!(ALLOCATIONS.get() - before, 1);
    let (live, kept) = (LIVE.get(), Vec::<u8>::with_capacity(1000));
    assert_eq!(LIVE.get() - live, kept.capacity());
    assert!(PEAK.get() >= LIVE.get());
}
