//! The parts of a chunk: which of its records are packed now, and how small.
//!
//! The first part is all that is not settled, and nearly always the only one. Others follow for records whose group was
//! refused, whose request paused without room for its body, or which are suspected of being at fault.

use std::rc::Rc;

use tokio::sync::MutexGuard;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::flush::{Apart, Attempt, Flush, PutOff, Tries, add_time};
use super::window::Place;
use super::{Delivery, until};
use crate::kinesis::client::Transport;
use crate::log::Level;
use crate::pack::{Limits, Packer};
use crate::record_set::RecordSet;

/// Records of a chunk that are packed in the same way.
#[derive(Default)]
struct Part {
    /// `None` for all but those that are settled or suspected.
    records: Option<RecordSet>,
    /// Most records of a group.
    group_records: Option<usize>,
    /// Whether each record goes alone.
    alone: bool,
    /// How often they were sent before.
    tries: Tries,
    /// When they may be sent.
    not_before: Option<Instant>,
}

impl<T: Transport> Delivery<T> {
    /// Sends all parts of a chunk. Returns how many events it has.
    pub(super) async fn send_all(self: &Rc<Self>, chunk: &[u8], tag: &[u8], flush: &Rc<Flush>) -> usize {
        let first = self.packer(chunk, tag, flush, &Part::default());
        let events = self.send(first, &Part::default(), flush).await;
        while let Some(part) = self.next_part(flush) {
            if part.not_before.is_some() {
                tokio::select! {
                    () = until(part.not_before) => {}
                    () = self.until_over(flush) => {}
                }
            }
            self.send(self.packer(chunk, tag, flush, &part), &part, flush).await;
        }
        events
    }

    fn packer<'a>(&'a self, chunk: &'a [u8], tag: &'a [u8], flush: &Flush, part: &Part) -> Packer<'a> {
        let mut done = flush.progress.settled().clone();
        done.extend(flush.suspects.borrow().earlier.iter());
        let packer = Packer::new(chunk, tag, &self.stream, &self.requests, done)
            .with_shards(self.shards())
            .with_spare_bodies(&self.spare_bodies)
            .with_compressor(&self.compressor);
        match &part.records {
            Some(records) => packer.only(records.clone()),
            None => packer,
        }
    }

    /// What to pack once more, if anything.
    fn next_part(&self, flush: &Flush) -> Option<Part> {
        if self.is_over(flush) {
            return None;
        }
        if let Some(Apart { records, largest }) = flush.apart.take() {
            return Some(Part { records: Some(records), group_records: Some(largest / 2), ..Part::default() });
        }
        if let Some(PutOff { records, mut tries }) = flush.put_off.take() {
            let pause = tries.backoff.next(&mut self.random.borrow_mut(), None);
            let not_before = Some(Instant::now() + pause);
            return Some(Part { records: Some(records), tries, not_before, ..Part::default() });
        }
        let suspects = self.suspects_to_try(flush)?;
        Some(Part { records: Some(suspects), alone: true, ..Part::default() })
    }

    /// How large requests may be at present.
    fn limits(&self, part: &Part) -> Limits {
        let most = Limits::of(&self.requests);
        let limits = Limits {
            request_bytes: self.request_size.get(),
            group_bytes: self.group_size.get(),
            group_records: part.group_records.unwrap_or(most.group_records).max(1),
            ..most
        };
        if part.alone { limits.alone() } else { limits }
    }

    /// Sends what `packer` makes, until each record is settled or left. Returns how many events the chunk has.
    async fn send(self: &Rc<Self>, mut packer: Packer<'_>, part: &Part, flush: &Rc<Flush>) -> usize {
        let mut requests = JoinSet::new();
        let turn = self.turn(flush).await;
        while turn.is_some()
            && let Some(mut place) = self.place(flush).await
        {
            let packing_since = Instant::now();
            packer.set_limits(self.limits(part));
            let mut remark = |record, remark| self.remark(record, remark, flush);
            let batch = packer.next_batch(&mut self.random.borrow_mut(), &mut remark);
            add_time(&flush.times.packing, packing_since);
            let Some(batch) = batch else { break };
            place.fill(batch.body().len());
            let attempt = Attempt::new(batch, part.tries.clone());
            requests.spawn_local(Rc::clone(self).settle(attempt, Rc::clone(flush), place));
            // Encoding blocks the thread: let the request leave and replies be read before the next one is written.
            tokio::task::yield_now().await;
            while let Some(ended) = requests.try_join_next() {
                self.joined(ended, flush);
            }
        }
        let events = packer.events();
        // What it holds is not needed while replies are waited for.
        drop(packer);
        drop(turn);
        while let Some(ended) = requests.join_next().await {
            self.joined(ended, flush);
        }
        events
    }

    /// The turn to pack; `None` when the flush is over before.
    async fn turn(&self, flush: &Flush) -> Option<MutexGuard<'_, ()>> {
        if let Ok(turn) = self.turn.try_lock() {
            return Some(turn);
        }
        self.wait(self.turn.lock(), flush).await
    }

    /// A place in the window; `None` when the flush is over.
    pub(super) async fn place(&self, flush: &Flush) -> Option<Place> {
        if self.is_over(flush) {
            return None;
        }
        // Nearly always there is one, and waiting takes a subscription and a timer.
        match self.window.free_place() {
            Some(place) => Some(place),
            None => self.wait(self.window.place(), flush).await,
        }
    }

    /// Waits for `other`, as long as the flush is not over.
    async fn wait<O>(&self, other: impl Future<Output = O>, flush: &Flush) -> Option<O> {
        let waiting_since = Instant::now();
        let result = tokio::select! {
            biased;
            () = self.until_over(flush) => None,
            result = other => Some(result),
        };
        add_time(&flush.times.waiting, waiting_since);
        result
    }

    fn joined(&self, ended: Result<(), JoinError>, flush: &Flush) {
        if let Err(error) = ended {
            flush.stopped.set(true);
            self.log.folded(Level::Error, "bug", || format!("a request ended with a bug in this plugin: {error}"));
        }
    }
}
