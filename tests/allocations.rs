//! Making a record costs no memory of its own: buffers are used again.

#![allow(unsafe_code, reason = "an allocator is unsafe to write")]
#![allow(clippy::unwrap_used, reason = "a test ends by a panic")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use kinesis::chunk::{Event, EventTime};
use kinesis::config::Config;
use kinesis::record::Encoder;
use rand::SeedableRng;
use rand::rngs::SmallRng;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations while a thousand records are made, after the first ones have sized the buffers.
fn allocations(options: &[(&str, &str)]) -> usize {
    let property = |name: &str| match options.iter().find(|(key, _)| *key == name) {
        Some((_, value)) => Some((*value).to_owned()),
        None => (name == "stream").then(|| "logs".to_owned()),
    };
    let config = Config::parse(&property).unwrap();
    let event = serde_json::json!({
        "log": "10.0.0.1 - - \"GET /a?b=c%20d HTTP/1.1\" 200 ☕\n",
        "kubernetes": {"pod_name": "web-1", "labels": {"app.kubernetes.io/name": "web"}, "ports": [80, 443]},
        "time": "old", "ratio": 0.25, "ok": true,
    });
    let body = rmp_serde::to_vec(&event).unwrap();
    let mut encoder = Encoder::new(&config.requests.record, b"app");
    let mut random = SmallRng::seed_from_u64(1);
    let mut data = Vec::new();
    // Fractions of one second: the second's text is made once.
    let mut encode = |nanoseconds| {
        let event = Event { time: EventTime { seconds: 1_600_000_000, nanoseconds }, body: &body };
        data.clear();
        encoder.encode(&event, &mut random, &mut data).unwrap();
    };
    [999_999_999; 3].into_iter().for_each(&mut encode);
    let before = ALLOCATIONS.get();
    (0..1000).for_each(&mut encode);
    ALLOCATIONS.get() - before
}

#[test]
fn a_record_is_made_without_allocating_whatever_is_set() {
    let time = ("time_key_format", "%Y-%m-%dT%H:%M:%S.%9NZ");
    for options in [
        &[][..],
        &[("append_newline", "on")],
        &[("log_key", "log")],
        &[("log_key", "kubernetes->labels")],
        &[("time_key", "time"), time],
        &[("partition_key", "kubernetes->pod_name")],
        &[("partition_key", "$TAG")],
        &[("data_keys", "log,kubernetes->pod_name"), ("replace_dots", "_")],
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

#[test]
fn the_allocator_counts() {
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(vec![1]));
    assert_eq!(ALLOCATIONS.get() - before, 1);
}
