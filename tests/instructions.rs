//! Packing a record takes no more instructions than it did: the guard of the hot path, in numbers that no other program
//! on the machine disturbs.
//!
//! `cargo test --profile demo --test instructions -- --nocapture` prints them. This program is also the one that callgrind
//! counts in; it packs the same chunk N times and 2 N times, so that starting up cancels out.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "is a program as well")]

#[path = "support/corpora.rs"]
mod corpora;

use std::env;
use std::hint::black_box;
use std::process::{Command, ExitCode};

use corpora::Corpus;
use kinesis::config::Stream;
use kinesis::ledger::RecordSet;
use kinesis::pack::{Packer, RequestSettings};
use libtest_mimic::{Arguments, Failed, Trial};
use rand::SeedableRng;
use rand::rngs::SmallRng;

/// Most instructions per record on x86_64 with AVX2, from msgpack to the request's body: a tenth more than it took when
/// the number was written down. A change that makes it cheaper lowers the number.
const BUDGET: [(Corpus, u64); 2] = [(Corpus::Access, 10_000), (Corpus::Nested, 10_000)];

const RECORDS: u64 = 2000;
const AS_PROGRAM: &str = "KINESIS_TEST_PACKS";

fn main() -> ExitCode {
    if let Ok(passes) = env::var(AS_PROGRAM) {
        return match pack(&passes) {
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
    trials.extend(BUDGET.map(|(corpus, budget)| {
        let name = format!("packing_{}_records_stays_within_its_instructions", corpus.name());
        let trial = Trial::test(name, move || within(corpus, budget));
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

/// Why nothing can be counted here.
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

fn within(corpus: Corpus, budget: u64) -> Result<(), Failed> {
    let (once, twice) = (instructions(corpus, 5)?, instructions(corpus, 10)?);
    let each = twice.saturating_sub(once) / (5 * RECORDS);
    println!("{}: {each} instructions per record, {budget} allowed", corpus.name());
    match each {
        0 => Err("nothing was packed".into()),
        each if each > budget => Err(format!("{each} instructions per record, {budget} allowed").into()),
        _ => Ok(()),
    }
}

/// How many instructions this program takes to pack a chunk so many times.
fn instructions(corpus: Corpus, passes: u64) -> Result<u64, Failed> {
    let counted = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe()?)
        .env(AS_PROGRAM, format!("{} {passes}", corpus.name()))
        .output()?;
    let log = String::from_utf8_lossy(&counted.stderr);
    let collected = log.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    match collected {
        Some(collected) if counted.status.success() => Ok(collected),
        _ => Err(format!("callgrind ended with {}:\n{log}", counted.status).into()),
    }
}

/// What callgrind counts: a chunk of a corpus packed so many times.
fn pack(passes: &str) -> Result<(), Box<dyn std::error::Error>> {
    let (corpus, passes) = passes.split_once(' ').ok_or("expected a corpus and a number")?;
    let (corpus, passes) = (Corpus::named(corpus)?, passes.parse::<u64>()?);
    let mut chunk = Vec::new();
    for line in corpus.lines().take(RECORDS as usize) {
        corpus.write_event(&line, &mut chunk)?;
    }
    let (stream, requests) = (Stream::parse("logs")?, RequestSettings::default());
    let mut random = SmallRng::seed_from_u64(1);
    for _ in 0..passes {
        let mut packer = Packer::new(&chunk, b"app.log", &stream, &requests, RecordSet::default());
        let mut packed = 0;
        while let Some(batch) = packer.next_batch(&mut random, &mut |_, _| {}) {
            packed += black_box(batch).entries().len() as u64;
        }
        if packed != RECORDS {
            return Err(format!("{packed} of {RECORDS} records were packed").into());
        }
    }
    Ok(())
}
