//! A chunk's way to Kinesis: requests in flight, failed records again, the answer to Fluent Bit.
//!
//! A chunk is packed into requests (`parts`), each of which is a task (`attempts`): it sends, judges the reply
//! ([`crate::kinesis::verdict`]), sends what failed again, and ends when every record is accepted, refused or left for Fluent
//! Bit's retry. The next request is written while others are in flight, as many as the `window` of the instance allows.
//! Records that must be packed in another way are another part of the chunk.

mod attempts;
mod evidence;
mod exchange;
mod flush;
pub(crate) mod outcomes;
mod parts;
mod refusals;
mod remarks;
mod settings;
mod shards;
mod sizes;
mod troubles;
mod window;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use rand::rngs::SmallRng;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use crate::compress::SharedCompressor;
use crate::kinesis::client::Transport;
use crate::kinesis::stream::Stream;
use crate::ledger::Ledger;
use crate::log::{Level, Logger, duration};
use crate::metrics::{Metric, Metrics};
use crate::outcome::Outcome;
use crate::pack::{BodyPool, RequestSettings};
use evidence::Evidence;
use flush::Flush;
use shards::Shards;
use sizes::SizeLimit;
use troubles::Troubles;
use window::Window;

pub use settings::Settings;

/// Sends chunks over one transport.
pub struct Delivery<T> {
    transport: T,
    stream: Stream,
    /// The stream, its region and its endpoint, for the log.
    destination: String,
    requests: RequestSettings,
    settings: Settings,
    window: Rc<Window>,
    /// Most bytes of a request, and of several records that share one of it.
    request_size: SizeLimit,
    group_size: SizeLimit,
    evidence: Evidence,
    /// Held by the flush whose requests are being made: one chunk after the other, in the order they came, so that the
    /// first is done first and the host can free it.
    turn: Mutex<()>,
    spare_bodies: BodyPool,
    compressor: SharedCompressor,
    random: RefCell<SmallRng>,
    log: Logger,
    ledger: Rc<Ledger>,
    /// The stream's shards, when records are aggregated by them.
    shards: Option<Shards>,
    metrics: Metrics,
    troubles: Troubles,
    /// Flushes so far.
    flushes: Cell<u64>,
    /// Set when the host leaves: until when replies are waited for.
    leaving: watch::Sender<Option<Instant>>,
}

impl<T: Transport> Delivery<T> {
    /// Delivery to `stream` over `transport`; the log calls it `destination`.
    #[expect(clippy::too_many_arguments, reason = "each is one thing that delivery is made of")]
    pub fn new(
        transport: T,
        stream: Stream,
        destination: String,
        requests: RequestSettings,
        settings: Settings,
        ledger: Ledger,
        random: SmallRng,
        log: Logger,
        metrics: Metrics,
    ) -> Rc<Self> {
        Rc::new(Delivery {
            transport,
            stream,
            destination,
            shards: Shards::wanted(requests.aggregation),
            request_size: SizeLimit::new(requests.max_bytes),
            group_size: SizeLimit::new(requests.record.max_bytes),
            evidence: Evidence::default(),
            requests,
            window: Window::new(settings.concurrency),
            turn: Mutex::new(()),
            spare_bodies: BodyPool::default(),
            compressor: SharedCompressor::default(),
            settings,
            random: RefCell::new(random),
            log,
            ledger: Rc::new(ledger),
            metrics,
            troubles: Troubles::default(),
            flushes: Cell::new(0),
            leaving: watch::Sender::new(None),
        })
    }

    /// Sends every record of `chunk`, but those that Kinesis already took when Fluent Bit brought it before. Must run in a
    /// [`tokio::task::LocalSet`].
    pub async fn deliver(self: &Rc<Self>, chunk: &[u8], tag: &[u8]) -> Outcome {
        let open = self.ledger.begin(tag, chunk);
        let started = Instant::now();
        self.flushes.set(self.flushes.get() + 1);
        let deadline = self.settings.flush_timeout.map(|limit| started + limit);
        let flush = Rc::new(Flush::new(self.flushes.get(), Rc::clone(open.progress()), deadline));
        let spared = flush.progress.settled().len();
        let events = self.send_all(chunk, tag, &flush).await;
        self.tell_of_suspects(&flush);
        let took = started.elapsed();
        self.remark_slowness(took, &flush);
        let outcome = self.conclude(&flush, events, spared);
        if outcome == Outcome::Retry && flush.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            self.log.folded(Level::Warn, "flush_timeout", || {
                format!(
                    "a flush took longer than flush_timeout: after {} the rest is left to Fluent Bit's retry",
                    duration(took)
                )
            });
        }
        if outcome == Outcome::Retry {
            drop(open);
        } else {
            open.done();
        }
        self.metrics.add(Metric::BytesReceived, chunk.len() as u64);
        self.metrics.observe(Metric::FlushTime, took);
        self.metrics.set(Metric::LedgerChunks, self.ledger.len() as u64);
        self.metrics.set(Metric::LedgerBytes, self.ledger.bytes() as u64);
        self.metrics.publish();
        outcome
    }

    /// Only settled records are done: whatever happened on the way, any other is left.
    fn conclude(&self, flush: &Flush, events: usize, spared: usize) -> Outcome {
        let (accepted, refused) = (flush.accepted.get(), flush.refused.get());
        let left = events.saturating_sub(flush.progress.settled().len());
        self.metrics.add(Metric::RecordsReceived, events as u64);
        self.metrics.add(Metric::RecordsDeduplicated, spared as u64);
        self.metrics.add(Metric::RecordsLeft, left as u64);
        self.log.write(Level::Debug, || {
            let number = flush.number;
            format!(
                "flush {number}: {accepted} records accepted, {spared} accepted before, {refused} refused, {left} left"
            )
        });
        if left > 0 {
            Outcome::Retry
        } else if accepted + spared == 0 && refused > 0 {
            Outcome::Hopeless
        } else {
            Outcome::Delivered
        }
    }

    /// Ends all flushes soon: nothing new is sent, replies are waited for until `deadline`, the rest is left.
    pub fn leave(&self, deadline: Instant) {
        self.leaving.send_replace(Some(deadline));
    }

    /// Records accepted so far, those of flushes under way included.
    pub fn progress(&self) -> u64 {
        self.metrics.get(Metric::RecordsDelivered)
    }

    /// What this instance remembers of chunks in retry.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What was counted so far.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// How often the counts are written into the log.
    pub fn stats_interval(&self) -> Option<Duration> {
        self.settings.stats_interval
    }

    /// Whether nothing new is to be sent for a flush.
    fn is_over(&self, flush: &Flush) -> bool {
        let in_time = flush.deadline.is_none_or(|deadline| Instant::now() < deadline);
        flush.stopped.get() || !in_time || self.leaving.borrow().is_some()
    }

    /// Ends when the host leaves.
    async fn until_leaving(&self) {
        drop(self.leaving.subscribe().wait_for(Option::is_some).await);
    }

    /// Ends when the host leaves, or the time of the flush is over.
    async fn until_over(&self, flush: &Flush) {
        tokio::select! {
            () = self.until_leaving() => {}
            () = until(flush.deadline) => {}
        }
    }

    /// Ends when it is time to stop waiting for replies, and says why.
    async fn until_deadline(&self, flush: &Flush) -> &'static str {
        let mut leaving = self.leaving.subscribe();
        let left = async {
            let deadline = leaving.wait_for(Option::is_some).await.ok().and_then(|deadline| *deadline);
            until(deadline).await;
        };
        tokio::select! {
            () = left => "Fluent Bit is leaving",
            () = until(flush.deadline) => "the flush took longer than flush_timeout",
        }
    }
}

/// Ends then, or never.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
