//! Keeps a map of the stream's shards: records of different keys may share an aggregate when their keys belong to one shard.
//!
//! An old map, or none, loses nothing, so there is no hurry. A fleet that starts together, or sees the same split, must not
//! ask together: a stream answers 1,000 calls of `ListShards` per second, from all callers
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

/// Jitter for the first `ListShards` call and for those after resharding: 10,000 instances then make 333 calls per second.
const JITTER: Duration = Duration::from_secs(30);
/// Least time between two calls, however long resharding goes on.
const MIN_INTERVAL: Duration = Duration::from_secs(60);
/// Average time between two calls when nothing changes; it varies by half.
const INTERVAL: Duration = Duration::from_secs(600);
/// Average time after a failure. Doubles with each further one, up to the interval.
const FIRST_RETRY: Duration = Duration::from_secs(30);
/// Longest time for all pages of an answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The stream's shards, as far as they are known.
#[derive(Default)]
pub(super) struct Shards {
    map: RefCell<Option<Rc<ShardMap>>>,
    /// Notified when a reply shows that the map is old.
    pub(super) outdated: Notify,
    failures: Cell<u32>,
}

impl Shards {
    /// An empty map, if records are aggregated by shard.
    pub(super) fn if_used(aggregation: Option<Aggregation>) -> Option<Rc<Shards>> {
        let is_used = matches!(aggregation, Some(Aggregation::Kpl { by_shard: true, .. }));
        is_used.then(Rc::default)
    }

    /// The map, when there is one.
    pub(super) fn map(&self) -> Option<Rc<ShardMap>> {
        self.map.borrow().clone()
    }

    /// Checks whether records went to the shards that they were packed for, which only tells whether the map is old.
    pub(super) fn compare(&self, batch: &Batch, response: &Response) {
        let Some(map) = self.map() else { return };
        let Some(ids) = response.shard_ids(batch.entries().len()) else { return };
        let mut sent = batch.entries().iter().zip(&ids).filter(|(_, id)| !id.is_empty());
        if sent.any(|(entry, id)| !map.agrees(batch.shard(entry), id)) {
            self.outdated.notify_one();
        }
    }

    /// The time until the next call, unless a reply shows earlier that the shards changed.
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

/// Calls `ListShards` now and then.
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

    /// Waits until a reply shows that the map is old, and then for a while. Never ends after a failure, which has its own pause.
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
                    let then = if known.borrow().is_some() { "goes on with those it knew" } else { "keeps keys apart" };
                    format!(
                        "cannot list the shards of {destination}: {reason}; shard_map needs the permission kinesis:ListShards on it and {then} until they are known"
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
