//! What happens to the stream while the fleet sends, and what comes of it.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Builder;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep};

use super::producer::{Fleet, Resend, produce};
use super::service::{Line, Second, Service};

/// The size of a fleet and its stream.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub producers: usize,
    pub shards: u32,
    /// Records per second that a shard takes; 1,000 is what Kinesis gives.
    pub shard_records: f64,
    /// How long a scenario's trouble lasts, in seconds.
    pub seconds: u64,
    pub seed: u64,
    pub resend: Resend,
    /// `retries_on_batch_request`.
    pub retries: usize,
    /// `reset_backoff_if_success`.
    pub reset_backoff: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// The fleet offers half as much again as the stream takes.
    Throttled,
    /// Others take nine tenths of one shard.
    HotShard,
    /// The fleet offers a fifth more than the stream takes, until every shard is split.
    Resharding,
    /// For a time nothing gets through.
    Outage,
}

pub const SCENARIOS: [Scenario; 4] = [Scenario::Throttled, Scenario::HotShard, Scenario::Resharding, Scenario::Outage];

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Scenario::Throttled => "throttled",
            Scenario::HotShard => "hot shard",
            Scenario::Resharding => "resharding",
            Scenario::Outage => "outage",
        })
    }
}

/// Seconds before the trouble, in which the fleet gets into its stride, and after it.
const CALM: u64 = 60;
/// What is not delivered by then, after the end of the logs, never will be.
const PATIENCE: u64 = 3600;
/// Requests are counted by seconds; how even they come is seen over this many.
const WINDOW: usize = 30;

/// What came of a scenario.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Records that were made.
    pub made: u64,
    /// Records that are nowhere, though their chunks were called delivered, or that are still waiting.
    pub missing: u64,
    pub duplicates: u64,
    /// Records sent for each one that was stored.
    pub sent_per_stored: f64,
    /// New records stored as a share of what the stream takes: while the fleet offers more than that (throttled), from
    /// the event until the backlog is gone (resharding, outage), or all the time (hot shard).
    pub goodput: f64,
    /// From the event (the splits, the end of the outage, the end of the logs) until the backlog was no more than what
    /// is on its way in good times. `None`: it never was.
    pub backlog_gone: Option<Duration>,
    /// The most records that waited.
    pub largest_backlog: u64,
    /// Until the last chunk was called delivered, from the event. `None`: it never was.
    pub delivered: Option<Duration>,
    /// Requests per second over the measured time.
    pub requests_mean: f64,
    pub requests_peak: u64,
    /// The largest standard deviation of requests per second in 30 seconds of that time, as a share of their mean.
    pub requests_variation: f64,
}

impl Scenario {
    /// Plays it in virtual time.
    pub fn play(self, setup: Setup) -> Result<Measured, std::io::Error> {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build()?;
        Ok(LocalSet::new().block_on(&runtime, self.run(setup)))
    }

    /// What the fleet offers, as a share of what the stream takes from it.
    pub fn load(self) -> f64 {
        match self {
            Scenario::Throttled => 1.5,
            Scenario::Resharding => 1.2,
            Scenario::HotShard | Scenario::Outage => 0.8,
        }
    }

    async fn run(self, setup: Setup) -> Measured {
        let start = Instant::now();
        let service = Service::new(setup.shards, setup.shard_records, setup.seed);
        let trouble = CALM..CALM + setup.seconds;
        let duration = |seconds| Duration::from_secs(seconds);
        match self {
            Scenario::Throttled => {}
            Scenario::HotShard => service.take_from_first_shard(0.9),
            Scenario::Outage => service.fail_between(duration(trouble.start)..duration(trouble.end)),
            Scenario::Resharding => drop(spawn_local(split_all(Rc::clone(&service), setup.shards, trouble.end))),
        }
        let offered = self.load() * service.capacity();
        let logs = match self {
            Scenario::Throttled | Scenario::HotShard => trouble.end,
            Scenario::Resharding | Scenario::Outage => trouble.end + CALM,
        };
        let fleet = Rc::new(Fleet {
            resend: setup.resend,
            retries: setup.retries,
            reset_backoff: setup.reset_backoff,
            rate: offered / setup.producers as f64,
            most_chunks: 1000,
            records: Cell::new(0),
            undelivered: Cell::new(0),
        });
        let end = start + duration(logs);
        let mut random = SmallRng::seed_from_u64(setup.seed ^ 2);
        for producer in 0..setup.producers {
            let line = Line { service: Rc::clone(&service), producer };
            spawn_local(produce(Rc::clone(&fleet), line, random.random(), end));
        }
        let mut made = Vec::new();
        while (Instant::now() <= end || fleet.undelivered.get() > 0) && made.len() < (logs + PATIENCE) as usize {
            sleep(duration(1)).await;
            made.push(fleet.records.get());
        }
        let delivered = fleet.undelivered.get() == 0;
        measure(self, &service, &made, offered, trouble.end as usize, delivered)
    }
}

/// Splits one shard a second from `at` on.
async fn split_all(service: Rc<Service>, shards: u32, at: u64) {
    sleep(Duration::from_secs(at)).await;
    for shard in 0..shards as usize {
        service.split(2 * shard);
        sleep(Duration::from_secs(1)).await;
    }
}

/// `made` and the service's seconds are those since the start; in second `event` the trouble ends.
fn measure(
    scenario: Scenario,
    service: &Service,
    made: &[u64],
    offered: f64,
    event: usize,
    delivered: bool,
) -> Measured {
    let mut seconds = service.seconds();
    seconds.resize(made.len(), Second::default());
    let stored = seconds.iter().scan(0, |sum, second| {
        *sum += second.stored;
        Some(*sum)
    });
    let backlog: Vec<u64> = made.iter().zip(stored).map(|(made, stored)| made.saturating_sub(stored)).collect();
    let gone = backlog.iter().skip(event).position(|&records| records as f64 <= 2.0 * offered);
    let measured = match scenario {
        Scenario::Throttled | Scenario::HotShard => CALM as usize..event,
        Scenario::Resharding | Scenario::Outage => {
            event..event + gone.map_or(seconds.len() - event, |gone| gone.max(1))
        }
    };
    let window = seconds.get(measured.clone()).unwrap_or_default();
    let per_second = |sum: u64| sum as f64 / window.len() as f64;
    let requests: Vec<u64> = window.iter().map(|second| second.requests).collect();
    let total = |field: fn(&Second) -> u64| seconds.iter().map(field).sum::<u64>();
    let records = made.last().copied().unwrap_or_default();
    Measured {
        made: records,
        missing: service.missing(records),
        duplicates: total(|second| second.duplicates),
        sent_per_stored: total(|second| second.sent) as f64 / total(|second| second.stored) as f64,
        goodput: per_second(window.iter().map(|second| second.stored).sum()) / service.capacity(),
        backlog_gone: gone.map(|seconds| Duration::from_secs(seconds as u64)),
        largest_backlog: backlog.iter().copied().max().unwrap_or_default(),
        delivered: delivered.then(|| Duration::from_secs(made.len().saturating_sub(event) as u64)),
        requests_mean: per_second(requests.iter().sum()),
        requests_peak: requests.iter().copied().max().unwrap_or_default(),
        requests_variation: requests.windows(WINDOW.min(requests.len())).map(variation).fold(0.0, f64::max),
    }
}

/// Standard deviation over mean.
fn variation(counts: &[u64]) -> f64 {
    let count = counts.len() as f64;
    let mean = counts.iter().sum::<u64>() as f64 / count;
    let variance = counts.iter().map(|&requests| (requests as f64 - mean).powi(2)).sum::<f64>() / count;
    if mean == 0.0 { 0.0 } else { variance.sqrt() / mean }
}
