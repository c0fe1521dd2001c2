//! What happens to the stream while the fleet sends, and the results.

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
    /// Records per second and shard; Kinesis allows 1,000.
    pub shard_records: f64,
    /// How long the disturbance lasts, in seconds.
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
    /// The fleet offers 50 % more than the stream's capacity.
    Throttled,
    /// Other producers use nine tenths of one shard.
    HotShard,
    /// The fleet offers 20 % more than the capacity, until every shard is split.
    Resharding,
    /// For a while, no request gets through.
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

/// Seconds before the disturbance, for the fleet to settle in, and after it.
const CALM: u64 = 60;
/// What is not delivered this long after the end of the logs never will be.
const PATIENCE: u64 = 3600;
/// Requests are counted per second; their variation is measured over this many seconds.
const WINDOW: usize = 30;

/// The result of a scenario.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Records that were made.
    pub made: u64,
    /// Records that are missing although their chunks were reported as delivered, or that are still waiting.
    pub missing: u64,
    pub duplicates: u64,
    /// Records sent per record stored.
    pub sent_per_stored: f64,
    /// New records stored, as a fraction of the stream's capacity: while the fleet offers more than that (throttled),
    /// from the event until the backlog is gone (resharding, outage), or over the whole time (hot shard).
    pub goodput: f64,
    /// The time from the event (the splits, the end of the outage, the end of the logs) until the backlog was no
    /// larger than what is normally in flight. `None` if it never was.
    pub backlog_gone: Option<Duration>,
    /// The largest number of waiting records.
    pub largest_backlog: u64,
    /// The time from the event until the last chunk was reported as delivered. `None` if it never was.
    pub delivered: Option<Duration>,
    /// Requests per second over the measured time.
    pub requests_mean: f64,
    pub requests_peak: u64,
    /// The largest standard deviation of requests per second within 30 seconds, as a fraction of their mean.
    pub requests_variation: f64,
}

impl Scenario {
    /// Runs it in virtual time.
    pub fn play(self, setup: Setup) -> Result<Measured, std::io::Error> {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build()?;
        Ok(LocalSet::new().block_on(&runtime, self.run(setup)))
    }

    /// What the fleet offers, as a fraction of the capacity available to it.
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

/// Splits one shard per second, starting at `at`.
async fn split_all(service: Rc<Service>, shards: u32, at: u64) {
    sleep(Duration::from_secs(at)).await;
    for shard in 0..shards as usize {
        service.split(2 * shard);
        sleep(Duration::from_secs(1)).await;
    }
}

/// `made` and the service's seconds count from the start; the disturbance ends in second `event`.
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

/// Standard deviation divided by mean.
fn variation(counts: &[u64]) -> f64 {
    let count = counts.len() as f64;
    let mean = counts.iter().sum::<u64>() as f64 / count;
    let variance = counts.iter().map(|&requests| (requests as f64 - mean).powi(2)).sum::<f64>() / count;
    if mean == 0.0 { 0.0 } else { variance.sqrt() / mean }
}
