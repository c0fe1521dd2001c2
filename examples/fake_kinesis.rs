//! A Kinesis Data Streams service on loopback, as a program.
//!
//! ```text
//! cargo run --release --example fake_kinesis -- --stream logs:4 --throttle-records 0.1
//! ```
//!
//! It prints one line when it is ready. `GET /_/stats` and `GET /_/records?from=N&count=M` show what arrived, `POST
//! /_/faults` and `POST /_/script` inject faults, and SIGTERM or SIGINT ends it with final statistics.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program speaks")]

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lexopt::{Arg, Parser, ValueExt};
use signal_hook::consts::{SIGINT, SIGTERM};
use testing::fake_kinesis::{Credential, FakeKinesis, Faults, Keep, Settings, Stream};

const HELP: &str = "\
A Kinesis Data Streams service on loopback.

usage: fake_kinesis [options]

  --port N                          port on 127.0.0.1 (default 0: any free one)
  --plain                           HTTP instead of HTTPS
  --ca-file PATH                    where the certificate authority is written (default: a temporary file)
  --stream NAME[:SHARDS]            a stream that exists (default logs:4); may be repeated
  --max-record-size BYTES           limit of all streams (default 1048576)
  --max-request-size BYTES          limit of a request (default 5242880)
  --credentials KEY:SECRET[:TOKEN]  check signatures against these; may be repeated
  --latency-ms N                    every reply waits this long
  --throttle-records P              probability that a record is refused as throttled
  --fail-records P                  ... as failed
  --error-500 P                     probability that a call is answered with status 500
  --reset-before P                  ... that its connection is reset before the body was read
  --reset-after P                   ... after the records were stored, without a reply
  --seed N                          start of the random numbers (default 0)
  --counts-only                     keep counters instead of records
  --stats-every SECONDS             print the statistics again and again
";

struct Options {
    settings: Settings,
    stats_every: Option<Duration>,
}

fn main() -> ExitCode {
    match run(Parser::from_env()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Parser) -> Result<(), Box<dyn Error>> {
    let Some(options) = parse(arguments)? else {
        print!("{HELP}");
        return Ok(());
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let tls = options.settings.tls;
    let server = FakeKinesis::try_start(options.settings)?;
    match tls {
        true => println!("ready: {} ca {}", server.endpoint(), server.ca_file().display()),
        false => println!("ready: {}", server.endpoint()),
    }
    let mut printed = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(50));
        if options.stats_every.is_some_and(|every| printed.elapsed() >= every) {
            printed = Instant::now();
            println!("stats: {}", serde_json::to_string(&server.stats())?);
        }
    }
    println!("closing: {}", serde_json::to_string(&server.stats())?);
    Ok(())
}

/// The options, or `None` if help is requested.
fn parse(mut parser: Parser) -> Result<Option<Options>, Box<dyn Error>> {
    let mut settings = Settings { tls: true, streams: Vec::new(), ..Settings::default() };
    let mut faults = Faults::default();
    let mut stats_every = None;
    let mut max_record_size = None;
    while let Some(argument) = parser.next()? {
        let Arg::Long(name) = argument else {
            return Err(argument.unexpected().into());
        };
        match name {
            "help" => return Ok(None),
            "port" => settings.port = parser.value()?.parse()?,
            "plain" => settings.tls = false,
            "ca-file" => settings.ca_file = Some(parser.value()?.into()),
            "stream" => settings.streams.push(stream(&parser.value()?.string()?)?),
            "max-record-size" => max_record_size = Some(parser.value()?.parse()?),
            "max-request-size" => settings.max_request_size = parser.value()?.parse()?,
            "credentials" => settings.credentials.push(credential(&parser.value()?.string()?)?),
            "latency-ms" => faults.latency_ms = parser.value()?.parse()?,
            "throttle-records" => faults.throttle_records = probability(&mut parser)?,
            "fail-records" => faults.fail_records = probability(&mut parser)?,
            "error-500" => faults.error_500 = probability(&mut parser)?,
            "reset-before" => faults.reset_before = probability(&mut parser)?,
            "reset-after" => faults.reset_after = probability(&mut parser)?,
            "seed" => faults.seed = parser.value()?.parse()?,
            "counts-only" => settings.keep = Keep::Counts,
            "stats-every" => stats_every = Some(Duration::from_secs_f64(parser.value()?.parse()?)),
            _ => return Err(argument.unexpected().into()),
        }
    }
    if settings.streams.is_empty() {
        settings.streams.push(Stream::new("logs", 4));
    }
    if let Some(bytes) = max_record_size {
        settings.streams = settings.streams.into_iter().map(|stream| stream.with_max_record_size(bytes)).collect();
    }
    settings.faults = faults;
    Ok(Some(Options { settings, stats_every }))
}

fn stream(text: &str) -> Result<Stream, Box<dyn Error>> {
    match text.split_once(':') {
        None => Ok(Stream::new(text, 4)),
        Some((name, shards)) => match shards.parse() {
            Ok(shards) if shards > 0 => Ok(Stream::new(name, shards)),
            _ => Err(format!("--stream {text}: the number of shards must be 1 or more").into()),
        },
    }
}

fn credential(text: &str) -> Result<Credential, Box<dyn Error>> {
    let mut parts = text.splitn(3, ':');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(key), Some(secret), None) => Ok(Credential::new(key, secret)),
        (Some(key), Some(secret), Some(token)) => Ok(Credential::new(key, secret).with_session_token(token)),
        _ => Err("--credentials: must be KEY:SECRET or KEY:SECRET:TOKEN".into()),
    }
}

fn probability(parser: &mut Parser) -> Result<f64, Box<dyn Error>> {
    let value: f64 = parser.value()?.parse()?;
    match (0.0..=1.0).contains(&value) {
        true => Ok(value),
        false => Err(format!("{value} is not a probability: it must be 0 to 1").into()),
    }
}
