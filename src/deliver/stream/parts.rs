//! Packs a chunk in parts: decides which records to pack next, and how small.
//!
//! The first part holds all records that are not done, and usually it is the only one. More follow for records whose
//! group was refused, whose request paused without room for its body, or that were refused alone.

use std::cell::RefCell;
use std::rc::Rc;

use rand::rngs::SmallRng;
use tokio::sync::{Mutex, MutexGuard, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::attempt::{Attempt, Tries};
use super::flush::{Flush, Postponed, ToSplit, add_time};
use super::refusals::Refusals;
use super::report::Reporter;
use crate::compress::SharedCompressor;
use crate::deliver::compression::CompressionThreads;
use crate::deliver::letters::ChunkLetters;
use crate::deliver::watch::Facts;
use crate::kinesis::stream::Stream;
use crate::pack::{Aggregation, BodyPool, Limits, Packer, RecordIssue, RequestSettings, Run};
use crate::record_set::RecordSet;

/// The records of a chunk that go to a stream.
#[derive(Clone, Copy)]
pub(crate) struct Records<'a> {
    pub(crate) chunk: &'a [u8],
    pub(crate) tag: &'a [u8],
    /// `None`: all.
    pub(crate) runs: Option<&'a [Run<'a>]>,
}

/// Records of a chunk that are packed the same way.
#[derive(Default)]
pub(super) struct Part {
    /// `None`: all except those done or refused alone.
    records: Option<RecordSet>,
    /// Most records per group.
    group_records: Option<usize>,
    /// Whether each record gets a request of its own.
    alone: bool,
    /// How many times they were tried before.
    tries: Tries,
    /// When they may be sent, if not now.
    pub(super) not_before: Option<Instant>,
}

/// The right to pack, and what comes with it, until it is dropped.
pub(super) struct Turn<'a> {
    _lock: MutexGuard<'a, ()>,
    _ahead: Option<SemaphorePermit<'a>>,
}

/// Packs chunks into batches.
pub(super) struct Packing {
    pub(super) stream: Stream,
    /// Held by the flush that is packing. Chunks are packed one at a time, in the order they came, so that the host
    /// can free the first one soonest.
    pub(super) packing_lock: Mutex<()>,
    /// A place for each flush that packs or has its blocks compressed until it may. They hold what they have packed.
    pub(super) ahead: Semaphore,
    pub(super) bodies: Rc<BodyPool>,
    pub(super) compressor: Rc<SharedCompressor>,
    /// What compresses blocks of lines, if not this thread.
    pub(super) compression: Option<Rc<CompressionThreads>>,
    pub(super) facts: Rc<Facts>,
    pub(super) refusals: Rc<Refusals>,
    pub(super) random: Rc<RefCell<SmallRng>>,
    pub(super) reporter: Reporter,
}

impl Packing {
    /// Waits until this flush may pack. Returns `None` if the flush ends first. With threads for compression, the
    /// blocks of its first batch are compressed meanwhile.
    pub(super) async fn turn(
        &self,
        packer: &mut Packer<'_>,
        part: &Part,
        flush: &Flush,
        letters: &mut ChunkLetters<'_>,
    ) -> Option<Turn<'_>> {
        let lock = flush.queue_for(self.packing_lock.lock());
        if self.compression.is_none() {
            return Some(Turn { _lock: lock.await?, _ahead: None });
        }
        let ahead = flush.queue_for(self.ahead.acquire()).await?.ok()?;
        let (lock, compressed) = tokio::join!(lock, self.compress(packer, part, flush, letters));
        compressed?;
        Some(Turn { _lock: lock?, _ahead: Some(ahead) })
    }

    /// Has the blocks of the next batch compressed. Gives the turn back unless the flush ends first.
    pub(super) async fn go_on<'a>(
        &self,
        turn: Option<Turn<'a>>,
        packer: &mut Packer<'_>,
        part: &Part,
        flush: &Flush,
        letters: &mut ChunkLetters<'_>,
    ) -> Option<Turn<'a>> {
        self.compress(packer, part, flush, letters).await?;
        turn
    }

    /// Has the blocks of the next batch compressed by other threads, if there are any. Returns `None` if the flush
    /// ends first. Some of its records are not in the packer any more then.
    async fn compress(
        &self,
        packer: &mut Packer<'_>,
        part: &Part,
        flush: &Flush,
        letters: &mut ChunkLetters<'_>,
    ) -> Option<()> {
        let Some(threads) = &self.compression else { return Some(()) };
        let _place = flush.queue_for(threads.place()).await?;
        let mut job = self.pack(packer, part, flush, letters, |packer, random, report| packer.next_job(random, report));
        while let Some(block) = job {
            let since = Instant::now();
            let block = flush.wait_for(threads.compress(block)).await??;
            add_time(&flush.times.packing, since);
            job = self.pack(packer, part, flush, letters, |packer, random, report| {
                packer.finish_job(block, random, report);
                packer.next_job(random, report)
            });
        }
        Some(())
    }

    /// Creates a packer for a part of the records.
    pub(super) fn packer<'a>(
        &'a self,
        requests: &'a RequestSettings,
        records: Records<'a>,
        flush: &Flush,
        part: &mut Part,
    ) -> Packer<'a> {
        let Records { chunk, tag, runs } = records;
        let packer = |done| Packer::new(chunk, tag, &self.stream, requests, done);
        let packer = match part.records.take() {
            Some(records) => packer(RecordSet::default()).only(records),
            None => {
                let mut excluded = flush.progress.done().clone();
                excluded.extend(flush.refusals.borrow().earlier.iter());
                packer(excluded)
            }
        };
        let packer = match runs {
            Some(runs) => packer.within(runs),
            None => packer,
        };
        packer
            .with_shards(self.facts.shards_to_pack_by())
            .with_body_pool(&self.bodies)
            .with_compressor(&self.compressor)
    }

    /// Makes dead letters of a chunk's records.
    pub(super) fn letters<'a>(&self, Records { chunk, tag, .. }: Records<'a>) -> ChunkLetters<'a> {
        ChunkLetters::new(self.reporter.dead_letters.clone(), chunk, tag, self.stream.as_str())
    }

    /// Packs the next batch of a part.
    pub(super) fn next_batch(
        &self,
        packer: &mut Packer<'_>,
        part: &Part,
        flush: &Flush,
        letters: &mut ChunkLetters<'_>,
    ) -> Option<Attempt> {
        let batch = self.pack(packer, part, flush, letters, |packer, random, report| packer.next_batch(random, report));
        batch.map(|batch| Attempt::new(batch, part.tries.clone()))
    }

    /// Does a step of the packing, within the current limits.
    fn pack<'a, R>(
        &self,
        packer: &mut Packer<'a>,
        part: &Part,
        flush: &Flush,
        letters: &mut ChunkLetters<'_>,
        step: impl FnOnce(&mut Packer<'a>, &mut SmallRng, &mut dyn FnMut(u32, RecordIssue)) -> R,
    ) -> R {
        let packing_since = Instant::now();
        packer.set_limits(self.limits(packer.settings(), part));
        let max_record_bytes = packer.settings().record.max_bytes;
        let mut report = |record, issue| {
            self.reporter.record_issue(record, issue, max_record_bytes, flush);
            letters.keep(flush.lost.take());
        };
        let result = step(packer, &mut self.random.borrow_mut(), &mut report);
        add_time(&flush.times.packing, packing_since);
        result
    }

    /// The current size limits, within those of the settings.
    fn limits(&self, settings: &RequestSettings, part: &Part) -> Limits {
        let max = Limits::of(settings);
        let makes_aggregates = matches!(settings.aggregation, Some(Aggregation::Kpl { .. }));
        let group_records = match makes_aggregates && !self.facts.allows_aggregates() {
            // Consumers have begun to drop aggregates.
            true => 1,
            false => part.group_records.unwrap_or(max.group_records).max(1),
        };
        let limits = Limits {
            request_bytes: self.refusals.sizes.request.get(),
            group_bytes: self.refusals.sizes.group.get(),
            group_records,
            ..max
        };
        if part.alone { limits.alone() } else { limits }
    }

    /// The next part to pack, if any.
    pub(super) fn next_part(&self, flush: &Flush) -> Option<Part> {
        if flush.is_over() {
            return None;
        }
        if let Some(ToSplit { records, largest }) = flush.to_split.take() {
            return Some(Part { records: Some(records), group_records: Some(largest / 2), ..Part::default() });
        }
        if let Some(Postponed { records, mut tries }) = flush.postponed.take() {
            let pause = tries.backoff.next(&mut self.random.borrow_mut(), None);
            let not_before = Some(Instant::now() + pause);
            return Some(Part { records: Some(records), tries, not_before, ..Part::default() });
        }
        let records = self.refusals.to_try_again(flush)?;
        Some(Part { records: Some(records), alone: true, ..Part::default() })
    }
}
