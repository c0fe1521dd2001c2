//! A thousand producers on one stream, in virtual time: the throughput under throttling, and how the fleet recovers
//! from an outage. `docs/fleet.md` has the results.
//!
//! ```text
//! cargo run --release --example fleet
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to its terminal")]
#![allow(clippy::indexing_slicing, clippy::expect_used, reason = "a simulation has no hostile input")]
#![allow(unreachable_pub, reason = "its modules are those of a program")]

mod producer;
mod scenario;
mod service;

use std::error::Error;
use std::thread;
use std::time::Duration;

use lexopt::prelude::{Long, Short, ValueExt};

use producer::Resend;
use scenario::{Measured, SCENARIOS, Scenario, Setup};

const HELP: &str = "\
Plays a fleet of producers on a simulated stream and prints what came of it, as a table.

usage: fleet [options]

  --producers N   nodes of the fleet (1000)
  --shards N      shards of the stream; each takes 1000 records a second (4)
  --seconds N     how long the trouble lasts (300)
  --retries N     retries_on_batch_request of this plugin (8)
  --keep-backoff  reset_backoff_if_success off
  --seed N        what chance depends on (1)
  --only NAME     one scenario: throttled, hot, resharding or outage
  --again WHAT    one kind of producer: those that send records again, or chunk
";

fn main() -> Result<(), Box<dyn Error>> {
    let mut setup = Setup {
        producers: 1000,
        shards: 4,
        shard_records: 1000.0,
        seconds: 300,
        seed: 1,
        resend: Resend::Records,
        retries: 8,
        reset_backoff: true,
    };
    let mut only = String::new();
    let mut again = String::new();
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("producers") => setup.producers = arguments.value()?.parse()?,
            Long("shards") => setup.shards = arguments.value()?.parse()?,
            Long("seconds") => setup.seconds = arguments.value()?.parse()?,
            Long("retries") => setup.retries = arguments.value()?.parse()?,
            Long("keep-backoff") => setup.reset_backoff = false,
            Long("seed") => setup.seed = arguments.value()?.parse()?,
            Long("only") => only = arguments.value()?.string()?,
            Long("again") => again = arguments.value()?.string()?,
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let plays = SCENARIOS.into_iter().flat_map(|scenario| [(scenario, Resend::Records), (scenario, Resend::Chunk)]);
    let plays = plays
        .filter(|(scenario, resend)| scenario.to_string().starts_with(&only) && resend.to_string().starts_with(&again));
    println!("{HEAD}");
    thread::scope(|scope| {
        let play = |(scenario, resend): (Scenario, Resend)| {
            scope.spawn(move || scenario.play(Setup { resend, ..setup }).map(|measured| (scenario, resend, measured)))
        };
        let (plays, at_once) = (plays.collect::<Vec<_>>(), thread::available_parallelism()?.get());
        for group in plays.chunks(at_once) {
            for played in group.iter().copied().map(play).collect::<Vec<_>>() {
                let (scenario, resend, measured) = played.join().map_err(|_| "a simulation panicked")??;
                println!("{}", row(scenario, resend, &measured));
            }
        }
        Ok(())
    })
}

const HEAD: &str = "\
| scenario | sent again | records | missing | duplicates | sent per stored | goodput | largest backlog | backlog gone | last chunk | requests/s: mean | peak | variation |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|";

fn row(scenario: Scenario, resend: Resend, measured: &Measured) -> String {
    let time = |time: Option<Duration>| time.map_or("never".to_owned(), |time| format!("{} s", time.as_secs()));
    format!(
        "| {scenario} | {resend} | {} | {} | {} | {:.2} | {:.1} % | {} | {} | {} | {:.0} | {} | {:.2} |",
        measured.made,
        measured.missing,
        measured.duplicates,
        measured.sent_per_stored,
        100.0 * measured.goodput,
        measured.largest_backlog,
        time(measured.backlog_gone),
        time(measured.delivered),
        measured.requests_mean,
        measured.requests_peak,
        measured.requests_variation,
    )
}
