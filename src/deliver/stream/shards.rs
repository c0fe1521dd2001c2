//! Keeps a map of the stream's shards, so that records whose keys belong to one shard can share an aggregate.
//!
//! An outdated map loses no records, so updates are not urgent. Instances that start together or see the same split
//! must not call together: a stream allows 1,000 `ListShards` calls per second over all callers
//! (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html>, read 2026-11).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::flush::Shutdown;
use super::report::Reporter;
use crate::kinesis::client::Transport;
use crate::kinesis::list_shards::list_shards;
use crate::kinesis::reply::Response;
use crate::kinesis::request::Batch;
use crate::kinesis::shards::ShardMap;
use crate::kinesis::stream::Stream;
use crate::log::{Level, duration};
use crate::pack::Aggregation;

/// Jitter of the first `ListShards` call and of those after resharding: 333 calls per second from 10,000 instances.
const JITTER: Duration = Duration::from_secs(30);
/// Minimum time between two calls, however long resharding takes.
const MIN_INTERVAL: Duration = Duration::from_secs(60);
/// Average time between two calls when nothing changes; varies by ±50 %.
const INTERVAL: Duration = Duration::from_secs(600);
/// Average time before retrying a failed call. Doubles with each failure, up to `INTERVAL`.
const FIRST_RETRY: Duration = Duration::from_secs(30);
/// Longest time for all pages of a list.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The stream's shards, as far as they are known.
#[derive(Default)]
pub(super) struct Shards {
    map: RefCell<Option<Rc<ShardMap>>>,
    /// Notified when a reply shows that the map is outdated.
    pub(super) outdated: Notify,
    failures: Cell<u32>,
}

impl Shards {
    /// Creates an empty map if records are aggregated by shard.
    pub(super) fn if_used(aggregation: Option<Aggregation>) -> Option<Rc<Shards>> {
        let is_used = matches!(aggregation, Some(Aggregation::Kpl { by_shard: true, .. }));
        is_used.then(Rc::default)
    }

    /// The map, if there is one.
    pub(super) fn map(&self) -> Option<Rc<ShardMap>> {
        self.map.borrow().clone()
    }

    /// Checks whether records went to the shards they were packed for. If not, the map is outdated.
    pub(super) fn compare(&self, batch: &Batch, response: &Response) {
        let Some(map) = self.map() else { return };
        let Some(ids) = response.shard_ids(batch.entries().len()) else { return };
        let mut sent = batch.entries().iter().zip(&ids).filter(|(_, id)| !id.is_empty());
        if sent.any(|(entry, id)| !map.agrees(batch.shard(entry), id)) {
            self.outdated.notify_one();
        }
    }

    /// The time until the next call if no reply shows a change earlier.
    fn interval(&self, random: &mut SmallRng) -> Duration {
        let average = match self.failures.get() {
            0 => INTERVAL,
            failures => FIRST_RETRY.saturating_mul(2_u32.saturating_pow(failures - 1)).min(INTERVAL),
        };
        average.mul_f64(random.random_range(0.5..1.5))
    }
}

fn jitter(random: &mut SmallRng) -> Duration {
    JITTER.mul_f64(random.random())
}

/// Calls `ListShards` periodically.
pub(super) struct ShardWatcher<T> {
    pub(super) shards: Rc<Shards>,
    pub(super) transport: Rc<T>,
    pub(super) stream: Stream,
    pub(super) random: Rc<RefCell<SmallRng>>,
    pub(super) reporter: Reporter,
    pub(super) shutdown: Rc<Shutdown>,
}

impl<T: Transport> ShardWatcher<T> {
    /// Keeps the map current until the host shuts down.
    pub(super) async fn run(&self) {
        let mut pause = jitter(&mut self.random.borrow_mut());
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.outdated() => {}
                _ = self.shutdown.begun() => return,
            }
            self.refresh().await;
            pause = self.shards.interval(&mut self.random.borrow_mut());
        }
    }

    /// Waits until a reply shows that the map is outdated, plus jitter. Never returns after a failure, which has its
    /// own pause.
    async fn outdated(&self) {
        let refreshed_at = Instant::now();
        self.shards.outdated.notified().await;
        if self.shards.failures.get() > 0 {
            std::future::pending::<()>().await;
        }
        let earliest = Instant::now().max(refreshed_at + MIN_INTERVAL);
        let jitter = jitter(&mut self.random.borrow_mut());
        tokio::time::sleep_until(earliest + jitter).await;
    }

    async fn refresh(&self) {
        let Shards { map: known, failures, .. } = &*self.shards;
        let (log, destination) = (&self.reporter.log, &self.reporter.destination);
        let answer = tokio::time::timeout(TIMEOUT, list_shards(&*self.transport, &self.stream)).await;
        let answer = match answer {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no reply within {}", duration(TIMEOUT))),
        };
        match answer {
            Ok(map) => {
                let count = map.len();
                let level = if failures.take() > 0 { Level::Info } else { Level::Debug };
                log.write(level, || format!("the shards of {destination} are known: {count} are open"));
                known.replace(Some(Rc::new(map)));
            }
            Err(reason) => {
                let level = if failures.get() == 0 { Level::Warn } else { Level::Debug };
                failures.set(failures.get().saturating_add(1));
                log.write(level, || {
                    let then = if known.borrow().is_some() { "uses the last known shards" } else { "keeps keys apart" };
                    format!(
                        "cannot list the shards of {destination}: {reason}; shard_map requires the permission kinesis:ListShards and {then} until they are known"
                    )
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn each_failure_doubles_the_time_until_the_next_call_up_to_ten_minutes() {
        let mut random = SmallRng::seed_from_u64(1);
        for (failures, average) in [(0, 600), (1, 30), (2, 60), (3, 120), (5, 480), (6, 600), (40, 600)] {
            let shards = Shards { failures: Cell::new(failures), ..Shards::default() };
            let average = Duration::from_secs(average);
            for _ in 0..100 {
                let interval = shards.interval(&mut random);
                assert!(average / 2 <= interval && interval <= average * 3 / 2, "{failures}: {interval:?}");
            }
        }
    }
}
