//! Delivers chunks to Kinesis: requests in flight, retries, and the answer to Fluent Bit.
//!
//! [`Delivery`] packs a chunk into batches (`parts`) and runs a task for each (`executor`). The task sends a
//! request (`sender`), decides what to do after the reply (`attempt`), and repeats until every record is
//! accepted, refused or left to Fluent Bit. Packing continues while requests are in flight, up to the `limiter`'s
//! limit.

mod attempt;
mod evidence;
mod executor;
mod flush;
mod incidents;
mod limiter;
mod parts;
mod refusals;
mod report;
pub(crate) mod sender;
mod settings;
mod shards;
mod sizes;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use rand::rngs::SmallRng;
use tokio::sync::Mutex;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::compress::SharedCompressor;
use crate::kinesis::client::Transport;
use crate::kinesis::stream::Stream;
use crate::ledger::{ActiveChunks, Ledger};
use crate::log::{Level, Logger};
use crate::metrics::{Metric, Metrics};
use crate::outcome::Outcome;
use crate::pack::{BodyPool, RequestSettings};
use executor::Executor;
use flush::{Flush, Shutdown};
use incidents::Incidents;
use limiter::ConcurrencyLimiter;
use parts::{Packing, Part};
use refusals::Refusals;
use report::Reporter;
use sender::Sender;
use shards::{ShardWatcher, Shards};

pub use settings::Settings;

/// What delivery depends on.
pub struct Deps<T> {
    /// Sends requests.
    pub transport: T,
    /// Remembers what Kinesis has of chunks that Fluent Bit will retry.
    pub ledger: Ledger,
    /// Draws backoff jitter and partition keys.
    pub random: SmallRng,
    /// Receives log lines.
    pub log: Logger,
    /// Receives counts.
    pub metrics: Metrics,
}

/// Where records go.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The stream.
    pub stream: Stream,
    /// The stream, its region and its endpoint, for the log.
    pub name: String,
}

/// Delivers chunks to one stream.
pub struct Delivery<T> {
    packing: Packing,
    executor: Rc<Executor<T>>,
    /// `Some` if records are aggregated by shard.
    shard_watcher: Option<ShardWatcher<T>>,
    active: Rc<ActiveChunks>,
    ledger: Rc<Ledger>,
    reporter: Reporter,
    /// The number of flushes so far.
    flushes: Cell<u64>,
    shutdown: Rc<Shutdown>,
}

impl<T: Transport> Delivery<T> {
    /// Creates a delivery to `destination`.
    pub fn new(deps: Deps<T>, destination: Destination, requests: RequestSettings, settings: Settings) -> Rc<Self> {
        let Deps { transport, ledger, random, log, metrics } = deps;
        let Destination { stream, name } = destination;
        let (transport, random) = (Rc::new(transport), Rc::new(RefCell::new(random)));
        let (bodies, shutdown) = (Rc::new(BodyPool::default()), Rc::new(Shutdown::default()));
        let shards = Shards::if_used(requests.aggregation);
        let incidents = Incidents::new(log.clone(), metrics.clone());
        let max_record_bytes = requests.record.max_bytes;
        let reporter = Reporter { log, metrics, destination: name.into(), max_record_bytes };
        let refusals = Rc::new(Refusals::new(&requests, reporter.clone()));
        let shard_watcher = shards.clone().map(|shards| ShardWatcher {
            shards,
            transport: Rc::clone(&transport),
            stream: stream.clone(),
            random: Rc::clone(&random),
            reporter: reporter.clone(),
            shutdown: Rc::clone(&shutdown),
        });
        let sender = Sender {
            transport,
            refusals: Rc::clone(&refusals),
            shards: shards.clone(),
            incidents,
            reporter: reporter.clone(),
        };
        let executor = Rc::new(Executor {
            sender,
            limiter: ConcurrencyLimiter::new(settings.concurrency),
            bodies: Rc::clone(&bodies),
            random: Rc::clone(&random),
            settings,
        });
        let packing = Packing {
            stream,
            requests,
            packing_lock: Mutex::new(()),
            bodies,
            compressor: SharedCompressor::default(),
            shards,
            refusals,
            random,
            reporter: reporter.clone(),
        };
        let (active, ledger, flushes) = (Rc::default(), Rc::new(ledger), Cell::new(0));
        Rc::new(Delivery { packing, executor, shard_watcher, active, ledger, reporter, flushes, shutdown })
    }

    /// Delivers every record of `chunk` except those that Kinesis accepted in an earlier flush of it. Must run in a
    /// [`tokio::task::LocalSet`].
    pub async fn deliver(self: &Rc<Self>, chunk: &[u8], tag: &[u8]) -> Outcome {
        let only = match self.active.begin(chunk).await {
            Ok(only) => only,
            Err(outcome) => return outcome,
        };
        let outcome = self.flush(chunk, tag).await;
        only.end(outcome);
        outcome
    }

    async fn flush(self: &Rc<Self>, chunk: &[u8], tag: &[u8]) -> Outcome {
        let open = self.ledger.begin(tag, chunk);
        let started = Instant::now();
        self.flushes.set(self.flushes.get() + 1);
        let deadline = self.executor.settings.flush_timeout.map(|limit| started + limit);
        let flush = Flush::new(self.flushes.get(), Rc::clone(open.progress()), deadline, Rc::clone(&self.shutdown));
        let flush = Rc::new(flush);
        let done_before = flush.progress.done().len();
        let events = self.send_all(chunk, tag, &flush).await;
        let took = started.elapsed();
        let outcome = self.finish(&flush, events, done_before, took);
        if outcome == Outcome::Retry {
            drop(open);
        } else {
            open.done();
        }
        let metrics = self.metrics();
        metrics.add(Metric::BytesReceived, chunk.len() as u64);
        metrics.observe(Metric::FlushTime, took);
        metrics.set(Metric::LedgerChunks, self.ledger.len() as u64);
        metrics.set(Metric::LedgerBytes, self.ledger.bytes() as u64);
        metrics.publish();
        outcome
    }

    /// Sends all parts of a chunk. Returns the number of events in it.
    async fn send_all(self: &Rc<Self>, chunk: &[u8], tag: &[u8], flush: &Rc<Flush>) -> usize {
        let events = self.send_part(chunk, tag, Part::default(), flush).await;
        while let Some(part) = self.packing.next_part(flush) {
            if let Some(not_before) = part.not_before {
                flush.wait_for(tokio::time::sleep_until(not_before)).await;
            }
            self.send_part(chunk, tag, part, flush).await;
        }
        events
    }

    /// Sends one part of a chunk until each record is done or left. Returns the number of events in the chunk.
    async fn send_part(self: &Rc<Self>, chunk: &[u8], tag: &[u8], mut part: Part, flush: &Rc<Flush>) -> usize {
        let mut packer = self.packing.packer(chunk, tag, flush, &mut part);
        let mut tasks = JoinSet::new();
        let lock = self.packing.lock(flush).await;
        while lock.is_some()
            && let Some(mut permit) = self.executor.acquire(flush).await
            && let Some(attempt) = self.packing.next_batch(&mut packer, &part, flush)
        {
            permit.fill(attempt.batch.body().len());
            tasks.spawn_local(Rc::clone(&self.executor).deliver_batch(attempt, Rc::clone(flush), permit));
            // Packing blocks the thread: first let the request go out and replies come in.
            tokio::task::yield_now().await;
            while let Some(ended) = tasks.try_join_next() {
                self.joined(ended, flush);
            }
        }
        let events = packer.events();
        // Free the packer's memory before waiting for replies.
        drop(packer);
        drop(lock);
        while let Some(ended) = tasks.join_next().await {
            self.joined(ended, flush);
        }
        events
    }

    fn joined(&self, ended: Result<(), JoinError>, flush: &Flush) {
        if let Err(error) = ended {
            flush.stop();
            let log = &self.reporter.log;
            log.folded(Level::Error, "bug", || format!("a request failed because of a bug in this plugin: {error}"));
        }
    }

    /// Reports a flush and decides the answer to Fluent Bit: any record that is not done means "retry".
    fn finish(&self, flush: &Flush, events: usize, done_before: usize, took: Duration) -> Outcome {
        let Executor { settings, limiter, .. } = &*self.executor;
        self.packing.refusals.report_kept(flush);
        self.reporter.slow_flush(took, settings.slow_flush, limiter.limit(), flush);
        let (accepted, refused) = (flush.accepted.get(), flush.refused.get());
        let left = events.saturating_sub(flush.progress.done().len());
        self.metrics().add(Metric::RecordsReceived, events as u64);
        self.metrics().add(Metric::RecordsDeduplicated, done_before as u64);
        self.metrics().add(Metric::RecordsLeft, left as u64);
        self.reporter.log.write(Level::Debug, || {
            let number = flush.number;
            format!(
                "flush {number}: {accepted} records accepted, {done_before} accepted before, {refused} refused, {left} left"
            )
        });
        if left > 0 {
            if flush.is_late() {
                self.reporter.flush_timeout(took);
            }
            Outcome::Retry
        } else if accepted + done_before == 0 && refused > 0 {
            Outcome::Hopeless
        } else {
            Outcome::Delivered
        }
    }

    /// Ends all flushes soon: no new requests, no waiting for replies after `deadline`; the rest is left to Fluent
    /// Bit.
    pub fn shut_down(&self, deadline: Instant) {
        self.shutdown.begin(deadline);
    }

    /// Keeps the map of the stream's shards current until shutdown. Returns immediately if the map is not used.
    pub async fn keep_shards(&self) {
        if let Some(watcher) = &self.shard_watcher {
            watcher.run().await;
        }
    }

    /// The number of records accepted so far, including flushes in progress.
    pub fn progress(&self) -> u64 {
        self.metrics().get(Metric::RecordsDelivered)
    }

    /// What this output remembers of chunks that Fluent Bit will retry.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The output's metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.reporter.metrics
    }

    /// The interval at which all metrics are logged.
    pub fn stats_interval(&self) -> Option<Duration> {
        self.executor.settings.stats_interval
    }
}

#[cfg(test)]
pub(crate) mod tests;
