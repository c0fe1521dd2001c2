//! Packs several records into one Kinesis record.
//!
//! A shard takes 1,000 records per second of any size, so small records reach that limit long before its limit of one
//! megabyte. Records with the same partition key share a group; those without a key share one under a random key. Records
//! with different keys share one only if they are known to belong to the same shard ([`ShardMap`]), because a consumer
//! drops records of other shards. Records with the same key stay in order, and no group outlives its chunk.

use std::rc::Rc;

use super::context::PackContext;
use super::kpl::Kpl;
use super::lines::{BlockJob, Lines};
use super::ready::{self, Ready};
use super::settings::Aggregation;
use super::source::Source;
use crate::kinesis::request::{BatchBuilder, Wire};
use crate::kinesis::shards::ShardMap;
use crate::record::partition_key::Key;

/// Collects records into groups.
pub(super) struct Groups {
    open: Open,
    ready: Ready,
    /// The record being written, and its key.
    record: Vec<u8>,
    key: Key,
}

/// Groups that are still growing.
#[expect(clippy::large_enum_variant, reason = "there is one for each flush, and its owner is boxed")]
enum Open {
    Kpl(Kpl),
    Lines(Lines),
}

impl Groups {
    pub(super) fn new(aggregation: Aggregation) -> Self {
        let open = match aggregation {
            Aggregation::Kpl { max_bytes, max_records, .. } => Open::Kpl(Kpl::new(max_bytes, max_records)),
            Aggregation::Lines => Open::Lines(Lines::default()),
        };
        Groups { open, ready: Ready::default(), record: Vec::new(), key: Key::default() }
    }

    /// Sets the shards by which records of different keys may share an aggregate ([`Aggregation::Kpl`]).
    pub(super) fn set_shards(&mut self, shards: Rc<ShardMap>) {
        if let Open::Kpl(kpl) = &mut self.open {
            kpl.set_shards(shards);
        }
    }

    /// Puts the record that was just written into a group.
    fn collect(&mut self, index: u32, context: &mut PackContext<'_, '_>) {
        match &mut self.open {
            Open::Kpl(kpl) => kpl.add(index, &self.record, &self.key, context, &mut self.ready),
            Open::Lines(lines) => lines.add(index, &self.record, &self.key, context, &mut self.ready),
        }
    }

    /// Completes all groups. Returns whether any are to be compressed first.
    fn close(&mut self, context: &mut PackContext<'_, '_>) -> bool {
        let is_due = match &mut self.open {
            Open::Kpl(kpl) => {
                kpl.close(&mut self.ready);
                false
            }
            Open::Lines(lines) => lines.close(context, &mut self.ready),
        };
        self.ready.finish();
        is_due
    }

    /// Compresses the next block that is due. Returns whether there was one.
    fn compress(&mut self, context: &mut PackContext<'_, '_>) -> bool {
        match &mut self.open {
            Open::Kpl(_) => false,
            Open::Lines(lines) => lines.compress(context, &mut self.ready),
        }
    }

    /// Reads and collects the next record. Returns `false` when there are no more, and nothing is left to compress.
    fn advance(&mut self, context: &mut PackContext<'_, '_>) -> bool {
        self.record.clear();
        match context.next_record(&mut self.key, &mut self.record) {
            Some(index) => {
                self.collect(index, context);
                true
            }
            None => self.close(context),
        }
    }

    /// The next block to compress that is worth another thread; `None` if a batch can be filled without it.
    pub(super) fn next_job(&mut self, context: &mut PackContext<'_, '_>) -> Option<BlockJob> {
        while !self.ready.can_fill(context.limits) {
            let Open::Lines(lines) = &mut self.open else { break };
            if let Some(job) = lines.next_job(context, &mut self.ready) {
                return Some(job);
            }
            if !self.compress(context) && !self.advance(context) {
                break;
            }
        }
        None
    }

    /// Goes on with a block that was compressed elsewhere.
    pub(super) fn finish_job(&mut self, job: BlockJob, context: &mut PackContext<'_, '_>) {
        if let Open::Lines(lines) = &mut self.open {
            lines.finish_job(job, context, &mut self.ready);
        }
    }
}

impl Source for Groups {
    fn next<W: Wire>(&mut self, _: &mut BatchBuilder<W>, context: &mut PackContext<'_, '_>) -> Option<usize> {
        while self.ready.first().is_none() && (self.compress(context) || self.advance(context)) {}
        self.ready.first().map(ready::size)
    }

    fn add<W: Wire>(&mut self, batch: &mut BatchBuilder<W>) {
        if let Some(group) = self.ready.pop() {
            self.ready.recycle(batch.push_group(group));
        }
    }

    /// It still is the first that is ready.
    fn keep<W: Wire>(&mut self, _: &BatchBuilder<W>) {}
}
