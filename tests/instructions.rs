//! A record takes no more instructions than it used to, counted so that nothing else on the machine interferes.
//!
//! A program of its own, because other code in it would change how the hot path is compiled, and thus the counts.
//! `cargo test --profile demo --test instructions -- --nocapture` prints them. Callgrind counts in this same program,
//! which does the work N and 2 N times, so that startup cancels out.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "is a program as well")]

use std::env;
use std::error::Error;
use std::hint::black_box;
use std::process::{Command, ExitCode};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use kinesis::config::Config;
use kinesis::kinesis::reply::Response;
use kinesis::kinesis::stream::Stream;
use kinesis::pack::Packer;
use kinesis::record_set::RecordSet;
use libtest_mimic::{Arguments, Failed, Trial};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use testing::corpora::Corpus;
use testing::property;

/// Most instructions per record on x86_64 with AVX2. Records that are sent as they are have a bound of their own; the
/// others have 10 % above the count when the limit was set. Lower a limit after an improvement.
const BUDGET: [(Work, u64); 6] = [
    // From msgpack to a request body.
    (Work::Pack(Corpus::Access, &[]), 1_350),
    (Work::Pack(Corpus::Nested, &[]), 4_000),
    (Work::Pack(Corpus::Nested, CHANGES), 5_800),
    (Work::Pack(Corpus::Access, AGGREGATES), 2_500),
    (Work::Pack(Corpus::Nested, AGGREGATES), 6_500),
    // Reading a reply that accepts all of 500 records.
    (Work::Read, 112),
];

type Options = &'static [(&'static str, &'static str)];

/// Each has a walk over the event where its schema is unknown.
const CHANGES: Options = &[
    ("partition_key", "kubernetes->labels->app"),
    ("time_key", "time"),
    ("exclude_keys", "http->path"),
    ("replace_dots", "_"),
];
const AGGREGATES: Options = &[("aggregation", "kpl")];

#[derive(Clone, Copy, Debug)]
enum Work {
    Pack(Corpus, Options),
    Read,
}

impl Work {
    fn name(self) -> String {
        match self {
            Work::Pack(corpus, CHANGES) => format!("packing_{}_records_that_change", corpus.name()),
            Work::Pack(corpus, AGGREGATES) => format!("packing_{}_records_into_aggregates", corpus.name()),
            Work::Pack(corpus, _) => format!("packing_{}_records", corpus.name()),
            Work::Read => "reading_replies".to_owned(),
        }
    }
}

/// Records in one pass.
const RECORDS: usize = 2000;
const AS_PROGRAM: &str = "KINESIS_TEST_WORK";

fn main() -> ExitCode {
    if let Ok(work) = env::var(AS_PROGRAM) {
        return match do_work(&work) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    let arguments = Arguments::from_args();
    let reason = why_not();
    let mut trials = vec![Trial::test("every_line_of_a_corpus_has_its_length", lengths)];
    trials.extend(BUDGET.map(|(work, budget)| {
        let trial = Trial::test(format!("{}_stays_within_its_instructions", work.name()), move || within(work, budget));
        match &reason {
            Some(reason) => trial.with_kind(reason).with_ignored_flag(true),
            None => trial,
        }
    }));
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn lengths() -> Result<(), Failed> {
    for corpus in Corpus::ALL {
        if let Some(line) = corpus.lines().take(10_000).find(|line| line.len() != corpus.line_bytes()) {
            return Err(format!("{} bytes instead of {}: {line}", line.len(), corpus.line_bytes()).into());
        }
    }
    Ok(())
}

/// Why counting is not possible here, if so.
fn why_not() -> Option<String> {
    if cfg!(debug_assertions) {
        return Some("not optimized: cargo test --profile demo --test instructions".to_owned());
    }
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        return Command::new("valgrind").arg("--version").output().err().map(|error| format!("valgrind: {error}"));
    }
    Some("the budget is for x86_64 with AVX2".to_owned())
}

fn within(work: Work, budget: u64) -> Result<(), Failed> {
    let (once, twice) = (instructions(work, 5)?, instructions(work, 10)?);
    let each = twice.saturating_sub(once) / (5 * RECORDS as u64);
    println!("{}: {each} instructions per record, {budget} allowed", work.name());
    match each {
        0 => Err("nothing was done".into()),
        each if each > budget => Err(format!("{each} instructions per record, {budget} allowed").into()),
        _ => Ok(()),
    }
}

/// The number of instructions of this program for this many passes.
fn instructions(work: Work, passes: u32) -> Result<u64, Failed> {
    let counted = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe()?)
        .env(AS_PROGRAM, format!("{} {passes}", work.name()))
        .output()?;
    let log = String::from_utf8_lossy(&counted.stderr);
    let collected = log.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    match collected {
        Some(collected) if counted.status.success() => Ok(collected),
        _ => Err(format!("callgrind ended with {}:\n{log}", counted.status).into()),
    }
}

/// What callgrind counts.
fn do_work(work: &str) -> Result<(), Box<dyn Error>> {
    let (name, passes) = work.split_once(' ').ok_or("expected a work and a number")?;
    let passes = passes.parse()?;
    match BUDGET.into_iter().find(|(work, _)| work.name() == name) {
        Some((Work::Pack(corpus, options), _)) => pack(corpus, options, passes),
        Some((Work::Read, _)) => read(passes),
        None => Err(format!("there is no work {name}").into()),
    }
}

/// Packs a chunk of [`RECORDS`] this many times.
fn pack(corpus: Corpus, options: Options, passes: u32) -> Result<(), Box<dyn Error>> {
    let mut chunk = Vec::new();
    for line in corpus.lines().take(RECORDS) {
        corpus.write_event(&line, &mut chunk)?;
    }
    let requests = Config::parse(&property(options))?.requests;
    let stream = Stream::parse("logs")?;
    let mut random = SmallRng::seed_from_u64(1);
    for _ in 0..passes {
        let mut packer = Packer::new(&chunk, b"app.log", &stream, &requests, RecordSet::default());
        let mut last = None;
        while let Some(batch) = packer.next_batch(&mut random, &mut |_, _| {}) {
            let batch = black_box(batch);
            last = batch.entries().last().and_then(|entry| batch.records(entry).last().copied());
        }
        if last != Some(RECORDS as u32 - 1) {
            return Err(format!("the last of {RECORDS} records that was packed is {last:?}").into());
        }
    }
    Ok(())
}

/// Reads replies to [`RECORDS`] this many times.
fn read(passes: u32) -> Result<(), Box<dyn Error>> {
    const REPLY: usize = 500;
    let body = Bytes::from(testing::accepted::json(REPLY));
    let reply = Response::new(StatusCode::OK, HeaderMap::new(), body);
    for _ in 0..passes as usize * RECORDS / REPLY {
        black_box(black_box(&reply).accepts_all(REPLY)).then_some(()).ok_or("the reply is not recognized")?;
    }
    Ok(())
}
