//! Which shards the stream has, asked now and then: records of different keys may share an aggregate when their keys
//! belong to one shard.
//!
//! A map that is old, or none at all, loses nothing, so there is no hurry: a fleet that starts at once, or that sees the
//! same split, must not ask at once. `ListShards` may be called 1,000 times a second for a stream, by all together
//! (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html>, read 2026-11).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Delivery;
use crate::kinesis::client::{Transport, TransportError};
use crate::kinesis::list_shards::list_shards;
use crate::kinesis::reply::Response;
use crate::kinesis::request::Batch;
use crate::kinesis::shards::ShardMap;
use crate::log::{Level, duration};
use crate::pack::Aggregation;

/// The first question, and one because a reply showed that shards were split or merged, comes within this time: those of
/// 10,000 instances are 333 a second then.
const SPREAD: Duration = Duration::from_secs(30);
/// However many replies show it, and however long resharding goes on, so long is between two questions.
const LEAST_DISTANCE: Duration = Duration::from_secs(60);
/// Shards are asked for that often in any case, on average: it is drawn from half of it to one and a half.
const INTERVAL: Duration = Duration::from_secs(600);
/// On average, after a failure; twice as long after each further one, up to the interval.
const FIRST_RETRY: Duration = Duration::from_secs(30);
/// Longest time of an answer, all pages together.
const PATIENCE: Duration = Duration::from_secs(60);

/// The stream's shards, as far as they are known.
#[derive(Default)]
pub(super) struct Shards {
    map: RefCell<Option<Rc<ShardMap>>>,
    /// Told when a reply shows that the map is old.
    pub(super) old: Notify,
    failures: Cell<u32>,
}

impl Shards {
    /// An empty map, when it is of use.
    pub(super) fn wanted(aggregation: Option<Aggregation>) -> Option<Shards> {
        let wanted = matches!(aggregation, Some(Aggregation::Kpl { by_shard: true, .. }));
        wanted.then(Shards::default)
    }

    /// How long to wait until shards are asked for again, unless a reply shows earlier that they changed.
    fn interval(&self, random: &mut SmallRng) -> Duration {
        let average = match self.failures.get() {
            0 => INTERVAL,
            failures => FIRST_RETRY.saturating_mul(2_u32.saturating_pow(failures - 1)).min(INTERVAL),
        };
        average.mul_f64(random.random_range(0.5..1.5))
    }
}

fn spread(random: &mut SmallRng) -> Duration {
    SPREAD.mul_f64(random.random())
}

impl<T: Transport> Delivery<T> {
    /// The map, when there is one.
    pub(super) fn shards(&self) -> Option<Rc<ShardMap>> {
        self.shards.as_ref()?.map.borrow().clone()
    }

    /// Looks whether records went to the shards that they were made for; nothing else depends on it.
    pub(super) fn compare_shards(&self, batch: &Batch, answer: &Result<Response, TransportError>) {
        let (Some(map), Ok(response)) = (self.shards(), answer) else { return };
        let Some(ids) = response.shard_ids(batch.entries().len()) else { return };
        let mut went = batch.entries().iter().zip(&ids).filter(|(_, id)| !id.is_empty());
        if went.any(|(entry, id)| !map.agrees(batch.shard(entry), id))
            && let Some(shards) = &self.shards
        {
            shards.old.notify_one();
        }
    }

    /// Keeps the map current until the host leaves. Returns at once when none is wanted.
    pub async fn keep_shards(&self) {
        let Some(shards) = &self.shards else { return };
        let mut pause = spread(&mut self.random.borrow_mut());
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.seen_old(shards) => {}
                () = self.until_leaving() => return,
            }
            self.ask(shards).await;
            pause = shards.interval(&mut self.random.borrow_mut());
        }
    }

    /// Ends a while after a reply showed that the map is old, when it was asked for lately with success.
    async fn seen_old(&self, shards: &Shards) {
        let asked_at = Instant::now();
        shards.old.notified().await;
        if shards.failures.get() > 0 {
            std::future::pending::<()>().await;
        }
        let earliest = Instant::now().max(asked_at + LEAST_DISTANCE);
        let spread = spread(&mut self.random.borrow_mut());
        tokio::time::sleep_until(earliest + spread).await;
    }

    async fn ask(&self, shards: &Shards) {
        let answer = tokio::time::timeout(PATIENCE, list_shards(&self.transport, &self.stream)).await;
        let answer = match answer {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no reply within {}", duration(PATIENCE))),
        };
        let destination = &self.destination;
        match answer {
            Ok(map) => {
                let count = map.len();
                let level = if shards.failures.take() > 0 { Level::Info } else { Level::Debug };
                self.log.write(level, || format!("the shards of {destination} are known: {count} are open"));
                shards.map.replace(Some(Rc::new(map)));
            }
            Err(reason) => {
                let failures = shards.failures.get();
                shards.failures.set(failures.saturating_add(1));
                let level = if failures == 0 { Level::Warn } else { Level::Debug };
                self.log.write(level, || {
                    let known = shards.map.borrow().is_some();
                    let then = if known { "goes on with those it knew" } else { "keeps keys apart" };
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
    fn each_failure_doubles_the_time_until_the_next_question_up_to_ten_minutes() {
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
