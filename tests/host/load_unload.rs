//! A host that loads, uses and unloads the plugin a thousand times has afterwards what it had before.
//!
//! In a process of its own, because its memory, threads and files are counted. The library stays
//! mapped after `dlclose`, on purpose, so what the first rounds leave behind is not growth; what later rounds do is.

use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

use testing::host::library::{Library, built_plugin};
use testing::host::log;
use testing::host::metrics;
use testing::host::output::{Output, UNREACHABLE, set_environment};
use testing::programs::alone;

/// A plugin that is not optimized takes a tenth of a second to start: then the thousand are fewer.
fn rounds() -> usize {
    let optimized = !cfg!(debug_assertions) || env::var_os("KINESIS_SO").is_some();
    if optimized { 1000 } else { 150 }
}

/// What glibc keeps of each size for each thread counts as allocated, and there is more of it with time: without it the
/// heap is exact. It reads this when a program starts.
const WITHOUT_CACHE: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0");

#[test]
fn a_thousand_loads_leave_no_thread_no_file_and_no_memory() {
    if !alone(a_thousand_loads_leave_no_thread_no_file_and_no_memory, &[WITHOUT_CACHE]) {
        return;
    }
    log::collect();
    // SAFETY: the plugin is not loaded yet.
    unsafe { set_environment() };
    let before = Held::now();
    let plugin = built_plugin().unwrap();
    let rounds = rounds();
    // Caches and tables are filled by then.
    let warm = rounds / 3;
    let mut settled = None;
    for round in 0..rounds {
        if round == warm {
            settled = Some(Held::when_ended(before.threads));
        }
        let library = Library::open(&plugin).unwrap();
        let definition = library.register(0).unwrap();
        let mut output = Output::new("kinesis.0", &UNREACHABLE).unwrap();
        assert_eq!(output.init(&library), 1, "{:?}", log::take());
        assert_eq!(output.flush(&library, b"\x92\x92\xd7\0\0\0\0\0\0\0\0\0\x80\x80", c"app.log"), 2);
        output.exit(&library);
        library.unregister(definition);
        drop(library);
        drop(log::take());
        // What the host itself keeps of an output.
        metrics::forget();
    }
    let (settled, after) = (settled.unwrap(), Held::when_ended(before.threads));
    println!("before {before:?}\nafter {warm} rounds {settled:?}\nafter {rounds} rounds {after:?}");
    assert_eq!(after.threads, before.threads, "threads");
    assert_eq!(after.files, settled.files, "open files");
    // A leak of a single allocation in each round is at least 16 bytes for each of them; the rest is the harness's.
    let leaked = after.heap.saturating_sub(settled.heap);
    assert!(leaked < (rounds - warm) * 8, "{leaked} bytes of the heap, from {} to {}", settled.heap, after.heap);
    // What is mapped past the heap, such as a stack that is not given back. The allocator keeps some pages.
    let grown = after.resident.saturating_sub(settled.resident);
    assert!(grown < 4 << 20, "{grown} bytes of memory, from {} to {}", settled.resident, after.resident);
}

/// What the process has at a moment.
#[derive(Debug)]
struct Held {
    /// Bytes that were allocated and not freed.
    heap: usize,
    /// Bytes of memory.
    resident: usize,
    threads: usize,
    files: usize,
}

impl Held {
    fn now() -> Held {
        // SAFETY: it only reads the allocator's counters.
        let heap = unsafe { libc::mallinfo2() };
        // SAFETY: a constant of the system.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let pages = fs::read_to_string("/proc/self/statm").unwrap();
        let resident: usize = pages.split(' ').nth(1).unwrap().parse().unwrap();
        Held {
            heap: heap.uordblks + heap.hblkhd,
            resident: resident * usize::try_from(page).unwrap(),
            threads: fs::read_dir("/proc/self/task").unwrap().count(),
            files: fs::read_dir("/proc/self/fd").unwrap().count(),
        }
    }

    /// When the kernel no longer lists threads that were joined.
    fn when_ended(threads: usize) -> Held {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let held = Held::now();
            if held.threads <= threads || Instant::now() > deadline {
                return held;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}
