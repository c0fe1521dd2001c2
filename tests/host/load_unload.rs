//! A host that loads, uses and unloads the plugin a thousand times ends up with the resources it started with.
//!
//! In a process of its own, because its memory, threads and files are counted. The library stays mapped after
//! `dlclose` on purpose, so what the first rounds leave is not growth; what later rounds leave is.

use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

use tempfile::TempDir;
use testing::host::library::{Library, built_plugin};
use testing::host::log;
use testing::host::metrics;
use testing::host::output::{IN_BLOCKS, Output, set_environment};
use testing::programs::alone;

use crate::chunk_of_a_block as chunk;

/// An unoptimized plugin takes a tenth of a second to start, so it gets fewer rounds.
fn rounds() -> usize {
    let optimized = !cfg!(debug_assertions) || env::var_os("KINESIS_SO").is_some();
    if optimized { 1000 } else { 150 }
}

/// What glibc caches per size and thread counts as allocated and grows with time, and so do its arenas: which of them
/// a thread gets, and grows, is chance. With neither, heap and mappings are exact. glibc reads this when a program
/// starts.
const EXACT: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0:glibc.malloc.arena_max=1");

/// A folder with the one certificate to trust. To read all those of a system, an emulator may need longer than the
/// plugin waits for a file.
fn certificate() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(folder.path().join("ca.pem"), signed.cert.pem()).unwrap();
    folder
}

#[test]
fn a_thousand_loads_leave_no_thread_no_file_and_no_memory() {
    let folder = certificate();
    let (file, folder) = (folder.path().join("ca.pem"), folder.path());
    let trusted = [("SSL_CERT_FILE", file.to_str().unwrap()), ("SSL_CERT_DIR", folder.to_str().unwrap())];
    if !alone(a_thousand_loads_leave_no_thread_no_file_and_no_memory, &[EXACT, trusted[0], trusted[1]]) {
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
    let half = warm + (rounds - warm) / 2;
    let (mut settled, mut halfway) = (None, None);
    for round in 0..rounds {
        if round == warm {
            settled = Some(Held::when_ended(before.threads));
        } else if round == half {
            halfway = Some(Held::when_ended(before.threads));
        }
        let library = Library::open(&plugin).unwrap();
        let definition = library.register(0).unwrap();
        let mut output = Output::new("kinesis.0", &IN_BLOCKS).unwrap();
        assert_eq!(output.init(&library), 1, "{:?}", log::take());
        assert_eq!(output.flush(&library, &chunk(), c"app.log"), 2);
        output.exit(&library);
        library.unregister(definition);
        drop(library);
        drop(log::take());
        // What the host itself keeps of an output.
        metrics::forget();
    }
    let (settled, halfway, after) = (settled.unwrap(), halfway.unwrap(), Held::when_ended(before.threads));
    println!("before {before:?}\nafter {warm} rounds {settled:?}");
    println!("after {half} rounds {halfway:?}\nafter {rounds} rounds {after:?}");
    assert_eq!(after.threads, before.threads, "threads");
    assert_eq!(after.files, settled.files, "open files");
    // A single allocation that is leaked per round costs at least 16 bytes per round, in both halves. A table of the harness or
    // of the loader grows in one of them.
    let leaked = after.heap.saturating_sub(halfway.heap).min(halfway.heap.saturating_sub(settled.heap));
    let heaps = [settled.heap, halfway.heap, after.heap];
    assert!(leaked < (rounds - half) * 8, "{leaked} bytes of the heap in each half: {heaps:?}");
    // What is mapped besides, such as a stack that is not released: a page per round at least.
    let leaked = after.mapped.saturating_sub(halfway.mapped).min(halfway.mapped.saturating_sub(settled.mapped));
    let maps = [settled.mapped, halfway.mapped, after.mapped];
    assert!(leaked < (rounds - half) * 2048, "{leaked} bytes mapped in each half: {maps:?}");
}

/// The resources of the process at one moment.
#[derive(Debug)]
struct Held {
    /// Bytes allocated and not freed.
    heap: usize,
    /// Bytes of memory that can be written.
    mapped: usize,
    threads: usize,
    files: usize,
}

impl Held {
    fn now() -> Held {
        // SAFETY: it only reads the allocator's counters.
        let heap = unsafe { libc::mallinfo2() };
        Held {
            heap: heap.uordblks + heap.hblkhd,
            mapped: fs::read_to_string("/proc/self/maps").unwrap().lines().filter_map(writable_bytes).sum(),
            threads: fs::read_dir("/proc/self/task").unwrap().count(),
            files: fs::read_dir("/proc/self/fd").unwrap().count(),
        }
    }

    /// Waits until the kernel no longer lists joined threads.
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

/// How much a line of /proc/self/maps, such as `7f5c8a000000-7f5c8a021000 rw-p …`, lets the process write.
fn writable_bytes(line: &str) -> Option<usize> {
    let (range, rest) = line.split_once(' ')?;
    let (begin, end) = range.split_once('-')?;
    let address = |digits| usize::from_str_radix(digits, 16).ok();
    rest.starts_with("rw").then_some(address(end)? - address(begin)?)
}
