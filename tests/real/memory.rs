//! How much of its host's memory the plugin uses while 64 chunks wait for a Kinesis that does not answer.
//!
//! `cargo test --test real memory -- --nocapture` prints the numbers. This program is also the host: it runs itself
//! again for each set of options, so that memory is measured separately, and without the stand-in's.

use std::error::Error;
use std::ffi::CString;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Barrier};
use std::time::Duration;
use std::{env, fs, io, thread};

use kinesis::compress::{Compressor, Kind};
use libtest_mimic::{Failed, Trial};
use testing::corpora::Corpus;
use testing::fake_kinesis::{FakeKinesis, Faults, Keep, Settings};
use testing::host::library::{Library, built_plugin};
use testing::host::log;
use testing::host::output::{ENVIRONMENT, Output};

const MIB: f64 = 1024.0 * 1024.0;

/// Chunks that wait at the same time.
const CHUNKS: usize = 64;
const CHUNK_BYTES: usize = 2_000_000;
/// Flushes of one record each, which raise the limit of requests in flight as far as possible before replies stop.
const FLUSHES_BEFORE: usize = 5;
/// Limit on peak memory, for one output.
const MOST_MIB: f64 = 128.0;
const MOST_MIB_OF_ZSTD: f64 = 16.0;
/// Seconds without a new peak after which it counts as the peak: several request timeouts.
const QUIET: u64 = 12;
const MOST_SECONDS: u64 = 240;

/// The options, by the name of the claim. Requests time out after two seconds, so that those waiting for a retry
/// count too.
const OPTIONS: [(&str, &[(&str, &str)]); 7] = [
    ("the_defaults", &[]),
    ("cbor", &[("protocol", "cbor")]),
    ("requests_of_one_record", &[(ONE_BY_ONE, "1")]),
    ("records_in_gzip", &[("compression", "gzip")]),
    ("aggregates", &[("aggregation", "kpl"), KEYS_COUNT, ("partition_key", "key")]),
    ("requests_of_one_aggregate", &[("aggregation", "kpl"), KEYS_COUNT, (ONE_BY_ONE, "1")]),
    (
        "lines_in_zstd_at_its_highest_level",
        &[("aggregation", "lines"), ("compression", "zstd"), ("compression_level", "22"), ("compression_threads", "4")],
    ),
];

/// Else records go one by one until the shards are known.
const KEYS_COUNT: (&str, &str) = ("record_distribution", "user");
const ONE_BY_ONE: &str = "batch_request_max_count";

const AS_HOST: &str = "KINESIS_TEST_MEMORY_OF";
const ENDPOINT: &str = "KINESIS_TEST_ENDPOINT";
const WAITING: &str = "KINESIS_TEST_CHUNKS";
/// The work of a child that only compresses.
const ZSTD: &str = "zstd";
const LEVEL: &str = "KINESIS_TEST_LEVEL";

/// Runs the host, if this process is one.
pub fn child() -> Option<ExitCode> {
    let name = env::var(AS_HOST).ok()?;
    let done = if name == ZSTD { compress() } else { flush(&name) };
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    })
}

pub fn trials() -> Vec<Trial> {
    let mut trials: Vec<Trial> = OPTIONS
        .iter()
        .map(|(name, _)| Trial::test(format!("64_waiting_chunks_of_{name}_take_128_mib_at_most"), || memory_of(name)))
        .collect();
    trials.push(Trial::test("a_chunk_in_requests_of_one_record_that_are_all_answered_takes_no_more_either", answered));
    trials.push(Trial::test("zstd_takes_16_mib_at_most_at_any_level", zstd));
    trials
}

fn memory_of(name: &str) -> Result<(), Failed> {
    let latency_ms = 50;
    within(name, CHUNKS, Faults { latency_ms, ..Faults::default() }, Faults { hang: 1.0, ..Faults::default() })
}

/// Accepted requests do not keep their memory until the last of the chunk is accepted.
fn answered() -> Result<(), Failed> {
    within("requests_of_one_record", 1, Faults::default(), Faults::default())
}

/// Runs a host with this many chunks, and a Kinesis that behaves one way before they come and another way after.
fn within(name: &str, chunks: usize, before: Faults, then: Faults) -> Result<(), Failed> {
    let kinesis = FakeKinesis::start(Settings { tls: true, keep: Keep::Counts, faults: before, ..Settings::default() });
    let mut host = Command::new(env::current_exe()?)
        .env_clear()
        .envs(ENVIRONMENT)
        .envs(env::var_os("KINESIS_SO").map(|so| ("KINESIS_SO", so)))
        .env("SSL_CERT_FILE", kinesis.ca_file())
        .env(AS_HOST, name)
        .env(WAITING, chunks.to_string())
        .env(ENDPOINT, kinesis.endpoint())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let told = converse(&kinesis, then, &mut host);
    // It never ends by itself, as its flushes wait.
    host.kill()?;
    host.wait()?;
    let mib = told?;
    println!("{name}: {mib:.1} MiB, {MOST_MIB} allowed");
    if mib > MOST_MIB { Err(format!("{mib:.1} MiB, {MOST_MIB} allowed").into()) } else { Ok(()) }
}

/// Tells the host that Kinesis is ready, and returns the peak in MiB of what it then measures: it is one when no higher
/// one has come for a while, and requests were made at all.
fn converse(kinesis: &FakeKinesis, then: Faults, host: &mut std::process::Child) -> Result<f64, Box<dyn Error>> {
    let mut lines = BufReader::new(host.stdout.take().ok_or("no output")?).lines();
    let mut next = || lines.next().ok_or("the host has ended")?.map_err(Box::<dyn Error>::from);
    let ready = next()?;
    if ready != "ready" {
        return Err(ready.into());
    }
    kinesis.set_faults(then);
    let before = kinesis.stats().requests;
    writeln!(host.stdin.as_mut().ok_or("no input")?, "go")?;
    let (mut peak, mut quiet, mut requests) = (0.0, 0, 0);
    for _ in 0..MOST_SECONDS {
        let now: f64 = next()?.parse()?;
        quiet = if now > peak { 0 } else { quiet + 1 };
        peak = now.max(peak);
        requests = kinesis.stats().requests - before;
        if quiet >= QUIET && requests >= CHUNKS as u64 / 2 {
            println!("{requests} requests were made");
            return Ok(peak);
        }
    }
    Err(format!("the memory grew all the time, or hardly any requests were made: {requests}").into())
}

/// The host: prints "ready", waits for a line, and then prints each second by how many MiB its peak exceeds the memory
/// before loading the plugin.
fn flush(name: &str) -> Result<(), Box<dyn Error>> {
    let options = OPTIONS.iter().find(|(option, _)| *option == name).ok_or("unknown options")?.1;
    let endpoint = env::var(ENDPOINT)?;
    let mut properties =
        vec![("stream", "logs"), ("region", "us-east-1"), ("endpoint", &endpoint), ("http_request_timeout", "2")];
    properties.extend(options);
    let waiting: usize = env::var(WAITING)?.parse()?;
    log::collect();
    let chunk = chunk()?;
    let one = chunk.get(..first_event(&chunk)).ok_or("no event")?.to_vec();
    let barrier = Arc::new(Barrier::new(CHUNKS + 1));
    let (start, library) = (Arc::clone(&barrier), Arc::new(std::sync::OnceLock::<(Library, Flushing)>::new()));
    for number in 0..CHUNKS {
        let (barrier, library) = (Arc::clone(&start), Arc::clone(&library));
        // Memory that is lent twice at a time would count as one chunk.
        let (chunk, one) = (chunk.clone(), one.clone());
        thread::spawn(move || {
            let tag = CString::new(format!("app.{number}")).unwrap_or_default();
            barrier.wait();
            let Some((library, Flushing(output))) = library.get() else { return };
            let answers: Vec<i32> = (0..FLUSHES_BEFORE).map(|_| output.flush(library, &one, &tag)).collect();
            assert!(answers.iter().all(|answer| *answer == 1), "the service works: {answers:?}");
            barrier.wait();
            barrier.wait();
            if number < waiting {
                output.flush(library, &chunk, &tag);
            }
        });
    }
    let before = memory("VmRSS")?;
    let loaded = Library::open(&built_plugin()?)?;
    let _definition = loaded.register(0)?;
    let mut output = Output::new("kinesis.0", &properties)?;
    if output.init(&loaded) != 1 {
        return Err(format!("the plugin does not start: {:?}", log::take()).into());
    }
    library.set((loaded, Flushing(output))).map_err(|_| "set twice")?;
    barrier.wait();
    barrier.wait();
    println!("ready");
    io::stdin().read_exact(&mut [0])?;
    fs::write("/proc/self/clear_refs", "5")?;
    barrier.wait();
    loop {
        thread::sleep(Duration::from_secs(1));
        log::take();
        println!("{}", memory("VmHWM")?.saturating_sub(before) as f64 / MIB);
    }
}

/// An output flushed by several threads, like Fluent Bit's.
struct Flushing(Box<Output>);

// SAFETY: the plugin's functions may be called on any thread, and nothing in the output changes any more.
unsafe impl Send for Flushing {}
// SAFETY: as above.
unsafe impl Sync for Flushing {}

/// Access log lines with a thousand distinct keys, repeating, so that zstd's highest level finishes in time.
fn chunk() -> Result<Vec<u8>, Box<dyn Error>> {
    let mut chunk = Vec::with_capacity(CHUNK_BYTES + 1000);
    let lines: Vec<String> = Corpus::Access.lines().take(1000).collect();
    let mut lines = lines.iter().cycle();
    while chunk.len() < CHUNK_BYTES {
        let line = lines.next().ok_or("no line")?;
        let key = line.split(' ').next().unwrap_or_default();
        chunk.extend_from_slice(b"\x92\x92\xd7\x00\x68\xe7\x78\x00\x1d\xcd\x65\x00\x80");
        rmp_serde::encode::write(&mut chunk, &serde_json::json!({ "key": key, "log": line }))?;
    }
    Ok(chunk)
}

/// Where the first event ends and the second, alike, begins.
fn first_event(chunk: &[u8]) -> usize {
    let head = chunk.get(..3).unwrap_or_default();
    chunk.windows(3).skip(1).position(|window| window == head).map_or(chunk.len(), |position| position + 1)
}

/// A line of `/proc/self/status`, in bytes.
fn memory(line: &str) -> Result<usize, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let found = status.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(':'));
    let kib: usize = found.and_then(|found| found.trim().strip_suffix(" kB")).ok_or("not told")?.parse()?;
    Ok(kib * 1024)
}

/// Each level in its own process.
fn zstd() -> Result<(), Failed> {
    for level in Kind::Zstd.levels().ok_or("no levels")? {
        let child = Command::new(env::current_exe()?).env(AS_HOST, ZSTD).env(LEVEL, level.to_string()).output()?;
        if !child.status.success() {
            return Err(String::from_utf8_lossy(&child.stderr).into());
        }
        let mib: f64 = String::from_utf8(child.stdout)?.trim().parse()?;
        println!("level {level}: {mib:.1} MiB");
        if !(0.1..=MOST_MIB_OF_ZSTD).contains(&mib) {
            return Err(format!("level {level}: {mib:.1} MiB").into());
        }
    }
    Ok(())
}

/// Compresses a chunk's text, and prints how many MiB that took.
fn compress() -> Result<(), Box<dyn Error>> {
    let text: Vec<u8> = Corpus::Access.lines().flat_map(String::into_bytes).take(CHUNK_BYTES).collect();
    // Written to, so that it already counts.
    let mut out = vec![1; 2 * CHUNK_BYTES];
    out.clear();
    fs::write("/proc/self/clear_refs", "5")?;
    let before = memory("VmRSS")?;
    let mut compressor = Compressor::new(Kind::Zstd, Some(env::var(LEVEL)?.parse()?))?;
    compressor.compress(&text, &mut out)?;
    println!("{}", memory("VmHWM")?.saturating_sub(before) as f64 / MIB);
    Ok(())
}
