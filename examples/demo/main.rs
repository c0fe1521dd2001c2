//! Sends an access log through the plugin to a stand-in of Kinesis, over TLS and signed, and counts what arrives: with
//! Fluent Bit, or with examples/host, which loads the plugin like Fluent Bit does.
//!
//! ```text
//! cargo run --profile demo --example demo -- --faults
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to its terminal")]
#![allow(clippy::disallowed_methods, reason = "it is a host")]

#[path = "../host/bar.rs"]
mod bar;
mod faults;
mod sender;

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use indicatif::HumanCount;
use lexopt::Parser;
use lexopt::prelude::{Long, Short, ValueExt};
use testing::fake_kinesis::{Credential, FakeKinesis, Keep, Settings, Stats, Stream};
use testing::host::access_log::AccessLog;
use testing::programs;

use crate::bar::Bar;
use crate::faults::FaultsOfARun;
use crate::sender::{Program, Sender};

const HELP: &str = "\
Sends an access log through the plugin to a stand-in of Kinesis and counts what arrives.

usage: demo [options]

  --plugin PATH       the library to load
  --fluent-bit PATH   the Fluent Bit to load it with; by default examples/host loads it
  --lines N           lines of the log (200000)
  --faults            throttle, cut connections, and kill the host once
";

const KEY: &str = "AKIADEMO";
const SECRET: &str = "demonstration";

/// How often to look.
const INTERVAL: Duration = Duration::from_millis(100);
/// Nothing arrives for so long: it has failed.
const PATIENCE: Duration = Duration::from_secs(120);

struct Options {
    plugin: PathBuf,
    fluent_bit: Option<PathBuf>,
    lines: u64,
    has_faults: bool,
}

fn main() -> ExitCode {
    programs::run("demo", HELP, options(Parser::from_env()), run)
}

/// The options, or `None` if help is requested.
fn options(mut arguments: Parser) -> Result<Option<Options>, Box<dyn Error>> {
    let mut options = Options { plugin: PathBuf::new(), fluent_bit: None, lines: 200_000, has_faults: false };
    let mut plugin = None;
    while let Some(argument) = arguments.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Long("plugin") => plugin = Some(PathBuf::from(arguments.value()?)),
            Long("fluent-bit") => options.fluent_bit = Some(arguments.value()?.into()),
            Long("lines") => options.lines = arguments.value()?.parse()?,
            Long("faults") => options.has_faults = true,
            _ => return Err(argument.unexpected().into()),
        }
    }
    options.plugin = plugin.map_or_else(testing::host::library::built_plugin, Ok)?.canonicalize()?;
    Ok(Some(options))
}

/// Returns whether every record arrived once.
fn run(options: &Options) -> Result<bool, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("access.log");
    println!("== writing an access log of {} lines", HumanCount(options.lines));
    let bytes = write_log(&log, options.lines)?;
    let ca_file = folder.path().join("ca.pem");
    let kinesis = FakeKinesis::try_start(Settings {
        tls: true,
        ca_file: Some(ca_file.clone()),
        streams: vec![Stream::new("demo", 4)],
        credentials: vec![Credential::new(KEY, SECRET)],
        keep: Keep::Counts,
        ..Settings::default()
    })?;
    let program = match &options.fluent_bit {
        Some(path) => Program::FluentBit { path: path.clone(), survives_kills: options.has_faults },
        None => Program::host()?,
    };
    println!("== sending {} MB with {} to {}", bytes / 1_000_000, program.name(), kinesis.endpoint());
    let environment = [
        ("AWS_ACCESS_KEY_ID", KEY.into()),
        ("AWS_SECRET_ACCESS_KEY", SECRET.into()),
        ("AWS_EC2_METADATA_DISABLED", "true".into()),
        ("SSL_CERT_FILE", ca_file.into()),
        ("KINESIS_STREAM", "demo".into()),
        ("KINESIS_ENDPOINT", kinesis.endpoint().into()),
        ("LOG_FILE", log.into()),
        ("KINESIS_SO", options.plugin.clone().into()),
    ];
    let sender = Sender::new(program, folder.path(), options.plugin.clone(), environment.into())?;
    let taken = watch(sender, &kinesis, options)?;
    Ok(report(&kinesis.stats(), options.lines, taken))
}

/// Writes an access log, the same on every machine. Returns its size.
fn write_log(path: &Path, lines: u64) -> Result<u64, Box<dyn Error>> {
    let mut file = BufWriter::new(File::create(path)?);
    for line in AccessLog::new(1).take(usize::try_from(lines)?) {
        writeln!(file, "{line}")?;
    }
    file.flush()?;
    Ok(std::fs::metadata(path)?.len())
}

/// Shows what arrives until everything has, or the sender has ended. Returns how long that took.
fn watch(mut sender: Sender, kinesis: &FakeKinesis, options: &Options) -> Result<Duration, Box<dyn Error>> {
    let begin = Instant::now();
    let mut faults = options.has_faults.then(|| FaultsOfARun::begin(kinesis, options.lines));
    let mut bar = Bar::new(Some(options.lines));
    let (mut arrived, mut before) = (Instant::now(), Stats::default());
    loop {
        thread::sleep(INTERVAL);
        sender.lines().try_for_each(|line| bar.print(&line))?;
        let stats = kinesis.stats();
        if stats.distinct > before.distinct {
            arrived = Instant::now();
        }
        bar.show(stats.distinct, &progress(&stats, &before, kinesis.take_most_in_flight()))?;
        before = stats;
        if let Some(said) = faults.as_mut().and_then(|faults| faults.go_on(kinesis, &before, &mut sender).transpose()) {
            bar.print(&said?)?;
        }
        if before.distinct == options.lines {
            sender.finish()?;
        }
        if sender.has_ended()? {
            break;
        }
        if arrived.elapsed() > PATIENCE {
            sender.kill()?;
            return Err(format!("nothing arrived for {} s", PATIENCE.as_secs()).into());
        }
    }
    sender.lines().try_for_each(|line| bar.print(&line))?;
    bar.clear();
    Ok(arrived.duration_since(begin))
}

/// `in_flight` is the most since the last look: at one moment it may be none, however many there are.
fn progress(now: &Stats, before: &Stats, in_flight: usize) -> String {
    let rate = (now.data_bytes - before.data_bytes) as f64 / INTERVAL.as_secs_f64() / 1e6;
    let throttled = HumanCount(now.throttled_records);
    format!("{rate:.0} MB/s, {in_flight} in flight, {throttled} throttled")
}

/// Says what arrived. Returns whether that was every record, once.
fn report(stats: &Stats, lines: u64, taken: Duration) -> bool {
    let [lines, distinct, twice, requests] = [lines, stats.distinct, stats.duplicates, stats.requests].map(HumanCount);
    let is_complete = stats.distinct == lines.0 && stats.duplicates == 0;
    if is_complete {
        let rate = HumanCount((lines.0 as f64 / taken.as_secs_f64()) as u64);
        println!(
            "== every record once: {distinct} of {lines} in {requests} requests, {:.1} s, {rate} records a second",
            taken.as_secs_f64()
        );
    } else {
        println!("== {distinct} of {lines} records arrived, {twice} of them twice, in {requests} requests");
    }
    is_complete
}
