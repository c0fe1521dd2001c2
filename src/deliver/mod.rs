//! Delivers chunks to Kinesis: requests in flight, retries, and the answer to Fluent Bit.
//!
//! [`Delivery`] asks the ledger which records of a chunk Kinesis already has, and gives the others to their stream
//! (`stream`).

mod compression;
mod letters;
mod settings;
pub(crate) mod stream;
mod streams;
mod watch;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use rand::rngs::SmallRng;
use tokio::time::Instant;

use crate::compress::SharedCompressor;
use crate::dead_letters::DeadLetters;
use crate::kinesis::client::Transport;
use crate::ledger::{ActiveChunks, Ledger};
use crate::log::{Level, Logger};
use crate::metrics::{Metric, Metrics};
use crate::outcome::Outcome;
use crate::pack::{BodyPool, RequestSettings};
use compression::CompressionThreads;
use stream::Shared;
use stream::flush::{Flush, Shutdown};
use stream::limiter::Budget;
use stream::report::Reporter;
use streams::{Sent, Streams};

pub use settings::{RecordDistribution, Settings};
pub use streams::Target;

/// What delivery depends on.
pub struct Deps<T> {
    /// Sends requests.
    pub transport: T,
    /// Remembers what Kinesis has of chunks that Fluent Bit will retry.
    pub ledger: Ledger,
    /// Keeps refused records, if configured.
    pub dead_letters: Option<Rc<DeadLetters>>,
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
    /// The stream or streams.
    pub target: Target,
    /// What follows a stream's name in the log: its region and endpoint.
    pub place: String,
}

/// Delivers chunks to the streams of one output.
pub struct Delivery<T> {
    streams: Streams<T>,
    active: Rc<ActiveChunks>,
    ledger: Rc<Ledger>,
    reporter: Reporter,
    settings: Settings,
    /// The number of flushes so far.
    flushes: Cell<u64>,
    shutdown: Rc<Shutdown>,
}

impl<T: Transport> Delivery<T> {
    /// Creates a delivery to `destination`.
    pub fn new(deps: Deps<T>, destination: Destination, requests: RequestSettings, settings: Settings) -> Rc<Self> {
        let Deps { transport, ledger, dead_letters, random, log, metrics } = deps;
        let Destination { target, place } = destination;
        let name = format!("stream {}{place}", target.as_str());
        let shutdown = Rc::new(Shutdown::default());
        let reporter = Reporter { log, metrics, destination: name.into(), dead_letters };
        let threads = settings.compression_threads;
        let compression = requests.record.compression.filter(|_| threads > 0);
        let shared = Shared {
            transport: Rc::new(transport),
            random: Rc::new(RefCell::new(random)),
            bodies: Rc::new(BodyPool::default()),
            compressor: Rc::new(SharedCompressor::default()),
            compression: compression
                .and_then(|compression| CompressionThreads::start(threads, compression, &reporter.log).map(Rc::new)),
            requests: Rc::new(requests),
            requests_sent: Rc::default(),
            budget: Budget::new(settings.concurrency),
            settings: settings.clone(),
            shutdown: Rc::clone(&shutdown),
        };
        let streams = Streams::new(shared, target, &place, reporter.clone());
        let (active, ledger, flushes) = (Rc::default(), Rc::new(ledger), Cell::new(0));
        Rc::new(Delivery { streams, active, ledger, reporter, settings, flushes, shutdown })
    }

    /// Delivers every record of `chunk` except those that Kinesis accepted in an earlier flush of it. Must run in a
    /// [`tokio::task::LocalSet`] or [`tokio::runtime::LocalRuntime`].
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
        let deadline = self.settings.flush_timeout.map(|limit| started + limit);
        let flush = Flush::new(self.flushes.get(), Rc::clone(open.progress()), deadline, Rc::clone(&self.shutdown));
        let flush = Rc::new(flush);
        let done_before = flush.progress.done().len();
        let sent = self.streams.send(chunk, tag, &flush).await;
        let took = started.elapsed();
        let outcome = self.finish(&flush, &sent, done_before, took);
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
        outcome
    }

    /// Reports a flush and decides the answer to Fluent Bit: any record that is not done means "retry".
    fn finish(&self, flush: &Flush, sent: &Sent, done_before: usize, took: Duration) -> Outcome {
        let &Sent { events, limit } = sent;
        self.reporter.slow_flush(took, self.settings.slow_flush, limit, flush);
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

    /// Watches the streams' shards and configuration until shutdown. Returns immediately if neither matters.
    pub async fn watch(&self) {
        self.streams.watch().await;
    }

    /// Counts and logs what becomes of dead letters, until the last is written.
    pub async fn watch_dead_letters(&self) {
        if let Some(dead_letters) = &self.reporter.dead_letters {
            dead_letters.watch().await;
        }
    }

    /// Writes dead letters to the disk, unless that takes until `deadline`.
    pub async fn close_dead_letters(&self, deadline: Instant) {
        if let Some(dead_letters) = &self.reporter.dead_letters {
            dead_letters.close(deadline).await;
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
        self.settings.stats_interval
    }
}

#[cfg(test)]
impl<T> Delivery<T> {
    /// The stream, if there is only one.
    fn stream(&self) -> &stream::StreamDelivery<T> {
        match &self.streams {
            Streams::One(stream) => stream,
            Streams::Many(_) => panic!("there are several"),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
