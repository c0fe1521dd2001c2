//! Delivers records to one stream: everything that one stream's replies teach stays with that stream.
//!
//! [`StreamDelivery`] packs its records of a chunk into batches (`parts`) and runs a task for each (`executor`). The
//! task sends a request (`sender`), decides what to do after the reply (`attempt`), and repeats until every record is
//! accepted, refused or left to Fluent Bit. Packing continues while requests are in flight, up to the `limiter`'s
//! limit, which is the `window`.

mod attempt;
mod evidence;
mod executor;
pub(super) mod flush;
mod incidents;
pub(super) mod limiter;
mod parts;
pub(super) mod refusals;
pub(super) mod report;
pub(crate) mod sender;
mod sizes;
mod window;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use rand::rngs::SmallRng;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::{JoinError, JoinSet};

use super::compression::CompressionThreads;
use super::settings::Settings;
use super::watch::{Facts, Watcher};
use crate::compress::SharedCompressor;
use crate::kinesis::client::Transport;
use crate::kinesis::stream::Stream;
use crate::log::Level;
use crate::pack::{BodyPool, RequestSettings};
use executor::Executor;
use flush::{Flush, Shutdown};
use incidents::Incidents;
use limiter::{Budget, ConcurrencyLimiter};
use parts::{Packing, Part};

pub(super) use parts::Records;
use refusals::Refusals;
use report::Reporter;
use sender::Sender;

/// Requests packed before the thread turns to others.
const REQUESTS_PER_TURN: usize = 2;

/// What the streams of one output share.
pub(super) struct Shared<T> {
    pub(super) transport: Rc<T>,
    pub(super) random: Rc<RefCell<SmallRng>>,
    pub(super) bodies: Rc<BodyPool>,
    pub(super) compressor: Rc<SharedCompressor>,
    /// What compresses blocks of lines, if not the thread itself.
    pub(super) compression: Option<Rc<CompressionThreads>>,
    pub(super) requests: Rc<RequestSettings>,
    pub(super) settings: Settings,
    pub(super) budget: Rc<Budget>,
    /// Counts the requests to all streams, see [`evidence`].
    pub(super) requests_sent: Rc<Cell<u64>>,
    pub(super) shutdown: Rc<Shutdown>,
}

/// Delivers records to one stream.
pub(super) struct StreamDelivery<T> {
    packing: Packing,
    executor: Rc<Executor<T>>,
    watcher: Watcher<T>,
}

impl<T: Transport> StreamDelivery<T> {
    pub(super) fn new(shared: &Shared<T>, stream: Stream, reporter: Reporter) -> Self {
        let Shared { transport, random, bodies, requests, .. } = shared;
        let facts = Facts::new(requests, &shared.settings, reporter.clone());
        let refusals = Refusals::new(
            requests,
            &shared.settings,
            Rc::clone(&shared.requests_sent),
            Rc::clone(&facts),
            reporter.clone(),
        );
        let refusals = Rc::new(refusals);
        let watcher = Watcher {
            facts: Rc::clone(&facts),
            transport: Rc::clone(transport),
            stream: stream.clone(),
            random: Rc::clone(random),
            reporter: reporter.clone(),
            shutdown: Rc::clone(&shared.shutdown),
        };
        let sender = Sender {
            transport: Rc::clone(transport),
            refusals: Rc::clone(&refusals),
            facts: Rc::clone(&facts),
            incidents: Incidents::new(reporter.log.clone(), reporter.metrics.clone()),
            reporter: reporter.clone(),
        };
        let executor = Rc::new(Executor {
            sender,
            limiter: ConcurrencyLimiter::new(Rc::clone(&shared.budget)),
            bodies: Rc::clone(bodies),
            random: Rc::clone(random),
            settings: shared.settings.clone(),
        });
        let packing = Packing {
            stream,
            packing_lock: Mutex::new(()),
            ahead: Semaphore::new(shared.compression.as_ref().map_or(1, |threads| threads.places())),
            bodies: Rc::clone(bodies),
            compressor: Rc::clone(&shared.compressor),
            compression: shared.compression.clone(),
            facts,
            refusals,
            random: Rc::clone(random),
            reporter,
        };
        StreamDelivery { packing, executor, watcher }
    }

    /// Sends records until each is done or left. Returns the number of events in the chunk.
    pub(super) async fn send_all(self: &Rc<Self>, records: Records<'_>, flush: &Rc<Flush>) -> usize {
        let events = self.send_part(records, Part::default(), flush).await;
        while let Some(part) = self.packing.next_part(flush) {
            if let Some(not_before) = part.not_before {
                flush.wait_for(tokio::time::sleep_until(not_before)).await;
            }
            self.send_part(records, part, flush).await;
        }
        self.packing.refusals.report_kept(flush);
        events
    }

    /// Sends one part of the records until each is done or left. Returns the number of events in the chunk.
    async fn send_part(self: &Rc<Self>, records: Records<'_>, mut part: Part, flush: &Rc<Flush>) -> usize {
        let requests = self.packing.facts.requests();
        let mut packer = self.packing.packer(&requests, records, flush, &mut part);
        let mut letters = self.packing.letters(records);
        let (mut tasks, mut packed) = (JoinSet::new(), 0_usize);
        let mut turn = self.packing.turn(&mut packer, &part, flush, &mut letters).await;
        while turn.is_some()
            && let Some(mut permit) = self.executor.acquire(flush).await
            && let Some(attempt) = self.packing.next_batch(&mut packer, &part, flush, &mut letters)
        {
            permit.fill(attempt.batch.body().len());
            tasks.spawn_local(Rc::clone(&self.executor).deliver_batch(attempt, Rc::clone(flush), permit));
            packed += 1;
            // Packing blocks the thread: let requests go out, in pairs for their digests, and replies come in.
            if packed % REQUESTS_PER_TURN == 0 {
                tokio::task::yield_now().await;
            }
            while let Some(ended) = tasks.try_join_next() {
                self.joined(ended, flush);
            }
            letters.keep(flush.lost.take());
            turn = self.packing.go_on(turn, &mut packer, &part, flush, &mut letters).await;
        }
        let events = packer.events();
        // Free the packer's memory before waiting for replies.
        drop(packer);
        drop(turn);
        while let Some(ended) = tasks.join_next().await {
            self.joined(ended, flush);
            letters.keep(flush.lost.take());
        }
        events
    }

    fn joined(&self, ended: Result<(), JoinError>, flush: &Flush) {
        if let Err(error) = ended {
            flush.stop();
            let log = &self.executor.sender.reporter.log;
            log.folded(Level::Error, "bug", || format!("a request failed because of a bug in this plugin: {error}"));
        }
    }

    /// How many requests may be in flight now.
    pub(super) fn limit(&self) -> usize {
        self.executor.limiter.limit()
    }

    /// Watches the stream's shards and configuration until shutdown. Returns immediately if neither matters.
    pub(super) async fn watch(&self) {
        self.watcher.run().await;
    }
}

/// What tests set up or look at.
#[cfg(test)]
impl<T> StreamDelivery<T> {
    pub(super) fn limiter(&self) -> &Rc<limiter::ConcurrencyLimiter> {
        &self.executor.limiter
    }

    pub(super) fn compression(&self) -> &CompressionThreads {
        self.packing.compression.as_ref().unwrap()
    }

    pub(super) fn sizes(&self) -> &sizes::Sizes {
        &self.packing.refusals.sizes
    }

    pub(super) fn shard_map_is_outdated(&self) {
        self.packing.facts.shards_pace.hurry();
    }
}
